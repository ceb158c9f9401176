"""Photographs into training crops.

Every crop is a function of the recipe's seed and the crop's own number, and of nothing else. So the order of
a training does not depend on the number of reading processes, and a resumed training goes on with exactly
the crops that an uninterrupted one would have seen.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image as Pictures
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from allaprima.errors import InputError
from allaprima.frame import Image
from allaprima.sources.pictures import PictureSource

from .recipe import Data

__all__ = ["Crops", "batches", "find_pictures", "fingerprint", "read_picture", "split"]

log = logging.getLogger(__name__)

ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}


def find_pictures(places: Sequence[str]) -> list[Path]:
    """The picture files in folders (searched deeply) and among files, sorted; each file once, however often named.

    Raises InputError E_DATA_EMPTY for a place that is not there or has no picture in it.
    """
    found: dict[Path, Path] = {}  # a picture in two places would be held out and trained on at once
    for place in places:
        path = Path(place).expanduser()
        files = [path] if path.is_file() else sorted(path.rglob("*"))
        pictures = [
            f for f in files if f.suffix.lower() in ENDINGS and not f.name.startswith("._") and f.is_file()
        ]
        if not pictures:
            why = "it has no pictures in it" if path.is_dir() else "there is no such folder or file"
            raise InputError(
                "E_DATA_EMPTY",
                f"no training pictures in {path}",
                why,
                "point [data] content at a folder of photographs, e.g. --set 'data.content=[\"~/Photos\"]'",
            )
        for picture in pictures:
            found.setdefault(picture.resolve(), picture)
    return list(found.values())


def split(pictures: Sequence[Path], held_out: int, seed: int) -> tuple[list[Path], list[Path]]:
    """(to train on, held out): the same split for the same pictures and seed."""
    if len(pictures) <= held_out:
        raise InputError(
            "E_DATA_FEW",
            f"{len(pictures)} training pictures are too few",
            f"{held_out} of them are held out for samples and parity",
            "add pictures or lower [data] held_out",
        )
    order = np.random.default_rng(seed).permutation(len(pictures))
    return [pictures[i] for i in sorted(order[held_out:])], [pictures[i] for i in sorted(order[:held_out])]


def fingerprint(trained: Sequence[Path], held_out: Sequence[Path]) -> str:
    """SHA-256 of which pictures are trained on and which are held out: by name, so that a folder may move."""
    names = [[path.name for path in paths] for paths in (trained, held_out)]
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()


def read_picture(path: Path) -> Pictures.Image:
    """A picture as the runtime reads it (8 bits, sRGB, upright), alpha over grey. Raises InputError."""
    frame = next(iter(PictureSource(path)))
    if frame.alpha is None:
        return Pictures.fromarray(frame.image)
    cover = frame.alpha[..., None].astype(np.uint16)  # 255 * 255 + 127 has room in 16 bits
    return Pictures.fromarray(((frame.image * cover + 128 * (255 - cover) + 127) // 255).astype(np.uint8))


class Crops(Dataset[Tensor]):
    """`crops[n]` is training crop number n, for any n >= 0: (3, side, side) uint8 RGB, side = crop + 2 context."""

    def __init__(self, pictures: Sequence[Path], data: Data, seed: int) -> None:
        self.pictures, self.data, self.seed = list(pictures), data, seed
        self.unreadable: dict[Path, str] = {}

    def __getitem__(self, number: int) -> Tensor:
        epoch, place = divmod(number, len(self.pictures))
        order = np.random.default_rng((self.seed, 0, epoch)).permutation(len(self.pictures))
        chance = np.random.default_rng((self.seed, 1, number))
        for offset in range(len(self.pictures)):
            path = self.pictures[order[(place + offset) % len(self.pictures)]]
            if path in self.unreadable:
                continue
            try:
                return self._crop(read_picture(path), chance)
            except InputError as error:
                self.unreadable[path] = error.why  # its neighbour in the order takes its place
                log.warning("skipped the picture %s: %s", path, error.why)
        raise InputError("E_DATA_EMPTY", "none of the training pictures can be read", str(self.unreadable))

    def _crop(self, picture: Pictures.Image, chance: np.random.Generator) -> Tensor:
        whole = self.data.crop + 2 * self.data.context
        side = min(whole / chance.uniform(*self.data.zoom), *picture.size)
        left = chance.uniform(0, picture.width - side)
        top = chance.uniform(0, picture.height - side)
        crop = picture.resize(
            (whole, whole), Pictures.Resampling.BICUBIC, box=(left, top, left + side, top + side)
        )
        if self.data.flip and chance.random() < 0.5:
            crop = crop.transpose(Pictures.Transpose.FLIP_LEFT_RIGHT)
        pixels: Image = np.array(crop)
        return torch.from_numpy(pixels).permute(2, 0, 1)


def batches(crops: Crops, batch: int, first_step: int, last_step: int) -> Iterator[Tensor]:
    """The batches of the steps `first_step` ... `last_step` - 1: (batch, 3, side, side) uint8."""
    numbers = [list(range(step * batch, (step + 1) * batch)) for step in range(first_step, last_step)]
    workers = crops.data.workers
    yield from DataLoader(
        crops,
        batch_sampler=numbers,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        generator=torch.Generator(),  # its own: it would draw from the global one, and a resume would differ
    )
