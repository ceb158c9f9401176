"""`mobile` with a choice of domains: one network, many styles, and everything in between.

    conditions = share of each domain @ table  (+ code @ table of codes)

The label scales and shifts features behind the convolutions: two numbers for each channel behind every one whose answer
is cut at zero, and a scale for what each block adds and for what is near by where the painting is put together (a shift
there would be another one's, too). The stem's and the scales brought a student of three strangers, after 300 steps,
4 dB nearer to the hardest of them (and 2 dB farther from the easiest), one of three kin 0.2 to 0.6 dB nearer to each.
StarGAN (Choi 2018) appends the label to the picture as planes of equal value, which a convolution can only turn into
the shift; the scale is what conditional normalisation has besides (Dumoulin 2017), without the normalisation, which
house rules keep out of what ships. All numbers come from one small matrix product, so the convolutions stay constant,
fold, and go to INT8 like those of `mobile`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from allaprima.manifest import Control

from .mobile import Block, Mobile

__all__ = ["DomainMobile"]


class DomainMobile(Mobile):
    """`Mobile` with the controls `domain` (K weights, of which only the shares count) and, with `code`, `code`.

    Each is given for the whole batch, (K,), or for each picture, (N, K).
    """

    def __init__(self, size: str, labels: Sequence[str], code: int = 0) -> None:
        super().__init__(size)
        self.controls = (
            Control(
                name="domain",
                shape=(len(labels),),
                labels=tuple(labels),
                default=0.0,
                defaults=(1.0, *(0.0 for _ in labels[1:])),
                help="which style, or how much of each: the weights are divided by their sum",
            ),
        )
        if code:
            self.controls += (
                Control(
                    name="code",
                    shape=(code,),
                    default=0.0,
                    minimum=-3.0,
                    maximum=3.0,
                    help="which of the domain's ways to paint: any numbers",
                ),
            )
        chosen = self.size
        self.turns = [chosen.quarter, chosen.eighth, *[chosen.eighth] * chosen.blocks, chosen.quarter]
        self.scales = [*[chosen.eighth] * chosen.blocks, chosen.quarter]
        numbers = 2 * sum(self.turns) + sum(self.scales)
        # Domains start apart: equal ones would get equal gradients until the classifier has learned something.
        self.domains = nn.Parameter(0.3 * torch.randn(len(labels), numbers))
        self.codes = nn.Parameter(0.1 * torch.randn(code, numbers)) if code else None

    def packed_paint(self, packed: Tensor, *controls: Tensor) -> Tensor:
        """As of `Mobile`, with the controls: all that is exported."""
        turns, scales = self._conditions(*controls)
        before, close = self.entered(packed)
        stem = F.relu(_turned(before, turns[0]))
        x = F.relu(_turned(self.down(stem), turns[1]))
        for block, turn, scale in zip(cast(Iterable[Block], self.blocks), turns[2:-1], scales, strict=False):
            x = x + scale * block.second(F.relu(_turned(block.first(x), turn)))
        x = F.relu(_turned(F.pixel_shuffle(self.up(x), 2) + scales[-1] * stem, turns[-1]))
        return self.left(x, close)

    def _conditions(
        self, domain: Tensor, code: Tensor | None = None
    ) -> tuple[list[tuple[Tensor, Tensor]], list[Tensor]]:
        """For each turn its scale and shift, and for each of the others its scale: (N or 1, width, 1, 1)."""
        weights = domain.reshape(-1, len(self.domains)).clamp(min=0)
        share = weights / weights.sum(1, keepdim=True).clamp(
            min=1e-3
        )  # all zero: no domain, unturned features
        numbers = share @ self.domains
        if self.codes is not None and code is not None:
            numbers = numbers + code.reshape(-1, len(self.codes)) @ self.codes
        factors, shifts = numbers[:, :, None, None].split(
            [sum(self.turns) + sum(self.scales), sum(self.turns)], dim=1
        )
        scales = (1 + factors).split([*self.turns, *self.scales], dim=1)
        turns = zip(scales[: len(self.turns)], shifts.split(self.turns, dim=1), strict=True)
        return list(turns), list(scales[len(self.turns) :])


def _turned(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    return x * turn[0] + turn[1]
