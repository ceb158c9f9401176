"""Bytes in, bytes out, in torch: what the exported graph must do, said in the slowest and plainest way.

Sample pictures are painted through it while a network trains, and export compares every variant with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from allaprima.planes import Rules

from .generators import Generator, enlarged
from .generators.controls import as_tensors

__all__ = ["FrameModel", "PlanesModel", "from_unit", "memory_order", "paint", "to_unit"]


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
    """image uint8 [K, H, W, 3] RGB, strength float32 [1] in 0..1 -> styled uint8 [1, s·H, s·W, 3] RGB.

    K is the number of pictures that the generator makes one of, 1 for most, and s its scale. Strength 0 is the first
    picture, each pixel s x s times. After the strength, the generator's own controls: all of them, or none, which
    means their defaults.
    """

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, image: Tensor, strength: Tensor, *controls: Tensor) -> Tensor:
        generator = cast(Generator, self.generator)
        pictures = to_unit(image).permute(0, 3, 1, 2)  # (K, 3, H, W)
        painted = paint(generator, pictures.flatten(0, 1)[None], controls=controls or None)
        x = enlarged(pictures[:1], generator.scale)
        mixed = x + strength * (painted - x)
        return from_unit(mixed).permute(0, 2, 3, 1)


class PlanesModel(nn.Module):
    """The same for YUV 4:2:0: y, u, v uint8 [1, H, W, 1], [1, H/2, W/2, 1] twice, and strength -> the painted ones.

    For one of scale 1. A sample of u and v is the colour of its 2x2 pixels: copied to them, and afterwards their mean.
    What the numbers mean is given as in `allaprima.planes.Rules`. What the network sees is clipped to what RGB can be
    (video may be blacker than black, which it was not trained on); what shines through and what is mixed is not.
    """

    def __init__(self, generator: nn.Module, rules: Rules) -> None:
        super().__init__()
        self.generator = generator
        self.rgb_from_yuv, self.yuv_from_rgb, self.yuv_of_black = (torch.from_numpy(part) for part in rules)

    def forward(
        self, y: Tensor, u: Tensor, v: Tensor, strength: Tensor, *controls: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        height, width = y.shape[1:3]
        luma = F.pad(y.float().squeeze(-1), (0, width % 2, 0, height % 2), mode="replicate")
        chroma = [part.float().squeeze(-1).repeat_interleave(2, 1).repeat_interleave(2, 2) for part in (u, v)]
        yuv = torch.stack([luma, *chroma], dim=-1)  # (1, H, W, 3), both even
        generator = cast(Generator, self.generator)
        most = self.yuv_from_rgb.sum(1)[0] * 255  # of Y above black: 219, or 255 in full range
        most_chroma = self.yuv_from_rgb[1, 2] * 255  # of U and V, both ways
        high = torch.stack([most, most_chroma, most_chroma])
        low = torch.stack([torch.zeros(()), -most_chroma, -most_chroma])
        x, seen = (
            self._rgb(part) for part in (yuv, (yuv - self.yuv_of_black).clamp(low, high) + self.yuv_of_black)
        )
        painted = paint(generator, seen, controls=controls or None) + generator.veil * (x - seen)
        mixed = (x + strength * (painted - x)).permute(0, 2, 3, 1)
        answer = (mixed * 255) @ self.yuv_from_rgb.T + self.yuv_of_black
        mean = F.avg_pool2d(answer.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
        luma, chroma_both = from_unit(answer[..., :1] / 255), from_unit(mean[..., 1:] / 255)
        return luma[:, :height, :width], chroma_both[..., :1], chroma_both[..., 1:]

    def _rgb(self, yuv: Tensor) -> Tensor:
        """(1, H, W, 3) -> (1, 3, H, W) in [0, 1], or a little beyond."""
        return ((yuv - self.yuv_of_black) @ self.rgb_from_yuv.T / 255).permute(0, 3, 1, 2)


def to_unit(image: Tensor) -> Tensor:
    """The torch twin of `allaprima.pixels.to_unit`: bytes to [0, 1]."""
    return image.float() * (1 / 255)


def from_unit(image: Tensor) -> Tensor:
    """The torch twin of `allaprima.pixels.from_unit`: [0, 1] to bytes, halves up, NaN to 0."""
    scaled = torch.nan_to_num(image.float() * 255 + 0.5, nan=0.0, posinf=255.0, neginf=0.0)
    return scaled.clamp(0, 255).to(torch.uint8)


def memory_order(period: int) -> Tensor:
    """(3 period²): where the channels in the order (row, column, colour), as bytes lie in memory, are in the order of
    torch's pixel_unshuffle, (colour, row, column)."""
    return torch.arange(3 * period**2).reshape(3, period**2).T.flatten()
