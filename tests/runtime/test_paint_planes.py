"""A frame of planes is painted as it is, in its own coding, where the bundle can; else converted, and said."""

from dataclasses import replace

import bundles
import numpy as np
import pytest
from media import CODINGS, planes

from allaprima.bundle import Bundle
from allaprima.check import check
from allaprima.errors import BundleError
from allaprima.frame import Frame
from allaprima.planes import LIMITED_BT709, Coding, Planes
from allaprima.stylizer import Stylizer


@pytest.fixture
def bundle(tmp_path) -> Bundle:
    return Bundle.open(bundles.make_bundle(tmp_path / "negative.prima", promise=bundles.with_planes()))


def same(one: Planes, other: Planes) -> bool:
    return one.coding == other.coding and np.array_equal(one.stacked(), other.stacked())


@pytest.mark.parametrize("backend", bundles.startable_backends())
@pytest.mark.parametrize("coding", CODINGS, ids=str)
def test_planes_are_painted_in_their_own_coding(bundle, backend, coding) -> None:
    before = planes(31, 46, coding)
    frame = Frame(before, index=7, time=1.25)
    with Stylizer.open(bundle, backend=backend, precision="fp32", size=(46, 31), coding=coding) as stylizer:
        assert (stylizer.report.edges, stylizer.report.variant) == ("planes", "fp32-planes")
        painted = stylizer(frame)
        stylizer.set(strength=0.0)
        untouched = stylizer(frame)
        assert stylizer.report.restarts == 0
    assert painted.planes is not None
    assert same(painted.planes, bundles.negative_planes(before))
    assert (painted.index, painted.time) == (7, 1.25)
    assert untouched.planes is not None
    assert same(untouched.planes, before)


def test_a_new_coding_or_size_in_the_middle_is_painted_rightly(bundle) -> None:
    with Stylizer.open(bundle, backend="ort", size=(46, 31), coding=LIMITED_BT709) as stylizer:
        for before in (
            planes(31, 46),
            planes(31, 46, Coding(6, True)),
            planes(20, 46, Coding(6, True)),
            planes(20, 46),
        ):
            painted = stylizer(Frame(before))
            assert painted.planes is not None
            assert same(painted.planes, bundles.negative_planes(before))
        assert stylizer.report.restarts == 3


def test_pictures_and_planes_may_take_turns(bundle) -> None:
    with Stylizer.open(bundle, backend="ort") as stylizer:
        assert stylizer(Frame(planes(31, 46))).planes is not None
        image = bundles.ramp(31, 46)
        assert np.array_equal(stylizer.paint(image), bundles.painted(image))
        assert stylizer.report.edges == "rgb"
        assert stylizer(Frame(planes(31, 46))).planes is not None


def test_without_a_variant_for_planes_they_are_converted_and_that_is_said(tmp_path) -> None:
    bundle = Bundle.open(bundles.make_bundle(tmp_path / "negative.prima"))
    before = planes(31, 46)
    with Stylizer.open(bundle, backend="ort", size=(46, 31), coding=before.coding) as stylizer:
        painted = stylizer(Frame(before))
        report = stylizer.report
    assert painted.planes is None
    assert np.array_equal(painted.image, bundles.painted(before.rgb()))
    assert report.edges == "rgb"
    assert any("converted to RGB" in line and "no variant for planes" in line for line in report.degraded)


@pytest.mark.parametrize(
    ("size", "precision", "tile", "why"),
    [
        ((12, 46), None, None, "no variant for planes of this size"),  # it has to be padded
        ((31, 46), "fp16", None, "no variant for fp16 with planes"),
        ((96, 400), None, 256, "tiles"),
    ],
    ids=["small", "precision", "tiles"],
)
def test_what_planes_cannot_be_is_converted(tmp_path, size, precision, tile, why) -> None:
    promise = bundles.with_planes()
    promise = replace(promise, variants=(*promise.variants, bundles.variant("fp16")))
    bundle = Bundle.open(bundles.make_bundle(tmp_path / "negative.prima", promise=promise))
    with Stylizer.open(bundle, backend="ort", precision=precision, tile=tile) as stylizer:
        painted = stylizer(Frame(planes(*size)))
        assert painted.planes is None
        assert any(why in line for line in stylizer.report.degraded)


def test_check_proves_the_variants_for_planes_too(bundle) -> None:
    found = check(bundle, backend="ort", precision="fp32")
    assert [("planes" in one.line, bool(one), one.identity) for one in found] == [
        (False, True, True),
        (True, True, True),
    ]


def test_a_variant_for_planes_without_its_weights_is_refused(tmp_path, monkeypatch) -> None:
    whole = bundles.planes_model
    monkeypatch.setattr(
        bundles, "planes_model", lambda metadata: whole(metadata).replace(b"yuv_of_black", b"yuv_of_blank")
    )
    with pytest.raises(BundleError, match="no weights 'yuv_of_black' of \\[3\\]"):
        bundles.make_bundle(tmp_path / "negative.prima", promise=bundles.with_planes())
