"""A live run as a whole: the pace's rule, a style that changes while painting, keys, what is seen and what is kept."""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from waiting import until

from allaprima.errors import BundleError, DeviceError
from allaprima.frame import Frame, Image
from allaprima.live import KEYS, LADDER, Easel, Pace, Session, Status, Step, View
from allaprima.live.easel import Wish
from allaprima.live.scaled import Scaled, scaled_size
from allaprima.sinks import NullSink, VideoSink, WindowSink
from allaprima.sinks.outputs import Outputs
from allaprima.sources import LiveSource, VideoSource, open_source
from allaprima.sources.synthetic import FakeCapture, FakeSettings, Plug
from allaprima.stylizer import Report

pytestmark = pytest.mark.usefixtures("no_threads_left")


class Painter:
    """Inverts, and can be slow. What a stylizer is to a session."""

    def __init__(self, style: str = "one", seconds: float = 0.0, *, strong: bool = True) -> None:
        self.style, self.seconds, self.closed = style, seconds, False
        self.painted: list[tuple[int, int]] = []  # (index, width)
        self.controls: dict[str, float | list[float]] = {"strength": 1.0} if strong else {}

    def __call__(self, frame: Frame) -> Frame:
        assert not self.closed
        time.sleep(self.seconds)
        self.painted.append((frame.index, frame.width))
        return replace(frame, picture=255 - frame.image)

    def set(self, **values: float | Sequence[float]) -> None:
        self.controls |= values  # type: ignore[arg-type]

    def reset(self) -> None: ...

    def close(self) -> None:
        self.closed = True

    @property
    def report(self) -> Report:
        return Report(
            style=self.style,
            line="fake 1.0",
            backend="fake",
            precision="fp32",
            variant="fp32",
            edges="rgb",
            size=(64, 48),
            restarts=0,
            passed_over={},
            degraded=[],
        )


class Kept(NullSink):
    """Keeps what it was given."""

    live = True

    def __init__(self) -> None:
        super().__init__()
        self.got: list[Frame] = []
        self.came = threading.Event()

    def put(self, frame: Frame) -> bool:
        self.got.append(frame)
        self.came.set()
        return super().put(frame)


def no_error(wish: Wish, error: Exception) -> None:
    pytest.fail(f"{wish} did not open: {error}")


def session_of(
    source: Any, *painters: Painter, sink: Any = None, **settings: Any
) -> tuple[Session, Kept, list[str]]:
    """A session whose styles are these painters, seen through a sink that keeps everything."""
    known = {painter.style: painter for painter in painters}
    said: list[str] = []
    kept = sink or Kept()
    outputs = Outputs(tell=said.append)
    easel = Easel(lambda wish: known[wish.style], Wish(painters[0].style), on_error=no_error)
    settings.setdefault("adapt", False)
    session = Session(source, easel, outputs=outputs, styles=list(known), tell=said.append, **settings)
    outputs.add("kept", lambda: kept)
    return session, kept, said


def camera(
    seconds: float | None = 1.0, rate: int = 50, size: tuple[int, int] = (64, 48), **more: Any
) -> LiveSource:
    settings = FakeSettings(seconds=seconds, **more)
    return LiveSource(lambda: FakeCapture(*size, Fraction(rate), settings), "fake")


# the pace


def paced(
    pace: Pace, seconds: float, work: Callable[[Step], float], begin: float = 0.0
) -> list[tuple[float, str]]:
    """Run a pace on a clock of numbers; the steps that it took, and when."""
    taken = []
    now = begin
    while now < begin + seconds:
        step = pace.frame(now, work(pace.step))
        if step is not None:
            taken.append((round(now, 1), step.name))
            pace.begin()
        now += pace.interval
    return taken


def test_a_machine_that_keeps_up_stays_at_full_size() -> None:
    assert paced(Pace(1 / 30), 60, lambda step: 0.03) == []


def test_a_machine_that_is_too_slow_goes_down_until_it_keeps_up_and_no_further() -> None:
    pace = Pace(1 / 30)
    steps = paced(pace, 60, lambda step: 0.05 * step.work)  # 150 % in full, 84 % at 3/4
    assert [name for _, name in steps] == ["3/4 size"]
    assert steps[0][0] <= 1.1
    assert pace.load < 0.95


def test_the_slowest_machine_ends_at_the_last_step_within_seconds() -> None:
    pace = Pace(1 / 30)
    steps = paced(pace, 30, lambda step: 1.0)
    assert [name for _, name in steps] == [step.name for step in LADDER[1:]]
    assert steps[-1][0] < 6
    assert pace.lowest


def test_when_it_gets_easier_the_pace_goes_up_again_after_five_seconds_each() -> None:
    pace = Pace(1 / 30)
    paced(pace, 10, lambda step: 0.5)
    assert pace.lowest
    steps = paced(pace, 60, lambda step: 0.01 * step.work, begin=10)
    assert [name for _, name in steps] == [step.name for step in LADDER[-2::-1]]
    times = [10.0, *(when for when, _ in steps)]
    assert all(later - earlier >= 5 for earlier, later in itertools.pairwise(times))


def test_a_step_that_does_not_hold_is_tried_again_later_and_later() -> None:
    """At 3/4 size 60 % of the time, in full more than all: what the pixels promise is not what comes."""
    pace = Pace(1 / 30)
    steps = paced(pace, 200, lambda step: 0.05 if step.size == 1 else 0.01)
    ups = [when for when, name in steps if name == "full size"]
    gaps = [round(later - earlier) for earlier, later in itertools.pairwise(ups)]
    assert len(ups) >= 3
    assert gaps == sorted(gaps)
    assert gaps[1] > gaps[0] * 1.5


def test_a_load_on_the_edge_does_not_swing() -> None:
    assert len(paced(Pace(1 / 30), 300, lambda step: 0.033 * step.work)) <= 1


def test_a_smaller_size_suits_networks() -> None:
    assert scaled_size(1280, 720, 0.75) == (960, 544)
    assert scaled_size(1280, 720, 1.0) == (1280, 720)
    assert scaled_size(33, 20, 1 / 3) == (16, 16)


def test_painting_smaller_gives_the_size_that_was_asked_for() -> None:
    pytest.importorskip("cv2")
    painter = Painter()
    image = np.full((48, 64, 3), 40, np.uint8)
    painted = Scaled(painter, 0.5)(Frame(image, 7, 1.5))
    assert painter.painted == [(7, 32)]
    assert (painted.width, painted.height, painted.index, painted.time) == (64, 48, 7, 1.5)
    np.testing.assert_array_equal(painted.image, 255 - image)


# the easel


def test_the_next_painter_warms_while_the_present_one_paints() -> None:
    go_on = threading.Event()
    first, second = Painter("one"), Painter("two")

    def open(wish: Wish) -> Painter:
        if wish.style == "two":
            go_on.wait(10)
            return second
        return first

    with Easel(open, Wish("one"), on_error=no_error) as easel:
        easel.wish(style="two")
        assert easel.painter() == (first, False)
        assert easel.wanted.style == "two"
        go_on.set()
        assert until(lambda: easel.painter() == (second, True))
        assert first.closed
        assert easel.painter() == (second, False)
    assert second.closed


def test_of_many_wishes_the_last_counts_and_all_others_are_closed() -> None:
    opened: list[Painter] = []
    go_on = threading.Event()

    def open(wish: Wish) -> Painter:
        if opened:
            go_on.wait(10)
        opened.append(Painter(wish.style))
        return opened[-1]

    with Easel(open, Wish("one"), on_error=no_error) as easel:
        for style in ("two", "three", "four"):
            easel.wish(style=style)
        go_on.set()
        assert until(lambda: easel.painter()[0] is opened[-1] and opened[-1].style == "four")
        assert [painter.style for painter in opened if not painter.closed] == ["four"]


def test_the_style_that_was_wished_back_paints_though_another_was_warm_already() -> None:
    opened: list[Painter] = []

    def open(wish: Wish) -> Painter:
        opened.append(Painter(wish.style))
        return opened[-1]

    with Easel(open, Wish("one"), on_error=no_error) as easel:
        easel.wish(style="two")
        assert until(lambda: easel._ready is not None)  # while nobody painted
        easel.wish(style="one")
        assert until(lambda: len(opened) == 3 and easel._warming is None)
        assert easel.painter()[0].style == "one"  # type: ignore[attr-defined]
        assert [painter.style for painter in opened if not painter.closed] == ["one"]


def test_a_style_that_does_not_start_leaves_the_present_one_painting() -> None:
    first = Painter("one")
    failed: list[str] = []

    def open(wish: Wish) -> Painter:
        if wish.style != "one":
            raise BundleError("E_BUNDLE_CHANGED", "a byte has changed")
        return first

    with Easel(open, Wish("one"), on_error=lambda wish, error: failed.append(error.code)) as easel:
        easel.wish(style="two")
        assert until(lambda: bool(failed))
        assert until(lambda: easel.wanted == Wish("one"))
        assert easel.painter() == (first, False)


def test_a_style_that_does_not_start_takes_no_wish_for_another_size_with_it() -> None:
    opened: list[Wish] = []
    go_on = threading.Event()

    def open(wish: Wish) -> Painter:
        if wish.style != "one":
            go_on.wait(10)
            raise BundleError("E_BUNDLE_CHANGED", "a byte has changed")
        opened.append(wish)
        return Painter("one")

    with Easel(open, Wish("one"), on_error=lambda wish, error: None) as easel:
        easel.wish(style="two")
        easel.wish(size=0.5)
        go_on.set()
        assert until(lambda: easel.painter()[1])
        assert easel.present == easel.wanted == opened[-1] == Wish("one", 0.5)


def test_a_size_that_does_not_start_ends_the_steps_and_not_the_run() -> None:
    def open(wish: Wish) -> Painter:
        if wish.size != 1:
            raise DeviceError("E_BACKEND_UNAVAILABLE", "no room for another one")
        return Painter("one", seconds=0.08)

    failed: list[str] = []
    outputs, kept = Outputs(tell=lambda text: None), Kept()
    with camera(3.0, rate=20) as source:
        easel = Easel(open, Wish("one"), on_error=lambda wish, error: failed.append(error.code))
        session = Session(source, easel, outputs=outputs)
        outputs.add("kept", lambda: kept)
        status = session.run()
    assert failed == ["E_BACKEND_UNAVAILABLE"]
    assert status.step == "full size"
    assert len(kept.got) > 10


def test_a_bug_while_warming_is_raised_where_frames_are_painted() -> None:
    def open(wish: Wish) -> Painter:
        if wish.style != "one":
            raise ZeroDivisionError
        return Painter("one")

    with Easel(open, Wish("one"), on_error=no_error) as easel, pytest.raises(ZeroDivisionError):
        easel.wish(style="two")
        until(lambda: easel.painter()[1])


# the session


def test_a_live_run_paints_what_comes_and_says_what_it_did() -> None:
    painter = Painter()
    with camera(1.0) as source:
        session, kept, _ = session_of(source, painter)
        status = session.run()
    assert status.frames == len(kept.got) >= 5
    assert status.painted >= status.frames
    assert status.skipped == 0
    assert status.latency_ms is not None
    assert (status.style, status.backend, status.precision, status.strength) == ("one", "fake", "fp32", 1.0)
    assert [frame.index for frame in kept.got] == sorted({frame.index for frame in kept.got})
    assert painter.closed
    assert "in " in status.line
    assert "dropped" in status.line


def test_a_slow_painter_never_shows_what_is_more_than_one_painting_and_two_frames_old() -> None:
    interval, painting = 0.05, 0.1
    late: list[float] = []

    class Clock(Kept):
        def put(self, frame: Frame) -> bool:
            late.append(time.monotonic() - frame.time)
            return super().put(frame)

    with camera(4.0, rate=20) as source:
        session, _, _ = session_of(source, Painter(seconds=painting), sink=Clock())
        status = session.run()
    assert status.dropped >= status.frames // 2
    # the median, because a busy machine delays whom it likes; a queue would grow by 50 ms with every frame
    assert sorted(late)[len(late) // 2] < painting + 2 * interval
    assert np.mean(late[-8:]) < np.mean(late[:8]) + interval


def test_a_style_changes_between_two_frames_and_the_old_one_paints_until_then() -> None:
    opening, go_on = threading.Event(), threading.Event()
    painters = {"one": Painter("one"), "two": Painter("two", strong=False)}

    def open(wish: Wish) -> Painter:
        if wish.style == "two":
            opening.set()
            go_on.wait(10)
        return painters[wish.style]

    kept, said = Kept(), list[str]()
    outputs = Outputs(tell=said.append)
    with camera(None) as source:
        easel = Easel(open, Wish("one"), on_error=no_error)
        session = Session(
            source, easel, outputs=outputs, styles=["one", "two"], adapt=False, tell=said.append
        )
        outputs.add("kept", lambda: kept)
        thread = threading.Thread(target=session.run)
        thread.start()
        kept.came.wait(5)
        session.press("n")
        opening.wait(5)
        before = len(kept.got)
        assert until(lambda: len(kept.got) > before + 5)  # it paints on while the other one warms
        assert session.status().warming == "two"
        go_on.set()
        assert until(lambda: len(painters["two"].painted) > 3)
        session.press("q")
        thread.join(10)
        dropped = session.status(whole=True).dropped
    indices = [index for painter in painters.values() for index, _ in painter.painted]
    assert indices == sorted(set(indices))  # each frame painted once, in order, by one of them
    assert len(indices) + dropped >= indices[-1]  # and none is missing but those that newer ones replaced
    assert painters["one"].closed
    assert any("style two" in line for line in said)


def test_keys_turn_what_they_say() -> None:
    painter = Painter()
    with camera(None) as source:
        session, kept, said = session_of(source, painter)
        thread = threading.Thread(target=session.run)
        thread.start()
        try:
            kept.came.wait(5)
            session.press("[")
            session.press("[")
            assert until(lambda: painter.controls["strength"] == 0.8)
            session.press("]")
            assert until(lambda: session.status().strength == 0.9)
            for key in "wmhS":  # capitals are the same keys
                session.press(key)
            assert until(lambda: session.view.beside and not session.view.wipe)
            assert session.view.mirror
            assert session.view.help
            session.press("n")
            assert until(lambda: any("no other style" in line for line in said))
            session.press("r")
            assert until(lambda: any("not possible" in line for line in said))
            session.press(" ")
            assert until(lambda: session.status().paused)
            painted = len(painter.painted)
            before = len(kept.got)
            assert until(
                lambda: len(kept.got) > before + 3
            )  # outputs go on with the picture that stands still
            assert len(painter.painted) <= painted + 1
            session.press(" ")
            assert until(lambda: len(painter.painted) > painted + 3)
            session.press("?")
        finally:
            session.press("q")
            thread.join(10)
    assert not thread.is_alive()


def test_every_key_of_the_table_does_something() -> None:
    assert set(KEYS) == set(Session._actions)


@pytest.mark.parametrize("slow", [0.0, 0.06])
def test_a_recording_is_as_long_as_it_was_however_slow_the_painter(out: Path, slow: float) -> None:
    with camera(None, rate=30) as source:
        session, kept, said = session_of(
            source, Painter(seconds=slow), record=lambda: VideoSink(out / "a.mp4", like=source)
        )
        thread = threading.Thread(target=session.run)
        thread.start()
        try:
            kept.came.wait(5)
            session.press("r")
            assert until(lambda: session.status().recording == "a.mp4")
            began = len(kept.got)
            assert until(lambda: len(kept.got) > began + 12)
            session.press("r")
            assert until(lambda: "a.mp4 is complete" in said)
        finally:
            session.press("q")
            thread.join(10)
    with VideoSource(out / "a.mp4") as film:
        stamps = [frame.time for frame in film]
    times = [frame.time for frame in kept.got]
    assert len(stamps) >= 5
    # the film's times are distances between times of capture, wherever the recording began
    starts = [start for start in times if any(abs(start + stamps[-1] - time) < 2e-3 for time in times)]
    assert any(
        all(min(abs(start + stamp - time) for time in times) < 2e-3 for stamp in stamps) for start in starts
    )


def test_a_camera_unplugged_and_back_is_one_run_and_one_recording(out: Path) -> None:
    plug = Plug(64, 48, Fraction(50), FakeSettings(unplug_after=15, back_after=0.4))
    source = LiveSource(plug.open, "fake", reconnect=True, stall_seconds=0.3, back_off=(0.1,))
    with source:
        session, kept, said = session_of(source, Painter())
        session._outputs.add("recording", lambda: VideoSink(out / "a.mp4", like=source))
        thread = threading.Thread(target=session.run)
        thread.start()
        try:
            assert until(lambda: session.status().lost != "")
            before = len(kept.got)
            assert until(lambda: len(kept.got) > before + 10)
        finally:
            session.press("q")
            thread.join(10)
    assert any("lost the camera" in line for line in said)
    assert any("is back" in line for line in said)
    with VideoSource(out / "a.mp4") as film:
        stamps = [frame.time for frame in film]
    assert max(b - a for a, b in itertools.pairwise(stamps)) > 0.3  # the gap is kept


def test_a_camera_that_gives_less_than_it_says_is_no_reason_to_paint_smaller() -> None:
    """It says 60 and gives 12 a second, and painting takes 40 ms."""

    class Dark(FakeCapture):
        def __init__(self) -> None:
            super().__init__(64, 48, Fraction(12), FakeSettings(seconds=4.0))
            self.rate = Fraction(60)

        def read(self) -> Image | None:
            self.rate, claimed = Fraction(12), self.rate
            try:
                return super().read()
            finally:
                self.rate = claimed

    with LiveSource(Dark, "dark") as source:
        session, _, said = session_of(source, Painter(seconds=0.04), adapt=True)
        session.run()
    assert not [line for line in said if line.startswith("down")]


def test_a_painter_that_is_too_slow_makes_the_picture_smaller_and_says_so() -> None:
    pytest.importorskip("cv2")

    class Pixels(Painter):
        """Takes 80 ms for the full width of 96."""

        def __call__(self, frame: Frame) -> Frame:
            self.seconds = 0.08 * (frame.width / 96) ** 2
            return super().__call__(frame)

    painters = [Pixels(str(number)) for number in range(9)]
    said: list[str] = []
    opened: list[Wish] = []

    def open(wish: Wish) -> Painter:
        opened.append(wish)
        return painters[len(opened) - 1]

    outputs, kept = Outputs(tell=said.append), Kept()
    with camera(6.0, rate=20, size=(96, 96)) as source:
        session = Session(
            source, Easel(open, Wish("one"), on_error=no_error), outputs=outputs, tell=said.append
        )
        outputs.add("kept", lambda: kept)
        session.run()
    assert [wish.size for wish in opened][:2] == [1.0, 0.75]
    assert any("down to 3/4 size: painting takes" in line for line in said)
    assert {frame.width for frame in kept.got} == {96}
    assert any(width == 72 for painter in painters for _, width in painter.painted)


def test_every_second_frame_is_the_last_painting_moved_along() -> None:
    pytest.importorskip("cv2")
    painter = Painter()
    with camera(1.0) as source:
        session, kept, _ = session_of(source, painter)
        session._step = LADDER[3]
        status = session.run()
    assert status.skipped >= status.painted - 3  # the first has nothing to follow
    assert len(kept.got) > len(painter.painted)


def test_nothing_is_painted_twice_before_a_camera_that_sees_nothing_new() -> None:
    class Wall(FakeCapture):
        def _picture(self, seconds: float) -> Image:
            noise = np.random.default_rng(self.count).normal(0, 2, (48, 64, 3))
            return (120 + noise).astype(np.uint8)

    painter = Painter()
    with LiveSource(lambda: Wall(64, 48, Fraction(50), FakeSettings(seconds=1.0)), "wall") as source:
        session, kept, _ = session_of(source, painter, skip=True)
        status = session.run()
    assert len(painter.painted) == 1
    assert status.skipped >= len(kept.got) - 1 > 3


def test_a_clip_plays_live_at_its_own_speed() -> None:
    with open_source("bars:64x48@25?seconds=1") as source:
        session, kept, _ = session_of(source, Painter())
        began = time.monotonic()
        status = session.run()
    assert time.monotonic() - began > 0.9
    assert status.frames + status.dropped <= 25
    assert kept.got


def test_the_run_ends_after_so_many_seconds_and_when_nobody_watches() -> None:
    with camera(None) as source:
        session, _, _ = session_of(source, Painter())
        assert session.run(0.5).seconds < 5

    class Bored(Kept):
        def put(self, frame: Frame) -> bool:
            return False

    with camera(None) as source:
        session, _, _ = session_of(source, Painter(), sink=Bored())
        assert session.run(30).seconds < 20


def test_what_the_painter_raises_ends_the_run_and_everything_is_closed(out: Path) -> None:
    class Failing(Painter):
        def __call__(self, frame: Frame) -> Frame:
            if len(self.painted) > 3:
                raise OSError("the brush broke")
            return super().__call__(frame)

    painter = Failing()
    with camera(None) as source:
        session, _, _ = session_of(source, painter)
        session._outputs.add("recording", lambda: VideoSink(out / "a.mp4", like=source))
        with pytest.raises(OSError, match="the brush broke"):
            session.run()
    assert painter.closed
    assert (out / "a.mp4").exists()


@pytest.mark.slow
def test_ten_minutes_with_a_slow_style_do_not_add_delay() -> None:
    late: list[float] = []

    class Clock(Kept):
        def put(self, frame: Frame) -> bool:
            late.append(time.monotonic() - frame.time)
            return True

    with camera(600.0, rate=30, size=(320, 180)) as source:
        session, _, _ = session_of(source, Painter(seconds=0.1), sink=Clock())
        session.run()
    assert np.percentile(late, 99) < 0.1 + 2 / 30
    assert np.median(late[-300:]) < np.median(late[:300]) + 0.01


# the window


class FakeWindow:
    """cv2 as far as a window needs it; presses keys one after the other, each after so many looks."""

    WINDOW_NORMAL = WINDOW_KEEPRATIO = WINDOW_GUI_NORMAL = COLOR_RGB2BGR = WND_PROP_VISIBLE = 0
    error = type("error", (Exception,), {})

    def __init__(self, keys: str, every: int = 5) -> None:
        self.keys, self.every, self.looks = list(keys), every, 0
        self.shown: list[Image] = []
        self.threads: set[str] = set()

    def namedWindow(self, title: str, flags: int) -> None: ...
    def resizeWindow(self, title: str, width: int, height: int) -> None: ...
    def getWindowImageRect(self, title: str) -> tuple[int, int, int, int]:
        return -1, -1, -1, -1  # as where a window system does not say

    def destroyWindow(self, title: str) -> None: ...

    def cvtColor(self, image: Image, how: int) -> Image:
        return image

    def imshow(self, title: str, image: Image) -> None:
        self.threads.add(threading.current_thread().name)
        self.shown.append(image)

    def waitKey(self, milliseconds: int) -> int:
        self.looks += 1
        if self.keys and self.looks % self.every == 0:
            return ord(self.keys.pop(0))
        return -1

    def getWindowProperty(self, title: str, what: int) -> float:
        return 1.0


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], FakeWindow]:
    def make(keys: str) -> FakeWindow:
        window = FakeWindow(keys)
        monkeypatch.setitem(sys.modules, "cv2", window)
        monkeypatch.setattr("allaprima.sinks.window.display_problem", lambda: None)
        monkeypatch.setattr("allaprima.sinks.window.windows_hang", lambda: False)
        return window

    return make


def test_the_window_shows_the_view_and_its_keys_are_heard_and_outputs_get_the_bare_painting(
    windows: Callable[[str], FakeWindow],
) -> None:
    window = windows("s[q")
    painter = Painter()
    with camera(None) as source:
        session, kept, _ = session_of(source, painter)
        session.window = WindowSink(on_key=session.press)
        status = session.run(30)
    assert status.outputs == ["window", "kept"]
    assert {image.shape[1] for image in window.shown} == {64, 128}  # side by side from the first key on
    assert {frame.width for frame in kept.got} == {64}
    assert painter.controls["strength"] == 0.9
    assert status.seconds < 25
    assert window.threads == {threading.current_thread().name}


def test_a_window_answers_while_the_camera_is_gone_or_the_painter_hangs(
    windows: Callable[[str], FakeWindow],
) -> None:
    window = windows("hhhhhhhq")
    plug = Plug(64, 48, Fraction(50), FakeSettings(unplug_after=5))
    with LiveSource(plug.open, "fake", reconnect=True, stall_seconds=0.2) as source:
        session, _, _ = session_of(source, Painter())
        session.window = WindowSink(on_key=session.press)
        session.run(30)
    assert not window.keys  # all were heard, q among them, though no frame came


# the view


def picture(value: int, width: int = 320, height: int = 180) -> Image:
    image = np.full((height, width, 3), value, np.uint8)
    image[:, : width // 4, 0] = 255
    return image


def test_who_looks_without_a_window_sees_the_view_and_reads_the_words() -> None:
    with camera(None) as source:
        session, kept, _ = session_of(source, Painter())
        thread = threading.Thread(target=session.run)
        thread.start()
        try:
            kept.came.wait(5)
            plain = kept.got[-1]
            assert session.seen(plain) is plain.image
            for key in "sh ":
                session.press(key)
            assert until(lambda: session.status().paused and session.view.help)
            looks: list[tuple[Frame, Image]] = []

            def seen_beside() -> bool:
                looks.append((frame := kept.got[-1], session.seen(frame)))
                return looks[-1][1] is not frame.image

            assert until(seen_beside)
            newest, seen = looks[-1]
            height, width = newest.image.shape[:2]
            assert seen.shape == (height, 2 * width, 3)
            np.testing.assert_array_equal(seen[:, width:], newest.image)  # no figures, no help on it
            assert (seen[:, :width] != newest.image).any()
            assert "paused" in session.words()
            session.press("n")
            assert until(lambda: any("no other style" in line for line in session.words()))
            gone = replace(newest, index=-1)
            assert session.seen(gone) is gone.image
        finally:
            session.press("q")
            thread.join(10)


def test_a_bare_view_is_the_painting_itself() -> None:
    painted = picture(10)
    assert View().draw(painted, picture(200), [], 0.0) is painted


def test_side_by_side_and_mirror_show_source_and_painting() -> None:
    shown = View(beside=True, mirror=True).draw(picture(10), picture(200, 160, 90), [], 0.0)
    assert shown.shape == (180, 640, 3)
    assert shown[90, 5].tolist() == [200, 200, 200]  # the source's red left is on the right now
    assert shown[90, 635].tolist() == [255, 10, 10]


def test_the_wipe_goes_to_and_fro() -> None:
    def edge(seconds: float) -> int:
        shown = View(wipe=True).draw(picture(10), picture(200), [], seconds)
        return int((shown[90, :, 1] == 200).sum())

    assert edge(0) > 310
    assert edge(2) == pytest.approx(160, abs=3)
    assert edge(4) == 0
    assert edge(6) == pytest.approx(160, abs=3)


def test_figures_and_help_are_written_on_a_copy() -> None:
    painted = picture(120, 640, 480)
    before = painted.copy()
    shown = View(help=True).draw(painted, painted, ["starry, 30 fps, ✓"], 0.0)
    np.testing.assert_array_equal(painted, before)
    assert (shown != painted).any()
    np.testing.assert_array_equal(shown[400:], painted[400:])
    tiny = picture(120, 32, 16)
    assert View(help=True).draw(tiny, tiny, ["a line that is far too long for this"], 0.0).shape == tiny.shape


def test_status_is_json() -> None:
    import json

    from allaprima import settings

    with camera(0.5) as source:
        session, _, _ = session_of(source, Painter())
        status = session.run()
    line = json.loads(json.dumps(settings.write(status)))
    assert line["latency_ms"]["p95"] >= line["latency_ms"]["p50"]
    assert set(line) == set(Status.__dataclass_fields__)


def test_without_opencv_painting_smaller_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    Scaled(Painter(), 1.0)
    with pytest.raises(DeviceError, match="smaller size"):
        Scaled(Painter(), 0.5)
