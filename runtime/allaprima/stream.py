"""From source through painter to sink, each at its own pace. All threads of a run live here and in `sources.live`.

    live:  source thread -> Latest (one slot, newest wins) -> paint, show
    file:  source thread -> Ahead (bounded, every frame)   -> paint -> Behind (bounded, its own thread) -> encode
           (several frames at once, in order, where the painter can: see `Submitting`)

An error in any of the threads reaches the caller of `play`, or the person in the `for` loop; then all threads end.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar, runtime_checkable

from .errors import AllaPrimaError
from .frame import Frame
from .meter import Meter, Percentiles
from .sinks.sink import Sink
from .sources.source import Source

__all__ = ["Ahead", "Behind", "Latest", "Played", "paced", "play"]


@dataclass(frozen=True)
class Played:
    """What a run did."""

    frames: int
    """Painted and handed to the sink."""
    dropped: int
    """Captured, but replaced by a newer one before the painter was free. Files drop none."""
    seconds: float
    """From the start to the last frame in the sink."""
    fps: float
    paint_ms: Percentiles | None
    """From the beginning of a frame to its end; where several are painted at once, longer than 1000 / fps."""
    latency_ms: Percentiles | None
    """From capture to sink; None for files."""
    stopped: bool
    """The viewer ended it."""


def play(
    source: Source,
    stylize: Callable[[Frame], Frame],
    sink: Sink,
    *,
    skip: int = 0,
    on_frame: Callable[[Frame, Meter], None] | None = None,
) -> Played:
    """Paint all that the source gives, until it ends or the sink has had enough. Both are open, and stay so.

    A live source is painted as it comes and frames are dropped to keep up; a file in full, with decoding, painting and
    encoding at the same time; a file shown live (a window) at its own speed. The first `skip` frames are read and not
    painted: an earlier run has done them. `on_frame` gets each painted frame, in this thread, for a progress bar.
    Raises whatever source, painter or sink raise.
    """
    live = source.live or sink.live
    meter = Meter()
    meter.start()
    over = threading.Event()
    wanted = islice(source, skip, None) if skip else source
    frames: Iterable[Frame] = wanted if source.live or not sink.live else paced(wanted, over)
    reader: Latest[Frame] | Ahead[Frame] = Latest(frames) if live else Ahead(frames)
    stopped = False
    with reader, _setting(over), _writer(sink) as writer, ExitStack() as stack:
        for painted, paint_ms in stack.enter_context(closing(_painted(reader, stylize))):
            stopped = not writer.put(painted)
            meter.frame(
                paint_ms=paint_ms, latency_ms=(time.monotonic() - painted.time) * 1000 if live else None
            )
            if on_frame is not None:
                on_frame(painted, meter)
            if stopped:
                break
    return Played(
        frames=meter.frames,
        dropped=reader.dropped,
        seconds=meter.seconds,
        fps=meter.mean_fps,
        paint_ms=meter.paint_ms,
        latency_ms=meter.latency_ms,
        stopped=stopped,
    )


@runtime_checkable
class Submitting(Protocol):
    """A painter that may have several frames going at once: a `Stylizer` with profile "file"."""

    @property
    def in_flight(self) -> int: ...

    def submit(self, frame: Frame) -> Callable[[], Frame]: ...


def _painted(frames: Iterable[Frame], stylize: Callable[[Frame], Frame]) -> Generator[tuple[Frame, float]]:
    """Painted frames in their order, each with the milliseconds from its beginning to its end."""
    going: deque[tuple[float, Callable[[], Frame]]] = deque()

    def oldest() -> tuple[Frame, float]:
        begun, wait = going.popleft()
        return wait(), (time.perf_counter() - begun) * 1000

    try:
        for frame in frames:
            if isinstance(stylize, Submitting) and stylize.in_flight > 1:
                going.append((time.perf_counter(), stylize.submit(frame)))
            else:
                going.append((time.perf_counter(), partial(stylize, frame)))
            if len(going) >= getattr(stylize, "in_flight", 1):
                yield oldest()
        while going:
            yield oldest()
    finally:
        while going:  # left early: what is still painted is waited for, and whatever it says nobody wants it
            with suppress(AllaPrimaError):
                oldest()


def paced(frames: Iterable[Frame], over: threading.Event | None = None) -> Iterator[Frame]:
    """A file's frames at the speed at which they were taken, as if they came from a camera: `time` becomes
    `time.monotonic()` at the moment that they are due. Setting `over` ends it, even in a long wait."""
    over = over or threading.Event()
    offset: float | None = None
    for frame in frames:
        if offset is None:
            offset = time.monotonic() - frame.time
        due = frame.time + offset
        if over.wait(max(0.0, due - time.monotonic())):
            return
        yield replace(frame, time=due)


@contextmanager
def _setting(event: threading.Event) -> Iterator[None]:
    try:
        yield
    finally:
        event.set()


class Numbered(Protocol):
    """What travels: frames, and what is made of them."""

    @property
    def index(self) -> int: ...


T = TypeVar("T", bound=Numbered)


class _Reader(Generic[T]):
    """Reads an iterable in a thread of its own. What the two kinds of readers share: errors, the end, ending early."""

    def __init__(self, frames: Iterable[T]) -> None:
        self._frames = frames
        self._changed = threading.Condition()
        self._waiting: deque[T] = deque()
        self._error: BaseException | None = None
        self._ended = False
        self._closing = False
        self.dropped = 0
        self._thread = threading.Thread(target=self._read, name="reading frames", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[T]:
        while not self.ended:
            frame = self.take()
            if frame is not None:
                yield frame

    def take(self, seconds: float | None = None) -> T | None:
        """The next frame; None where none comes within `seconds`, or none will: then `ended` is true. Raises what the
        source raised, after its last frame."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ended, seconds)
            if self._waiting:
                frame = self._waiting.popleft()
                self._changed.notify_all()
                return frame
            if self._ended and self._error is not None:
                raise self._error
            return None

    @property
    def ended(self) -> bool:
        """The source is at its end and every frame is taken. An error of its is still to be raised, by `take`."""
        with self._changed:
            return self._ended and not self._waiting and self._error is None

    def close(self) -> None:
        """End the thread. It may be in the source, waiting for a frame; a camera's watchdog bounds that."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self) -> None:
        try:
            for frame in self._frames:
                with self._changed:
                    self._store(frame)
                    if self._closing:
                        return
                    self._changed.notify_all()
        except BaseException as error:  # handed to whoever iterates
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _store(self, frame: T) -> None:
        """Put the frame with those that wait; `_changed` is held."""
        raise NotImplementedError


class Latest(_Reader[T]):
    """The newest frame, and only that: for live sources, where an old frame is worse than none.

    Replaced frames are counted in `dropped`, with those that the source itself counted in `Frame.index`
    and nobody took. Order is kept.
    """

    _last_index: int | None = None

    def _store(self, frame: T) -> None:
        if self._waiting:
            self._waiting.clear()
            self.dropped += 1
        if self._last_index is not None:
            self.dropped += max(0, frame.index - self._last_index - 1)
        self._last_index = frame.index
        self._waiting.append(frame)


class Ahead(_Reader[T]):
    """Every frame, in order, up to `depth` of them decoded ahead: for files."""

    def __init__(self, frames: Iterable[T], depth: int = 4) -> None:
        self._depth = depth
        super().__init__(frames)

    def _store(self, frame: T) -> None:
        self._changed.wait_for(lambda: len(self._waiting) < self._depth or self._closing)
        self._waiting.append(frame)


class Behind:
    """A sink in a thread of its own, up to `depth` frames behind the painter: for encoding while painting.

    `put` raises what the sink raised, as soon as it is known. Leaving the block waits until all is in the sink, also
    with an error: those frames are painted, and what becomes of them is the sink's decision.
    """

    def __init__(self, sink: Sink, depth: int = 4) -> None:
        self._sink = sink
        self._depth = depth
        self._changed = threading.Condition()
        self._waiting: deque[Frame] = deque()
        self._error: BaseException | None = None
        self._closing = False
        self._wanted = True
        self._thread = threading.Thread(target=self._write, name="writing frames", daemon=True)
        self._thread.start()

    def put(self, frame: Frame) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: len(self._waiting) < self._depth or self._error is not None)
            if self._error is not None:
                raise self._error
            self._waiting.append(frame)
            self._changed.notify_all()
            return self._wanted

    def close(self) -> None:
        """Wait until every frame is in the sink, end the thread, and raise what went wrong there."""
        self._end()
        if self._error is not None:
            raise self._error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        if self._error is not None and self._error is not error:
            raise self._error  # the sink must not be finished as if it were whole

    def _end(self) -> None:
        """Until the thread has ended, nobody else may touch the sink: an encoder is not for two threads at once.
        So Ctrl-C, here, only lets go of the frames that wait; it is raised when the one being encoded is done."""
        interrupt: BaseException | None = None
        while True:
            try:
                with self._changed:
                    self._closing = True
                    if interrupt is not None:
                        self._waiting.clear()
                    self._changed.notify_all()
                self._thread.join()
                break
            except (KeyboardInterrupt, SystemExit) as error:
                interrupt = error
        if interrupt is not None:
            raise interrupt

    def _write(self) -> None:
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._waiting or self._closing)
                    if not self._waiting:
                        return
                    frame = self._waiting.popleft()
                    self._changed.notify_all()
                self._wanted = self._sink.put(frame) and self._wanted
        except BaseException as error:  # handed to the painter at its next frame
            with self._changed:
                self._error = error
                self._waiting.clear()
                self._changed.notify_all()


class _Direct:
    """A sink in the painter's own thread: window systems want theirs, and a queue before a screen is only delay."""

    def __init__(self, sink: Sink) -> None:
        self.put = sink.put

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


def _writer(sink: Sink) -> Behind | _Direct:
    return _Direct(sink) if sink.live else Behind(sink)
