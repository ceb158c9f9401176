"""`fuse`: one picture of several: exposures, focus stacks, the overlaps of a panorama.

    loss = pixel_weight * pixels + detail_weight * detail

The network (generators/fuser.py) answers a weight for each picture and pixel; the mixing is fixed. What is wanted is
known, because the pictures were made from it (bracket.py). Charbonnier's distance (Lai 2017) in pixels, and in a
Laplacian, where a seam or a ghost stands out most.

`allaprima panorama` aligns pictures and runs such a bundle; Stylizer.fuse takes pictures that are aligned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import numpy as np
import torch
from annotated_types import Ge, Le
from torch import Tensor, nn

from allaprima.errors import UsageError
from allaprima.frame import Image

from .. import losses
from ..bracket import Bracket
from ..data import Crops
from ..frame_model import paint
from ..generators import Generator
from ..generators.fuser import SIZES, Fuser
from ..streams import Stream, content
from .painting import inside

if TYPE_CHECKING:
    from ..recipe import Recipe

__all__ = ["FEATURES", "Fuse", "FuseSettings", "generator", "shown", "streams"]

FEATURES = ""
LANE = 11  # of the chance that makes the pictures differ, apart from that which cuts them


@dataclass(frozen=True)
class FuseSettings:
    bracket: Bracket
    """How the pictures differ: the table [fuse.bracket]."""
    count: Annotated[int, Ge(2), Le(8)] = 2
    """How many go in at once. Panoramas of any number are joined by networks of two."""
    pixel_weight: Annotated[float, Ge(0)] = 1.0
    detail_weight: Annotated[float, Ge(0)] = 1.0
    """Raise it when a seam or a ghost can be seen, or when details are mixed soft."""


class Several:
    """Of `clean[n]` the pictures that it is to be made of, (K, 3, side, side) uint8, or the one that is wanted."""

    def __init__(self, clean: Crops, settings: FuseSettings, part: Literal["pictures", "wanted"]) -> None:
        self.clean, self.settings, self.part = clean, settings, part

    @property
    def pictures(self) -> Sequence[Path]:
        return self.clean.pictures

    def __getitem__(self, number: int) -> Tensor:
        photo = self.clean[number].permute(1, 2, 0).numpy()
        chance = np.random.default_rng((self.clean.seed, LANE, number))
        pictures, wanted = self.settings.bracket.apply(photo, self.settings.count, chance)
        made = torch.from_numpy(pictures if self.part == "pictures" else wanted)
        return made.movedim(-1, -3).contiguous()


def streams(recipe: Recipe) -> dict[str, Stream]:
    clean, settings = content(recipe), cast(FuseSettings, recipe.objective)
    return {
        "content": clean,
        "pictures": Several(clean, settings, "pictures"),
        "target": Several(clean, settings, "wanted"),
    }


def shown(recipe: Recipe, photo: Image, number: int) -> Image:
    """For the sample sheets: (pictures, H, W, 3), made of a held-out photograph (H, W, 3)."""
    settings: FuseSettings = recipe.objective
    return settings.bracket.apply(photo, settings.count, np.random.default_rng((recipe.seed, LANE, number)))[
        0
    ]


def generator(recipe: Recipe) -> Fuser:
    chosen = recipe.generator
    if chosen.network != "fuser" or chosen.size not in SIZES:
        raise UsageError(
            "E_SETTING",
            f"the method 'fuse' cannot train the generator {chosen.network}-{chosen.size}",
            "it weighs pictures, and paints none",
            f'write [generator] network = "fuser" and size = one of {", ".join(SIZES)}',
        )
    settings: FuseSettings = recipe.objective
    return Fuser(chosen.size, settings.count)


class Fuse:
    def __init__(self, recipe: Recipe, features: None) -> None:
        self.settings: FuseSettings = recipe.objective
        network = generator(recipe)
        self.networks = nn.ModuleDict({"generator": network})
        self.players = {"generator": network}
        self.context = recipe.data.context
        self.weights = {"pixels": self.settings.pixel_weight, "detail": self.settings.detail_weight}

    def terms(self, player: str, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        network = cast(Generator, self.networks["generator"])
        pictures = batch["pictures"].flatten(1, 2)  # (N, 3K, side, side)
        fused = inside(paint(network, pictures), self.context).float()
        wanted = inside(batch["target"], self.context)
        return {
            "pixels": losses.charbonnier(fused, wanted),
            "detail": losses.charbonnier(losses.laplacian(fused), losses.laplacian(wanted)),
        }
