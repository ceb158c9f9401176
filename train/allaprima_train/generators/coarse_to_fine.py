"""Coarse to fine: the generator of pix2pixHD (Wang 2018), for pictures of 1024 pixels and up.

    pixels ─────────── fine stem, down ──────────── + ── blocks, up ── head ── paint
       └── half size ── coarse: a resnet, its last features ──┘

The coarse network sees the whole picture at half the resolution, where its convolutions reach twice as far, and is
trained first, alone, on small pictures; the fine one around it then learns to add what only shows at the full
resolution. Deviations: those of `resnet.py`; one enhancer, not two; coarse widths of Johnson 2016.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from allaprima.manifest import Control

from .resnet import SIZES as RESNET_SIZES
from .resnet import Block, Resnet, convolution

__all__ = ["SIZES", "CoarseToFine"]

SIZES = {name: RESNET_SIZES[name] for name in ("small", "base")}

FINE_BLOCKS = 3


class CoarseToFine(nn.Module):
    """(N, 3, H, W) float RGB in [0, 1], H and W multiples of `stride` -> the same shape, not clipped."""

    period = 1
    stride = 8
    controls: tuple[Control, ...] = ()
    margin = 16
    scale = 1
    pictures = 1
    veil = 0.0

    def __init__(self, size: str = "small") -> None:
        super().__init__()
        width = SIZES[size].width
        self.coarse = Resnet(size)
        self.fine_stem = convolution(3, width // 2, 7)
        self.fine_down = convolution(width // 2, width, 3, 2)
        self.fine_blocks = nn.Sequential(*[Block(width) for _ in range(FINE_BLOCKS)])
        self.fine_up = convolution(width, width // 2, 3)
        self.head = nn.Conv2d(width // 2, 3, 7, 1, 3)

    @property
    def stem(self) -> nn.ModuleList:
        """Both convolutions that see pixels."""
        return nn.ModuleList([self.fine_stem, self.coarse.stem])

    def forward(self, x: Tensor) -> Tensor:
        return self.packed_paint(x)

    def packed_paint(self, packed: Tensor) -> Tensor:
        coarse = self.coarse.before_head(F.avg_pool2d(packed, 2))  # (N, width, H/2, W/2)
        fine = F.relu(self.fine_down(F.relu(self.fine_stem(packed))))
        x = self.fine_blocks(fine + coarse)
        x = F.relu(self.fine_up(F.interpolate(x, scale_factor=2.0)))
        paint: Tensor = self.head(x)
        return paint

    def folded(self) -> CoarseToFine:
        return self  # instance norm depends on the picture: nothing folds
