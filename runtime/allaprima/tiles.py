"""Large pictures in tiles: each painted with enough of its surroundings that nobody sees where it was cut.

A network of convolutions sees `Geometry.margin` pixels around each pixel and nothing beyond. So a tile that is
cut with that margin on every inner side, at a multiple of `Geometry.stride`, paints its middle as the whole
picture would be painted: bit for bit where sums are exact, and one rounding apart in a few bytes of a million where
a backend sums in another order at another width.

    tiling = tile_picture((4320, 7680), manifest.geometry, side=2048)
    for tile in tiling:
        painting[tile.target] = paint(picture[tile.cut])[tile.middle]

All tiles of a picture have one size: a backend is started once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from .manifest import Geometry

__all__ = ["Tile", "Tiling", "best_side", "free_bytes", "out_of_memory", "tile_picture"]

Size = tuple[int, int]  # (height, width)
Region = tuple[slice, slice]  # rows, columns

WHOLE_PIXELS = 3840 * 2160
"""Up to here a picture is painted whole, where memory allows: a 4K frame has no time for seams."""
TILE_SIDE = 2048
"""Larger ones in tiles of at most this side. mobile-small at 2048x2048 takes 0.3 GB in OpenVINO and 0.6 GB in ONNX
Runtime; its margin of 67 pixels is then painted twice for a sixth of the picture."""
SMALLEST_SIDE = 256
BYTES_PER_PIXEL = 160
"""What painting a pixel takes at most: mobile-small in fp32 in ONNX Runtime took 130, in bf16 in OpenVINO 40."""
SHARE_OF_FREE = 0.5
"""Of the free memory, the share that painting may take."""


@dataclass(frozen=True)
class Tile:
    """One cut. All three index arrays of (rows, columns, ...)."""

    cut: Region
    """Of the picture: what is painted."""
    middle: Region
    """Of the tile's painting (scaled): what is kept of it."""
    target: Region
    """Of the whole painting (scaled): where that belongs."""


@dataclass(frozen=True)
class Tiling:
    """How a picture is cut. Iterable; rows first."""

    picture: Size
    tile: Size
    rows: tuple[tuple[int, int, int], ...]
    """For each row of tiles: where it begins in the picture, and the rows of the picture that are kept of it."""
    columns: tuple[tuple[int, int, int], ...]
    scale: int

    def __len__(self) -> int:
        return len(self.rows) * len(self.columns)

    def __iter__(self) -> Iterator[Tile]:
        for top, upper, lower in self.rows:
            for left, first, last in self.columns:
                yield Tile(
                    cut=(slice(top, top + self.tile[0]), slice(left, left + self.tile[1])),
                    middle=self._scaled(upper - top, lower - top, first - left, last - left),
                    target=self._scaled(upper, lower, first, last),
                )

    def _scaled(self, upper: int, lower: int, first: int, last: int) -> Region:
        return (
            slice(upper * self.scale, lower * self.scale),
            slice(first * self.scale, last * self.scale),
        )


def tile_picture(picture: Size, geometry: Geometry, side: int) -> Tiling:
    """Cut a picture of (height, width) into tiles of at most about `side`; one tile where it is no larger.

    A tile is never smaller than twice its overlap and one stride, whatever `side` says.
    """
    height, rows = _cut(picture[0], side, geometry)
    width, columns = _cut(picture[1], side, geometry)
    return Tiling(picture, (height, width), rows, columns, geometry.scale)


def _cut(length: int, side: int, geometry: Geometry) -> tuple[int, tuple[tuple[int, int, int], ...]]:
    """Along one axis: the tiles' length, and (begin, first kept, end of kept) of each."""
    stride = math.lcm(geometry.stride, geometry.multiple_of)
    overlap = -(-geometry.margin // stride) * stride
    # The last tile ends with the picture and begins at a multiple of the stride; so all have that remainder.
    tile = max(side, 2 * overlap + stride) // stride * stride + length % stride
    if tile >= length:
        return length, ((0, 0, length),)
    step = (tile - 2 * overlap) // stride * stride
    count = -(-(length - tile) // step) + 1
    begins = [min(number * step, length - tile) for number in range(count)]
    seams = [0, *(begin + overlap for begin in begins[1:]), length]
    return tile, tuple(zip(begins, seams[:-1], seams[1:], strict=True))


def best_side(picture: Size, geometry: Geometry, free: int | None) -> int | None:
    """The tiles' side for a picture of (height, width), or None to paint it whole.

    `free` is the free memory in bytes, None where nobody knows. A network that looks at the whole picture at
    once (`Geometry.whole`) cannot be cut.
    """
    if geometry.whole:
        return None
    affordable = math.inf if free is None else free * SHARE_OF_FREE / (BYTES_PER_PIXEL * geometry.scale**2)
    pixels = picture[0] * picture[1]
    if pixels <= min(WHOLE_PIXELS, affordable):
        return None
    return int(max(SMALLEST_SIDE, min(TILE_SIDE, math.sqrt(affordable))))


_UNIFIED_LIMIT, _UNIFIED_USED = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")


def free_bytes() -> int:
    """Memory that this process can still have: the machine's, or the container's where that is less."""
    free = int(psutil.virtual_memory().available)
    try:
        limit, used = _UNIFIED_LIMIT.read_text().strip(), _UNIFIED_USED.read_text().strip()
    except OSError:  # no container, or a system without control groups
        return free
    return min(free, int(limit) - int(used)) if limit != "max" else free


def out_of_memory(error: BaseException) -> bool:
    """Whether a backend failed for lack of memory. Vendors say it in words only."""
    words = f"{type(error).__name__} {error}".lower()
    return isinstance(error, MemoryError) or any(
        sign in words
        for sign in (
            "bad_alloc",
            "out of memory",
            "failed to allocate",
            "cannot allocate",
            "can not allocate",
        )
    )
