"""`content`: an adversary for the style and a sub-network for the content, in two phases (multi-task training).

    phase one, apart      w_c * forms(content branch) + w_g * adversary + w_t * texture     no shared gradient
    phase two, together   w_c * (forms + retention)   + w_g * adversary + w_t * texture     one trunk for both

One direction, no cycle: a discriminator (PatchGAN, Isola 2017; least squares, Mao 2017) says whether a painting is
like the set's pictures, and what keeps the photograph in it is learned, too. `texture` is the distance of VGG-19's
Grams from those of the set's pictures (Gatys 2016; AnimeGAN, Chen 2020, has it beside its adversary): a small network
without normalisation loses to its opponent within a hundred steps, and painted the mean tone of old paper from then on.

The content branch (generators/retention.py) reads the style branch's trunk and draws the photograph's forms through a
bottleneck that has no room for texture. In phase one it reads without touching: each task learns its own job on its
own. In phase two its gradient reaches the trunk, which from then on has to keep what the forms need, and the painting
itself is held to the forms: `retention` is one minus the local correlation of its luminance with them (the structure
term of Wang 2004) at an eighth of the resolution. That leaves colour, contrast and strokes of a few pixels to the
style: at half the resolution every stroke cost retention, and what came out was a grey photograph.

Held to the forms and not to the photograph: the photograph's texture is exactly what a style has to replace.

The shipped network is the style branch alone, a plain `mobile`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, cast

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt
from torch import Tensor, nn

from .. import losses
from ..discriminators import Patches
from ..features import VGG19, Vgg19
from ..generators import Generator
from ..generators.retention import Retention
from ..losses_gan import least_squares
from ..recipe import PictureSet
from ..streams import unpaired
from .adversarial import Clock, Pool, still
from .painting import Steadiness, as_seen, inside, require_mobile, steady

if TYPE_CHECKING:
    from ..recipe import Recipe

__all__ = ["FEATURES", "Content", "ContentSettings", "generator", "streams"]

FEATURES = VGG19
TEXTURE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu3_4")


@dataclass(frozen=True, kw_only=True)
class ContentSettings(Steadiness):
    style: PictureSet
    """The pictures whose style it learns."""
    w_c: Annotated[float, Ge(0)] = 4.0
    """Weight of the content task. Raise it when things can no longer be told apart."""
    w_g: Annotated[float, Gt(0)] = 1.0
    """Weight of the adversary. Raise it when the result still looks like a photograph."""
    w_t: Annotated[float, Ge(0)] = 2.0
    """Weight of the texture, which comes in faster than the adversary. Raise it for more of the set's strokes."""
    apart: Annotated[int, Ge(0)] = 200
    """Steps of phase one. Some hundreds: until the forms can be recognised."""
    tv_weight: Annotated[float, Ge(0)] = 0.05
    """Raise it against speckle in flat areas."""
    pool: Annotated[int, Ge(0)] = 50
    """Earlier paintings that the discriminator is shown again."""
    discriminator_width: Annotated[int, Ge(8)] = 48
    """Channels of its first layer. Wider sees more, and costs more."""


streams = unpaired


def generator(recipe: Recipe) -> Retention:
    require_mobile(recipe, "its content branch is made for mobile's trunk")
    return Retention(recipe.generator.size)


class Content:
    def __init__(self, recipe: Recipe, features: Vgg19) -> None:
        self.settings: ContentSettings = recipe.objective
        self.features = features
        self.generator = generator(recipe)
        self.discriminator = Patches(width=self.settings.discriminator_width)
        self.pool, self.clock = Pool(self.settings.pool, recipe.data.crop), Clock(recipe.train.accumulate)
        self.networks = nn.ModuleDict(
            {
                "generator": self.generator,
                "discriminator": self.discriminator,
                "pool": self.pool,
                "clock": self.clock,
            }
        )
        self.players = {"generator": self.generator, "discriminator": self.discriminator}
        self.weights = {
            "adversary": self.settings.w_g,
            "texture": self.settings.w_t,
            "forms": self.settings.w_c,
            "retention": self.settings.w_c,
            "variation": self.settings.tv_weight,
            "discriminator": 1.0,
            **self.settings.weights,
        }
        self.context = recipe.data.context

    def terms(self, player: str, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if player == "discriminator":
            works = inside(batch["style"], self.context)
            fake, real = self.discriminator(self.judged)[-1], self.discriminator(works)[-1]
            return {"discriminator": (least_squares(fake, False) + least_squares(real, True)) / 2}

        together = self.clock.tick() >= self.settings.apart
        given, network = batch["content"], self.generator
        features = network.features(given)
        whole = network.style_branch(given, features)
        painted = as_seen(inside(whole, self.context))
        self.judged: Tensor = self.pool.exchange(painted)
        forms = network.content_branch(features[1] if together else features[1].detach())
        forms = inside(forms, self.context // 2).float()
        with still(self.discriminator):
            score = self.discriminator(painted)[-1]
        with torch.no_grad():
            wanted = self._grams(inside(batch["style"], self.context))
        terms = {
            "adversary": least_squares(score, True),
            "texture": losses.style(self._grams(painted), [one.mean(0, keepdim=True) for one in wanted]),
            "forms": losses.charbonnier(forms, grey_half(inside(given, self.context))),
            "variation": losses.total_variation(painted),
            **steady(self.settings, cast(Generator, network), given, whole, self.context),
        }
        if together:
            seen, kept = (F.avg_pool2d(x, 4) for x in (grey_half(painted), forms.detach()))
            terms["retention"] = losses.forms(seen, kept, window=5)
        return terms

    def _grams(self, x: Tensor) -> list[Tensor]:
        seen = self.features(x, TEXTURE_LAYERS)
        return [losses.gram(seen[layer]) for layer in TEXTURE_LAYERS]


def grey_half(x: Tensor) -> Tensor:
    """Luminance at half the resolution: (N, 3, H, W) RGB -> (N, 1, H/2, W/2)."""
    red, green, blue = x.float().split(1, dim=1)
    return F.avg_pool2d(0.299 * red + 0.587 * green + 0.114 * blue, 2)
