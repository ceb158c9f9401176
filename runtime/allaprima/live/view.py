"""What the viewer sees: the painting alone, beside its source, or behind a wipe; mirrored; with figures and help on it.

For the window and the page, where somebody looks; all other outputs get the painting as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..frame import Image
from ..pixels import resize
from .keys import KEYS

__all__ = ["View"]

_WIPE_SECONDS = 4.0  # from left to right and back
_BACKGROUND = 0.35  # of the picture's brightness under writing


@dataclass
class View:
    """What is switched on, and how to draw it."""

    beside: bool = False
    """The source to the left of the painting."""
    wipe: bool = False
    """The source left of a line that goes to and fro."""
    mirror: bool = False
    figures: bool = True
    help: bool = False

    def draw(self, painted: Image, source: Image, lines: Sequence[str], seconds: float) -> Image:
        """(H, W, 3) uint8 painting and its source (of any size) -> what to show, a new array or `painted` itself.
        `lines` are written at the top; `seconds` move the wipe."""
        height, width = painted.shape[:2]
        shown = painted
        if self.mirror:
            shown, source = shown[:, ::-1], source[:, ::-1]
        if self.beside or self.wipe:
            source = resize(np.ascontiguousarray(source), width, height)
        if self.wipe:
            edge = round(width * abs(seconds / _WIPE_SECONDS % 2 - 1))
            shown = np.concatenate([source[:, :edge], shown[:, edge:]], axis=1)
            shown[:, max(0, edge - 1) : edge + 1] = 255
        elif self.beside:
            shown = np.concatenate([source, shown], axis=1)
        if self.help:
            names = {" ": "space"}
            lines = [*lines, "", *(f"{names.get(key, key):>5}   {help}" for key, help in KEYS.items())]
        if lines:
            shown = shown.copy() if shown is painted else np.ascontiguousarray(shown)
            _write(shown, tuple(lines))
        return np.ascontiguousarray(shown)


def _write(image: Image, lines: tuple[str, ...]) -> None:
    """White on a darkened corner of the (H, W, 3) picture itself."""
    ink = _ink(lines, max(12, image.shape[0] // 40), image.shape[1])
    height, width = min(ink.shape[0], image.shape[0]), ink.shape[1]
    ink = ink[:height, :, np.newaxis]
    corner = image[:height, :width].astype(np.float32) * _BACKGROUND
    image[:height, :width] = (corner + (255 - corner) * ink).astype(np.uint8)


@lru_cache(maxsize=4)
def _ink(lines: tuple[str, ...], size: int, widest: int) -> np.ndarray:
    """(h, w) float32, 0 paper to 1 ink. Drawn anew only when a figure has changed, twice a second at most."""
    from PIL import Image as Pictures
    from PIL import ImageDraw, ImageFont

    font = ImageFont.load_default(size)
    line_height = round(size * 1.35)
    width = min(widest, round(max(font.getlength(line) for line in lines)) + size)
    drawn = Pictures.new("L", (width, line_height * len(lines) + size // 2))
    for number, line in enumerate(lines):
        ImageDraw.Draw(drawn).text((size // 2, size // 4 + number * line_height), line, fill=255, font=font)
    return np.asarray(drawn, np.float32) / 255
