"""Counting what live users feel: frames per second, and how old a picture is when it is shown."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass

__all__ = ["Meter", "Percentiles"]

_KEPT = 10_000  # measurements behind the percentiles; five minutes at 30 a second
_RECENT_SECONDS = 2.0


@dataclass(frozen=True)
class Percentiles:
    """Of a set of measurements, in milliseconds."""

    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, milliseconds: deque[float]) -> Percentiles | None:
        if not milliseconds:
            return None
        ordered = sorted(milliseconds)
        last = len(ordered) - 1
        return cls(*(ordered[round(last * part)] for part in (0.50, 0.95, 0.99)))


class Meter:
    """Told of each frame; a deque and two clocks, so that measuring costs nothing. Used from one thread."""

    def __init__(self, kept: int = _KEPT) -> None:
        """`kept` measurements, the newest, are behind the percentiles."""
        self.frames = 0
        self._started: float | None = None
        self._recent: deque[float] = deque()
        self._latency: deque[float] = deque(maxlen=kept)
        self._paint: deque[float] = deque(maxlen=kept)

    def start(self) -> None:
        """The clock runs from here; without it, from the first frame."""
        self._started = time.monotonic()

    def frame(self, *, paint_ms: float, latency_ms: float | None = None) -> None:
        """One frame was painted in `paint_ms`, and handed on `latency_ms` after it was captured (live sources)."""
        now = time.monotonic()
        if self._started is None:
            self._started = now
        self.frames += 1
        self._paint.append(paint_ms)
        if latency_ms is not None:
            self._latency.append(latency_ms)
        self._recent.append(now)
        while self._recent and now - self._recent[0] > _RECENT_SECONDS:
            self._recent.popleft()

    @property
    def seconds(self) -> float:
        return 0.0 if self._started is None else time.monotonic() - self._started

    @property
    def fps(self) -> float:
        """Over the last two seconds: what a display shows."""
        if len(self._recent) < 2:
            return 0.0
        span = self._recent[-1] - self._recent[0]
        return (len(self._recent) - 1) / span if span > 0 else 0.0

    @property
    def mean_fps(self) -> float:
        """Over the whole time: what a report says."""
        return self.frames / self.seconds if self.seconds > 0 else 0.0

    @property
    def latency_ms(self) -> Percentiles | None:
        """From capture to the sink; None for files, whose frames are never old."""
        return Percentiles.of(self._latency)

    @property
    def paint_ms(self) -> Percentiles | None:
        """In the painter alone."""
        return Percentiles.of(self._paint)
