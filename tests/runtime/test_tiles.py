"""Large pictures in tiles: nobody can see where they were cut, and memory is enough."""

import json
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import bundles
import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image as Pictures

from allaprima import backends, stylizer, tiles
from allaprima.bundle import Bundle, find_style
from allaprima.cli import main
from allaprima.errors import DeviceError, RunError
from allaprima.manifest import Geometry
from allaprima.stylizer import Stylizer
from allaprima.tiles import best_side, tile_picture


@pytest.mark.parametrize("stride", [1, 4, 8])
@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("picture", [(300, 2000), (999, 1001), (257, 511), (64, 64), (1, 900)])
def test_tiles_cover_the_picture_once_with_the_margin_around_each_middle(picture, stride, scale):
    geometry = Geometry(margin=67, stride=stride, scale=scale)
    painting = np.zeros([side * scale for side in picture], int)
    tiling = tile_picture(picture, geometry, side=300)
    for tile in tiling:
        painting[tile.target] += 1
        for axis in (0, 1):
            begin, end = tile.cut[axis].start, tile.cut[axis].stop
            assert end - begin == tiling.tile[axis]
            assert begin >= 0
            assert end <= picture[axis]
            assert begin % stride == 0
            kept_begin, kept_end = tile.target[axis].start // scale, tile.target[axis].stop // scale
            assert begin == 0 or kept_begin - begin >= 67
            assert end == picture[axis] or end - kept_end >= 67
            assert tile.middle[axis].start == (kept_begin - begin) * scale
    assert (painting == 1).all()


def test_one_tile_is_the_picture_itself():
    assert len(tile_picture((200, 300), Geometry(margin=10), side=300)) == 1


def sharpening(metadata: dict[str, str]) -> bytes:
    """A 3x3 network whose sums are exact in fp32, in whatever order they are made: weights are powers of two."""
    model = onnx.load_model_from_string(bundles.frame_model(metadata=metadata))
    kernel = np.full((3, 3, 3, 3), -0.125, np.float32) + np.eye(3, dtype=np.float32)[:, :, None, None]
    for constant in model.graph.initializer:
        if constant.name == "kernel":
            constant.CopyFrom(numpy_helper.from_array(kernel, "kernel"))
    return model.SerializeToString()


@pytest.mark.parametrize("backend", bundles.startable_backends())
@pytest.mark.parametrize("size", [(421, 610), (300, 1033)])
def test_a_tiled_painting_is_the_whole_one_bit_for_bit(tmp_path, backend, size):
    promise = bundles.manifest(geometry=Geometry(margin=1))
    path = bundles.make_bundle(tmp_path / "sharp.prima", promise=promise, model=sharpening)
    whole, tiled, _ = both(path, backend, bundles.ramp(*size))
    assert np.array_equal(tiled, whole)


@pytest.mark.parametrize("backend", bundles.startable_backends())
@pytest.mark.parametrize("size", [(421, 610), (300, 1033)])
def test_a_style_in_tiles_differs_by_one_rounding_in_few_bytes(backend, size):
    """Vendors sum in another order at another width: that is all that may be seen.

    How often a sum then lies on the other side of a half depends on the weights: one byte in 2,500 with today's.
    """
    whole, tiled, stylizer = both("starry", backend, bundles.ramp(*size))
    difference = np.abs(whole.astype(int) - tiled)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3
    assert "tiles" in stylizer.report.degraded[-1]
    assert stylizer.report.size == (size[1], size[0])


def test_a_margin_below_the_reach_would_be_seen():
    """So the test above can fail."""
    whole, tiled, _ = both("starry", "ort", bundles.ramp(300, 700), Geometry(margin=8, stride=8))
    assert np.abs(whole.astype(int) - tiled).max() > 1


def both(style, backend: str, image: np.ndarray, geometry: Geometry | None = None):
    """The picture painted whole and in tiles of 256, and the stylizer of the tiles."""
    bundle = Bundle.open(find_style(style))
    if geometry:
        bundle = replace(bundle, manifest=replace(bundle.manifest, geometry=geometry))
    painted = []
    for tile in (0, 256):
        with Stylizer.open(bundle, backend=backend, precision="fp32", tile=tile) as stylizer:
            painted.append(stylizer.paint(image))
            report = stylizer.report
    return painted[0], painted[1], SimpleNamespace(report=report)


def test_small_pictures_are_painted_whole_and_large_ones_as_memory_allows():
    geometry, plenty = Geometry(margin=67, stride=8), 64 * 2**30
    assert best_side((2160, 3840), geometry, plenty) is None
    assert best_side((4320, 7680), geometry, plenty) == tiles.TILE_SIDE
    assert best_side((4320, 7680), geometry, None) == tiles.TILE_SIDE
    assert best_side((1080, 1920), geometry, 300_000_000) < 1080
    assert best_side((1080, 1920), geometry, 0) == tiles.SMALLEST_SIDE
    assert best_side((4320, 7680), replace(geometry, whole=True), 0) is None


def test_a_network_that_looks_at_the_whole_picture_is_never_cut(tmp_path):
    promise = bundles.manifest(geometry=Geometry(whole=True))
    path = bundles.make_bundle(tmp_path / "whole.prima", promise=promise)
    with Stylizer.open(path, tile=256) as stylizer:
        stylizer.paint(bundles.ramp(600, 600))
        assert not stylizer.report.degraded


class Short:
    """A backend with little memory: it answers in the vendor's words above so many pixels."""

    def __init__(self, inner, pixels):
        self.inner, self.pixels, self.asked = inner, pixels, []

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def run(self, inputs):
        height, width = inputs["image"].shape[1:3]
        self.asked.append((height, width))
        if height * width > self.pixels:
            raise RuntimeError("Exception from src/inference: std::bad_alloc")
        return self.inner.run(inputs)


@pytest.fixture
def short_of_memory(monkeypatch):
    """Backends that start for any size and fail when they paint more than 500x500."""
    real = backends.start

    def start(*args, **options):
        started = real(*args, **options)
        return replace(started, backend=Short(started.backend, 500 * 500))

    monkeypatch.setattr(stylizer.backends, "start", start)


def test_painting_that_fails_for_memory_is_tried_again_in_smaller_tiles(short_of_memory):
    image = bundles.ramp(700, 900)
    with Stylizer.open("starry", backend="ort", precision="fp32") as stylizer:
        painted = stylizer.paint(image)
        assert "tiles" in stylizer.report.degraded[-1]
    assert painted.shape == image.shape


def test_without_tiles_the_failure_is_told(short_of_memory):
    with (
        Stylizer.open("starry", backend="ort", tile=0) as stylizer,
        pytest.raises(RunError, match="bad_alloc"),
    ):
        stylizer.paint(bundles.ramp(700, 900))


def test_a_start_that_fails_for_memory_is_tried_again_in_smaller_tiles(monkeypatch):
    real = backends.start

    def start(bundle, sample, **options):
        if sample["image"].size > 3 * 500 * 500:
            raise DeviceError(
                "E_BACKEND_UNAVAILABLE", "backend 'ort' does not start", "Failed to allocate memory", ""
            )
        return real(bundle, sample, **options)

    monkeypatch.setattr(stylizer.backends, "start", start)
    with Stylizer.open("starry", backend="ort", size=(900, 700)) as painter:
        assert "tiles" in painter.report.degraded[-1]


def test_other_failures_are_not_tried_again(monkeypatch):
    tried = []

    def start(*args, **options):
        tried.append(args)
        raise DeviceError(
            "E_BACKEND_UNAVAILABLE", "backend 'ort' does not start", "the driver is too old", ""
        )

    monkeypatch.setattr(stylizer.backends, "start", start)
    with pytest.raises(DeviceError, match="too old"):
        Stylizer.open("starry", size=(900, 700))
    assert len(tried) == 1


def test_tile_of_the_command_is_heard_and_told(tmp_path, capsys):
    picture, out = tmp_path / "large.png", tmp_path / "out.png"
    Pictures.fromarray(bundles.ramp(500, 600)).save(picture)
    assert main(["run", str(picture), "--style", "starry", "--tile", "256", "--out", str(out), "--json"]) == 0
    assert any("tiles of" in note for note in json.loads(capsys.readouterr().out)["notes"])
    assert Pictures.open(out).size == (600, 500)
    assert (
        main(["run", str(picture), "--style", "starry", "--tile", "3", "--overwrite", "--out", str(out)]) == 2
    )
    assert "--tile 256" in capsys.readouterr().err


EIGHT_K = """
import pathlib, re, sys
from allaprima.cli import main
status = main(["run", sys.argv[1], "--style", "starry", "--out", sys.argv[2], "--json"])
peak = re.search(r"VmHWM:\\s*(\\d+) kB", pathlib.Path("/proc/self/status").read_text()).group(1)
print(int(peak) // 1024, file=sys.stderr)
sys.exit(status)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_an_8k_picture_takes_less_than_a_gigabyte(tmp_path):
    picture, out = tmp_path / "8k.jpg", tmp_path / "8k-starry.jpg"
    Pictures.fromarray(bundles.ramp(4320, 7680)).save(picture, quality=80)
    done = subprocess.run(
        [sys.executable, "-c", EIGHT_K, str(picture), str(out)], capture_output=True, text=True, timeout=170
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stderr.split()[-1]) < 1000
    assert Pictures.open(out).size == (7680, 4320)
    assert any("tiles" in note for note in json.loads(done.stdout)["notes"])
