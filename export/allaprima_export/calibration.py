"""The pictures that int8 measures the ranges of its numbers on: what was trained on, never what is judged on.

A few drawn scenes are always among them, other ones than parity's: photographs may lack the corners of the colour
cube, and what lies beyond the ranges is cut off. For `starry` they cost 0.1 dB.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from allaprima.errors import InputError
from allaprima.frame import Image
from allaprima_train.data import find_pictures, split
from allaprima_train.recipe import Recipe

from .parity import read_photos
from .scenes import practice_scenes

__all__ = ["DRAWN", "PICTURES", "calibration_pictures"]

PICTURES, SCENES = 32, 4
LARGEST = (384, 384)
"""Ranges are about colours and edges, not about size; training crops are smaller still."""

DRAWN = "drawn scenes: the training photographs were not on the machine"


def calibration_pictures(recipe: Recipe, judged_on: Path | None) -> tuple[list[Image], str]:
    """Pictures, uint8 (H, W, 3), and in words where they come from.

    At most PICTURES training photographs of the recipe, the same ones each time; without those that it held out and
    those in `judged_on`, a folder or file that the variants are judged on instead. Then SCENES drawn scenes; more of
    them where no photographs are there.
    """
    try:
        trained, _ = split(find_pictures(recipe.data.content), recipe.data.held_out, recipe.seed)
    except InputError:
        trained = []
    shown = {path.resolve() for path in find_pictures([str(judged_on)])} if judged_on else set()
    free = [path for path in trained if path.resolve() not in shown]
    order = np.random.default_rng(recipe.seed).permutation(len(free))
    photos = read_photos([free[place] for place in order], PICTURES, LARGEST)
    if not photos:
        return practice_scenes(), DRAWN
    return [
        *photos.values(),
        *practice_scenes(SCENES),
    ], f"{len(photos)} training photographs and {SCENES} drawn scenes"
