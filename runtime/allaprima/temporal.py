"""Calm video: paintings that follow the picture's motion instead of flickering on their own.

A network paints each frame anew, and a sensor's noise is enough to make it choose another stroke. Three remedies, all
optional, none of them in the network:

    still = Still()                    # nothing moved: the last painting again, without painting
    stabiliser = Stabiliser(0.8)       # the last painting, moved along, mixed into this one
    calm = stabiliser(image, painted)
    between = stabiliser.follow(image) # the last painting, moved along, instead of this one

They are for live video and files alike and belong to one stream of frames each. What they cost is measured by
benchmarks/stabilise.py; docs/performance.md has the figures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .frame import Image
from .motion import FlowField, Motion
from .opencv import import_cv2

__all__ = ["Stabiliser", "Still"]

_FLOW_SIDE = 640  # the flow's longer side; at the full 1280x720 it costs five times as much and helps nobody
_STANDS_STILL = 0.3  # pixels: flow of a picture that stands still; it is not moved then, for moving blurs
_NOISE, _OTHER = 4.0, 16.0  # of 255: a difference that is noise; one that is something else coming into view
_CUT = 28.0  # of 255: so different on the average, after following the motion, that it is another scene
_BLOCK = 16  # pixels: a block's mean has a sixteenth of a sensor's noise
_STILL = 2.0  # of 255, of a block's mean: more than a sensor's noise of 5 ever makes of it


class Still:
    """Whether a picture shows what the last painted one did, but for a sensor's noise.

    Blocks of 16x16 pixels are compared by their means, so that a fingertip counts and noise does not. The comparison is
    with the last picture that was *painted*: a slow change adds up until it is seen. 1 to 2 ms at 1280x720.
    """

    def __init__(self, threshold: float = _STILL) -> None:
        """`threshold`: the largest change of a block's mean that is no change, in levels of 255."""
        self._threshold = threshold
        self._painted: NDArray[np.int16] | None = None

    def __call__(self, image: Image) -> bool:
        """(H, W, 3) uint8. True: paint nothing, show the last painting. False: paint this one; it is remembered."""
        means = _means(image)
        before = self._painted
        if before is not None and before.shape == means.shape and _apart(means, before) <= self._threshold:
            return True
        self._painted = means
        return False

    def reset(self) -> None:
        """Paint the next one in any case: the style or a control has changed."""
        self._painted = None


@dataclass
class _Memory:
    source: Image
    """(h, w, 3) uint8, of the flow's size."""
    painted: Image
    """(H, W, 3) uint8, as shown."""


class Stabiliser:
    """Mixes the last painting, moved along with the picture, into the present one.

    Where the motion explains the picture, `amount` of what is shown comes from before; where it does not - something
    came into view, the light changed, another scene - less, down to nothing. Standing parts are mixed in place and
    stay as sharp as they are; moving parts lose a little sharpness, the more the higher the amount.
    """

    def __init__(self, amount: float = 0.8) -> None:
        """`amount`: 0 to 0.95, of the last painting. Needs OpenCV: raises DeviceError E_DISPLAY_LIBRARY without."""
        if not 0 <= amount <= 0.95:
            raise ValueError(f"amount goes from 0 to 0.95, not {amount}")
        self._amount = amount
        self._motion = Motion()
        self._cv2: Any = import_cv2("stabilise")
        self._memory: _Memory | None = None

    def __call__(self, image: Image, painted: Image) -> Image:
        """A source picture (H, W, 3) and its painting (s·H, s·W, 3), both uint8 -> the painting, steadied."""
        small = self._small(image)
        shown = painted
        before = self._before(small, painted.shape)
        if before is not None and self._amount > 0:
            found = self._followed(small, before)
            if found is not None:
                moved, trust = found
                shown = self._mixed(painted, moved, trust * np.float32(self._amount))
        self._memory = _Memory(small, shown)
        return shown

    def follow(self, image: Image) -> Image | None:
        """The last painting as it looks on this source picture, without painting; None where there is none that
        fits: after a cut, at the start, at another size."""
        small = self._small(image)
        before = self._before(small, None)
        found = self._followed(small, before) if before is not None else None
        if found is None:
            return None
        self._memory = _Memory(small, found[0])
        return found[0]

    def reset(self) -> None:
        """Forget the past, as after a cut or with another style."""
        self._memory = None

    def _small(self, image: Image) -> Image:
        factor = min(1.0, _FLOW_SIDE / max(image.shape[:2]))
        height, width = (max(16, round(side * factor)) for side in image.shape[:2])
        return self._motion.shrunk(image, width, height)

    def _before(self, small: Image, painted: tuple[int, ...] | None) -> _Memory | None:
        before = self._memory
        if before is None or before.source.shape != small.shape:
            return None
        return before if painted in (None, before.painted.shape) else None

    def _followed(self, small: Image, before: _Memory) -> tuple[Image, NDArray[np.float32]] | None:
        """The last painting moved along, and (h, w) float32 how far it can be trusted, 0 to 1; None after a cut."""
        cv2 = self._cv2
        flow = self._motion.between(self._motion.grey(small), self._motion.grey(before.source))
        moves = np.abs(flow).max(axis=2) > _STANDS_STILL
        flow[~moves] = 0
        moving = bool(moves.any())
        expected = self._motion.moved(before.source, flow) if moving else before.source
        red, green, blue = cv2.split(cv2.blur(cv2.absdiff(small, expected), (5, 5)))
        surprise = cv2.max(cv2.max(red, green), blue).astype(np.float32)
        if float(surprise.mean()) > _CUT:
            return None
        trust = np.clip((_OTHER - surprise) * np.float32(1 / (_OTHER - _NOISE)), 0, 1)
        return (self._moved(before.painted, flow) if moving else before.painted), trust

    def _moved(self, painted: Image, flow: FlowField) -> Image:
        height, width = painted.shape[:2]
        moved: Image = self._motion.moved(painted, self._motion.enlarged(flow, width, height))
        return moved

    def _mixed(self, painted: Image, moved: Image, share: NDArray[np.float32]) -> Image:
        """`share` of `moved`, the rest of `painted`."""
        cv2 = self._cv2
        share = cv2.resize(share, (painted.shape[1], painted.shape[0]))
        mixed: Image = cv2.blendLinear(painted, moved, 1 - share, share)
        return mixed


def _means(image: Image) -> NDArray[np.int16]:
    """(H, W, 3) uint8 -> (H/16, W/16, 3) int16: each block's mean."""
    from PIL import Image as Pictures

    return np.asarray(Pictures.fromarray(image).reduce(_BLOCK)).astype(np.int16)


def _apart(means: NDArray[np.int16], others: NDArray[np.int16]) -> int:
    return int(np.abs(means - others).max(initial=0))
