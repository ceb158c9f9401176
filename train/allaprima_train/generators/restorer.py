"""The generator for restoring: a residual network that works at half the resolution, and can paint larger.

    pixels --unshuffle 2--> stem --> 1/4, blocks --> 1/8, blocks --up--> + --up--> + --> head, shuffle 2s --> change
                             ├────────────┴──────────────────────────────┘         │       │
                             ├─────────────────────────────────────────────────────┘       │
                             └── straight ─────────────────────────────────────────────────┘

A painting may smear a leaf; a restoration may not. So the whole picture shines through (`veil` 1) and the network adds
what is missing and takes away what is too much. Its first and last layer lie at half the resolution instead of a
quarter: noise is as fine as pixels are. Part of the stem goes straight to the head, without a ReLU: half of all
restoring is a linear filter, and with everything bent through 24 rectified channels, 180 steps took a twentieth of the
noise away instead of two fifths. The lowest level, an eighth, sees some 90 pixels far: enough to fill a hole and tell
sky from wall. Shuffle and enlargement are one step at the end, as in ESPCN (Shi 2016); all convolutions are branched
and fold into one each (`branched.py`), and there is no normalisation.

A size with -x2 or -x4 paints that many times as large. `small` has 14 GMAC at 1280x720.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from allaprima.manifest import Control

from .branched import BranchedConv, folded
from .mobile import Block

__all__ = ["SIZES", "Restorer", "enlarged"]


class Size(NamedTuple):
    half: int  # channels at 1/2 of the resolution
    quarter: int  # channels at 1/4
    eighth: int  # channels at 1/8
    blocks: int  # residual blocks at 1/4, and again at 1/8
    scale: int = 1


_SIZES = {"nano": Size(12, 16, 24, 1), "small": Size(24, 48, 64, 2), "base": Size(32, 64, 96, 4)}
SIZES = _SIZES | {
    f"{name}-x{scale}": size._replace(scale=scale) for scale in (2, 4) for name, size in _SIZES.items()
}


class Restorer(nn.Module):
    """(N, 3, H, W) float RGB in [0, 1], H and W multiples of `stride` -> (N, 3, s·H, s·W), not clipped."""

    period = 2
    stride = 8
    controls: tuple[Control, ...] = ()
    veil = 1.0  # the picture itself, and what is wrong with it
    margin = 0
    pictures = 1

    def __init__(self, size: str = "small") -> None:
        super().__init__()
        half, quarter, eighth, blocks, self.scale = SIZES[size]
        packed = 3 * self.period**2
        self.stem = BranchedConv(packed, half + packed)
        self.down = BranchedConv(half, quarter, stride=2)
        self.fine = nn.Sequential(*[Block(quarter) for _ in range(blocks)])
        self.deeper = BranchedConv(quarter, eighth, stride=2)
        self.coarse = nn.Sequential(*[Block(eighth) for _ in range(blocks)])
        self.rise = BranchedConv(eighth, 4 * quarter)
        self.up = BranchedConv(quarter, 4 * half)
        # It starts as the picture itself: nothing is added before something is learned.
        self.head = BranchedConv(half + packed, 3 * (self.period * self.scale) ** 2, gain=0.1)

    def forward(self, x: Tensor) -> Tensor:
        paint = self.packed_paint(F.pixel_unshuffle(x, self.period))
        return self.veil * enlarged(x, self.scale) + F.pixel_shuffle(paint, self.period * self.scale)

    def packed_paint(self, packed: Tensor) -> Tensor:
        """(N, 12, H/2, W/2) unshuffled pixels -> (N, 12 s², H/2, W/2) the change: all that is exported."""
        stem = self.stem(packed)
        straight, stem = stem[:, : packed.shape[1]], F.relu(stem[:, packed.shape[1] :])
        fine = self.fine(F.relu(self.down(stem)))
        coarse = self.coarse(F.relu(self.deeper(fine)))
        x = F.relu(F.pixel_shuffle(self.rise(coarse), 2) + fine)
        x = F.relu(F.pixel_shuffle(self.up(x), 2) + stem)
        change: Tensor = self.head(torch.cat([x, straight], 1))
        return change

    def folded(self) -> Restorer:
        return folded(self)


def enlarged(x: Tensor, scale: int) -> Tensor:
    """(N, C, H, W) -> (N, C, scale H, scale W), every pixel scale x scale times: exact in bytes."""
    return F.interpolate(x, scale_factor=scale, mode="nearest") if scale > 1 else x
