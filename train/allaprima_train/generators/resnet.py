"""The reference: the residual generator of Johnson 2016 and CycleGAN (Zhu 2017).

Large and slow on purpose: what quality costs without the edge in mind. Deviations: zero instead of reflection
padding inside (the picture's own margin takes its place, see `paint`), nearest-neighbour resizing plus a
convolution instead of a transposed convolution (Odena 2016: no checkerboard), [0, 1] in place of tanh.

`small` and `base` have Johnson's width, `six` and `nine` CycleGAN's, which has four times the arithmetic.
"""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from allaprima.manifest import Control

__all__ = ["SIZES", "Block", "Resnet", "convolution"]


class Size(NamedTuple):
    blocks: int  # residual blocks at 1/4 of the resolution
    width: int  # channels at the full resolution; four times as many at 1/4
    edge: int  # side of the first and last kernel


SIZES = {"small": Size(5, 32, 9), "base": Size(9, 32, 9), "six": Size(6, 64, 7), "nine": Size(9, 64, 7)}


def convolution(channels_in: int, channels_out: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2),
        nn.InstanceNorm2d(channels_out, affine=True),
    )


class Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = convolution(channels, channels, 3)
        self.second = convolution(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.relu(self.first(x)))


class Resnet(nn.Module):
    """(N, 3, H, W) float RGB in [0, 1], H and W multiples of `stride` -> the same shape, not clipped."""

    period = 1  # the exported graph hands it plain pixels
    stride = 4
    controls: tuple[Control, ...] = ()
    margin = 16
    scale = 1
    pictures = 1
    veil = 0.0  # it paints the whole picture

    def __init__(self, size: str = "base") -> None:
        super().__init__()
        blocks, width, edge = SIZES[size]
        self.stem = convolution(3, width, edge)
        self.down1 = convolution(width, 2 * width, 3, 2)
        self.down2 = convolution(2 * width, 4 * width, 3, 2)
        self.blocks = nn.Sequential(*[Block(4 * width) for _ in range(blocks)])
        self.up1 = convolution(4 * width, 2 * width, 3)
        self.up2 = convolution(2 * width, width, 3)
        self.head = nn.Conv2d(width, 3, edge, 1, edge // 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.packed_paint(x)

    def packed_paint(self, packed: Tensor) -> Tensor:
        paint: Tensor = self.head(self.before_head(packed))
        return paint

    def before_head(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, width, H, W), what the last convolution makes the painting of."""
        x = F.relu(self.up1(F.interpolate(self.encoded(x)[-1], scale_factor=2.0)))
        return F.relu(self.up2(F.interpolate(x, scale_factor=2.0)))

    def encoded(self, x: Tensor) -> list[Tensor]:
        """Features on the way in, finest first: full, half, a quarter of the resolution, then after each block."""
        found = [F.relu(self.stem(x))]
        found.append(F.relu(self.down1(found[-1])))
        found.append(F.relu(self.down2(found[-1])))
        for block in self.blocks:
            found.append(block(found[-1]))
        return found

    def folded(self) -> Resnet:
        return self  # instance norm depends on the picture: nothing folds
