"""Losses on the descriptors: nothing to pay inside the reference set's own spread, and by the distance outside."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image as Pictures
from torch import Tensor, nn

from allaprima.errors import InputError

from ..data import read_picture
from ..frame_model import to_unit
from .descriptors import PARTS, describe
from .score import LEAST, OF_PART

__all__ = ["CultureLoss"]

log = logging.getLogger(__name__)

CROPS = 64  # of the reference works, whose middle and spread stand for the set


class CultureLoss(nn.Module):
    """loss(part) = mean over its descriptors of max(0, |d - middle| / spread - 1), and over the pictures.

    Middle and spread are those of crops of the works, of the size that the losses see, because the statistics of a crop
    scatter more than those of a whole picture. The dead zone of one spread matters: pulled all the way to the middle,
    every picture would get the same density of lines and the same mean colour, which no set of works has.
    """

    middle: Tensor
    spread: Tensor

    def __init__(self, works: Sequence[Path], side: int, crop: int, seed: int = 0) -> None:
        """`works`: the reference's picture files, read at a short side of `side` pixels; `crop`: what a loss sees."""
        super().__init__()
        chance = np.random.default_rng(seed)
        pictures = list(_read(works, max(side, crop)))
        found = []
        for number in range(max(CROPS, len(pictures))):
            picture = pictures[number % len(pictures)]
            left, top = (int(chance.integers(0, have - crop + 1)) for have in picture.size)
            pixels = np.array(picture.crop((left, top, left + crop, top + crop)))
            with torch.no_grad():
                found.append(describe(to_unit(torch.from_numpy(pixels)).permute(2, 0, 1)[None])[0])
        spread, middle = torch.std_mean(torch.stack(found), dim=0)
        self.register_buffer("middle", middle, persistent=False)
        self.register_buffer("spread", spread.maximum(torch.tensor(LEAST).float()), persistent=False)

    def forward(self, painted: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W) float RGB -> {'colour': loss, 'texture': loss, 'line': loss}."""
        away = ((describe(painted) - self.middle) / self.spread).abs()
        beyond = (away - 1).clamp(min=0)  # (N, descriptors)
        return {part: beyond[:, torch.tensor(OF_PART[part], device=beyond.device)].mean() for part in PARTS}


def _read(works: Sequence[Path], side: int) -> list[Pictures.Image]:
    found = []
    for path in works:
        try:
            picture = read_picture(path)
        except InputError as error:
            log.warning("skipped the reference work %s: %s", path, error.why)
            continue
        factor = side / min(picture.size)
        size = (max(side, round(picture.width * factor)), max(side, round(picture.height * factor)))
        found.append(picture.resize(size, Pictures.Resampling.LANCZOS))
    if not found:
        raise InputError(
            "E_DATA_EMPTY",
            "no work of the reference set can be read",
            f"{len(works)} files, each named above",
            "correct [culture] reference in the recipe",
        )
    return found
