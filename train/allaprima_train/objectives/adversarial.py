"""What adversarial methods share: opponents that hold still, a pool of earlier paintings, a clock, a penalty."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from .. import losses_gan

__all__ = ["Clock", "Pool", "gradient_penalty", "still"]


@contextmanager
def still(*networks: nn.Module) -> Iterator[None]:
    """What these networks answer inside has a gradient for what they looked at, and none for their weights.

    The opponent's weights must not be differentiated in the other player's turn: that would cost half as much again.
    """
    turned_off = [p for network in networks for p in network.parameters() if p.requires_grad]
    for parameter in turned_off:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in turned_off:
            parameter.requires_grad_(True)


class Pool(nn.Module):
    """The last `size` paintings: half of what the discriminator sees is from earlier steps (Shrivastava 2017).

    So it cannot only learn the generator's newest trick and forget the one before. Kept as bytes, as real
    pictures come, in buffers: a checkpoint holds them, and a resumed training sees the same ones.
    """

    def __init__(self, size: int, side: int) -> None:
        super().__init__()
        self.register_buffer("pictures", torch.zeros(size, 3, side, side, dtype=torch.uint8))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def exchange(self, fresh: Tensor) -> Tensor:
        """(N, 3, side, side) in [0, 1], just painted -> as many to judge: each itself, or an earlier one."""
        pictures, filled = self.get_buffer("pictures"), self.get_buffer("filled")
        judged = fresh.detach().clamp(0, 1)
        for place, painting in enumerate(judged.clone()):
            count = int(filled)
            kept = (painting * 255).round().to(torch.uint8)
            if count < len(pictures):
                pictures[count] = kept
                filled += 1
            elif count and torch.rand(()) < 0.5:
                chosen = int(torch.randint(count, ()))
                judged[place] = pictures[chosen].float() / 255
                pictures[chosen] = kept
        return judged


class Clock(nn.Module):
    """Steps of the training, for what happens at some of them only; in a buffer, as `Pool`. `pieces` of each, as
    [train] accumulate says, are one step: a checkpoint holds steps, so that a resume may have other pieces."""

    def __init__(self, pieces: int = 1) -> None:
        super().__init__()
        self.pieces = pieces
        self.ticked = 0  # of this step's pieces; none between two steps
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def tick(self) -> int:
        """The number of this step, from 0; once for each of its pieces."""
        if self.ticked == 0:
            self.get_buffer("steps").add_(1)
        self.ticked = (self.ticked + 1) % self.pieces
        return self.now - 1

    @property
    def now(self) -> int:
        """Steps that have begun."""
        return int(self.get_buffer("steps"))


def gradient_penalty(score: Callable[[Tensor], Tensor], real: Tensor, every: int) -> Tensor:
    """R1 (losses_gan.py) at real pictures (N, 3, H, W), in fp32 whatever the precision is around it.

    Times `every`, the steps from one to the next: penalties that come seldom must count for more (Karras 2020, lazy
    regularisation).
    """
    with torch.autocast(real.device.type, enabled=False):
        looked_at = real.detach().float().requires_grad_(True)
        return every * losses_gan.r1(score(looked_at), looked_at)
