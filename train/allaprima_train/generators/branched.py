"""Convolutions that are something else while they train and a plain 3x3 when they ship."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["BranchedConv", "FoldingConv", "SmoothUp"]


class FoldingConv(nn.Module):
    """A 3x3 convolution whose kernel is computed, in weight space, from what trains."""

    stride = 1

    def fold(self) -> tuple[Tensor, Tensor]:
        """The one kernel (out, in, 3, 3) and bias (out) that this layer amounts to."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):  # the kernel in fp32, always
            kernel, bias = self.fold()
        return F.conv2d(x, kernel, bias, stride=self.stride, padding=1)

    def folded(self) -> nn.Conv2d:
        """The same layer as an ordinary convolution, for export."""
        kernel, bias = self.fold()
        conv = nn.Conv2d(kernel.shape[1], kernel.shape[0], 3, stride=self.stride, padding=1)
        conv.weight.data, conv.bias.data = kernel.detach().clone(), bias.detach().clone()  # type: ignore[union-attr]
        return conv


class BranchedConv(FoldingConv):
    """A plain 3x3 convolution trained as a sum of linear branches.

    The branches are a 3x3, a 1x1 and a wide pair (3x3 to `expansion` channels, then 1x1 back), in the spirit of
    RepVGG (Ding 2021) and the collapsible blocks of SESR (Bhardwaj 2022). Without a non-linearity between
    them their sum is again one 3x3 convolution. It is summed in *weight* space before each use, so that
    training convolves once per layer too and the fold is what was trained, not an approximation of it. There
    is no batch norm, hence nothing that differs between training and inference.

    With `period` > 1 the layer feeds a pixel shuffle by that factor, and its weights are *balanced*: all
    phases of the shuffle answer a constant input alike. A flat area then stays flat; the grid with the
    period of the shuffle, which ICNR starting weights only postpone, has no weights left to live in.

    Shapes: (N, in, H, W) float -> (N, out, ceil(H / stride), ceil(W / stride)).
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        *,
        stride: int = 1,
        period: int = 1,
        expansion: int = 2,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        self.stride, self.period = stride, period
        wide = expansion * max(channels_in, channels_out)
        self.full = nn.Parameter(torch.empty(channels_out, channels_in, 3, 3))
        self.point = nn.Parameter(torch.zeros(channels_out, channels_in))
        self.expand = nn.Parameter(torch.empty(wide, channels_in, 3, 3))
        self.squeeze = nn.Parameter(torch.empty(channels_out, wide))
        self.bias = nn.Parameter(torch.zeros(channels_out // period**2))
        # He's variance, shared between the plain and the wide branch
        nn.init.normal_(self.full, std=gain * (1 / (9 * channels_in)) ** 0.5)
        nn.init.normal_(self.expand, std=(1 / (9 * channels_in)) ** 0.5)
        nn.init.normal_(self.squeeze, std=gain * (1 / wide) ** 0.5)

    def fold(self) -> tuple[Tensor, Tensor]:
        kernel = self.full + torch.einsum("oe,eikl->oikl", self.squeeze, self.expand)
        kernel = kernel + F.pad(self.point[:, :, None, None], (1, 1, 1, 1))
        phases = self.period**2
        if phases > 1:
            answer = kernel.sum((2, 3)).unflatten(0, (-1, phases))  # (C, phases, in): to a constant
            excess = (answer - answer.mean(1, keepdim=True)).flatten(0, 1)
            kernel = kernel - excess[:, :, None, None] / 9
        return kernel, self.bias.repeat_interleave(phases)


class SmoothUp(FoldingConv):
    """Twice the resolution: a 1x1 convolution and bilinear interpolation, as one 3x3 convolution and a pixel shuffle.

    A learned kernel in this place can answer slowly changing features with a different pattern in each phase,
    and under a style loss it does: what was meant as brush strokes became a weave with a period of eight pixels
    wherever there was texture, also with balanced weights, which only keep flat areas flat. Interpolation
    has a double zero at every frequency of the grid.

    Shapes: (N, in, H, W) float -> (N, 4 out, H, W), to be shuffled by 2.
    """

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.point = nn.Parameter(torch.randn(channels_out, channels_in) * (1 / channels_in) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(channels_out))
        # The two new pixels of a row lie a quarter to the left and to the right of the old one's centre.
        row = torch.tensor([[0.25, 0.75, 0.0], [0.0, 0.75, 0.25]])
        phases = torch.einsum("pi,qj->pqij", row, row).reshape(4, 3, 3)
        self.register_buffer("phases", phases, persistent=False)

    def fold(self) -> tuple[Tensor, Tensor]:
        kernel = torch.einsum("oi,pkl->opikl", self.point, self.get_buffer("phases")).flatten(0, 1)
        return kernel, self.bias.repeat_interleave(4)
