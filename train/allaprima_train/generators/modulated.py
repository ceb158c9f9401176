"""`mobile` with modulated convolutions: a style code decides how it paints (StyleGAN 2, Karras 2020).

    code ── mapping network ── w ── truncation ── A ── s (a factor for each input channel)
    modulated convolution:  y = conv(s x) / |s kernel|  + bias

The paper multiplies the kernel by s and normalises it. Multiplying the features before and after instead is the
same, and leaves the kernel constant: it folds, every runtime can prepare it, and a batch may have a code for each
picture. Dividing by the norm of what the kernel has become stands in for normalising features, and needs no
statistics of the picture. What it is all put together from is turned by w, too, by a scale (as the paper's tRGB) and a
shift: a block that only adds to what came before it can hardly change a tone.

Deviations: a frame generator, so there is a picture where StyleGAN 2 has a constant; no noise inputs, which would
flicker; a code of 16 numbers, as people turn
them, whose size counts, too; a mapping of four layers.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from allaprima.manifest import Control

from .branched import BranchedConv, beyond
from .mobile import Mobile

__all__ = ["CODE", "WIDTH", "Modulated"]

CODE = 16
"""Numbers in a style code: what people turn."""

WIDTH = 64
"""Numbers in w, which the mapping makes of it."""

MAPPING_RATE = 0.1
"""Share of the learning rate that the mapping's weights learn at: every block hangs on them (0.01 in StyleGAN)."""

EPSILON = 1e-4  # a larger one than the paper's 1e-8, which is 0 in fp16


class ModulatedConv(BranchedConv):
    """(N, in, H, W), w (N or 1, WIDTH) -> (N, out, H, W)."""

    def __init__(self, channels_in: int, channels_out: int, *, gain: float = 1.0) -> None:
        super().__init__(channels_in, channels_out, gain=gain)
        self.gain = gain
        self.style = nn.Linear(WIDTH, channels_in)
        nn.init.ones_(self.style.bias)  # it starts as a plain convolution

    def forward(self, x: Tensor, w: Tensor) -> Tensor:  # type: ignore[override]  # a style besides the picture
        with torch.autocast(x.device.type, enabled=False):
            kernel, bias = self.fold()
            scale = self.style(w.float())
            norm = (scale.square() @ kernel.square().sum((2, 3)).T + EPSILON).rsqrt()
        return _modulated(x, kernel, bias, scale, self.gain * norm)

    def folded(self) -> nn.Module:  # type: ignore[override]  # not only a convolution
        return FoldedModulatedConv(self)


class FoldedModulatedConv(nn.Module):
    """The same with its kernel, and the kernel's energy, as constants."""

    def __init__(self, trained: ModulatedConv) -> None:
        super().__init__()
        kernel, bias = (part.detach().clone() for part in trained.fold())
        self.style, self.gain = trained.style, trained.gain
        self.register_buffer("kernel", kernel)
        self.register_buffer("bias", bias)
        self.register_buffer("energy", kernel.square().sum((2, 3)).T)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        scale = self.style(w)
        norm = (scale.square() @ self.get_buffer("energy") + EPSILON).rsqrt()
        return _modulated(x, self.get_buffer("kernel"), self.get_buffer("bias"), scale, self.gain * norm)


def _modulated(x: Tensor, kernel: Tensor, bias: Tensor, scale: Tensor, norm: Tensor) -> Tensor:
    y = F.conv2d(beyond(x * scale[:, :, None, None]), kernel)
    return y * norm[:, :, None, None] + bias[:, None, None]


class StyleBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ModulatedConv(channels, channels, gain=2**0.5)
        self.second = ModulatedConv(channels, channels, gain=0.5)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        return x + self.second(F.relu(self.first(x, w)), w)


class Mapping(nn.Module):
    """Code (..., CODE) -> w (..., WIDTH): what is entangled in the code may be straight in w."""

    def __init__(self, layers: int = 4) -> None:
        super().__init__()
        widths = [CODE, *[WIDTH] * layers]
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(widths))
        for layer in cast(Iterable[nn.Linear], self.layers):
            nn.init.normal_(layer.weight, std=(2 / layer.in_features) ** 0.5 / MAPPING_RATE)
            nn.init.zeros_(layer.bias)

    def forward(self, code: Tensor) -> Tensor:
        x = code
        for layer in cast(Iterable[nn.Linear], self.layers):
            # Weights stored larger and used smaller: to Adam, whose steps have one size, that is a lower rate.
            x = F.leaky_relu(F.linear(x, MAPPING_RATE * layer.weight, MAPPING_RATE * layer.bias), 0.2)
        return x


class Modulated(Mobile):
    """`Mobile` with the controls `code` (CODE numbers) and `truncation` (0: the mean style, 1: the code's own).

    A code is given for the whole batch, (CODE,), for each picture, (N, CODE), or for each of its blocks,
    (N, blocks, CODE).
    """

    controls: tuple[Control, ...] = (
        Control(
            name="code",
            shape=(CODE,),
            default=0.0,
            minimum=-3.0,
            maximum=3.0,
            help="the style: all 0 is their mean, the first number turns what the paintings differ in most",
        ),
        Control(
            name="truncation",
            default=0.7,
            maximum=1.5,
            help="0 is the mean of all styles, 1 the code's own, above it exaggerates",
        ),
    )

    def __init__(self, size: str = "small") -> None:
        super().__init__(size)
        self.blocks = nn.ModuleList(StyleBlock(self.size.eighth) for _ in range(self.size.blocks))
        self.mapping = Mapping()
        self.tone = nn.Linear(WIDTH, 2 * self.size.quarter)
        nn.init.normal_(self.tone.weight, std=0.01)
        nn.init.zeros_(self.tone.bias)  # it starts as what a network without codes has there
        self.register_buffer("mean", torch.zeros(WIDTH))
        """Of w over many codes: the objective moves it while it trains."""

    def packed_paint(self, packed: Tensor, *controls: Tensor) -> Tensor:
        """As of `Mobile`, with the controls: all that is exported."""
        code, truncation = controls
        mean = self.get_buffer("mean")
        # a code of nothing but 0 is the mean, too: there is no such picture, and what the mapping makes of it is dull
        size = (code.square().sum(-1, keepdim=True) + EPSILON).sqrt().clamp(max=1)
        w = mean + truncation.reshape(-1, 1) * size * (self.mapping(code) - mean)
        styles = w.unbind(1) if code.ndim == 3 else [w.reshape(-1, WIDTH)] * len(self.blocks)
        before, close = self.entered(packed)
        near = F.relu(before)
        x = F.relu(self.down(near))
        for block, style in zip(self.blocks, styles, strict=True):
            x = block(x, style)
        scale, shift = self.tone(styles[-1])[..., None, None].chunk(2, dim=1)
        x = F.relu(F.pixel_shuffle(self.up(x), 2) + near)
        return self.left(x * (1 + scale) + shift, close)
