"""What goes wrong with photographs, done to good ones: the pairs that `restore` learns from.

    poor = Degradation(noise=(5, 30), jpeg=(20, 60)).apply(picture, np.random.default_rng((seed, number)))

Every fault is drawn between two bounds and is the same for the same generator of random numbers. They happen in the
order in which they do in the world: light, lens, sensor (size, noise), file; holes are torn into the finished picture.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray
from PIL import Image as Pictures
from PIL import ImageDraw, ImageFilter

from allaprima.frame import Image
from allaprima.pixels import from_unit, to_unit

__all__ = ["HOLE", "Degradation"]

HOLE = (255, 0, 255)
"""Magenta: what a hole is filled with, in training and by who wants one mended. Photographs have no such colour."""

BROADEST = 24
"""Pixels across the broadest stroke of a hole: from all sides the picture is near enough to be seen."""

Share = Annotated[float, Ge(0), Le(1)]


@dataclass(frozen=True, kw_only=True)
class Degradation:
    """Which faults a restoration mends. Leave out what it is not for: each costs the others some quality."""

    noise: tuple[float, float] = (0.0, 0.0)
    """Standard deviation of sensor noise in byte values. Half of it grows with the light, as a sensor's does."""
    blur: tuple[float, float] = (0.0, 0.0)
    """Radius (sigma) of a lens out of focus, in pixels."""
    jpeg: tuple[int, int] = (100, 100)
    """Quality of a JPEG file between the picture and its user, 1 to 100; [100, 100]: none."""
    darkness: tuple[float, float] = (1.0, 1.0)
    """Share of the light that reaches the sensor: [0.1, 0.4] is a room at night. [1.0, 1.0]: all."""
    colourless: Share = 0.0
    """Share of the pictures that lose their colour."""
    holes: tuple[float, float] = (0.0, 0.0)
    """Share of the picture that is missing: strokes and blots of plain magenta (255, 0, 255)."""

    def __post_init__(self) -> None:
        for name, limits in (
            ("noise", (0, 255)),
            ("blur", (0, 16)),
            ("jpeg", (1, 100)),
            ("darkness", (0.01, 1)),
            ("holes", (0, 0.5)),
        ):
            low, high = getattr(self, name)
            if not limits[0] <= low <= high <= limits[1]:
                raise ValueError(
                    f"{name} = [{low}, {high}]: must be {limits[0]} <= lowest <= highest <= {limits[1]}"
                )

    def apply(self, picture: Image, chance: np.random.Generator, scale: int = 1) -> Image:
        """(H, W, 3) uint8 RGB -> (H / scale, W / scale, 3) uint8: the same picture, less well taken.

        H and W are multiples of `scale`. Draws from `chance` in a fixed order, faults that are off included: so a fault
        more in a recipe does not change the others.
        """
        light, radius = chance.uniform(*self.darkness), chance.uniform(*self.blur)
        deviation, quality = chance.uniform(*self.noise), int(chance.integers(*self.jpeg, endpoint=True))
        grey, missing = chance.random() < self.colourless, chance.uniform(*self.holes)
        grain, strokes = chance.spawn(2)

        poor = picture
        if light < 1:
            poor = _darkened(poor, light)
        if radius > 0:
            poor = np.asarray(Pictures.fromarray(poor).filter(ImageFilter.GaussianBlur(radius)))
        if scale > 1:
            height, width = picture.shape[0] // scale, picture.shape[1] // scale
            small = Pictures.fromarray(poor).resize((width, height), Pictures.Resampling.BICUBIC)
            poor = np.asarray(small)
        if grey:
            poor = np.asarray(Pictures.fromarray(poor).convert("L").convert("RGB"))
        if deviation > 0:
            poor = _noisy(poor, deviation, grain)
        if self.jpeg != (100, 100):
            poor = _through_jpeg(poor, quality)
        if missing > 0:
            poor = _torn(poor, missing, strokes)
        return poor


def _darkened(picture: Image, light: float) -> Image:
    """Less light is less of the linear signal; the file's gamma (some 2.2) comes after."""
    return from_unit(to_unit(picture) * np.float32(light ** (1 / 2.2)))


def _noisy(picture: Image, deviation: float, chance: np.random.Generator) -> Image:
    """Shot noise grows with the square root of the light, read noise does not: half of the variance is each's."""
    values: NDArray[np.float32] = picture.astype(np.float32)
    spread = deviation * np.sqrt(0.5 + values / 255, dtype=np.float32)
    noise = chance.standard_normal(picture.shape, np.float32) * spread
    return from_unit(((values + noise) / 255).astype(np.float32))


def _through_jpeg(picture: Image, quality: int) -> Image:
    file = io.BytesIO()
    Pictures.fromarray(picture).save(file, "JPEG", quality=quality)
    file.seek(0)
    with Pictures.open(file) as opened:
        return np.asarray(opened.convert("RGB"))


def _torn(picture: Image, missing: float, chance: np.random.Generator) -> Image:
    """Strokes of a round brush until that share is gone: scratches, words, things that should not be there.

    As broad in a crop as in a picture: a network that met six pixels in its crops left a purple trace of thirty in a
    photograph.
    """
    height, width = picture.shape[:2]
    mask = Pictures.new("1", (width, height))
    pen = ImageDraw.Draw(mask)
    while np.asarray(mask).mean() < missing:
        breadth = int(chance.integers(2, max(3, min(BROADEST, min(height, width) // 4))))
        points = [
            tuple(point) for point in chance.uniform((0, 0), (width, height), (int(chance.integers(2, 4)), 2))
        ]
        pen.line(points, fill=1, width=breadth, joint="curve")
        for x, y in points:
            pen.ellipse((x - breadth / 2, y - breadth / 2, x + breadth / 2, y + breadth / 2), fill=1)
    return np.where(np.asarray(mask)[..., None], np.array(HOLE, np.uint8), picture)
