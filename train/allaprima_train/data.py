"""Pictures into training crops.

Every crop is a function of the recipe's seed and the crop's own number, and of nothing else. So the order of
a training does not depend on the number of reading processes, and a resumed training goes on with exactly
the crops that an uninterrupted one would have seen.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image as Pictures
from PIL import ImageOps
from torch import Tensor

from allaprima.errors import InputError
from allaprima.frame import Image
from allaprima.sources.pictures import PictureSource

from .recipe import Data, PictureSet

__all__ = ["Crops", "Cut", "find_pictures", "fingerprint", "prepared", "read_picture", "readable", "split"]

log = logging.getLogger(__name__)

ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}


def find_pictures(places: Sequence[str], setting: str = "[data] content") -> list[Path]:
    """The picture files in folders (searched deeply) and among files, sorted; each file once, however often named.

    Raises InputError E_DATA_EMPTY for a place that is not there or has no picture in it; `setting` is the one to
    correct then.
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
            if path.is_file():
                why = f"its name is not a picture's, which ends with one of {', '.join(sorted(ENDINGS))}"
            advice = f"point {setting.rstrip(',')} at a folder of pictures"
            if key := re.fullmatch(r"\[([\w.]+)\] (\w+)", setting):  # of several sets, none can be set alone
                advice += f", e.g. --set '{key[1]}.{key[2]}=[\"~/Pictures\"]'"
            raise InputError("E_DATA_EMPTY", f"no training pictures in {path}", why, advice)
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


def readable(paths: Sequence[Path], setting: str) -> list[tuple[Path, Pictures.Image]]:
    """Those that can be read; the others are named in a warning. Raises InputError where none can."""
    found, lost = [], []
    for path in paths:
        try:
            found.append((path, read_picture(path)))
        except InputError as error:
            lost.append((path, error))
    if lost and not found:
        raise lost[0][1]
    for path, why in lost:
        log.warning("%s: %s was skipped: %s (%d of %d)", setting, path, why.why, len(lost), len(paths))
    return found


@dataclass(frozen=True)
class Cut:
    """How a square crop is taken from a picture, but for chance."""

    side: int
    """Pixels, after scaling."""
    zoom: tuple[float, float]
    flip: bool
    short_side: int = 0
    trim: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    grey: bool = False
    stretch: bool = False
    balance: bool = False

    @classmethod
    def of_content(cls, data: Data) -> Cut:
        """What the losses see and `context` around it."""
        return cls(data.crop + 2 * data.context, data.zoom, data.flip)

    @classmethod
    def of_set(cls, pictures: PictureSet, side: int) -> Cut:
        s = pictures
        return cls(side, s.zoom, s.flip, s.short_side, s.trim, s.grey, s.stretch, s.balance)

    def __call__(self, picture: Pictures.Image, chance: np.random.Generator) -> Image:
        """(side, side, 3) uint8 RGB. A picture smaller than the crop is enlarged to it, never padded."""
        top, right, bottom, left = self.trim
        x, y = picture.width * left, picture.height * top
        width, height = picture.width * (1 - right) - x, picture.height * (1 - bottom) - y
        if self.stretch or self.balance:
            picture = _stretched(picture, (x, y, x + width, y + height), self.balance)
        scale = self.short_side / min(width, height) if self.short_side else 1.0
        side = min(self.side / (scale * chance.uniform(*self.zoom)), width, height)
        x += chance.uniform(0, width - side)
        y += chance.uniform(0, height - side)
        crop = picture.resize(
            (self.side, self.side), Pictures.Resampling.BICUBIC, box=(x, y, x + side, y + side)
        )
        if self.flip and chance.random() < 0.5:
            crop = crop.transpose(Pictures.Transpose.FLIP_LEFT_RIGHT)
        if self.grey:
            crop = crop.convert("L").convert("RGB")
        return np.array(crop)


def prepared(picture: Pictures.Image, pictures: PictureSet) -> Pictures.Image:
    """The whole of a picture of a set, as the set says: trimmed, stretched or balanced, without colour."""
    top, right, bottom, left = pictures.trim
    width, height = picture.size
    inner = picture.crop(
        (
            round(width * left),
            round(height * top),
            round(width * (1 - right)),
            round(height * (1 - bottom)),
        )
    )
    if pictures.stretch or pictures.balance:
        inner = _stretched(inner, (0, 0, *inner.size), pictures.balance)
    return inner.convert("L").convert("RGB") if pictures.grey else inner


class Crops:
    """`crops[n]` is training crop number n, for any n >= 0: (3, side, side) uint8 RGB.

    `lane` sets the chance of one set of pictures apart from another's of the same seed; two sets in one lane that
    have pictures of the same order and size are cut alike, which is what pairs need. A picture that cannot be read is
    skipped, its neighbour takes its place; of pairs both are, because each set also looks at the `beside` of each of
    its pictures, once.
    """

    def __init__(
        self, pictures: Sequence[Path], cut: Cut, seed: int, lane: int = 0, *, beside: Sequence[Path] = ()
    ) -> None:
        self.pictures, self.cut, self.seed, self.lane = list(pictures), cut, seed, lane
        self.beside = list(beside)
        # in memory that reading processes share: whoever counts at the end is not who reads
        self._lost, self._seen = torch.zeros(2, len(self.pictures), dtype=torch.bool).share_memory_()

    @property
    def unreadable(self) -> list[Path]:
        """The pictures that could not be read so far, in whatever process."""
        return [path for path, lost in zip(self.pictures, self._lost.tolist(), strict=True) if lost]

    def __getitem__(self, number: int) -> Tensor:
        epoch, place = divmod(number, len(self.pictures))
        order = np.random.default_rng((self.seed, 2 * self.lane, epoch)).permutation(len(self.pictures))
        chance = np.random.default_rng((self.seed, 2 * self.lane + 1, number))
        for offset in range(len(self.pictures)):
            which = order[(place + offset) % len(self.pictures)]
            if self._lost[which]:
                continue
            path = self.pictures[which]
            try:
                picture = read_picture(path)
                if self.beside and not self._seen[which]:
                    path = self.beside[which]
                    read_picture(path)
                    self._seen[which] = True
                return torch.from_numpy(self.cut(picture, chance)).permute(2, 0, 1)
            except InputError as error:
                self._lost[which] = True  # its neighbour in the order takes its place
                log.warning("skipped the picture %s: %s", path, error.why)
        raise InputError(
            "E_DATA_EMPTY",
            f"none of the {len(self.pictures)} training pictures can be read",
            f"the first is {self.pictures[0]}",
            "the warnings above say why each cannot",
        )


def _stretched(
    picture: Pictures.Image, box: tuple[float, float, float, float], balance: bool
) -> Pictures.Image:
    """Its darkest hundredth within `box` black, its lightest white, all colours by one curve or each by its own."""
    area = Pictures.new("L", picture.size)
    left, top, right, bottom = map(round, box)
    area.paste(255, (left, top, max(left + 1, right), max(top + 1, bottom)))
    return ImageOps.autocontrast(picture, cutoff=1, mask=area, preserve_tone=not balance)
