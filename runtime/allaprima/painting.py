"""A stylizer with all that may surround it: only a part of the picture, a calm hand, nothing painted twice.

    with Painting(stylizer, weights=[open_region("moving")], stabiliser=Stabiliser(0.8), still=Still()) as paint:
        play(source, paint, sink)

One stream of frames each, one thread at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import Protocol, Self

from .blend import blend
from .frame import Frame
from .masks import Weights
from .pixels import resize
from .stylizer import Report
from .temporal import Stabiliser, Still

__all__ = ["Painter", "Painting"]


class Painter(Protocol):
    """What paints frames: a `Stylizer`, a `Mixture`, a `Painting` of either."""

    def __call__(self, frame: Frame) -> Frame: ...

    def set(self, **values: float | Sequence[float]) -> None: ...

    def reset(self) -> None: ...

    def close(self) -> None: ...

    @property
    def controls(self) -> dict[str, float | list[float]]: ...

    @property
    def report(self) -> Report: ...


class Painting:
    """Paints; closes the painter with itself."""

    def __init__(
        self,
        painter: Painter,
        *,
        weights: Sequence[Weights] = (),
        stabiliser: Stabiliser | None = None,
        still: Still | None = None,
    ) -> None:
        """`weights` say where (all of them together); `stabiliser` and `still` are explained in `temporal`."""
        self.painter = painter
        self.skipped = 0
        """Frames that were shown without painting, because nothing had moved."""
        self._weights = weights
        self._stabiliser = stabiliser
        self._still = still
        self._last: Frame | None = None

    def __call__(self, frame: Frame) -> Frame:
        last = self._last
        if self._still is not None and self._still(frame.image) and last is not None:
            self.skipped += 1
            return replace(last, index=frame.index, time=frame.time)
        painted = self.painter(frame)
        for weights in self._weights:
            height, width = painted.image.shape[:2]
            source = resize(frame.image, width, height)
            painted = replace(painted, picture=blend(source, painted.image, weights(source)))
        if self._stabiliser is not None:
            painted = replace(painted, picture=self._stabiliser(frame.image, painted.image))
        self._last = painted if self._still is not None else None
        return painted

    def follow(self, frame: Frame) -> Frame | None:
        """The last painting moved along with the picture, instead of a new one; None where nothing fits: the first
        time, after a cut. Needs OpenCV: raises DeviceError E_DISPLAY_LIBRARY without."""
        if self._stabiliser is None:
            self._stabiliser = Stabiliser(0.0)  # remembers from now on, and changes nothing
        image = self._stabiliser.follow(frame.image)
        return None if image is None else replace(frame, picture=image, alpha=None)

    def set(self, **values: float | Sequence[float]) -> None:
        self.painter.set(**values)
        if self._still is not None:
            self._still.reset()  # the same picture is painted otherwise now

    @property
    def controls(self) -> dict[str, float | list[float]]:
        return self.painter.controls

    @property
    def report(self) -> Report:
        return self.painter.report

    def reset(self) -> None:
        """Forget earlier frames, as after a cut or with another painter."""
        self.painter.reset()
        self._last = None
        if self._stabiliser is not None:
            self._stabiliser.reset()
        if self._still is not None:
            self._still.reset()

    def close(self) -> None:
        self.painter.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
