"""Who paints where: a small network that looks at a photograph and answers a weight for each of several painters.

    pixels --unshuffle 4--> 3x3 --> 3x3 --> 3x3 --bilinear 4--> logits

It teaches and is not shipped (objectives/mixture.py).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .branched import BranchedConv

__all__ = ["Gate"]

SUREST = (
    3.0  # of a logit, both ways: 400 to 1 between two painters; unbounded, one early step too far is for good
)


class Gate(nn.Module):
    """(N, 3, H, W) float in [0, 1], shares (N, K) -> (N, K, H, W): weights that sum to one in each pixel, fp32.

    H and W are multiples of 4. softmax(logits + log shares): a painter without a share paints nowhere, one that has
    all of it everywhere.
    """

    def __init__(self, painters: int, width: int = 24) -> None:
        super().__init__()
        self.stem = BranchedConv(48, width)
        self.middle = BranchedConv(width, width)
        self.head = BranchedConv(width, painters, gain=0.3)

    def forward(self, x: Tensor, shares: Tensor) -> Tensor:
        seen = F.leaky_relu(
            self.stem(F.pixel_unshuffle(x, 4)), 0.1
        )  # ReLU died here: all places alike, for good
        seen = F.leaky_relu(self.middle(seen), 0.1)
        bounded = SUREST * torch.tanh(self.head(seen).float() / SUREST)
        logits = F.interpolate(bounded, scale_factor=4, mode="bilinear")
        return (logits + shares.log()[:, :, None, None]).softmax(1)
