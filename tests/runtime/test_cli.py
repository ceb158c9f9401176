"""The command, as users type it: in a process of its own, on real media, with exit status and messages."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

SHIPPED = Path(__file__).parents[2] / "runtime" / "allaprima" / "styles" / "starry.prima"


def allaprima(
    *words: object, cwd: Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "allaprima", *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        timeout=120,
        check=False,
    )


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    y, x = np.mgrid[0:120, 0:161]
    image = np.stack([x, y * 2, (x + y) % 256], axis=2).astype(np.uint8)
    path = tmp_path / "photo.png"
    Image.fromarray(image).save(path)
    return path


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A second of moving pictures with a tone."""
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=15)
        video.width, video.height, video.pix_fmt = 160, 120, "yuv420p"
        sound = container.add_stream("aac", rate=44100, layout="mono")
        y, x = np.mgrid[0:120, 0:160]
        for number in range(15):
            picture = np.stack([(x + 8 * number) % 256, y * 2, (x * y // 64) % 256], axis=2).astype(np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode(None))
        tone = np.sin(np.arange(44100, dtype=np.float32) / 20)[None] * 0.3
        samples = av.AudioFrame.from_ndarray(tone.astype(np.float32), format="fltp", layout="mono")
        samples.sample_rate = 44100
        container.mux(sound.encode(samples))
        container.mux(sound.encode(None))
    return path


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_help_imports_nothing_heavy() -> None:
    """What makes it slow; benchmarks/start.py measures how slow."""
    script = "import sys; from allaprima.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    script += "print(sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "usage: allaprima" in loaded
    for heavy in ("numpy", "torch", "pydantic", "rich", "openvino"):
        assert f"'{heavy}'" not in loaded


def test_a_picture_is_painted_and_named_after_its_style(photo: Path, tmp_path: Path) -> None:
    done = allaprima("run", photo.name, "--style", "starry", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "photo-starry.png") as painted, Image.open(photo) as original:
        assert painted.size == original.size
        assert np.abs(np.asarray(painted, int) - np.asarray(original, int)).mean() > 5


def test_strength_zero_gives_the_picture_back(photo: Path, tmp_path: Path) -> None:
    done = allaprima("run", photo, "--style", "starry", "--strength", 0, "--out", "same.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "same.png") as same, Image.open(photo) as original:
        assert np.array_equal(np.asarray(same), np.asarray(original))


def test_a_video_keeps_its_sound_and_its_frames(clip: Path, tmp_path: Path) -> None:
    done = allaprima("run", clip, "--style", "starry", "--out", "painted.mp4", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["frames"], summary["dropped"]) == (15, 0)
    assert summary["backend"] in ("openvino", "ort")
    with av.open(str(clip)) as before, av.open(str(tmp_path / "painted.mp4")) as after:
        assert after.streams.video[0].codec_context.name == "h264"
        assert [f.pts for f in after.decode(video=0)] == [f.pts for f in before.decode(video=0)]
        before.seek(0)
        after.seek(0)
        sounds = [[bytes(p) for p in c.demux(audio=0) if p.size] for c in (before, after)]
        assert sounds[0] == sounds[1]


def test_a_folder_goes_on_after_a_bad_picture_and_says_so(photo: Path, tmp_path: Path) -> None:
    album = tmp_path / "album"
    (album / "deep").mkdir(parents=True)
    (album / "a.png").write_bytes(photo.read_bytes())
    (album / "b.png").write_bytes(photo.read_bytes()[: photo.stat().st_size // 2])
    (album / "deep" / "c.png").write_bytes(photo.read_bytes())
    (album / "notes.txt").write_text("no picture")
    done = allaprima("run", album, "--style", "starry", "--out", "out", cwd=tmp_path)
    assert done.returncode == 5, done.stderr
    assert files(tmp_path / "out") == {"a.png", "deep", "deep/c.png"}
    assert "b.png" in done.stderr
    assert "skipped" in done.stderr


BAD = {
    "missing file": (["nowhere.mp4"], 3, "nowhere.mp4"),
    "text named mp4": (["text.mp4"], 3, "text.mp4"),
    "empty video": (["empty.mp4"], 3, "empty"),
    "truncated video": (["cut.mp4"], 3, "cut.mp4"),
    "sound only": (["sound.mp4"], 3, "sound.mp4"),
    "unknown style": (["clip.mp4", "--style", "stary"], 2, "did you mean 'starry'"),
    "unknown backend": (["clip.mp4", "--backend", "opnvino"], 2, "did you mean 'openvino'"),
    "backend that cannot start": (["clip.mp4", "--backend", "tensorrt"], 6, "tensorrt"),
    "camera that is not there": (["/dev/video99"], 6, "allaprima cameras"),
    "strength out of range": (["clip.mp4", "--strength", "1.5"], 2, "0"),
    "output of no known format": (["clip.mp4", "--out", "out.xyz"], 4, ".xyz"),
    "picture from a video": (["clip.mp4", "--out", "out.png"], 4, "many frames"),
    "output in no folder": (["clip.mp4", "--out", "no/where/out.mp4"], 4, "no folder"),
    "size that is none": (["clip.mp4", "--size", "big"], 2, "--size 1280x720"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gets_a_message_a_status_and_no_output(name: str, clip: Path, tmp_path: Path) -> None:
    words, status, said = BAD[name]
    (tmp_path / "text.mp4").write_text("this is a text\n" * 50)
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "cut.mp4").write_bytes(clip.read_bytes()[: clip.stat().st_size // 3])
    with av.open(str(clip)) as source, av.open(str(tmp_path / "sound.mp4"), "w") as target:
        copy = target.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.size:
                packet.stream = copy
                target.mux(packet)
    before = files(tmp_path)
    style = [] if "--style" in words else ["--style", "starry"]
    done = allaprima("run", *words, *style, cwd=tmp_path)
    assert done.returncode == status, done.stderr
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("error[E_")
    assert said in line
    assert "Traceback" not in done.stderr
    assert files(tmp_path) == before


def test_an_output_that_exists_is_kept(clip: Path, photo: Path, tmp_path: Path) -> None:
    (tmp_path / "out.mp4").write_bytes(b"precious")
    done = allaprima("run", clip, "--style", "starry", "--out", "out.mp4", cwd=tmp_path)
    assert (done.returncode, (tmp_path / "out.mp4").read_bytes()) == (4, b"precious")
    assert "--overwrite" in done.stderr
    original = clip.read_bytes()
    done = allaprima("run", clip, "--style", "starry", "--out", clip, "--overwrite", cwd=tmp_path)
    assert (done.returncode, clip.read_bytes()) == (4, original)


def test_a_bundle_with_a_changed_byte_is_refused(photo: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "starry.prima"
    bundle.mkdir()
    for path in SHIPPED.rglob("*"):
        if path.is_file():
            copy = bundle / path.relative_to(SHIPPED)
            copy.parent.mkdir(exist_ok=True)
            copy.write_bytes(path.read_bytes())
    model = bundle / "model.onnx"
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(data)
    done = allaprima("run", photo, "--style", bundle, "--out", "x.png", cwd=tmp_path)
    assert done.returncode == 9
    assert "model.onnx was changed" in done.stderr
    assert not (tmp_path / "x.png").exists()


def test_pictures_and_files_are_painted_where_opencv_does_not_load(
    photo: Path, clip: Path, tmp_path: Path
) -> None:
    """A bare server: `import cv2` fails for want of libGL. A stand-in of that name fails with the same words."""
    (tmp_path / "broken").mkdir()
    said = "libGL.so.1: cannot open shared object file: No such file or directory"
    (tmp_path / "broken" / "cv2.py").write_text(f"raise ImportError({said!r})\n")
    env = {"PYTHONPATH": str(tmp_path / "broken")}
    for source, out in ((photo, "p.png"), (clip, "v.mp4")):
        done = allaprima("run", source, "--style", "starry", "--out", out, cwd=tmp_path, env=env)
        assert done.returncode == 0, done.stderr
    with socket.create_server(("127.0.0.1", 0)) as display:  # a display that answers, and no more
        env["DISPLAY"] = f"127.0.0.1:{display.getsockname()[1] - 6000}"
        done = allaprima("run", photo, "--style", "starry", "--window", cwd=tmp_path, env=env)
    assert done.returncode == 6
    assert "apt-get install libgl1" in done.stderr


def test_doctor_check_info_styles_and_cameras_answer(tmp_path: Path) -> None:
    done = allaprima("doctor", "--json", cwd=tmp_path)
    findings = json.loads(done.stdout)
    assert done.returncode == 0, findings
    assert {finding["about"] for finding in findings} >= {"backend", "packages", "video encoders", "styles"}
    done = allaprima("check", "starry", "--json", cwd=tmp_path)
    assert done.returncode == 0
    assert [one for one in json.loads(done.stdout) if one["passed"]]
    assert json.loads(allaprima("info", "starry", "--json", cwd=tmp_path).stdout)["name"] == "starry"
    assert "starry" in allaprima("styles", cwd=tmp_path).stdout
    assert isinstance(json.loads(allaprima("cameras", "--json", cwd=tmp_path).stdout), list)


def test_an_unknown_command_names_the_nearest(tmp_path: Path) -> None:
    done = allaprima("rum", cwd=tmp_path)
    assert done.returncode == 2
    assert "did you mean 'run'" in done.stderr


@pytest.mark.parametrize(
    "words", [["run", "x.png"], ["run", "x.png", "--style", "starry", "--windoww"], ["--jsn"]]
)
def test_a_usage_error_is_one_line_with_a_code(words: list[str], tmp_path: Path) -> None:
    done = allaprima(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert re.fullmatch(r"error\[E_USAGE\]: [^\n]+\n", done.stderr)


def test_a_folder_inside_itself_is_not_painted_twice(photo: Path, tmp_path: Path) -> None:
    for _ in range(2):
        done = allaprima("run", ".", "--style", "starry", "--out", "out", "--overwrite", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert files(tmp_path / "out") == {"photo.png"}


def test_errors_are_objects_with_json(tmp_path: Path) -> None:
    done = allaprima("run", "nowhere.mp4", "--style", "starry", "--json", cwd=tmp_path)
    error = json.loads(done.stdout)["error"]
    assert (error["exit_status"], done.returncode) == (3, 3)
    assert error["next"]


def test_a_name_that_the_terminal_cannot_show_does_not_hide_the_message(tmp_path: Path) -> None:
    done = allaprima(
        "run", "zażółć.mp4", "--style", "starry", cwd=tmp_path, env={"PYTHONIOENCODING": "ascii"}
    )
    assert done.returncode == 3
    assert "E_INPUT_MISSING" in done.stderr


def test_interrupted_the_painted_part_is_kept_under_another_name(tmp_path: Path) -> None:
    import signal

    words = ["run", "bars:320x240@30?seconds=600", "--style", "starry", "--out", "long.mp4"]
    process = subprocess.Popen(
        [sys.executable, "-m", "allaprima", *words], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not any(p.stat().st_size for p in tmp_path.glob(".long*.mp4")):
        time.sleep(0.2)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert files(tmp_path) == {"long.partial.mp4"}
    with av.open(str(tmp_path / "long.partial.mp4")) as part:
        assert sum(1 for _ in part.decode(video=0)) > 5
    assert "long.partial.mp4" in said


def test_the_demo_paints_its_scene_with_sound(tmp_path: Path) -> None:
    done = allaprima("demo", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert files(tmp_path) == {"demo.mp4", "demo.png"}
    with av.open(str(tmp_path / "demo.mp4")) as video:
        assert len(video.streams.audio) == 1
        assert sum(1 for _ in video.decode(video=0)) == 150
    assert re.search(r"^starry by (openvino|ort) \d", done.stderr, re.M)
    with Image.open(tmp_path / "demo.png") as picture:
        before, after = np.split(np.asarray(picture, int), 2, axis=1)
    assert np.abs(before - after).mean() > 10


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "p.png", "--strenght", "0.5"], "arguments: --strenght 0.5; did you mean '--strength'?"),
        (
            ["run", "a.png", "b.png"],
            "allaprima run: unrecognized arguments: b.png - see allaprima run --help",
        ),
    ],
)
def test_an_option_that_there_is_not_names_the_nearest_and_its_commands_help(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from allaprima.cli import main

    assert main(words) == 2
    assert said in capsys.readouterr().err
