"""`mobile` with a content branch beside its style branch, which only training sees.

    pixels --> trunk --┬--> up, head --> painting                 the style branch: ships
                       └--> squeeze, up, head --> forms           the content branch: what must not get lost

The content branch has to draw the photograph's forms, in grey at half the resolution, from no more than `NARROW`
numbers for each 8 x 8 pixels: room for what things are, none for texture. While it does, the trunk cannot forget
them. `folded` leaves it out: what is exported is a plain `mobile`.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from .branched import BranchedConv, SmoothUp, folded
from .mobile import Mobile

__all__ = ["Retention"]

NARROW = 16


class Retention(Mobile):
    """(N, 3, H, W) float RGB in [0, 1], H and W multiples of `stride` -> the same shape, not clipped."""

    def __init__(self, size: str = "small") -> None:
        super().__init__(size)
        quarter, eighth = self.size[:2]
        self.content_squeeze = BranchedConv(eighth, NARROW)
        self.content_up = SmoothUp(NARROW, quarter, 2)
        self.content_head = SmoothUp(quarter, 1, 2, gain=0.3)

    def features(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """The trunk's."""
        return self.trunk(F.pixel_unshuffle(x, self.period))

    def style_branch(self, x: Tensor, features: tuple[Tensor, Tensor, Tensor | None]) -> Tensor:
        """The painting of x, (N, 3, H, W), not clipped."""
        return self.veil * x + F.pixel_shuffle(self.tail(*features), self.period)

    def content_branch(self, deep: Tensor) -> Tensor:
        """The forms in what the trunk sees from farther away: (N, 1, H/2, W/2), grey, not clipped."""
        x = F.relu(self.content_squeeze(deep))
        x = F.relu(F.pixel_shuffle(self.content_up(x), 2))
        return F.pixel_shuffle(self.content_head(x), 2)

    def folded(self) -> Retention:
        plain = folded(self)
        del plain.content_squeeze, plain.content_up, plain.content_head
        return plain
