"""How good a painting is, in numbers. The training loop and the benchmarks measure with this file.

    content     structure_distance (features), edge_recall, gradient_correlation, ssim, psnr_db: how much of the
                photograph is still there
    style       style_distance to the style's pictures
    temporal    flicker where a still picture only has a sensor's noise, drift where it moves

No one of them is quality: a photograph left as it is has perfect content and steadiness, the style's picture perfect
style. Definitions are fixed; benchmarks/quality.py and docs/quality.md compare by them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image as Pictures
from torch import Tensor

from allaprima.frame import Image
from allaprima.metrics import static_jitter

from . import losses
from .features import Vgg19
from .frame_model import to_unit

__all__ = [
    "STYLE_SIZES",
    "Seen",
    "StyleTarget",
    "drift",
    "edge_recall",
    "flicker",
    "gradient_correlation",
    "see",
    "structure_distance",
    "style_distance",
]

STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu3_4")
STYLE_SIZES = (256, 384, 512, 768)  # short sides in pixels at which a style's picture is looked at
CONTENT_LAYER = "relu3_4"

NOISE = 2.0  # levels of 255: a webcam in a lit room


def pixels(image: Image, place: torch.device | str = "cpu") -> Tensor:
    """(H, W, 3) uint8 -> (1, 3, H, W) float in [0, 1]."""
    return to_unit(torch.from_numpy(np.array(image)).to(place)).permute(2, 0, 1)[None]


@dataclass(frozen=True)
class Seen:
    """A picture through the feature network."""

    content: Tensor
    """relu3_4, (1, 256, H/4, W/4)."""
    grams: list[Tensor]
    """(1, C, C) of the four style layers, at full and then at half size."""


@torch.no_grad()
def see(features: Vgg19, x: Tensor) -> Seen:
    """Everything that is measured of a (1, 3, H, W) picture in [0, 1], in one look at each size."""
    full, half = (features(one, STYLE_LAYERS) for one in (x, F.avg_pool2d(x, 2)))
    with torch.autocast(x.device.type, enabled=False):  # features may be bf16; in their sums it would show
        grams = [losses.gram(level[layer]) for level in (full, half) for layer in STYLE_LAYERS]
    return Seen(full[CONTENT_LAYER], grams)


def structure_distance(painted: Seen, photo: Seen) -> float:
    """`losses.structure` of relu3_4 of two pictures of one size: 0 the same, 1 unrelated."""
    return float(losses.structure(painted.content, photo.content))


class StyleTarget:
    """The Grams of a style's pictures at each of STYLE_SIZES. Of several pictures, their mean."""

    def __init__(self, features: Vgg19, pictures: Sequence[Pictures.Image]) -> None:
        self.grams: dict[int, list[Tensor]] = {}
        place = next(features.buffers()).device
        for size in STYLE_SIZES:
            found = [
                see(features, pixels(np.array(shortened(picture, size)), place)).grams for picture in pictures
            ]
            self.grams[size] = [torch.stack(one).mean(0) for one in zip(*found, strict=True)]


def style_distance(paintings: Sequence[Sequence[Tensor]], target: StyleTarget) -> float:
    """Of the Grams of some paintings: the mean over paintings and Grams of |G - G*|² / |G*|², at the style's best
    size."""
    by_size = []
    for wanted in target.grams.values():
        squares = [
            ((one - best).square().sum() / best.square().sum())
            for painting in paintings
            for one, best in zip(painting, wanted, strict=True)
        ]
        by_size.append(float(torch.stack(squares).mean()))
    return min(by_size)


def edge_recall(painted: Image, photo: Image, reach: int = 2) -> float:
    """Share of the photograph's edges that the painting has, too, within `reach` pixels: 0..1. (H, W, 3) uint8.

    Canny after a blur of 1.4 pixels. Its thresholds follow the picture's own gradients (their 80th and 93rd
    percentile), so that a painting of other contrast is judged by where its lines are, not by how strong.
    """
    wanted, found = edges(photo), edges(painted)
    near = cv2.dilate(found, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)) > 0
    return float((near & (wanted > 0)).sum() / max(1, int((wanted > 0).sum())))


def edges(image: Image) -> NDArray[np.uint8]:
    """(H, W) of 0 and 255."""
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (0, 0), 1.4)
    across, down = cv2.Sobel(grey, cv2.CV_16S, 1, 0), cv2.Sobel(grey, cv2.CV_16S, 0, 1)
    low, high = np.percentile(np.abs(across).astype(np.int32) + np.abs(down), (80, 93))
    found: NDArray[np.uint8] = np.asarray(cv2.Canny(across, down, max(1, low), max(2, high)), np.uint8)
    return found


def gradient_correlation(painted: Image, photo: Image, sigma: float = 2.0) -> float:
    """Pearson correlation, -1 to 1, of the gradient magnitudes of two (H, W, 3) uint8 pictures, of their luma after a
    blur of `sigma` pixels: are the strong edges still the strong ones? A picture without any gives 0."""
    one, other = (_gradients(image, sigma) for image in (painted, photo))
    spread = float(one.std() * other.std())
    return float(((one - one.mean()) * (other - other.mean())).mean() / spread) if spread else 0.0


def _gradients(image: Image, sigma: float) -> NDArray[np.float32]:
    """(H, W) magnitudes, in levels per pixel."""
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), sigma)
    down, across = np.gradient(grey)
    return np.asarray(np.hypot(down, across), np.float32)


def flicker(paint: Callable[[Image], Image], photo: Image) -> float:
    """Change of paintings of a still picture under a sensor's noise, over that of the noisy pictures: 1 is as steady
    as the source, below is steadier."""
    return static_jitter(paint, photo, noise=NOISE, frames=4) / (2**0.5 * NOISE)


def drift(
    paint: Callable[[Image], Image], photo: Image, by: tuple[int, int] = (3, 5), border: int = 32
) -> float:
    """Paint a picture and the same moved by some pixels (down, right), which no stride divides: the root mean square
    difference of the paintings where they show the same, in levels of 255. 0: strokes move with things.

    `border`: pixels left out all around, where a painting may know of the border.
    """
    down, right = by
    still = paint(photo)[down:, right:].astype(np.float32)
    moved = paint(photo[down:, right:]).astype(np.float32)
    inside = slice(border, -border)
    return float(np.sqrt(np.square(still[inside, inside] - moved[inside, inside]).mean()))


def shortened(picture: Pictures.Image, side: int) -> Pictures.Image:
    """At a short side of `side` pixels."""
    factor = side / min(picture.size)
    return picture.resize(
        (max(side, round(picture.width * factor)), max(side, round(picture.height * factor)))
    )
