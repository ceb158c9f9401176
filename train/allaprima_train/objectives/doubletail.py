"""`doubletail`: comics and prints, with clear lines and flat regions (after AnimeGANv3, Chen 2023).

    support tail:  adversary_weight * adversary + structure_weight * structure + texture_weight * texture
                   + region_weight * region + colour_weight * colour
    main tail:     copy_weight * (copy + copy_features) + polish_weight * polish + tv_weight * variation

Two tails on one trunk (generators/doubletail.py). The support tail meets the adversary, which sees luminance only and
is shown the set's pictures with softened edges as fakes, too: lines are what it learns to look for, colours it
cannot. VGG-19 holds the photograph's structure and the texture of the set's luminance; `region` asks for what is flat
to be flat, and `colour` for the photograph's colours, compared in Lab as an eye does from afar.

The main tail never meets that fight. It copies the support tail's painting after its regions have been flattened
(smoothing.py), and a second discriminator tells it from those, which polishes its lines. So it learns clean pictures
without a clean picture in the data, and it alone ships.

The first `warm_steps` steps learn structure and colour alone: an adversary that meets noise teaches noise.

Deviations: side-window flattening in place of superpixels, L0 and non-local means, which solve equations or run on
the CPU for each picture; least squares (Mao 2017) for both adversaries; no guided filter behind the support tail,
whose painting is flattened anyway; no normalisation layers, hence none of its LADE.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, cast

import torch
from annotated_types import Ge
from torch import Tensor, nn

from .. import losses
from ..discriminators import Patches
from ..features import VGG19, Vgg19
from ..generators import Generator
from ..generators.doubletail import DoubleTail, SupportAlone
from ..losses_gan import least_squares
from ..recipe import PictureSet
from ..smoothing import flattened, softened_edges
from ..streams import unpaired
from .adversarial import Clock, still
from .painting import Steadiness, as_seen, inside, require_mobile, steady

if TYPE_CHECKING:
    from ..recipe import Recipe

__all__ = ["FEATURES", "DoubleTailSettings", "DoubleTailed", "generator", "streams"]

FEATURES = VGG19
TEXTURE_LAYERS = ("relu1_2", "relu2_2", "relu3_2")
STRUCTURE_LAYER = "relu3_4"


@dataclass(frozen=True, kw_only=True)
class DoubleTailSettings(Steadiness):
    style: PictureSet
    """The comics, prints or drawings."""
    warm_steps: Annotated[int, Ge(0)] = 100
    """Steps before the adversaries come."""
    structure_weight: Annotated[float, Ge(0)] = 1.5
    """Raise it when things can no longer be told apart."""
    adversary_weight: Annotated[float, Ge(0)] = 1.0
    """Raise it for more of the set's lines."""
    texture_weight: Annotated[float, Ge(0)] = 1.0
    """Raise it for more of the set's strokes and hatching."""
    region_weight: Annotated[float, Ge(0)] = 4.0
    """Raise it for flatter regions."""
    colour_weight: Annotated[float, Ge(0)] = 3.0
    """Lower it for the set's colours instead of the photograph's."""
    copy_weight: Annotated[float, Ge(0)] = 8.0
    """How closely the main tail follows the flattened support tail."""
    polish_weight: Annotated[float, Ge(0)] = 0.2
    """Weight of the main tail's own adversary: raise it when lines come out soft."""
    tv_weight: Annotated[float, Ge(0)] = 0.05
    """Raise it against speckle in flat areas."""
    discriminator_width: Annotated[int, Ge(8)] = 32
    """Channels of the discriminators' first layers."""


streams = unpaired


def generator(recipe: Recipe) -> DoubleTail:
    require_mobile(recipe, "its support tail is made for mobile's trunk")
    return DoubleTail(recipe.generator.size)


class DoubleTailed:
    def __init__(self, recipe: Recipe, features: Vgg19) -> None:
        self.settings: DoubleTailSettings = recipe.objective
        self.features = features
        self.generator = generator(recipe)
        self.support_alone = cast(Generator, SupportAlone(self.generator))
        width = self.settings.discriminator_width
        self.lines, self.polish = Patches(1, width), Patches(3, width)
        self.clock = Clock(recipe.train.accumulate)
        self.networks = nn.ModuleDict(
            {
                "generator": self.generator,
                "discriminator_lines": self.lines,
                "discriminator_polish": self.polish,
                "clock": self.clock,
            }
        )
        self.players = {"generator": self.generator, "lines": self.lines, "polish": self.polish}
        chosen = self.settings
        self.weights = {
            "structure": chosen.structure_weight,
            "adversary": chosen.adversary_weight,
            "texture": chosen.texture_weight,
            "region": chosen.region_weight,
            "colour": chosen.colour_weight,
            "copy": chosen.copy_weight,
            "copy_features": chosen.copy_weight / 8,
            "polished": chosen.polish_weight,
            "variation": chosen.tv_weight,
            "lines": 1.0,
            "polish": 1.0,
            **chosen.weights,
        }
        self.context = recipe.data.context

    def terms(self, player: str, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if player == "generator":
            return self._painting(batch)
        if player == "lines":
            return {"lines": self._lines(inside(batch["style"], self.context))}
        return {
            "polish": (
                self._judged(self.polish, self.main, False) + self._judged(self.polish, self.clean, True)
            )
            / 2
        }

    def _painting(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        chosen = self.settings
        warm = self.clock.tick() < chosen.warm_steps
        given, works = batch["content"], inside(batch["style"], self.context)
        photo = inside(given, self.context)
        whole, coarse = self.generator.both(given)
        main, support = (as_seen(inside(one, self.context)) for one in (whole, coarse))
        with torch.no_grad():
            clean = flattened(support.detach())
            wanted = self.features(photo, (STRUCTURE_LAYER,))[STRUCTURE_LAYER]
            clean_features = self.features(clean, (STRUCTURE_LAYER,))[STRUCTURE_LAYER]
            textures = self.features(grey(works), TEXTURE_LAYERS)
        self.fought, self.main, self.clean = support.detach(), main.detach(), clean
        seen = self.features(support, (STRUCTURE_LAYER,))[STRUCTURE_LAYER]
        copied = self.features(main, (STRUCTURE_LAYER,))[STRUCTURE_LAYER]
        terms = {
            "structure": losses.structure(seen, wanted),
            "region": losses.charbonnier(support, clean),
            "colour": losses.colour(support, photo),
            "copy": losses.charbonnier(main, clean),
            "copy_features": losses.relative(copied, clean_features),
            "variation": losses.total_variation(main),
            **steady(chosen, cast(Generator, self.generator), given, whole, self.context),
        }
        # what the support tail paints by its shuffle, or what sticks to its cells, the main one would copy
        for name, term in steady(chosen, self.support_alone, given, coarse, self.context).items():
            terms[name] = terms[name] + term
        if warm:
            return terms
        painted = self.features(grey(support), TEXTURE_LAYERS)
        with still(self.lines, self.polish):
            terms["adversary"] = self._judged(self.lines, grey(support)[:, :1], True)
            terms["polished"] = self._judged(self.polish, main, True)
        terms["texture"] = losses.style(
            [losses.gram(painted[layer]) for layer in TEXTURE_LAYERS],
            [losses.gram(textures[layer]).mean(0, keepdim=True) for layer in TEXTURE_LAYERS],
        )
        return terms

    def _lines(self, works: Tensor) -> Tensor:
        """Real: the works. Fake: what was painted, and the works without their edges. Both fakes weigh as one real."""
        real = self._judged(self.lines, grey(works)[:, :1], True)
        painted = self._judged(self.lines, grey(self.fought)[:, :1], False)
        edgeless = self._judged(self.lines, grey(softened_edges(works))[:, :1], False)
        return real / 2 + painted / 4 + edgeless / 4

    @staticmethod
    def _judged(discriminator: nn.Module, pictures: Tensor, real: bool) -> Tensor:
        return least_squares(discriminator(pictures)[-1], real)


def grey(x: Tensor) -> Tensor:
    """Luminance, in all three channels: (N, 3, H, W) -> same."""
    weights = torch.tensor([0.299, 0.587, 0.114], device=x.device).view(1, 3, 1, 1)
    return (x.float() * weights).sum(1, keepdim=True).expand_as(x)
