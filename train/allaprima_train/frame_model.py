"""Bytes in, bytes out, in torch: what the exported graph must do, said in the slowest and plainest way.

Sample pictures are painted through it while a network trains, and export compares every variant with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .generators import Generator, enlarged
from .generators.controls import as_tensors

__all__ = ["FrameModel", "from_unit", "paint", "to_unit"]


def paint(
    generator: Generator, x: Tensor, margin: int | None = None, controls: Sequence[Tensor] | None = None
) -> Tensor:
    """Paint pictures of any size: (N, 3, H, W) float in [0, 1] -> (N, 3, s·H, s·W), not clipped; s is the scale.

    `controls`: one tensor for each of the generator's; None: their defaults.

    The edge pixels are repeated outwards, by `margin` (the generator's own, unless a loss compares) and up to
    the next multiple of its stride, and cut off again afterwards: the convolutions pad with zeros, and what
    that does to the border lies in what is cut off.
    """
    height, width = x.shape[-2:]
    margin, stride = generator.margin if margin is None else margin, generator.stride
    bottom, right = margin + -height % stride, margin + -width % stride
    values = as_tensors(generator.controls, place=x.device) if controls is None else controls
    painted = generator(F.pad(x, (margin, right, margin, bottom), mode="replicate"), *values)
    top, scale = margin * generator.scale, generator.scale
    return painted[..., top : top + scale * height, top : top + scale * width]


class FrameModel(nn.Module):
    """image uint8 [1, H, W, 3] RGB, strength float32 [1] in 0..1 -> styled uint8 [1, s·H, s·W, 3] RGB.

    s is the generator's scale. Strength 0 is the picture itself, each pixel s x s times. After the strength, the
    generator's own controls: all of them, or none, which means their defaults.
    """

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, image: Tensor, strength: Tensor, *controls: Tensor) -> Tensor:
        x = to_unit(image).permute(0, 3, 1, 2)  # (1, 3, H, W)
        generator = cast(Generator, self.generator)
        painted, x = paint(generator, x, controls=controls or None), enlarged(x, generator.scale)
        mixed = x + strength * (painted - x)
        return from_unit(mixed).permute(0, 2, 3, 1)


def to_unit(image: Tensor) -> Tensor:
    """The torch twin of `allaprima.pixels.to_unit`: bytes to [0, 1]."""
    return image.float() * (1 / 255)


def from_unit(image: Tensor) -> Tensor:
    """The torch twin of `allaprima.pixels.from_unit`: [0, 1] to bytes, halves up, NaN to 0."""
    scaled = torch.nan_to_num(image.float() * 255 + 0.5, nan=0.0, posinf=255.0, neginf=0.0)
    return scaled.clamp(0, 255).to(torch.uint8)
