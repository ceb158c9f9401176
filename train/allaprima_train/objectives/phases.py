"""A clock for methods that train in phases. It is a buffer: a resumed training is in the phase that it was in."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["Clock"]


class Clock(nn.Module):
    """Counts steps: `tick` once in each, in the turn of the first player."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def tick(self) -> int:
        """The number of steps before this one."""
        steps = self.get_buffer("steps")
        steps += 1
        return int(steps) - 1
