"""The golden check passes on a sound bundle everywhere, and finds what changes the painting."""

from dataclasses import replace

import bundles
import numpy as np
import pytest
from PIL import Image as Pictures

from allaprima.archive import seal
from allaprima.backends import BACKENDS
from allaprima.bundle import Bundle
from allaprima.check import check
from allaprima.errors import BundleError, DeviceError, UsageError
from allaprima.manifest import Tolerance

pytest.importorskip("onnxruntime")


def make(tmp_path, **changes) -> Bundle:
    variants = (bundles.variant("fp32"), bundles.variant("fp16"))
    promise = bundles.manifest(variants=variants, **changes)
    return Bundle.open(bundles.make_bundle(tmp_path / "negative.prima", promise=promise))


def test_sound_bundle_passes_on_all_that_runs_here_and_lists_what_does_not(tmp_path):
    checked = check(make(tmp_path))
    assert {one.backend for one in checked} == set(BACKENDS)
    assert {one.precision for one in checked if one.backend == "ort"} == {"fp32", "fp16"}
    for one in checked:
        assert bool(one) == one.ran
        assert one.identity is (True if one.ran else None)
    assert next(one.line for one in checked if not one.ran).startswith("tensorrt: ")


def test_painting_out_of_tolerance_fails(tmp_path):
    golden = replace(
        bundles.manifest().golden, tolerances={"fp32": Tolerance(psnr_db=99.9, ssim=1.0, max_difference=0)}
    )
    bundle = make(tmp_path, golden=golden)
    folder = bundle.path
    Pictures.fromarray(bundles.painted(bundles.ramp(48, 64)) ^ 1).save(folder / "golden" / "styled.png")
    seal(folder, bundle.manifest)
    (one,) = check(Bundle.open(folder), backend="ort")
    assert one.ran
    assert not one
    assert one.difference.max_difference >= 1


def test_one_backend_and_precision_can_be_asked_for(tmp_path):
    (one,) = check(make(tmp_path), backend="ort", precision="fp16")
    assert (one.backend, one.precision) == ("ort", "fp16")


def test_named_backend_that_does_not_start_is_an_error(tmp_path):
    with pytest.raises(DeviceError):
        check(make(tmp_path), backend="tensorrt")


def test_precision_without_a_promise_is_refused(tmp_path):
    with pytest.raises(UsageError, match="tolerances for fp32, bf16, fp16"):
        check(make(tmp_path), backend="ort", precision="int8")


def test_lone_model_has_nothing_to_be_checked_against(tmp_path):
    folder = make(tmp_path).path
    with pytest.raises(BundleError, match="golden pair"):
        check(Bundle.open(folder / "model.onnx"))


def test_golden_picture_that_is_none_is_named(tmp_path):
    bundle = make(tmp_path)
    (bundle.path / "golden" / "image.png").write_bytes(np.zeros(100, np.uint8).tobytes())
    seal(bundle.path, bundle.manifest)
    with pytest.raises(BundleError, match=r"golden/image.png.*not a PNG"):
        check(Bundle.open(bundle.path))
