"""A sink that keeps nothing: for measuring, and for looking at what a run would report."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from ..frame import Frame

__all__ = ["NullSink"]


class NullSink:
    """Counts frames."""

    name = "null"
    live = False
    takes_planes = True

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.frames = 0

    def put(self, frame: Frame) -> bool:
        self.frames += 1
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass
