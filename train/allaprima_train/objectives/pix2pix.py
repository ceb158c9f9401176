"""`pix2pix`: pairs, photograph and answer (Isola 2017), with the recipe for large pictures (Wang 2018).

    generator       adversarial_weight * (D(x, G(x)) - 1)^2 + l1_weight * |G(x) - y|
                    + matching_weight * feature matching + perceptual_weight * |VGG(G(x)) - VGG(y)|, plus steadiness
    discriminator   ((D(x, y) - 1)^2 + D(x, G(x))^2) / 2, mean over its scales

x is a picture of `[data] content`, y the one of its name in `target`; D sees both, so it judges whether they belong
together. Pairs are what a slow network, a program or a person answered: `allaprima run photos --style starry --out
answers` makes some, and `mobile` learns to paint like any of them.

| | scales | l1 | matching | perceptual |
|---|---|---|---|---|
| Isola 2017 | 1 | 100 | 0 | 0 |
| Wang 2018 (default but for some l1, which settles colours early) | 2 to 3 | 0 | 10 | 10 |

Coarse to fine: with `[generator] network = "coarse-to-fine"` and `coarse_steps`, the coarse half learns alone on
pictures of half the size first. Deviations: as in cyclegan.py; VGG up to relu3_4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, cast

import torch
import torch.nn.functional as F
from annotated_types import Ge, Le
from torch import Tensor, nn

from allaprima.errors import UsageError

from .. import losses
from ..discriminators import MultiScale
from ..features import VGG19, Vgg19
from ..frame_model import paint
from ..generators import Generator, make_generator
from ..generators.coarse_to_fine import CoarseToFine
from ..losses_gan import feature_matching, least_squares
from ..recipe import PictureSet
from ..streams import Stream, pairs
from .adversarial import Clock, still
from .painting import Steadiness, as_seen, inside, steady

if TYPE_CHECKING:
    from ..recipe import Recipe

__all__ = ["FEATURES", "Pix2Pix", "Pix2PixSettings", "streams"]

FEATURES = VGG19
LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu3_4")


@dataclass(frozen=True, kw_only=True)
class Pix2PixSettings(Steadiness):
    target: PictureSet
    """The answers: for every picture of [data] content one of its name and size. Only `pictures` counts here."""
    adversarial_weight: Annotated[float, Ge(0)] = 1.0
    """Raise it when results are blurred."""
    l1_weight: Annotated[float, Ge(0)] = 10.0
    """Raise it when colours are wrong or specks appear; it blurs."""
    matching_weight: Annotated[float, Ge(0)] = 10.0
    """Raise it when training is restless: answers that the discriminator's features cannot tell apart."""
    perceptual_weight: Annotated[float, Ge(0)] = 10.0
    """Raise it when textures are wrong."""
    scales: Annotated[int, Ge(1), Le(4)] = 2
    """Discriminators, each looking at half the size of the one before: 3 from 1024 pixels on."""
    coarse_steps: Annotated[int, Ge(0)] = 0
    """Steps in which only the coarse half of a coarse-to-fine generator learns; samples show the whole, which is
    nothing yet."""
    discriminator_width: Annotated[int, Ge(8)] = 64
    """Channels of their first layer: less is faster, and finds less out."""


def streams(recipe: Recipe) -> dict[str, Stream]:
    return pairs(recipe, recipe.objective.target, "[pix2pix.target] pictures")


class Pix2Pix:
    def __init__(self, recipe: Recipe, features: Vgg19) -> None:
        self.settings: Pix2PixSettings = recipe.objective
        self.context, self.features = recipe.data.context, features
        self.whole = recipe.data.crop + 2 * self.context
        chosen = recipe.generator
        generator = make_generator(chosen.network, chosen.size)
        if self.settings.coarse_steps and not isinstance(generator, CoarseToFine):
            raise UsageError(
                "E_SETTING",
                f"[pix2pix] coarse_steps does not go with [generator] network = {chosen.network!r}",
                next="take the network coarse-to-fine, or coarse_steps = 0",
            )
        if recipe.augment.discriminator:
            raise UsageError(
                "E_SETTING",
                "[augment] discriminator does not go with the method 'pix2pix'",
                "painting and answer would be varied differently, and they are compared",
                "leave it out; rotation and colours of [augment] vary pairs alike",
            )
        discriminator = MultiScale(self.settings.scales, 6, self.settings.discriminator_width)
        smallest = recipe.data.crop // (2 if self.settings.coarse_steps else 1)
        if smallest < discriminator.smallest:
            needed = recipe.data.crop * discriminator.smallest // smallest
            raise UsageError(
                "E_SETTING",
                f"[data] crop = {recipe.data.crop} is too small for [pix2pix] scales = {self.settings.scales}",
                f"the last discriminator would see {smallest // 2 ** (self.settings.scales - 1)} pixels",
                f"take a crop of {-(-needed // 8) * 8} at least, or fewer scales",
            )
        self.networks = nn.ModuleDict(
            {"generator": generator, "discriminator": discriminator, "clock": Clock(recipe.train.accumulate)}
        )
        self.players = {"generator": generator, "discriminator": discriminator}
        self.weights = {
            "adversarial": self.settings.adversarial_weight,
            "l1": self.settings.l1_weight,
            "matching": self.settings.matching_weight,
            "perceptual": self.settings.perceptual_weight,
            "discriminator": 1.0,
            **self.settings.weights,
        }
        self.painted: Tensor | None = None  # of this step, for the discriminator's turn

    def terms(self, player: str, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        given, wanted = batch["content"], batch["target"]
        clock = cast(Clock, self.networks["clock"])
        generator = cast(Generator, self.networks["generator"])
        if player == "discriminator":
            coarse = clock.now <= self.settings.coarse_steps  # it ticked in the generator's turn
            return self._found_out(*(self._halved(x) if coarse else x for x in (given, wanted)))
        coarse = clock.tick() < self.settings.coarse_steps
        if coarse:
            given, wanted = self._halved(given), self._halved(wanted)
            generator = cast(Generator, cast(CoarseToFine, generator).coarse)
        raw = paint(generator, given)
        terms = self._deceived(given, wanted, raw)
        return terms if coarse else terms | steady(self.settings, generator, given, raw, self.context)

    def _deceived(self, given: Tensor, wanted: Tensor, raw: Tensor) -> dict[str, Tensor]:
        photo, answer = self._inside(given), self._inside(wanted)
        painted = as_seen(self._inside(raw))
        self.painted = painted.detach()
        discriminator = self.networks["discriminator"]
        with still(discriminator):
            found = discriminator(torch.cat([photo, painted], 1))
            with torch.no_grad():
                sought = discriminator(torch.cat([photo, answer], 1))
        terms = {
            "adversarial": torch.stack([least_squares(scale[-1], real=True) for scale in found]).mean(),
            "l1": (painted - answer).abs().mean(),
            "matching": feature_matching(found, sought),
        }
        if self.settings.perceptual_weight:
            with torch.no_grad():
                theirs = self.features(answer, LAYERS)
            ours = self.features(painted, LAYERS)
            # each layer by its own size: VGG's features are of the order of hundreds
            terms["perceptual"] = torch.stack(
                [losses.relative(ours[layer], theirs[layer]) for layer in LAYERS]
            ).mean()
        return terms

    def _found_out(self, given: Tensor, wanted: Tensor) -> dict[str, Tensor]:
        assert self.painted is not None  # the generator's turn comes first
        photo, discriminator = self._inside(given), self.networks["discriminator"]
        right = discriminator(torch.cat([photo, self._inside(wanted)], 1))
        wrong = discriminator(torch.cat([photo, self.painted], 1))
        each = [
            (least_squares(one[-1], real=True) + least_squares(other[-1], real=False)) / 2
            for one, other in zip(right, wrong, strict=True)
        ]
        return {"discriminator": torch.stack(each).mean()}

    def _halved(self, x: Tensor) -> Tensor:
        """Context and all, at half the size: what the coarse half sees."""
        return F.avg_pool2d(x, 2)

    def _inside(self, x: Tensor) -> Tensor:
        return inside(x, self.context * x.shape[-1] // self.whole)
