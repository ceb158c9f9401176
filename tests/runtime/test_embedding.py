"""Every program in docs/embedding.md, taken from the page and run against the golden pair.

C++ and Node need their runtime, which is no Python package: `ONNXRUNTIME_INCLUDE` and `ONNXRUNTIME_LIB` name
the folders of onnxruntime_cxx_api.h and libonnxruntime.so, `NODE_MODULES` the one with onnxruntime-node.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import bundles
import numpy as np
import pytest
from media import write_video
from PIL import Image as Pictures

from allaprima.sources import VideoSource

pytest.importorskip("onnxruntime")

PAGE = Path(__file__).parents[2] / "docs" / "embedding.md"


def program(language: str, marker: str) -> str:
    """The one block of that language with `marker` in it."""
    blocks = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (found,) = [block for block in blocks if marker in block]
    return found


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a bundle `starry.prima` and its golden picture as `photo.jpg` (a PNG) and `photo.ppm`."""
    bundle = bundles.make_bundle(tmp_path / "starry.prima")
    shutil.copy(bundle / "golden" / "image.png", tmp_path / "photo.jpg")
    with Pictures.open(bundle / "golden" / "image.png") as picture:
        picture.save(tmp_path / "photo.ppm")
    return tmp_path


def run(place: Path, *command: str, **environment: str) -> None:
    done = subprocess.run(
        command, cwd=place, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr


def prove(place: Path, painting: str, precision: str = "fp32") -> None:
    run(place, sys.executable, "-c", program("python", "tolerances"), "starry.prima", painting, precision)


def test_python_program_paints_the_golden_picture(place):
    run(place, sys.executable, "-c", program("python", "prima/model.onnx"))
    prove(place, "painting.png")


@pytest.mark.parametrize("marker", ["prima/model.onnx", "Stylizer"])
def test_python_programs_switch_telemetry_off_before_onnxruntime_is_imported(place, marker, monkeypatch):
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY")
    # stands in for onnxruntime and leaves a note of what it finds at its import
    (place / "onnxruntime.py").write_text(
        "import os\nopen('switch', 'w').write(os.environ.get('ORT_DISABLE_TELEMETRY', ''))\nraise SystemExit(0)\n"
    )
    run(place, sys.executable, "-c", program("python", marker).replace('.prima"', '.prima", backend="ort"'))
    assert (place / "switch").read_text() == "1"


def test_program_with_our_package_paints(place):
    run(place, sys.executable, "-c", program("python", "Stylizer"))
    assert (place / "painting.png").exists()


@pytest.mark.parametrize("colour", [(1, 1), (5, 2)], ids=["BT.709", "BT.601, full range"])
def test_video_program_paints_planes_in_their_own_coding(tmp_path, colour):
    bundles.make_bundle(tmp_path / "starry.prima", promise=bundles.with_planes())
    film = write_video(tmp_path / "clip.mp4", colour=colour)
    run(tmp_path, sys.executable, "-c", program("python", "model_planes.onnx"))
    with (
        VideoSource(film, planes=True) as before,
        VideoSource(tmp_path / "painted.mp4", planes=True) as after,
    ):
        assert after.coding == before.coding
        for one, other in zip(before, after, strict=True):
            assert one.planes is not None
            assert other.planes is not None
            expected = bundles.negative_planes(one.planes).stacked()
            assert np.abs(other.planes.stacked().astype(int) - expected).mean() < 3  # x264's own noise


def test_server_program_gives_pages_their_threads(tmp_path):
    (tmp_path / "page.html").write_text("<!doctype html>")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = program("python", "ThreadingHTTPServer").replace("8000", str(port))
    server = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            try:
                answer = urllib.request.urlopen(f"http://127.0.0.1:{port}/page.html", timeout=5)
                break
            except urllib.error.URLError:
                assert server.poll() is None
                time.sleep(0.1)
        with answer:
            assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
            assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    finally:
        server.kill()
        server.wait()


def test_proof_fails_for_another_painting(place):
    with pytest.raises(AssertionError, match="PSNR"):
        prove(place, "photo.jpg")


def test_cpp_program_paints_the_golden_picture(place):
    include, library = os.environ.get("ONNXRUNTIME_INCLUDE"), os.environ.get("ONNXRUNTIME_LIB")
    if not (include and library and shutil.which("g++")):
        pytest.skip("needs g++, and ONNXRUNTIME_INCLUDE and ONNXRUNTIME_LIB")
    (place / "paint.cpp").write_text(program("cpp", "onnxruntime_cxx_api.h"))
    flags = ["-std=c++17", "-Wall", "-Werror", "-I", include, "-L", library, f"-Wl,-rpath,{library}"]
    run(place, "g++", "paint.cpp", *flags, "-lonnxruntime", "-o", "paint")
    run(place, "./paint", "starry.prima/model.onnx", "photo.ppm", "painting.ppm", ORT_DISABLE_TELEMETRY="1")
    prove(place, "painting.ppm")


def test_node_program_paints_the_golden_picture(place):
    modules = os.environ.get("NODE_MODULES")
    if not (modules and shutil.which("node")):
        pytest.skip("needs node, and NODE_MODULES with onnxruntime-node in it")
    (place / "node_modules").symlink_to(Path(modules).resolve())
    (place / "paint.mjs").write_text(program("js", "onnxruntime-node"))
    run(
        place,
        "node",
        "paint.mjs",
        "starry.prima/model.onnx",
        "photo.ppm",
        "painting.ppm",
        ORT_DISABLE_TELEMETRY="1",
    )
    prove(place, "painting.ppm")
