"""The network that makes one picture of several of one view: it weighs them, and invents nothing.

    pictures --unshuffle 4--> stem --> 1/8, blocks --> 1/16, blocks --up--> + --up--> + --> head --> weights
        └───────────────────────── Laplacian pyramid of each, mixed by the weights' Gaussian one <──────┘

The same convolutions look at each picture and at how it differs from the mean of all; at 1/8 and 1/16 each also hears
what the others see. So pictures may come in any order, and what is the same in all stays as it is, whatever the
weights.

Mixing level by level (Burt, Adelson 1983; Mertens 2007 for exposures) is in the graph: a detail changes hands within
a pixel, a difference of brightness over some thirty, and no seam is left where weights turn. The network only learns
what a formula for well-exposedness or sharpness guesses: which picture to trust where.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from allaprima.manifest import Control

from .branched import BranchedConv, folded
from .mobile import Block

__all__ = ["SIZES", "Fuser"]


class Size(NamedTuple):
    quarter: int  # channels at 1/4 of the resolution
    eighth: int
    sixteenth: int
    blocks: int  # residual blocks at 1/8, and again at 1/16


SIZES = {"nano": Size(12, 16, 24, 1), "small": Size(24, 32, 48, 2)}

LEVELS = 4
CELL = 4


class Fuser(nn.Module):
    """(N, 3K, H, W) float RGB in [0, 1], K pictures, H and W multiples of `stride` -> (N, 3, H, W)."""

    period = 1  # it cuts its own cells: the pyramid needs pixels
    stride = 2**LEVELS
    margin = 0
    veil = 0.0
    scale = 1
    controls: tuple[Control, ...] = ()

    def __init__(self, size: str = "small", pictures: int = 2) -> None:
        super().__init__()
        self.pictures = pictures
        quarter, eighth, sixteenth, blocks = SIZES[size]
        self.stem = BranchedConv(2 * 3 * CELL**2, quarter)  # the picture, and its difference from the mean
        self.down = BranchedConv(quarter, eighth, stride=2)
        self.fine = nn.Sequential(*[Block(eighth) for _ in range(blocks)])
        self.deeper = BranchedConv(2 * eighth, sixteenth, stride=2)  # its own features, and the mean of all
        self.coarse = nn.Sequential(*[Block(sixteenth) for _ in range(blocks)])
        self.rise = BranchedConv(2 * sixteenth, eighth)
        self.up = BranchedConv(eighth, quarter)
        self.head = BranchedConv(quarter, 1, gain=0.3)

    def forward(self, x: Tensor, *controls: Tensor) -> Tensor:
        return self.packed_paint(x)

    def packed_paint(self, packed: Tensor, *controls: Tensor) -> Tensor:
        """(N, 3K, H, W) pixels -> (N, 3, H, W): all that is exported."""
        pictures = packed.unflatten(1, (self.pictures, 3))  # (N, K, 3, H, W)
        return blended(pictures, self.weights(pictures))

    def weights(self, pictures: Tensor) -> Tensor:
        """(N, K, 3, H, W) -> (N, K, 1, H, W): how much each counts where; they sum to one."""
        apart = pictures - pictures.mean(1, keepdim=True)
        seen = torch.cat([pictures, apart], 2).flatten(0, 1)  # (N K, 6, H, W)
        stem = F.relu(self.stem(F.pixel_unshuffle(seen, CELL)))
        fine = self.fine(F.relu(self.down(stem)))
        coarse = self.coarse(F.relu(self.deeper(self._heard(fine))))
        x = F.relu(F.interpolate(self.rise(self._heard(coarse)), scale_factor=2.0) + fine)
        x = F.relu(F.interpolate(self.up(x), scale_factor=2.0) + stem)
        logits = F.interpolate(self.head(x), scale_factor=float(CELL), mode="bilinear")
        return logits.unflatten(0, (-1, self.pictures)).float().softmax(1)

    def _heard(self, features: Tensor) -> Tensor:
        """Features of each picture, and behind them the mean over all pictures: (N K, C, h, w) -> (N K, 2 C, h, w)."""
        each = features.unflatten(0, (-1, self.pictures))
        together = each.mean(1, keepdim=True).expand_as(each)
        return torch.cat([each, together], 2).flatten(0, 1)

    def folded(self) -> Fuser:
        return folded(self)

    @torch.no_grad()
    def take_bytes(self) -> None:
        """Read pictures as bytes from now on, and answer in bytes: weights are the same for both. Of a folded one."""
        cast(nn.Conv2d, self.stem).weight /= 255


def blended(pictures: Tensor, weights: Tensor) -> Tensor:
    """(N, K, 3, H, W) mixed by (N, K, 1, H, W), which sum to one, level by level -> (N, 3, H, W)."""
    pictures, weights = pictures.float(), weights.float()
    details = []
    for _ in range(LEVELS):
        smaller = _halved(pictures)
        details.append((weights * (pictures - _doubled(smaller))).sum(1))
        pictures, weights = smaller, _halved(weights)
    mixed = (weights * pictures).sum(1)
    for detail in reversed(details):
        mixed = F.interpolate(mixed, scale_factor=2.0, mode="bilinear") + detail
    return mixed


def _halved(x: Tensor) -> Tensor:
    """(N, K, C, H, W) -> half of H and W."""
    return F.avg_pool2d(x.flatten(0, 1), 2).unflatten(0, (-1, x.shape[1]))


def _doubled(x: Tensor) -> Tensor:
    larger = F.interpolate(x.flatten(0, 1), scale_factor=2.0, mode="bilinear")
    return larger.unflatten(0, (-1, x.shape[1]))
