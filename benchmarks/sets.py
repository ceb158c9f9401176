"""How near paintings come to a whole set of works: what quality.py measures besides, where there are five or more.

The kernel distance is that of Binkowski 2018: squared MMD, unbiased, kernel (x·y/d + 1)³. What is compared are squares
of 256 pixels, of pictures at a short side of 512, by *VGG-19's relu3_4 averaged over the square* (d = 256), divided by
the root mean square that it has over the works. Inception cannot be had without fetching it, so these figures are no
KID of anybody else's; the photographs' own, beside them, is what they are read against.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image as Pictures
from torch import Tensor, nn

from allaprima.frame import Image
from allaprima_train import quality
from allaprima_train.culture import score
from allaprima_train.data import find_pictures, prepared, read_picture
from allaprima_train.features import Vgg19
from allaprima_train.recipe import PictureSet

__all__ = ["culture", "kid", "pooled", "works"]

SQUARE, SHORT_SIDE = 256, 512  # pixels
MOST = 128  # squares of a set: each costs a tenth of a second and more
DRAWS = 50


def works(pictures: PictureSet) -> list[Pictures.Image]:
    """The set's pictures as training sees them: trimmed, and greyed where it asks for that."""
    return [prepared(read_picture(path), pictures) for path in find_pictures(pictures.pictures, "--style")]


def kid(
    every: Sequence[Pictures.Image], paintings: Sequence[Image], untouched: Tensor, features: Vgg19
) -> dict[str, float]:
    """Of the paintings to the works and of the untouched photographs (as `pooled` has them) to the works, and how many
    squares there were of each."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it keeps all features in memory: they are some hundred
        from torchmetrics.image.kid import KernelInceptionDistance

        wanted = pooled(every, features)
        scale = wanted.square().mean().sqrt()
        figures: dict[str, float] = {"squares_of_works": len(wanted)}
        painted = pooled([Pictures.fromarray(image) for image in paintings], features)
        for label, given in (("", painted), ("_untouched", untouched)):
            # as many as the smaller set has, drawn anew each time from the larger: no bias, less variance
            size = min(len(wanted), len(given))
            distance = KernelInceptionDistance(nn.Identity(), subsets=DRAWS, subset_size=size)
            torch.manual_seed(0)
            distance.update(wanted / scale, real=True)
            distance.update(given / scale, real=False)
            figures |= {f"kid{label}": round(float(distance.compute()[0]), 4), "squares": len(given)}
    return figures


@torch.no_grad()
def pooled(pictures: Sequence[Pictures.Image], features: Vgg19) -> Tensor:
    """(N, 256): relu3_4 of each square of the pictures, averaged over it; at most MOST squares, evenly taken."""
    every = torch.cat([squares(picture) for picture in pictures])
    some = every[:: math.ceil(len(every) / MOST)]
    with torch.autocast("cpu", torch.bfloat16):  # half the time, and no figure shows it
        found = [features(one[None], ("relu3_4",))["relu3_4"].float().mean((2, 3)) for one in some]
    return torch.cat(found)


def squares(picture: Pictures.Image) -> Tensor:
    """(N, 3, SQUARE, SQUARE) in [0, 1]: side by side from the middle of the picture at SHORT_SIDE."""
    x = quality.pixels(np.array(quality.shortened(picture, SHORT_SIDE)))
    top, left = (side % SQUARE // 2 for side in x.shape[2:])
    cut = x[..., top:, left:].unfold(2, SQUARE, SQUARE).unfold(3, SQUARE, SQUARE)
    return cut.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)


def culture(
    every: Sequence[Pictures.Image], paintings: Sequence[Image], photos: Sequence[Image]
) -> dict[str, float]:
    """The mean composite score of the paintings, and of the photographs, by the works."""
    reference = score.measure([score.describe_image(picture) for picture in every])

    def composite(image: Image) -> float:
        return score.compare(score.describe_image(Pictures.fromarray(image))[0], reference).composite

    return {
        f"composite{label}": round(float(np.mean([composite(image) for image in images])), 4)
        for label, images in (("", paintings), ("_untouched", photos))
    }
