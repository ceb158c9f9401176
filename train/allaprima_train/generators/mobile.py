"""The generator that ships: plain 3x3 convolutions at a quarter and an eighth of the resolution.

    pixels --unshuffle 4--> stem --stride 2--> residual blocks --up 2--> + --> head, up 4 --> paint
                              └──────────────────────────────────────────┘

    pixels --unshuffle 4--> stem --stride 2--> residual blocks --up 2--> + --rise--> + --> head --> paint   (-fine)
                             │└──────────────────────────────────────────┘           │
                             └────── features at half the resolution, packed ────────┘

What is painted at a quarter of the resolution and interpolated has no lines finer than eight pixels. So `small` lets
three tenths of the photograph shine through (`veil`), with its lines, its texture and a trace of its colours; all the
rest it has to paint. (With the whole photograph as a skip, it learned to colour photographs, and no strokes.) A -fine
size paints its lines itself: its ends work on features at half the resolution, which lie packed in the cells of a
quarter, so that memory is passed over as often as before. Nothing shines through.
No normalisation, reflection padding or transposed convolution: see docs/performance.md for what each
would cost. `small` has 7.2 GMAC at 1280x720, `small-fine` 8.5.
"""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from allaprima.manifest import Control

from .branched import BranchedConv, PackedUp, SmoothUp, TwoLevels, folded

__all__ = ["SIZES", "Mobile", "Size"]


class Size(NamedTuple):
    quarter: int  # channels at 1/4 of the resolution
    eighth: int  # channels at 1/8
    blocks: int  # residual blocks at 1/8
    half: int = 0  # channels at 1/2; 0: none, and the photograph shines through

    def __str__(self) -> str:
        return "-".join(str(number) for number in self if number)


_SIZES = {"nano": Size(16, 32, 3), "small": Size(32, 64, 4), "base": Size(48, 96, 6)}
SIZES = _SIZES | {f"{name}-fine": size._replace(half=size.quarter // 4) for name, size in _SIZES.items()}


class Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = BranchedConv(channels, channels)
        self.second = BranchedConv(channels, channels, gain=0.5)  # a block starts as a small change

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.relu(self.first(x)))


class Mobile(nn.Module):
    """(N, 3, H, W) float RGB in [0, 1], H and W multiples of `stride` -> the same shape, not clipped."""

    period = 4  # of the pixel shuffle between bytes and the first and last convolution
    stride = 8  # H and W must be multiples of it
    controls: tuple[Control, ...] = ()
    margin = 0  # edge pixels repeated around the picture and cut off again; see `paint`
    scale = 1  # the painting's height and width over the picture's
    pictures = 1  # how many of one size it makes one of, behind each other along the channels

    def __init__(self, size: str | Size = "small") -> None:
        super().__init__()
        quarter, eighth, blocks, half = self.size = SIZES[size] if isinstance(size, str) else size
        self.veil = (
            0.0 if half else 0.3
        )  # of the photograph shines through the paint; the rest is painted anew
        packed = 3 * self.period**2
        self.stem = TwoLevels(half, quarter) if half else BranchedConv(packed, quarter)
        self.down = BranchedConv(quarter, eighth, stride=2)
        self.blocks: nn.Sequential | nn.ModuleList = nn.Sequential(*[Block(eighth) for _ in range(blocks)])
        self.up = SmoothUp(eighth, quarter, 2)
        if half:
            self.rise = SmoothUp(quarter, half, 2)
        self.head = PackedUp(half, 3, gain=0.3) if half else SmoothUp(quarter, 3, self.period, gain=0.3)
        if half:  # nothing shines through: half of it would begin below black
            nn.init.constant_(self.head.bias, 0.5)

    def forward(self, x: Tensor, *controls: Tensor) -> Tensor:
        packed = self.packed_paint(F.pixel_unshuffle(x, self.period), *controls)
        return self.veil * x + F.pixel_shuffle(packed, self.period)

    def packed_paint(self, packed: Tensor, *controls: Tensor) -> Tensor:
        """(N, 48, H/4, W/4) unshuffled pixels -> the paint on them, same shape: all that is exported."""
        return self.tail(*self.trunk(packed))

    def trunk(self, packed: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """What it sees: (N, quarter, H/4, W/4) near by, (N, eighth, H/8, W/8) from farther away, and a -fine size
        (N, 4 half, H/4, W/4) close by, which are features at H/2, W/2."""
        found, close = self.entered(packed)
        near = F.relu(found)
        return near, self.far(near)[-1], close

    def encoded(self, packed: Tensor) -> list[Tensor]:
        """Features on the way in, finest first: (N, quarter, H/4, W/4), then (N, eighth, H/8, W/8) before and after
        each block."""
        near = F.relu(self.entered(packed)[0])
        return [near, *self.far(near)]

    def entered(self, packed: Tensor) -> tuple[Tensor, Tensor | None]:
        """What the stem finds near by, before the ReLU, and what of a -fine size goes straight to the end."""
        found = self.stem(packed)
        ends = 4 * self.size.half
        return (found[:, ends:], found[:, :ends]) if ends else (found, None)

    def far(self, near: Tensor) -> list[Tensor]:
        """Features at 1/8, before and after each block."""
        found = [F.relu(self.down(near))]
        for block in self.blocks:
            found.append(block(found[-1]))
        return found

    def tail(self, near: Tensor, deep: Tensor, close: Tensor | None = None) -> Tensor:
        """What it paints from what it sees: (N, 48, H/4, W/4)."""
        return self.left(F.relu(F.pixel_shuffle(self.up(deep), 2) + near), close)

    def left(self, x: Tensor, close: Tensor | None) -> Tensor:
        """The last step: (N, quarter, H/4, W/4) and what came straight -> the paint."""
        paint: Tensor = self.head(x if close is None else F.relu(self.rise(x) + close))
        return paint

    def folded(self) -> Mobile:
        return folded(self)
