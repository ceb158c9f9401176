"""A frame: the one thing that travels from source through stylizer to sink."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Frame", "Image"]

Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Frame:
    """A picture and when it belongs.

    It knows nothing of models or devices. Steps that change the picture make a new frame with
    `dataclasses.replace(frame, image=...)`, so that index, time and alpha travel on by themselves.
    """

    image: Image
    """(H, W, 3) uint8, RGB."""
    index: int = 0
    """Position in its source, from 0. A live source counts the frames that nobody took, too."""
    time: float = 0.0
    """Seconds. Files: presentation time in the source's clock. Live: `time.monotonic()` at capture."""
    alpha: Image | None = None
    """(H, W) uint8 coverage of a picture that has it; carried along, never painted."""

    @property
    def height(self) -> int:
        return int(self.image.shape[0])

    @property
    def width(self) -> int:
        return int(self.image.shape[1])
