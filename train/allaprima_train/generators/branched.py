"""Convolutions that are something else while they train and a plain 3x3 when they ship."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from allaprima.kernels import in_steps

__all__ = [
    "BranchedConv",
    "FoldingConv",
    "PackedUp",
    "SmoothUp",
    "TwoLevels",
    "beyond",
    "folded",
    "int8_kernel",
    "packed",
]

Network = TypeVar("Network", bound=nn.Module)


def folded(network: Network) -> Network:
    """A copy with every folding convolution replaced by the plain one that it amounts to."""
    plain = copy.deepcopy(network)
    for module in list(plain.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, FoldingConv):
                setattr(module, name, child.folded())
    return plain


class FoldingConv(nn.Module):
    """A 3x3 convolution whose kernel is computed, in weight space, from what trains."""

    stride = 1
    rounding = False
    """Compute with the kernel as int8 would hold it; see fake_int8.py."""

    def fold(self) -> tuple[Tensor, Tensor]:
        """The one kernel (out, in, 3, 3) and bias (out) that this layer amounts to."""
        raise NotImplementedError

    def unfold(self, kernel: Tensor, bias: Tensor) -> None:
        """Take weights that fold into this kernel and bias, as far as there are such: a pretrained start."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):  # the kernel in fp32, always
            kernel, bias = self.fold()
            kernel = int8_kernel(kernel) if self.rounding else kernel
        return F.conv2d(beyond(x), kernel, bias, stride=self.stride)

    def folded(self) -> nn.Conv2d:
        """The same layer as an ordinary convolution, for export."""
        kernel, bias = self.fold()
        conv = nn.Conv2d(
            kernel.shape[1], kernel.shape[0], 3, stride=self.stride, padding=1, padding_mode="replicate"
        )
        conv.weight.data, conv.bias.data = kernel.detach().clone(), bias.detach().clone()  # type: ignore[union-attr]
        return conv


def beyond(x: Tensor) -> Tensor:
    """Features with one row and one column more all around, a copy of the outermost: what a 3x3 kernel reaches for.

    Zeros in this place tell a network where the border is, and no margin of repeated pixels around the picture is wide
    enough to cut off what it makes of that: in plain skies it drew frames of 20 to 80 levels. Copies cost as much time
    as 16 pixels of margin, which are no longer needed (docs/performance.md).
    """
    if torch.compiler.is_compiling() and not torch.compiler.is_exporting():
        # torch 2.13 mistakes the memory order of this pad's gradient and stops in the middle of compiling
        x = torch.cat([x[..., :1, :], x, x[..., -1:, :]], dim=-2)
        return torch.cat([x[..., :1], x, x[..., -1:]], dim=-1)
    return F.pad(x, (1, 1, 1, 1), mode="replicate")


def int8_kernel(kernel: Tensor) -> Tensor:
    """(out, in, 3, 3) rounded to 8 bits per output channel, symmetric, as export rounds it; still float.

    The gradient passes the rounding as if it were not there (the straight-through estimator, Bengio 2013).
    """
    whole = kernel.detach()
    scale = whole.abs().amax((1, 2, 3)).clamp(min=1e-12) / 127
    steps = torch.from_numpy(in_steps(whole.cpu().numpy(), scale.cpu().numpy())).to(whole)
    return kernel + (steps * scale[:, None, None, None] - whole)


class BranchedConv(FoldingConv):
    """A plain 3x3 convolution trained as a sum of linear branches.

    The branches are a 3x3, a 1x1 and a wide pair (3x3 to `expansion` channels, then 1x1 back), in the spirit of
    RepVGG (Ding 2021) and the collapsible blocks of SESR (Bhardwaj 2022). Without a non-linearity between
    them their sum is again one 3x3 convolution. It is summed in *weight* space before each use, so that
    training convolves once per layer too and the fold is what was trained, not an approximation of it. There
    is no batch norm, hence nothing that differs between training and inference.

    Shapes: (N, in, H, W) float -> (N, out, ceil(H / stride), ceil(W / stride)).
    """

    def __init__(
        self, channels_in: int, channels_out: int, *, stride: int = 1, expansion: int = 2, gain: float = 1.0
    ) -> None:
        super().__init__()
        self.stride = stride
        wide = expansion * max(channels_in, channels_out)
        self.full = nn.Parameter(torch.empty(channels_out, channels_in, 3, 3))
        self.point = nn.Parameter(torch.zeros(channels_out, channels_in))
        self.expand = nn.Parameter(torch.empty(wide, channels_in, 3, 3))
        self.squeeze = nn.Parameter(torch.empty(channels_out, wide))
        self.bias = nn.Parameter(torch.zeros(channels_out))
        # He's variance, shared between the plain and the wide branch
        nn.init.normal_(self.full, std=gain * (1 / (9 * channels_in)) ** 0.5)
        nn.init.normal_(self.expand, std=(1 / (9 * channels_in)) ** 0.5)
        nn.init.normal_(self.squeeze, std=gain * (1 / wide) ** 0.5)

    def fold(self) -> tuple[Tensor, Tensor]:
        kernel = self.full + torch.einsum("oe,eikl->oikl", self.squeeze, self.expand)
        return kernel + F.pad(self.point[:, :, None, None], (1, 1, 1, 1)), self.bias

    @torch.no_grad()
    def unfold(self, kernel: Tensor, bias: Tensor) -> None:
        """Exact: the plain branch holds it all, the others add nothing yet and learn on."""
        self.full.copy_(kernel)
        self.bias.copy_(bias)
        self.point.zero_()
        self.squeeze.zero_()


class SmoothUp(FoldingConv):
    """`factor` times the resolution: bilinear interpolation, then a learned filter on the fine pixels.

    Both are linear, so together they are one 3x3 convolution and a pixel shuffle. A free kernel in this place
    can answer slowly changing features with a different pattern in each phase, and under a style loss it does:
    what was meant as brush strokes became a weave with the period of the shuffle wherever there was texture.
    (ICNR starting weights only postpone it; weights balanced over the phases keep flat areas flat, and no
    others.) Interpolation has a double zero at every frequency of the grid, and a filter on fine pixels, being the
    same for all of them, cannot bring one back.

    Shapes: (N, in, H, W) float -> (N, factor^2 out, H, W), to be shuffled by `factor`.
    """

    def __init__(self, channels_in: int, channels_out: int, factor: int, *, gain: float = 1.0) -> None:
        super().__init__()
        self.factor = factor
        side = factor // 2 * 2 + 1  # the widest filter that stays within the 3x3 coarse pixels
        scale = gain * (1 / (side**2 * channels_in)) ** 0.5
        self.filter = nn.Parameter(torch.randn(channels_out, channels_in, side, side) * scale)
        self.bias = nn.Parameter(torch.zeros(channels_out))
        self.register_buffer("weights", interpolation(factor, side), persistent=False)

    def fold(self) -> tuple[Tensor, Tensor]:
        weights = self.get_buffer("weights")
        kernel = torch.einsum("oide,pdk,qel->opqikl", self.filter, weights, weights)
        return kernel.flatten(0, 2), self.bias.repeat_interleave(self.factor**2)

    @torch.no_grad()
    def unfold(self, kernel: Tensor, bias: Tensor) -> None:
        """By least squares: exact up to rounding for what was folded from such a layer."""
        weights = self.get_buffer("weights").double()
        phases = torch.einsum("pdk,qel->pqklde", weights, weights).flatten(4).flatten(0, 3)
        wanted = kernel.double().unflatten(0, (-1, self.factor, self.factor)).permute(1, 2, 4, 5, 0, 3)
        found = torch.linalg.lstsq(phases, wanted.flatten(4).flatten(0, 3)).solution  # (side², out in)
        self.filter.copy_(found.T.reshape(self.filter.shape))
        self.bias.copy_(bias.unflatten(0, (-1, self.factor**2)).mean(1))


class TwoLevels(FoldingConv):
    """A free convolution of cells of 4x4 pixels, and beside it one of cells of 2x2, which is the same for each of the
    four in a larger cell.

    What the second finds has twice the resolution, lies unshuffled (`packed`) behind each other, and costs no pass
    over half-resolution features in memory: both are one 3x3 convolution of what `pixel_unshuffle` by 4 gives.

    Shapes: (N, 48, H, W) float -> (N, 4 fine + near, H, W).
    """

    def __init__(self, fine: int, near: int) -> None:
        super().__init__()
        self.fine, self.near = BranchedConv(12, fine), BranchedConv(48, near)

    def fold(self) -> tuple[Tensor, Tensor]:
        kernel, bias = self.fine.fold()
        own, own_bias = self.near.fold()
        # of 2x2 pixels, colour first, each of the four cells: to the order of 4x4 pixels
        cells = packed(kernel).unflatten(1, (3, 2, 2, 2, 2)).permute(0, 1, 4, 2, 5, 3, 6, 7).flatten(1, 5)
        return torch.cat([cells, own]), torch.cat([bias.repeat_interleave(4), own_bias])

    @torch.no_grad()
    def unfold(self, kernel: Tensor, bias: Tensor) -> None:
        count = 4 * self.fine.full.shape[0]
        cells = kernel[:count].unflatten(1, (3, 2, 2, 2, 2)).permute(0, 1, 3, 5, 2, 4, 6, 7).flatten(1, 5)
        self.fine.unfold(unpacked(cells), bias[:count:4])
        self.near.unfold(kernel[count:], bias[count:])


class PackedUp(SmoothUp):
    """`SmoothUp` by two of features that lie packed in cells of 2x2: their positions are the pixels it interpolates.

    Shapes: (N, 4 in, H, W) float -> (N, 16 out, H, W), to be shuffled by four.
    """

    def __init__(self, channels_in: int, channels_out: int, *, gain: float = 1.0) -> None:
        super().__init__(channels_in, channels_out, 2, gain=gain)

    def fold(self) -> tuple[Tensor, Tensor]:
        kernel, bias = super().fold()
        cells = packed(kernel).unflatten(0, (-1, 2, 2, 2, 2)).permute(0, 3, 1, 4, 2, 5, 6, 7).flatten(0, 4)
        return cells, bias.repeat_interleave(4)

    @torch.no_grad()
    def unfold(self, kernel: Tensor, bias: Tensor) -> None:
        cells = kernel.unflatten(0, (-1, 2, 2, 2, 2)).permute(0, 2, 4, 1, 3, 5, 6, 7).flatten(0, 4)
        super().unfold(unpacked(cells), bias[::4])


def packed(kernel: Tensor) -> Tensor:
    """A 3x3 convolution of positions (out, in, 3, 3) as one of cells of 2x2 positions: (4 out, 4 in, 3, 3)."""
    places = _places(kernel)
    return torch.einsum("oide,pqkd,rsle->opriqskl", kernel, places, places).flatten(3, 5).flatten(0, 2)


def unpacked(kernel: Tensor) -> Tensor:
    """(4 out, 4 in, 3, 3) -> (out, in, 3, 3): what `packed` makes it of; of any other the mean over the four."""
    places = _places(kernel)
    cells = kernel.unflatten(1, (-1, 2, 2)).unflatten(0, (-1, 2, 2))
    return torch.einsum("opriqskl,pqkd,rsle->oide", cells, places, places) / 4


def _places(kernel: Tensor) -> Tensor:
    """(2, 2, 3, 3): is the position `q` of a cell `k - 1` cells away `d - 1` positions away from the position `p`?"""
    p, q, k, d = torch.meshgrid(*(torch.arange(n) for n in (2, 2, 3, 3)), indexing="ij")
    return (2 * (k - 1) + q - p == d - 1).to(kernel)


def interpolation(factor: int, side: int) -> Tensor:
    """(factor, side, 3): how much the three coarse pixels around count for the fine pixel `phase` + offset."""
    weights = torch.zeros(factor, side, 3)
    for phase in range(factor):
        for offset in range(side):
            cell, fine = divmod(phase + offset - side // 2, factor)
            centre = (fine + 0.5) / factor - 0.5  # of the fine pixel, from its coarse pixel's centre
            near = 0 if centre < 0 else 1  # the neighbour on that side
            weights[phase, offset, cell + 1] += 1 - abs(centre)
            weights[phase, offset, cell + 2 * near] += abs(centre)
    return weights
