"""What may be done to a painting afterwards: colours, sharpness, noise, grain. Each is an amount from 0 to 1.

    post = Post(sharpen=0.4, match_palette=1.0)
    frame = post(source_frame, painted_frame)

A bundle that was exported with a stage has a control of the same name, and does it in the graph, where it costs a
fraction; `Post.within` says which are left. The formulas are those of `allaprima_export.post`, and a test
holds the two together.

    denoise          p + a (median of the 3x3 around p - p)
    match_luminance  p + a (Y(x) - Y(p))                          the photograph's light, the painting's colours
    match_palette    p + a ((x - Y(x)) - (p - Y(p)))              the photograph's colours, the painting's light
    sharpen          p + a (p - B(p)), B the binomial 3x3         unsharp mask
    grain            p + a GRAIN N                                 film grain, another one in each frame

p is the painting, x the photograph, Y luma with BT.601's weights; in this order, with one rounding at the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray
from PIL import Image as Pictures
from PIL import ImageFilter

from .errors import UsageError
from .frame import Frame, Image

__all__ = [
    "GRAIN",
    "GRAIN_PHASE",
    "LUMA",
    "STAGES",
    "TEXTURE",
    "Post",
    "grain_offset",
    "grain_phase",
    "texture",
]

LUMA = (0.299, 0.587, 0.114)
"""BT.601, as sRGB pictures' luma is mostly meant."""
GRAIN = 24.0
"""Standard deviation of the grain at amount 1, in byte values."""
GRAIN_PHASE = "grain_phase"
"""The control of a bundle with grain that a runtime has to set for every frame: `grain_phase(frame.index)`."""
TEXTURE = 256
"""Side of the square of noise that grain is cut from, in pixels."""

Amount = Annotated[float, Ge(0), Le(1)]


@dataclass(frozen=True, kw_only=True)
class Post:
    """Amounts of the stages; 0 leaves one out. Call it with the photograph and its painting."""

    denoise: Amount = 0.0
    """Against single odd pixels in the painting."""
    match_luminance: Amount = 0.0
    """Gives the painting the photograph's light and dark."""
    match_palette: Amount = 0.0
    """Gives the painting the photograph's colours."""
    sharpen: Amount = 0.0
    grain: Amount = 0.0

    def __post_init__(self) -> None:
        for name, amount in self.amounts.items():
            if not 0 <= amount <= 1:
                raise UsageError(
                    "E_CONTROL_RANGE",
                    f"cannot set {name} to {amount}",
                    "it goes from 0 to 1",
                    "choose between",
                )

    @property
    def amounts(self) -> dict[str, float]:
        return {stage.name: getattr(self, stage.name) for stage in fields(self)}

    def __bool__(self) -> bool:
        return any(self.amounts.values())

    def within(self, controls: Mapping[str, Any]) -> tuple[dict[str, float], Post]:
        """What a bundle with these controls does itself, and what is left to do after it.

        Stages work in a fixed order; from the first one that the bundle lacks on, all are left.
        """
        inside: dict[str, float] = {}
        for name, amount in self.amounts.items():
            if amount and name not in controls:
                break
            if name in controls:
                inside[name] = amount
        return inside, replace(self, **dict.fromkeys(inside, 0.0))

    def __call__(self, photo: Frame, painted: Frame) -> Frame:
        """The painted frame, finished. The photograph has its size, or that divided by a whole number."""
        if not self:
            return painted
        return replace(painted, picture=self.finish(photo.image, painted.image, painted.index))

    def finish(self, photo: Image, painted: Image, index: int) -> Image:
        """uint8 RGB (H, W, 3) and (s·H, s·W, 3) -> (s·H, s·W, 3). `index` chooses the grain."""
        if not self:
            return painted
        if self.denoise:
            calm = np.asarray(Pictures.fromarray(painted).filter(ImageFilter.MedianFilter(3)))
            p = painted + np.float32(self.denoise) * (calm.astype(np.float32) - painted)
        else:
            p = painted.astype(np.float32)
        if self.match_luminance or self.match_palette:
            x = _enlarged(photo, painted.shape[0] // photo.shape[0]).astype(np.float32)
            if self.match_luminance:
                p += np.float32(self.match_luminance) * (_luma(x) - _luma(p))
            if self.match_palette:
                p += np.float32(self.match_palette) * ((x - _luma(x)) - (p - _luma(p)))
        if self.sharpen:
            p += np.float32(self.sharpen) * (p - _binomial(p))
        if self.grain:
            down, right = grain_offset(grain_phase(index))
            rows = (np.arange(p.shape[0]) + down) % TEXTURE
            columns = (np.arange(p.shape[1]) + right) % TEXTURE
            p += np.float32(self.grain * GRAIN) * texture()[rows][:, columns, np.newaxis]
        return np.clip(p + np.float32(0.5), 0, 255).astype(np.uint8)


STAGES = tuple(stage.name for stage in fields(Post))
"""In the order in which they work."""


def grain_phase(index: int) -> int:
    """Which cut of the texture frame `index` has: neighbours are far apart, and 65,536 frames differ."""
    return index * 40_503 % TEXTURE**2  # Knuth's multiplicative hash for 16 bits


def grain_offset(phase: int) -> tuple[int, int]:
    """(down, right) into the texture."""
    return phase // TEXTURE, phase % TEXTURE


@cache
def texture() -> NDArray[np.float32]:
    """(TEXTURE, TEXTURE) float32: noise of deviation 1, the same on every machine and in every version of numpy."""
    number = np.arange(TEXTURE**2, dtype=np.uint64)
    total = np.zeros(TEXTURE**2)
    for seed in (0x9E3779B97F4A7C15, 0xD1B54A32D192ED03, 0x8CB92BA72F3D8DD7, 0xABC98388FB8FAC03):
        mixed = number * np.uint64(0xBF58476D1CE4E5B9) + np.uint64(seed)  # SplitMix64 (Steele 2014)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        total += (mixed ^ (mixed >> np.uint64(31))) / 2.0**64 - 0.5
    made = total * np.sqrt(12 / 4)  # the sum of four uniform numbers, nearly Gaussian
    return made.astype(np.float32).reshape(TEXTURE, TEXTURE)


def _luma(rgb: NDArray[np.float32]) -> NDArray[np.float32]:
    """(H, W, 3) -> (H, W, 1)."""
    luma: NDArray[np.float32] = (rgb @ np.array(LUMA, np.float32))[..., np.newaxis]
    return luma


def _binomial(p: NDArray[np.float32]) -> NDArray[np.float32]:
    """The 3x3 filter [1 2 1]ᵀ[1 2 1] / 16, edges repeated."""
    for axis in (0, 1):
        around = [(1, 1) if axis == side else (0, 0) for side in range(3)]
        padded = np.pad(p, around, mode="edge")
        before, middle, after = (
            padded[shift : shift + p.shape[0]] if axis == 0 else padded[:, shift : shift + p.shape[1]]
            for shift in range(3)
        )
        p = (before + after + 2 * middle) / np.float32(4)
    return p


def _enlarged(photo: Image, scale: int) -> Image:
    return photo.repeat(scale, axis=0).repeat(scale, axis=1) if scale > 1 else photo
