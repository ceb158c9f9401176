"""Frames between threads: in order, bounded, counted; errors arrive; threads end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from types import TracebackType
from typing import Self

import numpy as np
import pytest

from allaprima.frame import Frame
from allaprima.meter import Meter, Percentiles
from allaprima.sinks import NullSink
from allaprima.sources import open_source
from allaprima.stream import Ahead, Behind, Latest, paced, play

pytestmark = pytest.mark.usefixtures("no_threads_left")

_IMAGE = np.zeros((4, 4, 3), np.uint8)


def frames(count: int, pause: float = 0.0) -> Iterator[Frame]:
    for index in range(count):
        if pause:
            time.sleep(pause)
        yield Frame(_IMAGE, index, index / 25)


def failing_after(count: int) -> Iterator[Frame]:
    yield from frames(count)
    raise OSError("the tape tore")


class Recorder(NullSink):
    """Keeps the indices of what it got; slow, or broken, on demand."""

    def __init__(self, pause: float = 0.0, fail_at: int | None = None, stop_at: int | None = None) -> None:
        super().__init__()
        self.indices: list[int] = []
        self.pause, self.fail_at, self.stop_at = pause, fail_at, stop_at
        self.thread: str | None = None

    def put(self, frame: Frame) -> bool:
        self.thread = threading.current_thread().name
        if frame.index == self.fail_at:
            raise OSError("the disk is on fire")
        time.sleep(self.pause)
        self.indices.append(frame.index)
        return self.stop_at is None or frame.index < self.stop_at

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class LiveRecorder(Recorder):
    live = True


def test_latest_drops_old_frames_and_keeps_order() -> None:
    taken = []
    with Latest(frames(50, pause=0.005)) as latest:
        for frame in latest:
            taken.append(frame.index)
            time.sleep(0.03)
    assert taken == sorted(set(taken))
    assert len(taken) < 25
    assert taken[-1] == 49
    assert latest.dropped == 50 - len(taken)


def test_latest_counts_what_the_source_itself_missed() -> None:
    def gaps() -> Iterator[Frame]:
        for index in (0, 3, 4, 10):
            time.sleep(0.02)
            yield Frame(_IMAGE, index)

    with Latest(gaps()) as latest:
        assert [frame.index for frame in latest] == [0, 3, 4, 10]
    assert latest.dropped == 2 + 5


def test_ahead_gives_every_frame_in_order_and_reads_no_further_than_its_depth() -> None:
    read: list[int] = []

    def watched() -> Iterator[Frame]:
        for frame in frames(40):
            read.append(frame.index)
            yield frame

    taken = []
    with Ahead(watched(), depth=3) as ahead:
        for frame in ahead:
            time.sleep(0.002)
            taken.append(frame.index)
            assert len(read) - len(taken) <= 5  # three wait, one is on its way in, one is being looked at
    assert taken == list(range(40))


@pytest.mark.parametrize("reader", [Latest, Ahead])
def test_an_error_of_the_source_reaches_the_for_loop(
    reader: type[Latest[Frame]] | type[Ahead[Frame]],
) -> None:
    taken = []
    with pytest.raises(OSError, match="the tape tore"), reader(failing_after(5)) as queue:
        for frame in queue:
            taken.append(frame.index)
    assert taken[-1:] == [4]  # what came before the error is not lost


@pytest.mark.parametrize("reader", [Latest, Ahead])
def test_breaking_out_ends_the_thread_even_of_an_endless_source(
    reader: type[Latest[Frame]] | type[Ahead[Frame]],
) -> None:
    with reader(frames(10**9)) as queue:
        for frame in queue:
            if frame.index >= 3:
                break


def test_play_hands_every_frame_of_a_file_on_in_order() -> None:
    sink = Recorder(pause=0.001)
    with open_source("bars:32x32@25?seconds=2") as source:
        played = play(source, lambda frame: replace(frame, picture=255 - frame.image), sink)
    assert sink.indices == list(range(50))
    assert (played.frames, played.dropped, played.stopped) == (50, 0, False)
    assert played.latency_ms is None
    assert played.paint_ms is not None
    assert played.fps > 0


def test_play_decodes_paints_and_encodes_at_the_same_time() -> None:
    """The three steps are found inside each other's time, which one thread alone could not do."""
    spans: dict[str, list[tuple[float, float]]] = {"read": [], "paint": [], "write": []}

    def work(step: str) -> None:
        begun = time.monotonic()
        time.sleep(0.01)
        spans[step].append((begun, time.monotonic()))

    class Slow:
        name, width, height, rate, duration, frames, live = "slow", 4, 4, None, None, None, False
        notes: list[str] = []  # noqa: RUF012

        def __iter__(self) -> Iterator[Frame]:
            for frame in frames(40):
                work("read")
                yield frame

    class SlowSink(NullSink):
        def put(self, frame: Frame) -> bool:
            work("write")
            return True

    def paint(frame: Frame) -> Frame:
        work("paint")
        return frame

    play(Slow(), paint, SlowSink())  # type: ignore[arg-type]
    for other in ("read", "write"):
        together = sum(
            any(begin < end_ and begin_ < end for begin_, end_ in spans[other])
            for begin, end in spans["paint"]
        )
        assert together > 10, other


def test_play_raises_what_the_sink_raises_and_stops_painting() -> None:
    painted = []

    def paint(frame: Frame) -> Frame:
        painted.append(frame.index)
        return frame

    with open_source("bars:32x32@25?seconds=10") as source, pytest.raises(OSError, match="on fire"):
        play(source, paint, Recorder(fail_at=5))
    assert len(painted) < 20


def test_play_raises_the_error_of_the_very_last_frame_too() -> None:
    with open_source("bars:32x32@25?seconds=1") as source, pytest.raises(OSError, match="on fire"):
        play(source, lambda frame: frame, Recorder(fail_at=24))


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_play_ends_its_threads_when_the_painter_fails(error: type[BaseException]) -> None:
    def paint(frame: Frame) -> Frame:
        if frame.index == 7:
            raise error
        return frame

    sink = Recorder(pause=0.005)
    with open_source("bars:32x32@25?seconds=10") as source, pytest.raises(error):
        play(source, paint, sink)
    assert sink.indices == list(range(7))  # all that was painted is in the file


@pytest.mark.parametrize("sink", [Recorder(stop_at=3), LiveRecorder(stop_at=3)], ids=["file", "screen"])
def test_a_viewer_can_stop(sink: Recorder) -> None:
    with open_source("bars:32x32@50?seconds=10") as source:
        played = play(source, lambda frame: frame, sink)
    assert played.stopped
    assert played.frames < 100


def test_a_file_on_a_screen_runs_at_its_own_speed_and_in_the_callers_thread() -> None:
    sink = LiveRecorder()
    started = time.monotonic()
    with open_source("bars:32x32@50?seconds=0.6") as source:
        played = play(source, lambda frame: frame, sink)
    assert time.monotonic() - started > 0.55
    assert sink.thread == threading.current_thread().name
    assert played.latency_ms is not None
    assert played.frames + played.dropped <= 30


def test_paced_frames_keep_their_distances() -> None:
    came = [
        (time.monotonic(), frame.time)
        for frame in paced(iter([Frame(_IMAGE, i, t) for i, t in enumerate((5.0, 5.1, 5.3))]))
    ]
    assert came[1][1] - came[0][1] == pytest.approx(0.1, abs=1e-6)
    assert came[2][1] - came[0][1] == pytest.approx(0.3, abs=1e-6)
    for now, due in came:
        assert now >= due


def test_a_long_pause_in_a_film_does_not_delay_the_end() -> None:
    class Pause:
        name, width, height, rate, duration, frames, live = "pause", 4, 4, None, None, None, False
        notes: list[str] = []  # noqa: RUF012

        def __iter__(self) -> Iterator[Frame]:
            yield Frame(_IMAGE, 0, 0.0)
            yield Frame(_IMAGE, 1, 60.0)

    started = time.monotonic()
    played = play(Pause(), lambda frame: frame, LiveRecorder(stop_at=0))  # type: ignore[arg-type]
    assert played.stopped
    assert time.monotonic() - started < 20


def test_behind_does_not_run_ahead_of_a_slow_sink() -> None:
    sink = Recorder(pause=0.02)
    with Behind(sink, depth=2) as behind:
        for frame in frames(10):
            behind.put(frame)
            assert frame.index - len(sink.indices) <= 3
    assert sink.indices == list(range(10))


def test_a_second_ctrl_c_waits_for_the_writing_thread_before_anybody_else_touches_the_sink() -> None:
    busy, go_on = threading.Event(), threading.Event()
    at_once: list[str] = []

    class Encoder(Recorder):
        def put(self, frame: Frame) -> bool:
            at_once.append("write")
            busy.set()
            go_on.wait(10)
            at_once.append("written")
            return True

    class Impatient(threading.Thread):
        """A thread whose `join` is interrupted once, as a person's second Ctrl-C would."""

        interrupted = False

        def join(self, timeout: float | None = None) -> None:
            if not self.interrupted:
                self.interrupted = True
                threading.Timer(0.1, go_on.set).start()
                raise KeyboardInterrupt
            super().join(timeout)

    behind = Behind(Encoder())
    behind._thread.__class__ = Impatient
    with pytest.raises(KeyboardInterrupt), behind:
        for frame in frames(3):
            behind.put(frame)
        busy.wait(10)
        raise KeyboardInterrupt
    at_once.append("finish")
    assert at_once == ["write", "written", "finish"]  # the frames that waited are let go


def test_an_error_of_the_sink_while_it_ends_is_not_hidden_by_the_one_before() -> None:
    with pytest.raises(OSError, match="on fire") as caught, Behind(Recorder(pause=0.05, fail_at=2)) as behind:
        for frame in frames(3):
            behind.put(frame)
        raise ValueError("the painter failed")
    assert isinstance(caught.value.__context__, ValueError)


def test_on_frame_sees_each_painted_frame_and_a_meter() -> None:
    seen = []
    with open_source("bars:32x32@25?seconds=1") as source:
        play(
            source,
            lambda frame: frame,
            NullSink(),
            on_frame=lambda frame, meter: seen.append((frame.index, meter.frames)),
        )
    assert seen == [(index, index + 1) for index in range(25)]


def test_percentiles_are_of_the_measurements() -> None:
    from collections import deque

    assert Percentiles.of(deque()) is None
    measured = Percentiles.of(deque(float(n) for n in range(101)))
    assert measured == Percentiles(50.0, 95.0, 99.0)


def test_a_meter_counts_recent_and_mean_frames_per_second() -> None:
    meter = Meter()
    assert meter.fps == meter.mean_fps == meter.seconds == 0
    for _ in range(10):
        time.sleep(0.01)
        meter.frame(paint_ms=1.0)
    assert 0 < meter.fps <= 100
    assert meter.frames == 10
    assert meter.latency_ms is None
