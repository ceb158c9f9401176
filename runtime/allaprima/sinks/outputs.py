"""Several outputs at once, each at its own pace: one that is slow delays no other, one that fails ends no other."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

from ..errors import AllaPrimaError
from ..frame import Frame
from .sink import Sink

__all__ = ["Branch", "Outputs"]

_WAITING_FILE = 8  # frames between painter and encoder: a quarter of a second, 22 MB at 1280x720


class Branch:
    """A sink in a thread of its own, which opens nothing, and ends it.

    A live sink gets the newest frame: what waits is replaced. A file gets every frame as long as its encoder keeps up;
    beyond 8 that wait, frames are left out and counted. Times travel with frames: a recording is as long as it was.
    """

    def __init__(self, sink: Sink, *, on_shown: Callable[[Frame], None] | None = None) -> None:
        """`on_shown` hears of each frame when it is in the sink, in the branch's thread."""
        self.sink = sink
        self.error: AllaPrimaError | None = None
        """What ended it early. Any other exception is a bug of ours and raised by `close`."""
        self.left_out = 0
        self._bug: BaseException | None = None
        self._on_shown = on_shown
        self._changed = threading.Condition()
        self._waiting: deque[Frame] = deque()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=f"output {sink.name}", daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        """Failed, or its viewer has had enough."""
        return not self._thread.is_alive()

    def put(self, frame: Frame) -> None:
        """Hand over; never waits."""
        with self._changed:
            if self._closing:
                return
            if self.sink.live:
                self._waiting.clear()
            elif len(self._waiting) >= _WAITING_FILE:
                self.left_out += 1
                return
            self._waiting.append(frame)
            self._changed.notify_all()

    def end(self) -> None:
        """Finish what waits and complete the output; returns at once, `ended` tells when it is done."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def close(self) -> None:
        """The same, and wait for it. `error` is known afterwards."""
        self.end()
        self._thread.join()
        if self._bug is not None:
            raise self._bug

    def _run(self) -> None:
        try:
            with self.sink:
                while (frame := self._next()) is not None:
                    wanted = self.sink.put(frame)
                    if self._on_shown is not None:
                        self._on_shown(frame)
                    if not wanted:
                        return
        except AllaPrimaError as error:
            self.error = error
        except BaseException as error:
            self._bug = error

    def _next(self) -> Frame | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            return self._waiting.popleft() if self._waiting else None


class Outputs:
    """The outputs of a live run. As long as one of them works, the run goes on.

    with Outputs(tell=print) as outputs:
        outputs.add("recording", lambda: VideoSink("a.mp4"))
        outputs.add("page", lambda: PageSink())
        outputs.put(frame)
    """

    def __init__(self, *, tell: Callable[[str], None]) -> None:
        """`tell` gets a line for each output that fails or is complete."""
        self.failed: dict[str, AllaPrimaError] = {}
        """Outputs that could not be opened or failed while running."""
        self.notes: list[str] = []
        self.on_shown: Callable[[Frame], None] | None = None
        """Hears of each frame when it is in the first of the outputs, in that one's thread."""
        self._tell = tell
        self._branches: dict[str, Branch] = {}

    def add(self, name: str, open: Callable[[], Sink]) -> bool:
        """Open an output and feed it from now on. False: it does not open; that is told and remembered in `failed`."""
        try:
            sink = open()
        except AllaPrimaError as error:
            self._fail(name, error)
            return False
        self._branches[name] = Branch(sink, on_shown=lambda frame: self._shown(name, frame))
        return True

    def finish(self, name: str) -> None:
        """Complete an output while the others go on; it is told when it is done."""
        if name in self._branches:
            self._branches[name].end()

    def put(self, frame: Frame) -> None:
        """Hand a frame to all of them; never waits."""
        self.tend()
        for branch in self._branches.values():
            branch.put(frame)

    def tend(self) -> None:
        """Let go of those that have ended, and tell of it."""
        for name in [name for name, branch in self._branches.items() if branch.ended]:
            self._let_go(name)

    @property
    def names(self) -> list[str]:
        return list(self._branches)

    def __contains__(self, name: str) -> bool:
        return name in self._branches

    def sink(self, name: str) -> Sink | None:
        """The sink of that name, while it is fed."""
        branch = self._branches.get(name)
        return branch.sink if branch is not None else None

    def close(self) -> None:
        """Complete all of them."""
        for branch in self._branches.values():
            branch.end()  # all at the same time
        for name in list(self._branches):
            self._let_go(name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _let_go(self, name: str) -> None:
        branch = self._branches[name]
        try:
            branch.close()  # what is still on its way is shown under its name
        finally:
            del self._branches[name]
        notes = list(branch.sink.notes)
        if branch.left_out:
            notes.append(f"{branch.left_out} frames were left out, because its encoder was too slow")
        for note in notes:
            self.notes.append(f"{name}: {note}")
            self._tell(f"note: {name}: {note}")
        if branch.error is not None:
            self._fail(name, branch.error)
        elif not branch.sink.live:
            self._tell(f"{branch.sink.name} is complete")

    def _shown(self, name: str, frame: Frame) -> None:
        if self.on_shown is not None and name == next(iter(self._branches), None):
            self.on_shown(frame)

    def _fail(self, name: str, error: AllaPrimaError) -> None:
        self.failed[name] = error
        self._tell(f"warning[{error.code}]: {name}: {error}")
