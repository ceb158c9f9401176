"""Outputs side by side: the slow one delays nobody, the broken one ends nobody; the page and the streams are real."""

from __future__ import annotations

import json
import queue
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from waiting import until

from allaprima.errors import DeviceError, OutputError, UsageError
from allaprima.frame import Frame
from allaprima.sinks import NullSink, VideoSink
from allaprima.sinks.network import NetworkSink, without_secrets
from allaprima.sinks.outputs import Outputs
from allaprima.sinks.page import PageSink
from allaprima.sources import VideoSource

pytestmark = pytest.mark.usefixtures("no_threads_left")


def frame(index: int = 0, value: int = 100, rate: int = 25) -> Frame:
    image = np.full((48, 64, 3), value, np.uint8)
    image[:, :16] = (250, 20, 20)
    return Frame(image, index, index / rate)


class Slow(NullSink):
    """Waits in its first frame until it may go on."""

    def __init__(self, *, live: bool) -> None:
        super().__init__()
        self.live = live
        self.inside, self.go_on = threading.Event(), threading.Event()
        self.indices: list[int] = []

    def put(self, frame: Frame) -> bool:
        self.indices.append(frame.index)
        self.inside.set()
        self.go_on.wait(10)
        return True


class Broken(NullSink):
    name = "broken"
    live = True

    def put(self, frame: Frame) -> bool:
        raise DeviceError("E_DISPLAY_VIRTUAL_CAMERA", "cannot send to the virtual camera", "it is gone")


def test_a_slow_live_output_gets_the_newest_frame_and_delays_nobody() -> None:
    slow = Slow(live=True)
    with Outputs(tell=lambda text: None) as outputs:
        outputs.add("slow", lambda: slow)
        outputs.put(frame(0))
        slow.inside.wait(5)
        for index in range(1, 100):
            outputs.put(frame(index))
        slow.go_on.set()
        assert until(lambda: slow.indices == [0, 99])


def test_a_recording_leaves_frames_out_and_counts_them_when_its_encoder_is_too_slow() -> None:
    slow, said = Slow(live=False), list[str]()
    with Outputs(tell=said.append) as outputs:
        outputs.add("recording", lambda: slow)
        outputs.put(frame(0))
        slow.inside.wait(5)
        for index in range(1, 20):
            outputs.put(frame(index))
        slow.go_on.set()
    assert slow.indices == list(range(9))
    assert any("11 frames were left out" in line for line in said)
    assert "null is complete" in said


def test_one_that_fails_is_told_and_the_others_go_on() -> None:
    said: list[str] = []
    kept = NullSink()
    with Outputs(tell=said.append) as outputs:
        outputs.add("camera", Broken)
        outputs.add("kept", lambda: kept)
        outputs.put(frame(0))
        assert until(lambda: bool(outputs.put(frame(1)) or outputs.failed))
        for index in range(2, 6):
            outputs.put(frame(index))
        assert outputs.names == ["kept"]
    assert kept.frames >= 5
    assert outputs.failed["camera"].code == "E_DISPLAY_VIRTUAL_CAMERA"
    assert sum("warning[E_DISPLAY_VIRTUAL_CAMERA]: camera" in line for line in said) == 1


def test_one_that_does_not_open_is_told_and_not_fed() -> None:
    def nothing() -> NullSink:
        raise DeviceError("E_DISPLAY_VIRTUAL_CAMERA", "cannot open a virtual camera")

    with Outputs(tell=lambda text: None) as outputs:
        assert not outputs.add("camera", nothing)
        assert outputs.names == []
    assert list(outputs.failed) == ["camera"]


def test_a_bug_in_an_output_is_not_taken_for_its_failure() -> None:
    class Buggy(NullSink):
        def put(self, frame: Frame) -> bool:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), Outputs(tell=lambda text: None) as outputs:
        outputs.add("buggy", Buggy)
        outputs.put(frame())


def test_a_recording_can_be_completed_while_others_go_on(out: Path) -> None:
    said: list[str] = []
    with Outputs(tell=said.append) as outputs:
        outputs.add("recording", lambda: VideoSink(out / "a.mp4", rate=Fraction(25)))
        for index in range(8):
            outputs.put(frame(index))
            time.sleep(0.01)
        outputs.finish("recording")
        assert until(lambda: bool(outputs.put(frame(9)) or "recording" not in outputs))
        assert "a.mp4 is complete" in said
        assert (out / "a.mp4").exists()
    with VideoSource(out / "a.mp4") as film:
        assert sum(1 for _ in film) == 8


def test_a_full_disk_ends_the_recording_and_leaves_no_half_file(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = NullSink()
    with Outputs(tell=lambda text: None) as outputs:
        recording = VideoSink(out / "a.mp4", rate=Fraction(25))
        outputs.add("recording", lambda: recording)
        outputs.add("kept", lambda: kept)
        outputs.put(frame(0))

        def full(*_: Any) -> None:
            raise OutputError("E_OUTPUT_FULL", "no room for a.mp4")

        monkeypatch.setattr(recording, "_encode", full)
        assert until(lambda: bool(outputs.put(frame(1)) or outputs.failed))
    assert outputs.failed["recording"].code == "E_OUTPUT_FULL"
    assert list(out.iterdir()) == []


# the page


@contextmanager
def page(**settings: Any) -> Iterator[PageSink]:
    pytest.importorskip("starlette")
    pytest.importorskip("uvicorn")
    with PageSink(port=0, **settings) as sink:
        yield sink


def ask(address: str, *, body: Any = None, **headers: str) -> tuple[int, bytes, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        address, data, {name.replace("_", "-"): text for name, text in headers.items()}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read(), error.headers


def next_picture(stream: Any) -> np.ndarray:
    """One part of a multipart stream, decoded."""
    import io

    from PIL import Image

    length = 0
    while line := stream.readline().strip():
        if line.lower().startswith(b"content-length"):
            length = int(line.split(b":")[1])
    picture = np.asarray(Image.open(io.BytesIO(stream.read(length))))
    stream.readline()
    return picture


def test_the_page_shows_the_newest_painting_to_whoever_looks() -> None:
    with page() as sink:
        sink.put(frame(0, 10))  # nobody looks: nothing is encoded
        assert sink._number == 0
        with urllib.request.urlopen(f"{sink.address}stream", timeout=10) as stream:
            assert "multipart/x-mixed-replace" in stream.headers["Content-Type"]
            first = next_picture(stream)
            assert first.shape == (48, 64, 3)
            assert first[24, 8, 0] > 200  # red is red
            assert abs(int(first[24, 50, 1]) - 10) < 6
            sink.put(frame(1, 200))
            assert abs(int(next_picture(stream)[24, 50, 1]) - 200) < 6
        assert until(lambda: (sink.put(frame(2)) and False) or sink._viewers == 0)


def test_to_a_browser_each_picture_comes_with_the_head_of_the_next() -> None:
    """Without it Chromium waits for the next one before it shows this one."""
    with page() as sink:
        assert b"ahead" in ask(f"{sink.address}page.js")[1]
        sink.put(frame(0, 10))
        with urllib.request.urlopen(f"{sink.address}stream?ahead=1", timeout=10) as stream:
            head = b"--frame\r\nContent-Type: image/jpeg\r\n\r\n"
            assert stream.read(len(head)) == head
            came = b""
            while not came.endswith(b"\r\n" + head):
                came += stream.read(1)
            assert came.startswith(b"\xff\xd8")


def test_the_page_shows_the_view_that_its_keys_turn() -> None:
    with page(view=lambda frame: frame.image[:, ::-1]) as sink:
        sink.put(frame(0, 10))
        with urllib.request.urlopen(f"{sink.address}stream", timeout=10) as stream:
            assert next_picture(stream)[24, 56, 0] > 200  # mirrored


def test_the_page_is_this_machines_own_and_says_what_browsers_may_load() -> None:
    with page(status=lambda: "starry, 30 fps") as sink:
        assert sink.address.startswith("http://127.0.0.1:")
        assert sink.private
        assert sink._socket.getsockname()[0] == "127.0.0.1"
        status, body, headers = ask(sink.address)
        assert status == 200
        assert b"Alla Prima" in body
        assert (
            b"http" not in body.replace(b"<!doctype html>", b"").split(b"<script")[0]
        )  # nothing from elsewhere
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        for asset in ("page.js", "page.css", "page.svg"):
            assert asset.encode() in body
            assert ask(f"{sink.address}{asset}")[0] == 200
        assert json.loads(ask(f"{sink.address}status")[1])["line"] == "starry, 30 fps"
        assert ask(f"{sink.address}../../etc/passwd")[0] == 404
        assert ask(sink.address, Host="evil.example")[0] == 400


def test_keys_of_the_page_are_heard_and_those_of_other_sites_are_not() -> None:
    pressed: queue.SimpleQueue[str] = queue.SimpleQueue()
    with page(keys={"n": "next style"}, on_key=pressed.put) as sink:
        address = f"{sink.address}key"
        assert ask(address, body={"key": "n"}, X_Allaprima="page")[0] == 204
        assert pressed.get(timeout=5) == "n"
        assert ask(address, body={"key": "n"})[0] == 403
        assert ask(address, body={"key": "n"}, X_Allaprima="page", Sec_Fetch_Site="cross-site")[0] == 403
        for wrong in ({"key": "q"}, {"key": 5}, ["n"], {}, "n" * 1000):
            assert ask(address, body=wrong, X_Allaprima="page")[0] == 400, wrong
        assert pressed.empty()


def test_a_page_that_is_open_to_a_network_asks_for_its_token() -> None:
    with page(host="0.0.0.0") as sink:
        assert not sink.private
        token = sink.address.partition("?token=")[2]
        assert len(token) >= 20
        here = f"http://127.0.0.1:{sink._socket.getsockname()[1]}/"
        for path in ("", "stream", "status"):
            assert ask(f"{here}{path}")[0] == 403
            assert ask(f"{here}{path}?token=wrong")[0] == 403
        assert ask(f"{here}status?token={token}")[0] == 200
        assert ask(f"{here}page.js")[0] == 200


def test_a_port_that_is_taken_is_told() -> None:
    pytest.importorskip("uvicorn")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(DeviceError, match=f"127.0.0.1:{port}") as caught:
            PageSink(port=port)
    assert caught.value.code == "E_PAGE_ADDRESS"
    with pytest.raises(DeviceError) as caught:
        PageSink(host="nowhere.invalid", port=0)
    assert caught.value.code == "E_PAGE_ADDRESS"


def test_without_the_extra_the_page_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(DeviceError, match=r"allaprima\[web\]") as caught:
        PageSink(port=0)
    assert caught.value.code == "E_PAGE_LIBRARY"


# streams


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


LISTENER = """
import sys, av, numpy as np
times, pictures, trouble = [], [], ""
try:
    with av.open(sys.argv[1], format=sys.argv[2], options={"listen": "1"}, timeout=20) as container:
        for picture in container.decode(video=0):
            times.append(picture.time)
            pictures.append(picture.to_ndarray(format="rgb24"))
except (av.FFmpegError, OSError) as error:
    trouble = str(error)  # the end of a live stream is no end of file
np.savez(sys.argv[3], times=times, picture=pictures[0] if pictures else np.zeros(0), trouble=trouble)
"""


@pytest.mark.parametrize(("scheme", "format"), [("tcp", "mpegts"), ("rtmp", "flv")])
def test_a_stream_arrives_as_it_was_painted(scheme: str, format: str, tmp_path: Path) -> None:
    """The listener is a process of its own: PyAV connects without letting other threads go on."""
    address = f"{scheme}://127.0.0.1:{free_port()}/live/key"
    words = [sys.executable, "-c", LISTENER, address, format, str(tmp_path / "got.npz")]
    with subprocess.Popen(words) as listener:

        def connected() -> NetworkSink | None:
            sink = NetworkSink(address, rate=Fraction(25))
            try:
                sink.put(frame(0, 40))
            except OutputError:  # it does not listen yet; FFmpeg does not say when
                time.sleep(0.1)
                return None
            return sink

        sink = next(filter(None, (connected() for _ in range(100))))
        with sink:
            for index in range(1, 30):
                assert sink.put(frame(index, 40 + 5 * index))
        assert listener.wait(30) == 0
    got = np.load(tmp_path / "got.npz")
    assert len(got["times"]) >= 20, got["trouble"]
    assert np.diff(got["times"]) == pytest.approx([0.04] * (len(got["times"]) - 1), abs=2e-3)
    assert got["picture"].shape == (48, 64, 3)
    assert got["picture"][24, 6].tolist() == pytest.approx([250, 20, 20], abs=20)


def test_where_nobody_listens_the_stream_fails_with_a_word() -> None:
    with (
        pytest.raises(OutputError, match="refused") as caught,
        NetworkSink(f"tcp://127.0.0.1:{free_port()}") as sink,
    ):
        sink.put(frame())
    assert caught.value.code == "E_STREAM_FAILED"


@pytest.mark.parametrize(
    "address", ["http://example.org/", "rtmp:", "rtmp:///app", "file:///a.mp4", "painted.mp4"]
)
def test_what_is_no_address_of_a_stream_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="rtmp://") as caught:
        NetworkSink(address)
    assert caught.value.code == "E_STREAM_ADDRESS"


@pytest.mark.parametrize("address", ["rtmp://h:99999/live/KEY", "srt://h:9000:KEY", "rtmp://[::1/KEY"])
def test_an_address_that_cannot_be_read_is_refused_and_not_shown(address: str) -> None:
    with pytest.raises(UsageError) as caught:
        NetworkSink(address)
    assert caught.value.code == "E_STREAM_ADDRESS"
    assert "KEY" not in str(caught.value)


def test_keys_of_streams_are_shown_nowhere() -> None:
    url = "rtmp://user:secret@live.example:1935/app/KEY?sign=abc"
    assert without_secrets(url) == "rtmp://live.example:1935/..."
    assert NetworkSink(url).name == "rtmp://live.example:1935/..."
    with pytest.raises(UsageError) as caught:
        NetworkSink(url.replace("rtmp", "gopher"))
    assert "secret" not in str(caught.value)
    assert "KEY" not in str(caught.value)
