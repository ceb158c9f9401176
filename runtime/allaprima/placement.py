"""How a picture of any size is laid into the tensor of a graph, and its painting lifted out again."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .frame import Image
from .manifest import Geometry, Manifest
from .pixels import fit, pad_edge, resize

__all__ = ["Placement", "place", "place_planes"]

Size = tuple[int, int]  # (height, width)


@dataclass(frozen=True)
class Placement:
    """Picture -> shrunk if it has to be -> padded to the tensor; painted; cropped -> enlarged by as much.

    All sizes are (height, width) of the picture; the painting's are `scale` times that.
    """

    picture: Size
    inner: Size
    """The picture's size within the tensor: its own, unless a fixed size is too small for it."""
    tensor: Size
    scale: int

    @property
    def shrinks(self) -> bool:
        return self.inner != self.picture

    def lay(self, image: Image) -> Image:
        """(H, W, 3) uint8 of the picture's size -> (1, H', W', 3) uint8 of the tensor's, C-contiguous."""
        height, width = self.inner
        placed = resize(image, width, height)
        if self.inner != self.tensor:
            placed = pad_edge(placed, 0, 0, self.tensor[1] - width, self.tensor[0] - height)
        return np.ascontiguousarray(placed)[np.newaxis]

    def lift(self, styled: Image) -> Image:
        """(1, s·H', s·W', 3) uint8 -> (s·H, s·W, 3) uint8, C-contiguous."""
        height, width = (side * self.scale for side in self.inner)
        cropped = np.ascontiguousarray(styled[0, :height, :width])
        return resize(cropped, self.picture[1] * self.scale, self.picture[0] * self.scale)


def place(picture: Size, manifest: Manifest) -> Placement:
    """The placement that changes the picture least: a graph for any size, else the best fixed one."""
    geometry = manifest.geometry
    fixed = [variant.fixed for variant in manifest.for_pictures if variant.fixed]
    if not fixed or len(fixed) < len(manifest.for_pictures):
        return Placement(picture, picture, _at_least(picture, geometry), geometry.scale)

    def kept(tensor: Size) -> tuple[float, int]:
        """How much of the picture's resolution stays (1 all); then, the less padding the better."""
        return min(1.0, tensor[0] / picture[0], tensor[1] / picture[1]), -tensor[0] * tensor[1]

    tensor = max(fixed, key=kept)
    if kept(tensor)[0] == 1:
        return Placement(picture, picture, tensor, geometry.scale)
    width, height = fit(picture[1], picture[0], (tensor[1], tensor[0]))
    return Placement(picture, (min(height, tensor[0]), min(width, tensor[1])), tensor, geometry.scale)


def place_planes(picture: Size, manifest: Manifest) -> Placement | None:
    """The placement of YUV planes, which are never changed to fit; None where no variant takes them at this size."""
    geometry = manifest.geometry
    if _at_least(picture, geometry) != picture:
        return None
    for variant in manifest.variants:
        if variant.edges == "planes" and variant.fixed in (None, picture):
            return Placement(picture, picture, picture, geometry.scale)
    return None


def _at_least(picture: Size, geometry: Geometry) -> Size:
    height, width = (
        math.ceil(max(side, geometry.minimum) / geometry.multiple_of) * geometry.multiple_of
        for side in picture
    )
    return height, width
