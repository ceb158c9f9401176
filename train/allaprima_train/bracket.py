"""Several pictures of one view, made from one photograph: what `fuse` learns from.

    pictures, wanted = Bracket().apply(photo, 2, np.random.default_rng((seed, number)))

exposure   the light differs by some stops: some show the shadows, some the sky; wanted is the photograph
focus      each is sharp in a part and blurred elsewhere; wanted is the photograph
seam       two pictures side by side that overlap, as a panorama's do after they were aligned. Where one has no picture,
           it has the other's pixels: so the runtime lays them, and no mask has to travel. Light differs a little; in
           the overlap, things have moved. Wanted is the light of each on its own side, a slow change in between, and of
           what has moved one of the two, whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray
from PIL import Image as Pictures

from allaprima.frame import Image
from allaprima.pixels import from_unit, to_unit

__all__ = ["Bracket"]

GAMMA = np.float32(2.2)
Floats = NDArray[np.float32]
Weight = Annotated[float, Ge(0)]


@dataclass(frozen=True, kw_only=True)
class Bracket:
    """How pictures of one view differ. A kind is drawn for each sample, by these weights; 0 leaves it out."""

    exposure: Weight = 0.0
    focus: Weight = 0.0
    seam: Weight = 0.0
    stops: tuple[float, float] = (1.0, 2.5)
    """exposure: how far the darkest and the lightest are from the right light; a stop is a factor of two."""
    blur: tuple[float, float] = (1.5, 4.0)
    """focus: radius (sigma) in pixels where a picture is not sharp."""
    drift: tuple[float, float] = (0.0, 0.5)
    """seam: stops between the light of the two; more than what panorama.py leaves after its own correction."""
    moved: tuple[float, float] = (0.0, 6.0)
    """seam: pixels by which things in the overlap have moved."""
    noise: tuple[float, float] = (0.0, 4.0)
    """Standard deviation in byte values, of each picture on its own."""

    def __post_init__(self) -> None:
        if not self.exposure + self.focus + self.seam > 0:
            raise ValueError("one of exposure, focus and seam has to be above 0")
        for name in ("stops", "blur", "drift", "moved", "noise"):
            low, high = getattr(self, name)
            if not 0 <= low <= high <= 64:
                raise ValueError(f"{name} = [{low}, {high}]: must be 0 <= lowest <= highest <= 64")

    def apply(self, photo: Image, count: int, chance: np.random.Generator) -> tuple[Image, Image]:
        """(H, W, 3) uint8 -> `count` pictures (count, H, W, 3), and the one that is wanted of them, (H, W, 3)."""
        weights = np.array([self.exposure, self.focus, self.seam])
        kind = chance.choice(3, p=weights / weights.sum())
        light = to_unit(photo) ** GAMMA  # linear
        if kind == 0:
            pictures, wanted = self._exposed(light, count, chance), light
        elif kind == 1:
            pictures, wanted = self._focused(light, count, chance), light
        else:
            pictures, wanted = self._joined(light, count, chance)
        deviation = np.float32(chance.uniform(*self.noise) / 255)
        noise = chance.standard_normal(pictures.shape, np.float32) * deviation
        return from_unit(_developed(pictures) + noise), from_unit(_developed(wanted))

    def _exposed(self, light: Floats, count: int, chance: np.random.Generator) -> Floats:
        far = chance.uniform(*self.stops, 2)
        stops = np.linspace(-far[0], far[1], count)
        return np.stack([light * np.float32(2**stop) for stop in chance.permutation(stops)])

    def _focused(self, light: Floats, count: int, chance: np.random.Generator) -> Floats:
        soft = _blurred(light, chance.uniform(*self.blur))
        fields = np.stack([_field(light.shape[:2], chance) for _ in range(count)])
        sharp = np.exp(12 * (fields - fields.max(0)))  # soft borders between the parts
        sharp /= sharp.sum(0)
        return np.stack([soft + share[..., None] * (light - soft) for share in sharp]).astype(np.float32)

    def _joined(self, light: Floats, count: int, chance: np.random.Generator) -> tuple[Floats, Floats]:
        """The first picture's side and the second's; further ones are the second again."""
        height, width = light.shape[:2]
        rows, columns = np.mgrid[0:height, 0:width]
        angle = chance.uniform(0, 2 * np.pi)
        along = (columns - width / 2) * np.cos(angle) + (rows - height / 2) * np.sin(angle)
        overlap = chance.uniform(0.15, 1.2) * width
        middle = chance.uniform(-0.25, 0.25) * width
        across = (along - middle) / overlap + 0.5  # 0 and 1 at the borders of the overlap

        distance = chance.uniform(*self.moved)
        turn = chance.uniform(0, 2 * np.pi)
        shifted = _shifted(light, distance * np.cos(turn), distance * np.sin(turn))
        blob = (_field((height, width), chance) > 0.75) & (across > 0) & (across < 1)
        here = blob[..., None] & (across[..., None] < 0.5)
        there = blob[..., None] & ~here
        gains = 2 ** (chance.uniform(*self.drift) * chance.choice([-0.5, 0.5]) * np.array([1, -1]))
        cast = 1 + 0.04 * chance.standard_normal((2, 3))
        first_gain, second_gain = (gains[:, None] * cast).astype(np.float32)
        first, second = (
            np.where(there, shifted, light) * first_gain,
            np.where(here, shifted, light) * second_gain,
        )

        share = np.clip(across, 0, 1).astype(np.float32)[..., None]
        wanted = light * first_gain ** (1 - share) * second_gain**share
        first, second = (
            np.where(across[..., None] < 1, first, second),
            np.where(across[..., None] > 0, second, first),
        )
        return np.stack([first, *[second] * (count - 1)]), wanted


def _developed(light: Floats) -> Floats:
    """Linear light as a file has it, clipped as a sensor clips."""
    return np.clip(light, 0, 1) ** (1 / GAMMA)


def _blurred(light: Floats, radius: float) -> Floats:
    channels = [Pictures.fromarray(np.ascontiguousarray(light[..., channel])) for channel in range(3)]
    return np.stack([_gaussian(channel, radius) for channel in channels], axis=2)


def _gaussian(channel: Pictures.Image, radius: float) -> Floats:
    """Pillow blurs bytes only: 16 bits as two halves would band, so the picture shrinks and grows instead."""
    width, height = channel.size
    factor = max(1.0, 2 * radius)
    small = channel.resize(
        (max(1, round(width / factor)), max(1, round(height / factor))), Pictures.Resampling.BOX
    )
    return np.asarray(small.resize((width, height), Pictures.Resampling.BICUBIC))


def _field(size: tuple[int, int], chance: np.random.Generator) -> Floats:
    """(H, W) from 0 to 1: soft blobs, a few of them across."""
    coarse = Pictures.fromarray(chance.random((4, 4), np.float32))
    return np.asarray(coarse.resize((size[1], size[0]), Pictures.Resampling.BICUBIC)).clip(0, 1)


def _shifted(light: Floats, right: float, down: float) -> Floats:
    """Moved by whole pixels; at the border its edge is repeated."""
    height, width = light.shape[:2]
    rows = (np.arange(height) - round(down)).clip(0, height - 1)
    columns = (np.arange(width) - round(right)).clip(0, width - 1)
    return light[rows][:, columns]
