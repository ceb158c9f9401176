"""`mobile` with a second tail that only training sees (after AnimeGANv3's double tail, Chen 2023).

    pixels --> trunk --┬--> up, rise, head --> painting            the main tail: ships
                       └--> up, rise, head --> another painting    the support tail: takes the adversary's blows

Who fights an adversary paints noise with the strokes. So the support tail fights, and the main tail is taught to paint
a cleaned version of what the support tail paints; both read one trunk. `folded` leaves the support tail out: what is
exported is a plain `mobile`, and costs not a multiply-add more.

Both tails are alike, and begin alike where the network began with another (`[transfer]`): what the support tail cannot
draw, the main tail cannot learn from it. One without the fine features of a -fine size taught it blurred colours.
"""

from __future__ import annotations

import copy
from collections.abc import Set

import torch.nn.functional as F
from torch import Tensor

from .branched import folded
from .mobile import Mobile

__all__ = ["DoubleTail", "SupportAlone"]


class DoubleTail(Mobile):
    """(N, 3, H, W) float RGB in [0, 1], H and W multiples of `stride` -> the same shape, not clipped."""

    def __init__(self, size: str = "small") -> None:
        super().__init__(size)
        self.support_up = copy.deepcopy(self.up)
        self.support_rise = copy.deepcopy(self.rise) if self.size.half else None
        self.support_head = copy.deepcopy(self.head)

    def both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What the main and what the support tail paint, each (N, 3, H, W): the trunk is run once."""
        seen = self.trunk(F.pixel_unshuffle(x, self.period))
        return self._on(x, self.tail(*seen)), self._on(x, self.support_tail(*seen))

    def support_tail(self, near: Tensor, deep: Tensor, close: Tensor | None = None) -> Tensor:
        """As `tail`: (N, 48, H/4, W/4)."""
        up = F.relu(F.pixel_shuffle(self.support_up(deep), 2) + near)
        if self.support_rise is not None and close is not None:
            up = F.relu(self.support_rise(up) + close)
        paint: Tensor = self.support_head(up)
        return paint

    def support(self, x: Tensor) -> Tensor:
        """What the support tail paints alone, (N, 3, H, W)."""
        return self._on(x, self.support_tail(*self.trunk(F.pixel_unshuffle(x, self.period))))

    def begun(self, taken: Set[str]) -> None:
        """The support tail begins as the main one, where nothing of its own is among the weights `taken`."""
        if any(name.startswith("support_") for name in taken):
            return
        self.support_up.load_state_dict(self.up.state_dict())
        self.support_head.load_state_dict(self.head.state_dict())
        if self.support_rise is not None:
            self.support_rise.load_state_dict(self.rise.state_dict())

    def _on(self, x: Tensor, packed: Tensor) -> Tensor:
        return self.veil * x + F.pixel_shuffle(packed, self.period)

    def folded(self) -> DoubleTail:
        plain = folded(self)
        del plain.support_up, plain.support_rise, plain.support_head
        return plain


class SupportAlone:
    """A double tail as the adversary meets it: (N, 3, H, W) -> what the support tail paints, for losses that paint."""

    period, stride, margin, scale = Mobile.period, Mobile.stride, Mobile.margin, Mobile.scale
    controls = Mobile.controls

    def __init__(self, network: DoubleTail) -> None:
        self.network = network

    def __call__(self, x: Tensor) -> Tensor:
        return self.network.support(x)
