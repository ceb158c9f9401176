"""The pixel rules, once, in numpy: the range, the padding, the resizing.

Training samples, the exported graph and the runtime all follow this file; a test holds the torch twin in
`allaprima_train.frame_model` to `to_unit` and `from_unit` over all 256 byte values, bit for bit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .frame import Image

__all__ = ["fit", "from_unit", "pad_edge", "resize", "to_unit"]


def to_unit(image: Image) -> NDArray[np.float32]:
    """Bytes to [0, 1]: any shape, uint8 -> float32, b / 255.

    There is no offset (no [-1, 1]) on purpose: zero padding inside a convolution then means black before
    and after the factor 1/255 is folded into the weights, so that the fold is exact.
    """
    return image.astype(np.float32) * np.float32(1 / 255)


def from_unit(image: NDArray[np.float32]) -> Image:
    """[0, 1] to bytes, rounding halves up: any shape, float32 -> uint8.

    Adds one half and clips *before* the cast, in that order: a bare cast truncates (63 of the 256 byte
    values change), wraps 300 to 44, and what lies outside [0, 256) is undefined on some devices. NaN gives 0.
    """
    scaled = image.astype(np.float32) * np.float32(255) + np.float32(0.5)
    # maximum then minimum of the cleaned value; np.clip would let NaN through to an undefined cast
    return np.clip(np.nan_to_num(scaled, nan=0.0, posinf=255.0, neginf=0.0), 0, 255).astype(np.uint8)


def resize(image: Image, width: int, height: int) -> Image:
    """(H, W, 3) or (H, W) uint8 -> the same with `height`, `width`; Lanczos, anti-aliased when shrinking.

    Pillow rather than OpenCV: it also works where OpenCV's libGL is missing, and it filters when it shrinks.
    """
    from PIL import Image as Pictures

    if image.shape[:2] == (height, width):
        return image
    picture = Pictures.fromarray(image)
    return np.asarray(picture.resize((width, height), Pictures.Resampling.LANCZOS, reducing_gap=2.0))


def fit(width: int, height: int, box: tuple[int, int]) -> tuple[int, int]:
    """The largest (width, height) with the picture's own aspect inside `box`, in even numbers, never enlarged.

    Even, because video is stored with its colour at half resolution.
    """
    factor = min(box[0] / width, box[1] / height, 1.0)
    if factor == 1.0:
        return width, height
    return max(2, round(width * factor / 2) * 2), max(2, round(height * factor / 2) * 2)


def pad_edge(image: Image, left: int, top: int, right: int, bottom: int) -> Image:
    """(H, W, C) uint8 with its edge pixels repeated outwards: the one padding rule of the project."""
    return np.pad(image, ((top, bottom), (left, right), (0, 0)), mode="edge")
