"""What a style asks for: Gram matrices of its pictures, or of patches of them, and which of them counts for whom.

    targets = StyleTargets.of(pictures, features, LAYERS, pyramid=2, follow="nearest")
    losses.style(grams, targets.chosen(grams))

One picture has one set of Grams, and every painting is measured by it. Several pictures of one style differ, as an
artist's skies differ from the faces: `mean` asks for what they have in common, `drawn` for one of them at a time, by
chance, `nearest` for the one that a painting is nearest to already, so that skies follow skies. Patches carry this into
a picture: its own sky, its own trees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image as Pictures
from torch import Tensor

from . import losses
from .features import Vgg19
from .frame_model import to_unit

__all__ = ["Follow", "StyleTargets", "grams", "levels", "patches"]

Follow = Literal["mean", "drawn", "nearest"]


@dataclass(frozen=True)
class StyleTargets:
    grams: list[Tensor]
    """For each scale and layer, (targets, C, C)."""
    follow: Follow

    @classmethod
    @torch.no_grad()
    def of(
        cls,
        pictures: Sequence[Pictures.Image],
        features: Vgg19,
        layers: Sequence[str],
        pyramid: int,
        follow: Follow,
    ) -> StyleTargets:
        """Of pictures in RGB, of any size from 64 pixels up."""
        place = next(features.buffers()).device
        found = []
        for picture in pictures:
            x = to_unit(torch.from_numpy(np.array(picture))).permute(2, 0, 1)[None]
            found.append(grams(levels(x.to(place), features, layers, pyramid), layers))
        together = [torch.cat(same) for same in zip(*found, strict=True)]
        if follow == "mean":
            together = [one.mean(0, keepdim=True) for one in together]
        return cls(together, follow)

    @torch.no_grad()
    def chosen(self, painted: Sequence[Tensor]) -> list[Tensor]:
        """The targets of paintings with the Grams `painted`, each (N, C, C): the same list, (N or 1, C, C) each."""
        count, paintings = len(self.grams[0]), len(painted[0])
        if count == 1:
            return self.grams
        if self.follow == "drawn":
            which = torch.randint(count, (paintings,)).to(painted[0].device)
        else:
            distances = [
                losses.style(
                    [one[n : n + 1].expand(count, -1, -1) for one in painted], self.grams, reduce=False
                )
                for n in range(paintings)
            ]
            which = torch.stack(distances).argmin(1)
        return [one[which] for one in self.grams]


def levels(x: Tensor, features: Vgg19, layers: Sequence[str], pyramid: int) -> list[dict[str, Tensor]]:
    """Features of pictures (N, 3, H, W) in [0, 1], at full size, at half of it, ..."""
    return [features(x if level == 0 else F.avg_pool2d(x, 2**level), layers) for level in range(pyramid)]


def grams(found: Sequence[dict[str, Tensor]], layers: Sequence[str]) -> list[Tensor]:
    """Grams (N, C, C) of `levels`: all layers of the first, all of the second, ..."""
    return [losses.gram(level[layer]) for level in found for layer in layers]


def patches(picture: Pictures.Image, count: int, side: int, seed: int) -> list[Pictures.Image]:
    """`count` squares of a picture, drawn by chance: the same ones for the same seed."""
    chance = np.random.default_rng(seed)
    side = min(side, *picture.size)
    places = chance.uniform((0, 0), (picture.width - side, picture.height - side), (count, 2)).round()
    return [picture.crop((int(x), int(y), int(x) + side, int(y) + side)) for x, y in places]
