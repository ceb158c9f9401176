"""`restore`: photographs that something went wrong with, and the same ones before it did.

    loss = pixel_weight * pixels + detail_weight * detail + colour_weight * colours + grid_weight * grid

Pairs are made, not found: `degrade.py` spoils good photographs by settings, each crop by its own number. What a network
was not shown it does not mend, and it mends best what it was shown alone; so there is a recipe for each fault, and one
may name several. A generator of size -x2 or -x4 is given the picture that many times smaller: super-resolution.

Pixels are compared by Charbonnier's distance (Lai 2017): among equally likely answers it takes the middle one, not the
mean, which is grey and soft. `detail` is the same on a Laplacian, so that an edge in the wrong place costs more than a
wall of a slightly wrong tone. `colours` compares what is left of them without lightness, a rare colour weighing more
than a grey: of all that a thing without colour may have been, the middle is brown. `grid` is what of the difference
repeats with the shuffle at the network's end, in the mean over all that a step sees: a hundredth of a level, too little
for the others to see, and there in every picture. No feature network and no adversary: they would invent, and flicker
while they do; and without them a step takes a quarter of the time.

Unlike a style, a restoration has no reason to hide anything along the border; with `[data] context = 0` the losses see
the border as it will be at run time, with its repeated edge pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import numpy as np
import torch
from annotated_types import Ge
from torch import Tensor, nn

from allaprima.errors import UsageError
from allaprima.frame import Image

from .. import losses
from ..data import Crops
from ..degrade import Degradation
from ..frame_model import paint
from ..generators import Generator
from ..streams import Stream, content
from . import shipped_generator
from .painting import as_seen, inside

if TYPE_CHECKING:
    from ..recipe import Recipe

__all__ = ["FEATURES", "Restore", "RestoreSettings", "shown", "streams"]

FEATURES = ""
LANE = 7  # of the chance that spoils pictures, apart from that which cuts them


@dataclass(frozen=True)
class RestoreSettings:
    degradation: Degradation = field(default_factory=Degradation)
    """What is wrong with the pictures: the table [restore.degradation]."""
    pixel_weight: Annotated[float, Ge(0)] = 1.0
    detail_weight: Annotated[float, Ge(0)] = 1.0
    """Raise it when edges stay soft."""
    colour_weight: Annotated[float, Ge(0)] = 0.0
    """For pictures without colour. Raise it when they come back pale, after making sure that what the network is shown
    tells the colours: a film's own frames do, varied photographs do not."""
    grid_weight: Annotated[float, Ge(0)] = 0.0
    """Raise it when `allaprima export` measures a grid: what it weighs is small, so some 100,000, and for the last
    steps only: from the first on it costs 3 dB."""


class Spoiled:
    """`spoiled[n]` is `clean[n]` after the faults: (3, side / scale, side / scale) uint8."""

    def __init__(self, clean: Crops, degradation: Degradation, scale: int) -> None:
        self.clean, self.degradation, self.scale = clean, degradation, scale

    @property
    def pictures(self) -> Sequence[Path]:
        return self.clean.pictures

    def __getitem__(self, number: int) -> Tensor:
        picture = self.clean[number].permute(1, 2, 0).numpy()
        chance = np.random.default_rng((self.clean.seed, LANE, number))
        return torch.from_numpy(self.degradation.apply(picture, chance, self.scale).copy()).permute(2, 0, 1)


def streams(recipe: Recipe) -> dict[str, Stream]:
    clean, scale = content(recipe), cast(Generator, shipped_generator(recipe)).scale
    settings: RestoreSettings = recipe.objective
    if settings.degradation == Degradation() and scale == 1:
        raise UsageError(
            "E_SETTING",
            f"the recipe {recipe.name} restores nothing",
            "no fault is set in [restore.degradation], and the generator does not enlarge",
            "name a fault (noise, blur, jpeg, darkness, colourless, holes) or a [generator] size with -x2 or -x4",
        )
    return {"content": Spoiled(clean, settings.degradation, scale), "target": clean}


def shown(recipe: Recipe, photo: Image, number: int) -> Image:
    """For the sample sheets: a held-out photograph (H, W, 3) after the faults, (1, H / scale, W / scale, 3)."""
    scale = cast(Generator, shipped_generator(recipe)).scale
    height, width = (side // scale * scale for side in photo.shape[:2])
    chance = np.random.default_rng((recipe.seed, LANE, number))
    settings: RestoreSettings = recipe.objective
    return settings.degradation.apply(photo[:height, :width], chance, scale)[None].copy()


class Restore:
    def __init__(self, recipe: Recipe, features: None) -> None:
        self.settings: RestoreSettings = recipe.objective
        generator = shipped_generator(recipe)
        self.shrinks = cast(Generator, generator).scale  # crop and context count in what is wanted
        self.networks = nn.ModuleDict({"generator": generator})
        self.players = {"generator": generator}
        self.context = recipe.data.context
        self.weights = {
            "pixels": self.settings.pixel_weight,
            "detail": self.settings.detail_weight,
            "colours": self.settings.colour_weight,
            "grid": self.settings.grid_weight,
        }

    def terms(self, player: str, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        generator = cast(Generator, self.networks["generator"])
        restored = inside(paint(generator, batch["content"]), self.context).float()
        wanted = inside(batch["target"], self.context)
        terms = {
            "pixels": losses.charbonnier(restored, wanted),
            "detail": losses.charbonnier(losses.laplacian(restored), losses.laplacian(wanted)),
        }
        if self.settings.colour_weight:
            terms["colours"] = losses.tints(as_seen(restored), wanted)
        if self.settings.grid_weight:
            terms["grid"] = losses.grid(restored - wanted, generator.period * generator.scale, window=None)
        return terms
