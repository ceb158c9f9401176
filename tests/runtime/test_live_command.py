"""`allaprima live` and what it shares with `run`, as a user types it."""

from __future__ import annotations

import json
import re
import sys
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import make_bundle, ramp
from PIL import Image as Pictures

from allaprima.cli import main
from allaprima.frame import Frame
from allaprima.sinks import network
from allaprima.sources import VideoSource

pytestmark = pytest.mark.usefixtures("no_threads_left")

NO_DISPLAY = {"DISPLAY": "", "WAYLAND_DISPLAY": ""}


@pytest.fixture
def style(tmp_path: Path) -> str:
    return str(make_bundle(tmp_path / "negative.prima"))


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder of its own, without a display, whatever machine this is."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "platform", "linux")
    for name, value in NO_DISPLAY.items():
        monkeypatch.setenv(name, value)


def live(*words: str) -> int:
    return main(["live", "fake:96x64@30?seconds=30", "--backend", "ort", *words])


def test_a_recording_and_figures_as_json_lines(
    style: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--style", style, "--no-window", "--record", "a.mp4", "--seconds", "2.5", "--json"]
    assert live(*words) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [next(iter(line)) for line in lines] == ["status", "status", "summary"]
    summary = lines[-1]["summary"]
    assert summary["backend"] == "ort"
    assert summary["precision"] == "fp32"
    assert summary["frames"] > 10
    assert summary["failed"] == {}
    assert summary["latency_ms"]["p95"] > 0
    with VideoSource(tmp_path / "a.mp4") as film:
        frames = list(film)
    assert len(frames) == summary["frames"]
    assert frames[-1].time == pytest.approx(2.5, abs=0.7)


def test_as_long_as_one_output_works_the_run_goes_on_and_its_end_tells_what_failed(
    style: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Camera:
        def __init__(self, **_: Any) -> None:
            raise RuntimeError("'obs' backend: no device")

    monkeypatch.setitem(sys.modules, "pyvirtualcam", type("pyvirtualcam", (), {"Camera": Camera}))
    (tmp_path / "b.mp4").write_text("somebody's film")
    words = ["--virtual-camera", "--record", "b.mp4", "--to", "tcp://127.0.0.1:9", "--page", "0"]
    assert live("--style", style, "--seconds", "1.5", *words) == 5
    said = capsys.readouterr()
    assert "note: there is no window" in said.err
    for code in ("E_DISPLAY_VIRTUAL_CAMERA", "E_OUTPUT_EXISTS", "E_STREAM_FAILED"):
        assert len(re.findall(rf"warning\[{code}\]", said.err)) == 1
    assert "error[E_OUTPUT_LOST]: 3 of the outputs" in said.err
    assert "frames in" in said.out
    assert (tmp_path / "b.mp4").read_text() == "somebody's film"


def test_two_streams_to_one_server_are_two_outputs(
    style: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fed: dict[str, int] = {}

    class Sent(network.NetworkSink):
        def put(self, frame: Frame) -> bool:
            fed[self._url] = fed.get(self._url, 0) + 1
            return True

    monkeypatch.setattr(network, "NetworkSink", Sent)
    streams = [f"rtmp://127.0.0.1:9/live/{key}" for key in ("a", "b", "c")]
    to = [word for one in streams for word in ("--to", one)]
    assert live("--style", style, "--no-window", "--seconds", "1", *to) == 0
    assert fed.keys() == set(streams)
    assert min(fed.values()) > 3


def test_without_any_output_that_opens_the_first_error_is_the_answer(
    style: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert live("--style", style) == 6
    assert "error[E_DISPLAY]" in capsys.readouterr().err
    assert live("--style", style, "--no-window", "--record", "a.xyz") == 4
    assert "E_OUTPUT_FORMAT" in capsys.readouterr().err


def test_the_page_and_its_keys_reach_the_run(
    style: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("uvicorn")
    from allaprima.sinks import page

    seen: list[Any] = []

    class Watched(page.PageSink):
        def put(self, frame: Any) -> bool:
            if len(seen) == 0:
                request = urllib.request.Request(
                    f"{self.address}key",
                    json.dumps({"key": "["}).encode(),
                    {"X-Allaprima": "page", "Content-Type": "application/json"},
                )
                seen.append(urllib.request.urlopen(request, timeout=10).status)
            return super().put(frame)

    monkeypatch.setattr(page, "PageSink", Watched)
    assert live("--style", style, "--no-window", "--page", "0", "--seconds", "1.5", "--json") == 0
    said = capsys.readouterr()
    assert "page: http://127.0.0.1:" in said.err
    assert "strength 90%" in said.err
    assert json.loads(said.out.splitlines()[-1])["summary"]["strength"] == pytest.approx(0.9)
    assert seen == [204]


def test_a_page_for_a_network_warns(style: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("uvicorn")
    assert live("--style", style, "--no-window", "--page", "0", "--host", "0.0.0.0", "--seconds", "0.5") == 0
    said = capsys.readouterr().err
    assert "?token=" in said
    assert "warning: the page is open to the network, unencrypted" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--host", "0.0.0.0", "--no-window", "--record"], "--page"),
        (["--no-window"], "nothing to watch"),
        (["--seconds", "0"], "--seconds 60"),
        (["--fps", "-1"], "--fps 30"),
        (["--stabilise", "2"], "0 to 0.95"),
        (["--style", ","], "names no style"),
        (["--mix", "starry"], "two styles"),
        (["--region", "noses"], "moving, faces"),
        (["--size", "big"], "1280x720"),
        (["--to", "http://example.org/"], "rtmp://"),
        (["--to", "rtmp://example.org:99999/live/key"], "from 1 to 65535"),
    ],
)
def test_what_cannot_be_is_said_before_a_camera_opens(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert live(*words) == 2
    assert said in capsys.readouterr().err


def test_a_picture_is_not_live(tmp_path: Path, style: str, capsys: pytest.CaptureFixture[str]) -> None:
    Pictures.fromarray(ramp(32, 48)).save(tmp_path / "a.png")
    assert main(["live", "a.png", "--style", style]) == 2
    assert "allaprima run" in capsys.readouterr().err


def test_styles_are_those_named_or_all_with_the_first_first() -> None:
    import argparse

    from allaprima.cli.live import styles_of

    def given(style: str | None, mix: str | None = None) -> list[str]:
        return styles_of(argparse.Namespace(style=style, mix=mix))

    assert given("a, b") == ["a", "b"]
    assert given(None)[0] == "starry"
    assert given("a", "a:1,b:1") == ["a:1,b:1", "a"]


def test_recordings_after_the_first_have_names_of_their_own(tmp_path: Path) -> None:
    from allaprima.cli.live import Recordings
    from allaprima.sources import open_source

    with open_source("bars:32x32@5") as source:
        named = Recordings("a.mp4", source, overwrite=False)
        assert [named().name for _ in range(3)] == ["a.mp4", "a-2.mp4", "a-3.mp4"]
        assert re.fullmatch(r"live-\d{8}-\d{6}\.mp4", Recordings("", source, overwrite=False)().name)


def test_the_program_in_the_page_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "live.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", page, re.S)
    exec(compile(program.replace("seconds=5", "seconds=1"), "docs/live.md", "exec"), {})
    assert "fps" in capsys.readouterr().out
    with VideoSource(tmp_path / "live.mp4") as film:
        assert next(iter(film)).width == 640


def test_every_option_is_on_the_page() -> None:
    import argparse

    from allaprima.cli import live as command

    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    page = (Path(__file__).parents[2] / "docs" / "live.md").read_text()
    options = {word for action in parser._actions for word in action.option_strings if word.startswith("--")}
    assert {option for option in options - {"--help", "--tile"} if f"`{option}" not in page} == set()


# what `run` shares


def test_files_are_mixed_masked_and_steadied_too(
    style: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("cv2")
    mask = np.zeros((64, 96), np.uint8)
    mask[:, 48:] = 255
    Pictures.fromarray(mask).save(tmp_path / "mask.png")
    words = ["--backend", "ort", "--mask", "mask.png", "--stabilise", "0.5", "--skip-static", "--json"]
    source = "bars:96x64@10?seconds=2"
    assert main(["run", source, "--mix", f"{style}:1,{style}:2", "--out", "a.mp4", *words]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["frames"] == 20
    assert summary["style"] == "negative+negative"
    with VideoSource(tmp_path / "a.mp4") as film:
        frames = [frame.image for frame in film]
    assert len(frames) == 20
    grey = frames[3][60]  # the ramp below the bars: dark to light, and from the middle on inverted
    assert grey[20].mean() < 100
    assert grey[60].mean() < 120


def test_a_film_that_stands_still_is_painted_once(
    style: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], make_video: Any
) -> None:
    clip = make_video("still.mp4", times=20)
    words = ["--style", style, "--backend", "ort", "--out", "a.mp4", "--json"]
    assert main(["run", str(clip), *words]) == 0
    assert json.loads(capsys.readouterr().out)["skipped"] == 0
    Pictures.fromarray(ramp(48, 64)).save(tmp_path / "one.png")
    import av

    with av.open(str(tmp_path / "slides.mp4"), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(20):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(ramp(48, 64), "rgb24")))
        out.mux(stream.encode(None))
    words = ["--style", style, "--backend", "ort", "--out", "b.mp4", "--json", "--skip-static"]
    assert main(["run", "slides.mp4", *words]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["frames"], summary["skipped"]) == (20, 19)


@pytest.mark.parametrize("words", [[], ["--style", "starry", "--mix", "starry:1,starry:2"]])
def test_run_takes_a_style_or_a_mixture(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "bars:32x32@5", *words]) == 2
    assert "--style or --mix" in capsys.readouterr().err


def test_a_folder_is_masked_but_not_steadied(
    style: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    Pictures.fromarray(ramp(64, 96)).save(tmp_path / "in" / "a.png")
    mask = np.zeros((64, 96), np.uint8)
    Pictures.fromarray(mask).save(tmp_path / "mask.png")
    assert main(["run", "in", "--style", style, "--stabilise"]) == 2
    assert "do not follow each other" in capsys.readouterr().err
    assert (
        main(["run", "in", "--style", style, "--out", "out", "--mask", "mask.png", "--backend", "ort"]) == 0
    )
    np.testing.assert_array_equal(np.asarray(Pictures.open(tmp_path / "out" / "a.png")), ramp(64, 96))
