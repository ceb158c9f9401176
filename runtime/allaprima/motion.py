"""Where a picture's pixels were in the one before: optical flow by DIS, and pictures moved along it.

Kroeger, Timofte, Dai, Van Gool: Fast Optical Flow using Dense Inverse Search, 2016, as OpenCV has it. OpenCV is
imported when a `Motion` is made: what does not follow motion works without it.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .frame import Image
from .opencv import import_cv2

__all__ = ["FlowField", "Motion"]

FlowField = NDArray[np.float32]
"""(H, W, 2): for each pixel of a picture, how far to the right and down it was in the picture before."""


class Motion:
    """Flow between pictures of one size at a time. `quality` is DIS' preset; a millisecond or two at 640x360."""

    def __init__(self, quality: Literal["ultrafast", "fast", "medium"] = "ultrafast") -> None:
        cv2 = import_cv2("follow motion")
        presets = {
            "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
            "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
            "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
        }
        self._cv2: Any = cv2
        self._search = cv2.DISOpticalFlow_create(presets[quality])
        self._grid: FlowField = np.zeros((0, 0, 2), np.float32)

    def shrunk(self, image: Image, width: int, height: int) -> Image:
        """(H, W, 3) uint8 -> (height, width, 3), averaged."""
        if (height, width) == image.shape[:2]:
            return image
        small: Image = self._cv2.resize(image, (width, height), interpolation=self._cv2.INTER_AREA)
        return small

    def grey(self, image: Image) -> Image:
        """(H, W, 3) uint8 RGB -> (H, W) uint8 luma."""
        grey: Image = self._cv2.cvtColor(np.ascontiguousarray(image), self._cv2.COLOR_RGB2GRAY)
        return grey

    def between(self, now: Image, before: Image) -> FlowField:
        """The flow of two (H, W) uint8 pictures, at least 16x16, along which `moved` makes `now` of `before`."""
        flow: FlowField = self._search.calc(now, before, None)
        return flow

    def enlarged(self, flow: FlowField, width: int, height: int) -> FlowField:
        """The same motion for a picture of another size."""
        if flow.shape[:2] == (height, width):
            return flow
        factors = np.array([width / flow.shape[1], height / flow.shape[0]], np.float32)
        larger: FlowField = self._cv2.resize(flow * factors, (width, height))
        return larger

    def moved(self, before: NDArray[Any], flow: FlowField) -> Any:
        """A picture or any other map of the flow's size, (H, W) or (H, W, C), each pixel taken from where it was.
        What came in over the edge repeats the edge."""
        cv2 = self._cv2
        if self._grid.shape != flow.shape:
            rows, columns = np.indices(flow.shape[:2], np.float32)
            self._grid = np.stack([columns, rows], axis=-1)
        return cv2.remap(before, self._grid + flow, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
