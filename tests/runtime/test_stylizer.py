"""Frames through the stylizer, on every backend: sizes, controls, states, and what it tells."""

from dataclasses import replace
from pathlib import Path

import bundles
import numpy as np
import pytest

from allaprima.bundle import Bundle, styles
from allaprima.errors import DeviceError, InputError, RunError, UsageError
from allaprima.frame import Frame
from allaprima.manifest import Control, Geometry, State, TensorSpec
from allaprima.stylizer import Stylizer

EVERY_BACKEND = bundles.startable_backends()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    return Bundle.open(bundles.make_bundle(tmp_path_factory.mktemp("b") / "negative.prima"))


@pytest.mark.parametrize("backend", EVERY_BACKEND)
@pytest.mark.parametrize("size", [(1, 1), (5, 40), (16, 16), (37, 51)])
def test_any_size_is_painted_at_its_own_size(bundle, backend, size):
    with Stylizer.open(bundle, backend=backend, precision="fp32") as stylizer:
        image = bundles.ramp(*size)
        painted = stylizer.paint(image)
        assert painted.shape == image.shape
        assert painted.dtype == np.uint8
        assert np.abs(painted.astype(int) - bundles.painted(image)).max() <= 1


def test_frame_keeps_its_index_time_and_alpha(bundle):
    alpha = np.arange(20 * 30, dtype=np.uint8).reshape(20, 30)
    frame = Frame(bundles.ramp(20, 30), index=7, time=1.25, alpha=alpha)
    with Stylizer.open(bundle) as stylizer:
        painted = stylizer(frame)
    assert (painted.index, painted.time) == (7, 1.25)
    assert np.array_equal(painted.alpha, alpha)
    assert not np.array_equal(painted.image, frame.image)
    assert np.array_equal(frame.image, bundles.ramp(20, 30))


@pytest.mark.parametrize("backend", EVERY_BACKEND)
def test_scale_two_doubles_picture_and_alpha(tmp_path, backend):
    promise = bundles.manifest(
        geometry=Geometry(scale=2),
        controls=(),
        outputs=(TensorSpec(name="styled", shape=(1, "2*height", "2*width", 3)),),
        golden=replace(bundles.manifest().golden, controls={}),
    )
    path = bundles.make_bundle(tmp_path / "double.prima", promise=promise, model=bundles.double_model)
    with Stylizer.open(path, backend=backend, precision="fp32") as stylizer:
        frame = Frame(bundles.ramp(9, 31), alpha=np.full((9, 31), 200, np.uint8))
        painted = stylizer(frame)
    assert np.array_equal(painted.image, bundles.ramp(9, 31).repeat(2, axis=0).repeat(2, axis=1))
    assert painted.alpha.shape == (18, 62)


@pytest.mark.parametrize("backend", EVERY_BACKEND)
def test_memory_travels_from_frame_to_frame_until_reset_or_another_size(tmp_path, backend):
    promise = bundles.manifest(
        controls=(),
        states=(State(name="memory", shape=(1, "height", "width", 3)),),
        golden=replace(bundles.manifest().golden, controls={}),
    )
    path = bundles.make_bundle(tmp_path / "echo.prima", promise=promise, model=bundles.echo_model)
    first, second = bundles.ramp(20, 30), 255 - bundles.ramp(20, 30)
    alone = first // 2
    mixed = ((first.astype(int) + second) // 2).astype(np.uint8)
    with Stylizer.open(path, backend=backend, precision="fp32") as stylizer:
        assert np.array_equal(stylizer.paint(first), alone)
        assert np.array_equal(stylizer.paint(second), mixed)
        stylizer.reset()
        assert np.array_equal(stylizer.paint(first), alone)
        stylizer.paint(bundles.ramp(20, 40))
        assert np.array_equal(stylizer.paint(first), alone)


def test_set_changes_the_next_picture_and_controls_tell(bundle):
    image = bundles.ramp(20, 30)
    with Stylizer.open(bundle, precision="fp32") as stylizer:
        assert stylizer.controls == {"strength": 1.0}
        stylizer.set(strength=0.25)
        assert stylizer.controls == {"strength": 0.25}
        assert np.abs(stylizer.paint(image).astype(int) - bundles.painted(image, 0.25)).max() <= 1


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), float("inf"), "much", [0.1, 0.2]])
def test_value_out_of_range_is_refused_and_changes_nothing(bundle, value):
    stylizer = Stylizer.open(bundle)
    with pytest.raises(UsageError, match="from 0 to 1") as caught:
        stylizer.set(strength=value)
    assert caught.value.code == "E_CONTROL_RANGE"
    assert caught.value.next.startswith(("choose one in between; the default is 1", "give one for all"))
    assert stylizer.controls == {"strength": 1.0}


def test_unknown_control_gets_the_nearest_and_changes_nothing(bundle):
    stylizer = Stylizer.open(bundle)
    with pytest.raises(UsageError, match="no control 'strenght'; did you mean 'strength'"):
        stylizer.set(strength=0.5, strenght=0.5)
    assert stylizer.controls == {"strength": 1.0}


def test_control_of_several_numbers_takes_one_for_all_or_each(bundle):
    mix = Control(name="mix", shape=(3,), default=0.0, help="how much of each style")
    promise = replace(bundle.manifest, controls=(*bundle.manifest.controls, mix))
    stylizer = Stylizer.open(replace(bundle, manifest=promise))
    stylizer.set(mix=[0.0, 0.5, 1.0])
    assert stylizer.controls["mix"] == [0.0, 0.5, 1.0]
    stylizer.set(mix=0.25)
    assert stylizer.controls["mix"] == [0.25] * 3


def test_new_frame_size_starts_again_on_the_same_backend_and_is_counted(bundle):
    with Stylizer.open(bundle, size=(30, 20)) as stylizer:
        first = stylizer.report
        assert (first.size, first.restarts) == ((30, 20), 0)
        stylizer.paint(bundles.ramp(20, 30))
        assert stylizer.report.restarts == 0
        stylizer.paint(bundles.ramp(24, 30))
        assert (stylizer.report.size, stylizer.report.restarts) == ((30, 24), 1)
        assert (stylizer.report.line, stylizer.report.backend) == (first.line, first.backend)


def test_report_says_what_runs_and_why_nothing_better(bundle):
    with Stylizer.open(bundle, size=(32, 32)) as stylizer:
        report = stylizer.report
    assert report.style == "negative"
    assert report.variant == "fp32"
    assert report.passed_over["tensorrt"]
    assert report.backend not in report.passed_over
    assert report.line.startswith(f"{report.backend.partition(':')[0]} ")
    assert report.degraded == []


def test_report_before_anything_runs_says_how_to_get_one(bundle):
    with pytest.raises(RunError, match="size="):
        _ = Stylizer.open(bundle).report


def test_fixed_size_bundle_paints_larger_frames_smaller_and_says_so(tmp_path):
    promise = bundles.manifest(variants=(bundles.variant("fp32-32x32", fixed=(32, 32)),))
    with Stylizer.open(bundles.make_bundle(tmp_path / "negative.prima", promise=promise)) as stylizer:
        assert stylizer.paint(bundles.ramp(48, 96)).shape == (48, 96, 3)
        assert stylizer.report.degraded == [
            "painted at 32x16 and enlarged to 96x48: this style is made for 32x32 only"
        ]
        assert stylizer.paint(bundles.ramp(20, 30)).shape == (20, 30, 3)
        assert stylizer.report.degraded == []


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((20, 30, 3), np.float32),
        np.zeros((20, 30), np.uint8),
        np.zeros((20, 30, 4), np.uint8),
        np.zeros((0, 30, 3), np.uint8),
        np.zeros((1, 20, 30, 3), np.uint8),
    ],
)
def test_array_that_is_no_picture_is_refused_with_what_one_is(bundle, image):
    with pytest.raises(InputError, match=r"uint8 \[height, width, 3\]"):
        Stylizer.open(bundle).paint(image)


def test_views_of_any_strides_are_painted(bundle):
    image = bundles.ramp(40, 60)
    with Stylizer.open(bundle, precision="fp32") as stylizer:
        for view in (image[::-1], image[::2, ::2], image[:, :, ::-1], np.rot90(image)):
            assert np.array_equal(stylizer.paint(view), stylizer.paint(np.ascontiguousarray(view)))


def test_closed_stylizer_does_not_start_again(bundle):
    stylizer = Stylizer.open(bundle, size=(32, 32))
    stylizer.close()
    stylizer.close()
    with pytest.raises(RunError, match="closed"):
        stylizer.paint(bundles.ramp(32, 32))


def test_backend_by_name_is_that_one_or_an_error(bundle):
    with pytest.raises(DeviceError, match="tensorrt"):
        Stylizer.open(bundle, backend="tensorrt", size=(32, 32))


@pytest.mark.parametrize("backend", EVERY_BACKEND)
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16", "int8"])
@pytest.mark.parametrize("path", [pytest.param(path, id=name) for name, path in styles().items()])
def test_strength_zero_of_every_shipped_style_gives_the_picture_back(path: Path, backend, precision):
    try:
        stylizer = Stylizer.open(path, backend=backend, precision=precision, size=(70, 50))
    except (DeviceError, UsageError) as error:  # no such precision here, or not in this style
        pytest.skip(str(error))
    with stylizer:
        stylizer.set(strength=0.0)
        every_byte = (
            np.arange(256, dtype=np.uint8).repeat(50 * 70 * 3 // 256 + 1)[: 50 * 70 * 3].reshape(50, 70, 3)
        )
        for image in (bundles.ramp(50, 70), every_byte):
            assert np.array_equal(stylizer.paint(image), image)
