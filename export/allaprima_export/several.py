"""Graphs that make one picture of several: how these are called, and how they travel through judging as one array."""

from __future__ import annotations

import numpy as np

from allaprima.frame import Image

__all__ = ["beside", "picture_names", "pictures_of"]


def picture_names(count: int) -> list[str]:
    """Of the graph's inputs: `image`, and where there are several `image_2`, `image_3`, ..."""
    return ["image", *(f"image_{number}" for number in range(2, count + 1))]


def pictures_of(image: Image) -> list[Image]:
    """(H, W, 3K), behind each other along the channels -> K pictures (H, W, 3)."""
    return np.split(image, image.shape[2] // 3, axis=2)


def beside(image: Image, count: int) -> Image:
    """(H, W, 3) -> (H, W, 3 count): and behind it the same place, ever darker. One is the picture itself."""
    return np.concatenate([(image * 0.7**number).astype(np.uint8) for number in range(count)], axis=2)
