"""A painter that works in a smaller size, and gives what is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..frame import Frame, Image
from ..opencv import import_cv2
from ..painting import Painter
from ..stylizer import Report

__all__ = ["Scaled", "scaled_size"]


def scaled_size(width: int, height: int, factor: float) -> tuple[int, int]:
    """(width, height) to work in: multiples of 8, which most networks would pad to anyway."""
    if factor == 1:
        return width, height
    return max(16, round(width * factor / 8) * 8), max(16, round(height * factor / 8) * 8)


class Scaled:
    """Shrinks, paints with `painter`, enlarges to what it would have given."""

    def __init__(self, painter: Painter, factor: float) -> None:
        """`factor` 1 is the painter itself; below, OpenCV is needed: raises DeviceError E_DISPLAY_LIBRARY."""
        self._painter, self._factor = painter, factor
        self._cv2 = import_cv2("paint in a smaller size") if factor != 1 else None

    def __call__(self, frame: Frame) -> Frame:
        if self._cv2 is None:
            return self._painter(frame)
        cv2, image = self._cv2, frame.image
        size = scaled_size(frame.width, frame.height, self._factor)
        small: Image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        painted = self._painter(replace(frame, picture=small)).image
        scale = painted.shape[1] // size[0]
        whole: Image = cv2.resize(
            painted, (frame.width * scale, frame.height * scale), interpolation=cv2.INTER_CUBIC
        )
        return replace(frame, picture=np.ascontiguousarray(whole))

    def set(self, **values: float | Sequence[float]) -> None:
        self._painter.set(**values)

    def reset(self) -> None:
        self._painter.reset()

    def close(self) -> None:
        self._painter.close()

    @property
    def controls(self) -> dict[str, float | list[float]]:
        return self._painter.controls

    @property
    def report(self) -> Report:
        return self._painter.report
