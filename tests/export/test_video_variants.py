"""Variants for video: in the bundle where a network allows them, proven, and raced with what they save."""

import pytest
import trained

from allaprima.bundle import Bundle
from allaprima.check import check
from allaprima.frame import Frame
from allaprima.planes import BT601, Coding, Planes
from allaprima.stylizer import Stylizer
from allaprima_export import gate, video
from allaprima_export.pipeline import Exported, export


def test_every_precision_has_its_variant_for_video(exported: Exported) -> None:
    found = {variant.name: variant for variant in exported.manifest.variants}
    for precision in ("fp32", "fp16"):
        variant = found[f"{precision}-planes"]
        assert (variant.edges, variant.precision, variant.fixed) == ("planes", precision, None)
        assert variant.parity.against == "torch fp32, on planes"
        assert variant.parity.frames == found[precision].parity.frames
    assert found["fp32-planes"].parity.max_difference <= 1
    assert "with two conversions" in (exported.path / "card.md").read_text()


def test_the_golden_pair_of_planes_holds(exported: Exported) -> None:
    checked = check(Bundle.open(exported.path), backend="ort", precision="fp32")
    assert ["planes" in one.line for one in checked] == [False, True]
    assert all(checked)
    assert all(one.identity for one in checked)


@pytest.mark.parametrize("backend", ["ort", "openvino"])
def test_the_runtime_paints_planes_and_pictures_alike(exported: Exported, backend: str) -> None:
    """The same film, once as planes in BT.601 of full range and once as the RGB that it means."""
    image = trained.soft(64, 96)
    planes = Planes.from_rgb(image, Coding(BT601, True))
    with Stylizer.open(exported.path, backend=backend, precision="fp32") as stylizer:
        painted = stylizer(Frame(planes))
        assert painted.planes is not None
        assert painted.planes.coding == Coding(BT601, True)
        difference = painted.image.astype(float) - stylizer.paint(planes.rgb())
    assert abs(difference.mean((0, 1))).max() < 3  # what RGB clips of a network without training
    assert abs(difference).mean() < 6


@pytest.mark.usefixtures("traced_before")
def test_a_network_that_cannot_have_planes_exports_without_and_says_so(
    small_run, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(
        video, "unfit", lambda core, period: "its last layer is Tanh, not a plain convolution"
    )
    made = export(small_run.folder, tmp_path / "out.prima", variants=["fp32"])
    assert [one.name for one in made.manifest.variants] == ["fp32"]
    assert any("no variant for video" in note and "Tanh" in note for note in made.notes)
    assert made.manifest.golden
    assert made.manifest.golden.planes is None


@pytest.mark.usefixtures("traced_before")
def test_a_variant_for_video_that_saves_nothing_is_dropped(small_run, tmp_path, monkeypatch) -> None:
    def slower(*given: object) -> gate.Lap:
        return gate.Lap("ort", "planes", "rgb", {"planes": 20.0, "rgb": 19.0}, 0.0, 9)

    monkeypatch.setattr(video, "_lap", slower)
    made = export(small_run.folder, tmp_path / "out.prima", variants=["fp32"])
    assert [one.name for one in made.manifest.variants] == ["fp32"]
    (dropped,) = made.dropped
    assert dropped.name == "fp32-planes"
    assert "0.95 times as fast" in dropped.why_not


@pytest.mark.usefixtures("traced_before")
def test_a_variant_for_video_that_paints_otherwise_is_refused(small_run, tmp_path, monkeypatch) -> None:
    from allaprima.errors import QualityError

    whole = video.rules
    monkeypatch.setattr(video, "rules", lambda coding: whole(replace_matrix(coding)))
    with pytest.raises(QualityError, match="fp32-planes") as caught:
        export(small_run.folder, tmp_path / "out.prima", variants=["fp32"])
    assert caught.value.code == "E_PARITY"


def replace_matrix(coding: Coding) -> Coding:
    return coding._replace(matrix=BT601)
