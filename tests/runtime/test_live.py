"""Cameras: opened in time, watched, and lost with a word instead of a hang. All through the code that real ones use."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from allaprima.errors import DeviceError, InputError, UsageError
from allaprima.frame import Frame, Image
from allaprima.sinks import NullSink, VideoSink, open_sink
from allaprima.sinks.window import display_problem
from allaprima.sources import LiveSource, VideoSource, open_source
from allaprima.sources import camera as camera_module
from allaprima.sources.synthetic import FakeCapture, FakeSettings, Plug
from allaprima.stream import play

pytestmark = pytest.mark.usefixtures("no_threads_left")


def fake(**settings: object) -> LiveSource:
    """A quick camera with a short patience."""

    def open() -> FakeCapture:
        return FakeCapture(64, 48, Fraction(100), FakeSettings(**settings))  # type: ignore[arg-type]

    return LiveSource(open, "test", freeze="end", stall_seconds=1.0, freeze_seconds=1.0, black_seconds=0.5)


@pytest.mark.parametrize("mode", ["false", "freeze", "block"])
def test_a_pulled_plug_is_a_lost_camera_in_bounded_time(mode: str) -> None:
    got: list[Frame] = []
    started = time.monotonic()
    with (
        fake(unplug_after=20, mode=mode) as source,
        pytest.raises(DeviceError, match="lost the camera") as caught,
    ):
        got.extend(source)
    assert caught.value.code == "E_CAMERA_LOST"
    assert time.monotonic() - started < 8  # on a busy machine; 0.6 s on a quiet one
    assert got


def test_a_camera_is_let_go_of_when_nobody_reads_it_any_more() -> None:
    """Some drivers end the program otherwise."""

    class Careful(FakeCapture):
        reading, let_go_of = False, ""

        def read(self) -> Image | None:
            self.reading = True
            time.sleep(0.05)  # as a driver that is not interrupted
            picture = super().read()
            self.reading = False
            return picture

        def close(self) -> None:
            self.let_go_of = "while it was read" if self.reading else "afterwards"
            super().close()

    camera = Careful(64, 48, Fraction(100))
    with LiveSource(lambda: camera, "test") as source:
        next(iter(source))
    assert camera.let_go_of == "afterwards"


@pytest.mark.parametrize("mode", ["false", "freeze", "block"])
def test_a_camera_that_is_plugged_in_again_goes_on_where_it_was(mode: str) -> None:
    plug = Plug(64, 48, Fraction(100), FakeSettings(unplug_after=10, mode=mode, back_after=0.3))
    patience: dict[str, Any] = {"freeze": "end", "stall_seconds": 0.4, "freeze_seconds": 0.4}
    with LiveSource(plug.open, "test", reconnect=True, back_off=(0.1,), **patience) as source:
        indices: list[int] = []
        for frame in source:
            indices.append(frame.index)
            if any("the camera is back" in note for note in source.notes) and len(indices) > 20:
                break
        assert source.lost == ""
    assert indices == sorted(set(indices))
    assert sum("lost the camera" in note for note in source.notes) == 1


def test_closing_ends_whoever_waits_for_a_lost_camera() -> None:
    plug = Plug(64, 48, Fraction(100), FakeSettings(unplug_after=3))
    source = LiveSource(plug.open, "test", reconnect=True, stall_seconds=0.2)
    waiting = threading.Thread(target=lambda: list(source))
    waiting.start()
    deadline = time.monotonic() + 5
    while not source.lost and time.monotonic() < deadline:
        time.sleep(0.02)
    assert "no picture" in source.lost
    source.close()
    waiting.join(2)
    assert not waiting.is_alive()


def test_a_camera_with_another_number_after_its_return_is_the_same(sysfs: Path) -> None:
    front = camera_module.find_camera("0")
    assert camera_module._same_camera(front).index == 0
    (sysfs / "video0").rename(sysfs / "video4")
    assert camera_module._same_camera(front).path == "/dev/video4"


@pytest.mark.parametrize("mode", ["false", "freeze", "block"])
def test_the_recording_of_a_lost_camera_is_finished(out: Path, mode: str) -> None:
    with (
        pytest.raises(DeviceError, match="lost"),
        fake(unplug_after=30, mode=mode) as source,
        VideoSink(out / "a.mp4", like=source) as sink,
    ):
        play(source, lambda frame: frame, sink)
    assert [item.name for item in out.iterdir()] == ["a.mp4"]
    with VideoSource(out / "a.mp4") as film:
        assert sum(1 for _ in film) >= 1


def test_a_capture_device_whose_input_stands_still_goes_on_with_a_note() -> None:
    class Slide(FakeCapture):
        def _picture(self, seconds: float) -> Image:
            return np.full((48, 64, 3), 90, np.uint8)

    def open() -> FakeCapture:
        return Slide(64, 48, Fraction(50), FakeSettings(seconds=1.5))

    with LiveSource(open, "HDMI", freeze_seconds=0.3) as source:
        times = [frame.time for frame in source]
    assert times[-1] - times[0] > 0.6
    assert sum("exactly the same picture" in note for note in source.notes) == 1


def test_the_fake_camera_that_freezes_is_lost_at_the_door() -> None:
    with (
        open_source("fake:64x48@50?unplug_after=5&mode=freeze") as source,
        pytest.raises(DeviceError, match="frozen") as caught,
    ):
        list(source)
    assert caught.value.code == "E_CAMERA_LOST"


@pytest.mark.parametrize("spec", ["bars:160x96@10?seconds=0.5", "fake:160x96@20?seconds=1"])
def test_size_is_a_box_for_sources_without_a_file_too(spec: str) -> None:
    with open_source(spec, size=(80, 80)) as source:
        assert (source.width, source.height) == (80, 48)
        frames = list(source)
        assert any("shrunk from 160x96 to 80x48" in note for note in source.notes)
    assert {frame.image.shape for frame in frames} == {(48, 80, 3)}
    with open_source(spec, size=(1000, 1000)) as source:
        assert (source.width, source.height) == (160, 96)  # never enlarged
        assert source.notes == []


def test_a_camera_that_turns_stays_inside_the_box() -> None:
    with open_source("fake:160x96@20?resize_at=4&seconds=2", size=(80, 80)) as source:
        shapes = [frame.image.shape for frame in source]
        assert (source.width, source.height) == (48, 80)
    assert shapes[-1] == (80, 48, 3)
    assert set(shapes) <= {(48, 80, 3), (80, 48, 3)}  # a busy machine may miss the first


def test_the_recording_of_a_camera_lost_at_once_holds_the_few_frames_that_a_slow_painter_made(
    out: Path,
) -> None:
    """Fewer than wait between painter and encoder; the encoder has not seen one of them when the camera is lost."""
    painted: list[int] = []
    lost = threading.Event()

    class SlowSink(VideoSink):
        def put(self, frame: Frame) -> bool:
            lost.wait(10)
            return super().put(frame)

    def slow(frame: Frame) -> Frame:
        painted.append(frame.index)
        return frame

    def until_lost() -> Iterator[Frame]:
        for index in range(3):
            yield Frame(np.full((48, 64, 3), 80, np.uint8), index, index / 15)
            time.sleep(0.1)
        threading.Timer(0.2, lost.set).start()
        raise DeviceError("E_CAMERA_LOST", "lost the camera 'test'")

    class Lost:
        name, width, height, rate, duration, frames, live = "lost", 64, 48, Fraction(15), None, None, True
        notes: list[str] = []  # noqa: RUF012

        def __iter__(self) -> Iterator[Frame]:
            return until_lost()

    source: Any = Lost()
    with pytest.raises(DeviceError, match="lost"), SlowSink(out / "a.mp4", like=source) as sink:
        play(source, slow, sink)
    assert any("kept in a.mp4" in note for note in sink.notes)
    with VideoSource(out / "a.mp4") as film:
        assert sum(1 for _ in film) == len(painted) >= 1


def test_ctrl_c_ends_a_recording_properly(out: Path) -> None:
    def until_ten(frame: Frame) -> Frame:
        if frame.index >= 10:
            raise KeyboardInterrupt
        return frame

    with pytest.raises(KeyboardInterrupt), fake() as source, VideoSink(out / "a.mp4", like=source) as sink:
        play(source, until_ten, sink)
    assert [item.name for item in out.iterdir()] == ["a.mp4"]


def test_a_recording_keeps_the_times_of_its_frames_whatever_the_jitter(out: Path) -> None:
    taken: list[float] = []

    def note(frame: Frame) -> Frame:
        taken.append(frame.time)
        return frame

    with (
        open_source("fake:64x48@30?jitter=8-40&seconds=1.5") as source,
        VideoSink(out / "a.mp4", like=source) as sink,
    ):
        play(source, note, sink)
    with VideoSource(out / "a.mp4") as film:
        stamps = [frame.time for frame in film]
    assert stamps == pytest.approx([time - taken[0] for time in taken], abs=1e-3)
    assert len({round(b - a, 3) for a, b in pairwise(stamps)}) > 2  # not evened out


def test_a_slow_painter_sees_frames_that_are_at_most_two_frames_old() -> None:
    captures: list[FakeCapture] = []

    def open() -> FakeCapture:
        captures.append(FakeCapture(64, 48, Fraction(50), FakeSettings(seconds=2.0)))
        return captures[0]

    behind: list[int] = []
    with LiveSource(open, "test") as source:

        def slow(frame: Frame) -> Frame:
            behind.append(captures[0].count - 1 - frame.index)
            time.sleep(0.1)
            return frame

        played = play(source, slow, NullSink())
    assert len(behind) >= 5
    assert sorted(behind)[len(behind) * 3 // 4] <= 2, behind  # a queue would be behind by four more each time
    assert played.dropped > 2 * played.frames
    assert played.latency_ms is not None
    assert played.latency_ms.p50 >= 100


def test_the_index_counts_frames_that_nobody_took() -> None:
    with fake(seconds=1.0) as source:
        indices = []
        for frame in source:
            indices.append(frame.index)
            time.sleep(0.1)
    assert indices == sorted(set(indices))
    assert indices[-1] > len(indices)


def test_black_pictures_at_the_start_are_skipped_and_a_covered_lens_is_told() -> None:
    with fake(black=10) as source:
        first = next(iter(source))
    assert first.image.max() > 100

    with fake(black=10_000, seconds=1.5) as source:
        frames = list(source)
    assert frames
    assert frames[0].image.max() == 0
    assert any("black" in note for note in source.notes)


def test_a_camera_that_turns_is_noted_and_recorded_in_the_first_shape(out: Path) -> None:
    with (
        open_source("fake:64x48@20?resize_at=4&seconds=2") as source,
        VideoSink(out / "a.mp4", like=source) as sink,
    ):
        play(source, lambda frame: frame, sink)
    assert any("changed its size from 64x48 to 48x64" in note for note in source.notes)
    with VideoSource(out / "a.mp4") as film:
        assert len({frame.image.shape for frame in film}) == 1


def test_a_driver_that_never_opens_is_given_up() -> None:
    released = threading.Event()

    def never() -> FakeCapture:
        released.wait(10)
        return FakeCapture(64, 48, Fraction(30))

    started = time.monotonic()
    with pytest.raises(DeviceError, match="another program") as caught:
        try:
            LiveSource(never, "stuck", open_seconds=0.3)
        finally:
            released.set()
    assert time.monotonic() - started < 4
    assert caught.value.code == "E_CAMERA_BUSY"


def test_an_error_of_the_driver_reaches_the_for_loop() -> None:
    class Failing(FakeCapture):
        def read(self) -> Image | None:
            raise OSError("USB says no")

    with (
        LiveSource(lambda: Failing(64, 48, Fraction(30)), "failing") as source,
        pytest.raises(OSError, match="USB says no"),
    ):
        list(source)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("fake:640x480?unplug_atfer=3", "did you mean 'unplug_after'"),
        ("fake:640x480?mode=explode", "no such mode"),
        ("fake:640x480?seconds=soon", "not a number"),
        ("bars:640", "not understood"),
        ("bars:0x10", "out of range"),
        ("bars:640x480@0", "out of range"),
        ("bars:640x480?seconds=inf", "out of range"),
        ("bars:640x480?seconds=nan", "out of range"),
        ("bars:640x480?seconds=-1", "out of range"),
        ("bars:640x480?seconds=0", "out of range"),
        ("fake:640x480?seconds=inf", "out of range"),
        ("fake:640x480?seed=-1", "out of range"),
        ("fake:640x480?jitter=8-inf", "out of range"),
    ],
)
def test_a_wrong_spec_is_explained(spec: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        open_source(spec)


def test_bars_are_the_same_every_time_and_move() -> None:
    with open_source("bars:64x48@10?seconds=2") as one, open_source("bars:64x48@10?seconds=2") as other:
        assert one.frames == 20
        assert one.duration == 2.0
        first, second = list(one), list(other)
    assert [frame.time for frame in first] == [index / 10 for index in range(20)]
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.image, b.image)
    assert not np.array_equal(first[0].image, first[5].image)


@pytest.fixture
def sysfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What Linux says of two cameras, the first with the second node that its metadata has."""
    for node, index, name in (
        ("video0", 0, "Front Camera"),
        ("video1", 1, "Front Camera"),
        ("video10", 0, "Back"),
    ):
        (tmp_path / node).mkdir()
        (tmp_path / node / "index").write_text(f"{index}\n")
        (tmp_path / node / "name").write_text(f"{name}\n")
    monkeypatch.setattr(camera_module, "_SYS", tmp_path)
    monkeypatch.setattr(sys, "platform", "linux")
    return tmp_path


def test_cameras_are_listed_once_each_and_in_order(sysfs: Path) -> None:
    found = camera_module.list_cameras()
    assert [(camera.index, camera.name, camera.path) for camera in found] == [
        (0, "Front Camera", "/dev/video0"),
        (10, "Back", "/dev/video10"),
    ]


@pytest.mark.parametrize(
    ("spec", "index"), [("0", 0), ("10", 10), ("/dev/video10", 10), ("back", 10), ("FRONT", 0)]
)
def test_a_camera_is_found_by_number_path_or_part_of_its_name(sysfs: Path, spec: str, index: int) -> None:
    assert camera_module.find_camera(spec).index == index


def test_a_name_that_fits_two_cameras_is_asked_back(sysfs: Path) -> None:
    (sysfs / "video10" / "name").write_text("Front Camera 2")
    with pytest.raises(DeviceError, match="more than one"):
        camera_module.find_camera("front")
    assert camera_module.find_camera("front camera").index == 0  # the whole name wins


def test_a_word_that_is_a_camera_is_one_and_any_other_a_missing_file(
    sysfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("allaprima.sources.open_camera", lambda spec, **wishes: asked.append(spec))
    open_source("back")
    assert asked == ["back"]
    with pytest.raises(InputError, match="no such file.*or list the cameras with: allaprima cameras"):
        open_source("sideways")
    with pytest.raises(InputError, match="no such file") as caught:
        open_source("sideways.mp4")
    assert "camera" not in str(caught.value)


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_where_cameras_have_no_names_a_mistyped_word_opens_none(
    system: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr("allaprima.sources.list_cameras", lambda: pytest.fail("every camera was opened"))
    with pytest.raises(InputError, match="allaprima cameras"):
        open_source("sideways")


def test_without_opencv_the_missing_package_is_named(sysfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    monkeypatch.setattr("os.access", lambda path, mode: True)
    with pytest.raises(DeviceError, match="libgl1") as caught:
        open_source("0")
    assert caught.value.code == "E_DISPLAY_LIBRARY"


def test_a_camera_without_permission_names_the_group(sysfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(DeviceError, match="video") as caught:
        open_source("0")
    assert caught.value.code == "E_CAMERA_PERMISSION"


def test_opencv_is_asked_for_mjpg_and_what_it_gives_instead_is_told(
    sysfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Device:
        """What cv2.VideoCapture is, with a camera behind it that has its own mind."""

        def __init__(self, path: str, system: int, wanted: list[int]) -> None:
            self.wanted = dict(zip(wanted[::2], wanted[1::2], strict=True))
            assert self.wanted[cv2.CAP_PROP_FOURCC] == cv2.VideoWriter.fourcc(*"MJPG")
            assert self.wanted[cv2.CAP_PROP_FRAME_WIDTH] in (1920, 320)
            self.random = np.random.default_rng(0)

        def isOpened(self) -> bool:
            return True

        def get(self, what: int) -> float:
            return {
                cv2.CAP_PROP_FRAME_WIDTH: 640,
                cv2.CAP_PROP_FRAME_HEIGHT: 480,
                cv2.CAP_PROP_FPS: 5,
                cv2.CAP_PROP_FOURCC: cv2.VideoWriter.fourcc(*"YUYV"),
            }[what]

        def set(self, what: int, value: float) -> bool:
            return True

        def read(self) -> tuple[bool, np.ndarray]:
            time.sleep(0.01)
            picture = self.random.integers(40, 60, (480, 640, 3), np.uint8)
            picture[..., 0] = 200  # blue, in OpenCV's order
            return True, picture

        def release(self) -> None:
            pass

    cv2 = pytest.importorskip("cv2")
    monkeypatch.setattr(cv2, "VideoCapture", Device)
    monkeypatch.setattr("os.access", lambda path, mode: True)
    with open_source("0", size=(1920, 1080)) as source:
        assert (source.width, source.height, source.rate) == (640, 480, 5)
        assert any("1920x1080" in note and "640x480" in note for note in source.notes)
        assert isinstance(source, LiveSource)
        assert source.about == "asked the camera for 1920x1080 at 30 fps in MJPG, got 640x480 at 5 in YUYV"
        image = next(iter(source)).image
    assert image[..., 2].min() == 200
    assert image[..., 0].max() < 60
    with open_source("0", size=(320, 320)) as source:  # it gives more than was asked
        assert (source.width, source.height) == (320, 240)
        assert next(iter(source)).image.shape == (240, 320, 3)


def test_a_window_without_a_display_is_told_and_does_not_end_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(DeviceError, match="no display") as caught:
        open_sink("window:")
    assert caught.value.code == "E_DISPLAY"


def displays(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


on_linux = pytest.mark.skipif(sys.platform != "linux", reason="X and Wayland are displays of Linux")


@on_linux
@pytest.mark.parametrize(
    "display", [":93", "unix:93.0", "127.0.0.1:93", "127.0.0.1:99999999", "nonsense", ":"]
)
def test_a_display_where_nobody_answers_is_told_and_does_not_end_the_process(
    display: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    displays(monkeypatch, DISPLAY=display)
    with pytest.raises(DeviceError, match=f"DISPLAY={display}") as caught:
        open_sink("window:")
    assert caught.value.code == "E_DISPLAY"


@on_linux
def test_a_display_that_answers_is_no_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as remote:
        displays(monkeypatch, DISPLAY=f"127.0.0.1:{remote.getsockname()[1] - 6000}.0")
        assert display_problem() is None
    with socket.socket(socket.AF_UNIX) as wayland:
        monkeypatch.setattr("allaprima.sinks.window._speaks_x_only", lambda: False)
        wayland.bind(str(tmp_path / "wayland-0"))
        displays(monkeypatch, WAYLAND_DISPLAY="wayland-0", XDG_RUNTIME_DIR=str(tmp_path))
        assert "wayland-0" in (display_problem() or "")  # nobody listens yet
        wayland.listen()
        assert display_problem() is None
        monkeypatch.setattr("allaprima.sinks.window._speaks_x_only", lambda: True)
        assert "does not know Wayland" in (display_problem() or "")
    with socket.socket(socket.AF_UNIX) as local:
        local.bind("\0/tmp/.X11-unix/X1093")
        local.listen()
        displays(monkeypatch, DISPLAY=":1093")
        assert display_problem() is None


class FakeWindows:
    """The part of cv2 that windows need. A key is pressed, or the window closed, after so many looks at it."""

    WINDOW_NORMAL = WINDOW_KEEPRATIO = WINDOW_GUI_NORMAL = COLOR_RGB2BGR = WND_PROP_VISIBLE = 0
    error = type("error", (Exception,), {})

    def __init__(self, key_after: int = 10**9, close_after: int = 10**9, *, forgets: bool = False) -> None:
        """`forgets`: as OpenCV 5 with Qt, which raises when it is asked about its last window after that was closed."""
        self.looks, self.shown, self.closed = 0, 0, False
        self.forgets = forgets
        self.key_after, self.close_after = key_after, close_after
        self.sizes: list[tuple[int, int]] = []

    def namedWindow(self, title: str, flags: int) -> None: ...

    def resizeWindow(self, title: str, width: int, height: int) -> None:
        self.sizes.append((width, height))

    def getWindowImageRect(self, title: str) -> tuple[int, int, int, int]:
        return 0, 0, *self.sizes[-1]

    def cvtColor(self, image: Image, how: int) -> Image:
        return image[..., ::-1]

    def imshow(self, title: str, image: Image) -> None:
        self.shown += 1

    def waitKey(self, milliseconds: int) -> int:
        assert milliseconds > 0
        self.looks += 1
        return ord("x") if self.looks > self.key_after else -1

    def getWindowProperty(self, title: str, what: int) -> float:
        if self.looks <= self.close_after:
            return 1.0
        if self.forgets:
            raise self.error("NULL guiReceiver")
        return 0.0

    def destroyWindow(self, title: str) -> None:
        self.closed = True


@pytest.fixture
def a_picture(tmp_path: Path) -> Path:
    with open_sink(tmp_path / "a.png") as sink:
        sink.put(Frame(np.full((32, 48, 3), 120, np.uint8)))
    return tmp_path / "a.png"


@pytest.mark.parametrize(
    "viewer", [{"key_after": 5}, {"close_after": 5}, {"close_after": 5, "forgets": True}], ids=str
)
def test_a_picture_stays_in_its_window_until_the_viewer_has_seen_it(
    a_picture: Path, viewer: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    windows = FakeWindows(**viewer)
    monkeypatch.setitem(sys.modules, "cv2", windows)
    monkeypatch.setattr("allaprima.sinks.window.display_problem", lambda: None)
    monkeypatch.setattr("allaprima.sinks.window.windows_hang", lambda: False)
    with open_source(a_picture) as source, open_sink("window:", like=source) as sink:
        play(source, lambda frame: frame, sink)
        assert not windows.closed
    assert (windows.shown, windows.looks, windows.closed) == (1, 6, True)


def test_a_window_has_the_form_of_what_it_shows_and_fits_the_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    windows = FakeWindows()
    monkeypatch.setitem(sys.modules, "cv2", windows)
    monkeypatch.setattr("allaprima.sinks.window.display_problem", lambda: None)
    monkeypatch.setattr("allaprima.sinks.window.windows_hang", lambda: False)
    with open_sink("window:") as sink:
        for width, height in (
            (640, 360),
            (480, 271),
            (1280, 360),
            (640, 360),
        ):  # smaller, side by side, and back
            sink.put(Frame(np.zeros((height, width, 3), np.uint8)))
        assert windows.sizes == [(640, 360), (640, 180), (640, 360)]
        windows.sizes.append((1000, 563))  # the viewer pulls at its corner
        sink.put(Frame(np.zeros((640, 360, 3), np.uint8)))
        assert windows.sizes[-1] == (608, 1081)
    with open_sink("window:") as sink:
        sink.put(Frame(np.zeros((3000, 6000, 3), np.uint8)))
    assert windows.sizes[-1] == (1920, 960)


def test_a_film_does_not_hold_its_window_nor_does_a_failure(
    a_picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("allaprima.sinks.window.display_problem", lambda: None)
    monkeypatch.setattr("allaprima.sinks.window.windows_hang", lambda: False)
    windows = FakeWindows()
    monkeypatch.setitem(sys.modules, "cv2", windows)
    with open_source("bars:32x32@50?seconds=0.1") as film, open_sink("window:", like=film) as sink:
        play(film, lambda frame: frame, sink)
    assert windows.closed

    windows = FakeWindows()
    monkeypatch.setitem(sys.modules, "cv2", windows)
    with (
        pytest.raises(OSError, match="power cut"),
        open_source(a_picture) as source,
        open_sink("window:", like=source) as sink,
    ):
        sink.put(next(iter(source)))
        raise OSError("power cut")
    assert windows.closed


def test_a_virtual_camera_that_fails_while_it_is_fed_is_a_lost_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Camera:
        device = "/dev/video9"

        def __init__(self, width: int, height: int, fps: float) -> None:
            self.width, self.height = width, height

        def send(self, image: np.ndarray) -> None:
            raise RuntimeError("error writing frame: No such device")

        def close(self) -> None: ...

    module: Callable[..., object] = type("pyvirtualcam", (), {"Camera": Camera})
    monkeypatch.setitem(sys.modules, "pyvirtualcam", module)
    with (
        pytest.raises(DeviceError, match="video9.*No such device") as caught,
        open_sink("virtual-camera:") as sink,
    ):
        sink.put(Frame(np.zeros((32, 32, 3), np.uint8)))
    assert caught.value.code == "E_DISPLAY_VIRTUAL_CAMERA"


def test_a_virtual_camera_is_not_the_camera_that_is_painted(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[bool] = []

    class Camera:
        device = "/dev/video9"

        def __init__(self, width: int, height: int, fps: float) -> None: ...

        def close(self) -> None:
            closed.append(True)

    module: Callable[..., object] = type("pyvirtualcam", (), {"Camera": Camera})
    monkeypatch.setitem(sys.modules, "pyvirtualcam", module)

    def open() -> FakeCapture:
        return FakeCapture(64, 48, Fraction(50), FakeSettings(seconds=1.0))

    with (
        LiveSource(open, "loopback", path="/dev/video9") as source,
        pytest.raises(DeviceError, match="video9 is the camera that is painted"),
        open_sink("virtual-camera:", like=source) as sink,
    ):
        sink.put(Frame(np.zeros((32, 32, 3), np.uint8)))
    assert closed == [True]


def test_a_virtual_camera_gets_what_was_painted(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[np.ndarray] = []
    closed: list[bool] = []

    class Camera:
        device = "/dev/video9"

        def __init__(self, width: int, height: int, fps: float) -> None:
            self.width, self.height = width, height

        def send(self, image: np.ndarray) -> None:
            assert image.shape == (self.height, self.width, 3)
            sent.append(image)

        def close(self) -> None:
            closed.append(True)

    module: Callable[..., object] = type("pyvirtualcam", (), {"Camera": Camera})
    monkeypatch.setitem(sys.modules, "pyvirtualcam", module)
    with (
        open_source("fake:64x48@20?resize_at=4&seconds=2") as source,
        open_sink("virtual-camera:", like=source) as sink,
    ):
        play(source, lambda frame: frame, sink)
    assert len(sent) > 2
    assert closed == [True]


def test_a_machine_without_a_virtual_camera_says_what_to_install() -> None:
    pyvirtualcam = pytest.importorskip("pyvirtualcam")
    try:
        pyvirtualcam.Camera(width=32, height=32, fps=10).close()
        pytest.skip("this machine has a virtual camera")
    except RuntimeError:
        pass
    with pytest.raises(DeviceError, match="v4l2loopback") as caught, open_sink("virtual-camera:") as sink:
        sink.put(Frame(np.zeros((32, 32, 3), np.uint8)))
    assert caught.value.code == "E_DISPLAY_VIRTUAL_CAMERA"
