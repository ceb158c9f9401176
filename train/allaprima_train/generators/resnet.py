"""The reference: the residual generator of Johnson 2016 and CycleGAN (Zhu 2017), with `blocks` residual blocks.

Large and slow on purpose: what quality costs without the edge in mind. Deviations: zero instead of reflection
padding inside (the picture's own margin takes its place, see `paint`), nearest-neighbour resizing plus a
convolution instead of a transposed convolution (Odena 2016: no checkerboard), [0, 1] in place of tanh.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from allaprima.manifest import Control

__all__ = ["Resnet"]

BLOCKS = {"small": 5, "base": 9}


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
    veil = 0.0  # it paints the whole picture

    def __init__(self, size: str = "base", width: int = 32) -> None:
        super().__init__()
        self.stem = convolution(3, width, 9)
        self.down1 = convolution(width, 2 * width, 3, 2)
        self.down2 = convolution(2 * width, 4 * width, 3, 2)
        self.blocks = nn.Sequential(*[Block(4 * width) for _ in range(BLOCKS[size])])
        self.up1 = convolution(4 * width, 2 * width, 3)
        self.up2 = convolution(2 * width, width, 3)
        self.head = nn.Conv2d(width, 3, 9, 1, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.packed_paint(x)

    def packed_paint(self, packed: Tensor) -> Tensor:
        x = F.relu(self.stem(packed))
        x = F.relu(self.down1(x))
        x = F.relu(self.down2(x))
        x = self.blocks(x)
        x = F.relu(self.up1(F.interpolate(x, scale_factor=2.0)))
        x = F.relu(self.up2(F.interpolate(x, scale_factor=2.0)))
        paint: Tensor = self.head(x)
        return paint

    def folded(self) -> Resnet:
        return self  # instance norm depends on the picture: nothing folds
