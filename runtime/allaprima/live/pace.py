"""What to do when the machine is too slow: paint smaller, then every second frame. Never later.

The rule, in full:

- *Load* is the time that painting takes for a frame, over the time between two frames; the mean of one second.
- Load above 0.95 for a second: one step down the ladder.
- Load that would stay below 0.7 one step up, by the number of pixels, for 5 seconds: one step up.
- A step up that had to be taken back within 10 seconds doubles those 5 seconds, up to 80.

Below the last step frames are dropped as before; what is shown is never older for that.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

__all__ = ["LADDER", "Pace", "Step"]

_TOO_MUCH, _EASY = 0.95, 0.7
_DOWN_SECONDS, _UP_SECONDS = 1.0, 5.0
_TAKEN_BACK_SECONDS = 10.0
_MOST_PATIENCE_SECONDS = 80.0


@dataclass(frozen=True)
class Step:
    """One way to paint."""

    name: str
    """For people."""
    size: float
    """Working size over the frames' own, of each side."""
    every: int
    """Paint every so many frames; those between are the last painting moved along with the picture."""

    @property
    def work(self) -> float:
        """Against painting every frame in full."""
        return self.size**2 / self.every


LADDER = (
    Step("full size", 1.0, 1),
    Step("3/4 size", 0.75, 1),
    Step("1/2 size", 0.5, 1),
    Step("1/2 size, every second frame", 0.5, 2),
    Step("1/3 size, every second frame", 1 / 3, 2),
)


class Pace:
    """Told what each frame took, answers how to paint the next. Knows no clock but the times that it is told."""

    def __init__(self, interval: float, ladder: tuple[Step, ...] = LADDER) -> None:
        """`interval` is the time between two frames of the source, in seconds."""
        self.interval = interval
        self.load = 0.0
        """Over the last second; above 1 the machine cannot keep up. When a step is
        answered, the load that asked for it."""
        self._ladder = ladder
        self._place = 0
        self._recent: deque[tuple[float, float]] = deque()  # (when, seconds of work), newest last
        self._easy_since: float | None = None
        self._patience = _UP_SECONDS
        self._went_up_at = float("-inf")

    @property
    def step(self) -> Step:
        return self._ladder[self._place]

    @property
    def lowest(self) -> bool:
        return self._place == len(self._ladder) - 1

    def frame(self, now: float, work: float) -> Step | None:
        """A frame was done at `now` after `work` seconds. The step to take, or None to go on as before."""
        self._recent.append((now, work))
        while self._recent[0][0] < now - _DOWN_SECONDS:
            self._recent.popleft()
        self.load = sum(work for _, work in self._recent) / len(self._recent) / self.interval
        whole = now - self._recent[0][0] >= 0.9 * _DOWN_SECONDS - self.interval
        if not whole or len(self._recent) < 2:
            return None
        if self.load > _TOO_MUCH:
            self._easy_since = None
            return None if self.lowest else self._down(now)
        return self._up_when_easy(now)

    def begin(self) -> None:
        """The step is taken from here on: what was measured before says nothing any more."""
        self._recent.clear()
        self._easy_since = None

    def _down(self, now: float) -> Step:
        if now - self._went_up_at < _TAKEN_BACK_SECONDS:
            self._patience = min(2 * self._patience, _MOST_PATIENCE_SECONDS)
        self._place += 1
        self.begin()
        return self.step

    def _up_when_easy(self, now: float) -> Step | None:
        if self._place == 0:
            return None
        better = self._ladder[self._place - 1]
        if self.load * better.work / self.step.work >= _EASY:
            self._easy_since = None
            return None
        if self._easy_since is None:
            self._easy_since = now
        if now - self._easy_since < self._patience:
            return None
        self._place -= 1
        self._went_up_at = now
        self.begin()
        return self.step
