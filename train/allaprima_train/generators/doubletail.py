"""`mobile` with a second tail that only training sees (after AnimeGANv3's double tail, Chen 2023).

    pixels --> trunk --┬--> up, head --> painting          the main tail: ships
                       └--> up, head --> coarse painting   the support tail: takes the adversary's blows

Who fights an adversary paints noise with the strokes. So the support tail fights, and the main tail is taught to paint
a cleaned version of what the support tail paints; both read one trunk. `folded` leaves the support tail out: what is
exported is a plain `mobile`, and costs not a multiply-add more.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from .branched import SmoothUp, folded
from .mobile import Mobile

__all__ = ["DoubleTail"]


class DoubleTail(Mobile):
    """(N, 3, H, W) float RGB in [0, 1], H and W multiples of `stride` -> the same shape, not clipped."""

    def __init__(self, size: str = "small") -> None:
        super().__init__(size)
        quarter, eighth = self.size[:2]
        self.support_up = SmoothUp(eighth, quarter, 2)
        self.support_head = SmoothUp(quarter, 3, 4, gain=0.3)

    def both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What the main and what the support tail paint, each (N, 3, H, W): the trunk is run once."""
        near, deep, close = self.trunk(F.pixel_unshuffle(x, self.period))
        support = self.support_head(F.relu(F.pixel_shuffle(self.support_up(deep), 2) + near))
        main = self.veil * x + F.pixel_shuffle(self.tail(near, deep, close), self.period)
        return main, self.veil * x + F.pixel_shuffle(support, 4)

    def folded(self) -> DoubleTail:
        plain = folded(self)
        del plain.support_up, plain.support_head
        return plain
