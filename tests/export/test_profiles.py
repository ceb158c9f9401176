"""Variants for programs that are not this runtime: each run as its user would, strength included."""

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import trained
from PIL import Image as Pictures

from allaprima import backends
from allaprima.bundle import Bundle
from allaprima.errors import UsageError
from allaprima.pixels import from_unit, to_unit
from allaprima.stylizer import Stylizer
from allaprima_export import pipeline, profiles
from allaprima_export.float_edges import attach_float_edges, in_dcr
from allaprima_export.parity import FloatPainter, Painter, Reference
from allaprima_export.pipeline import Exported, export
from allaprima_export.profiles import PROFILES, partitions, weights_in_half
from allaprima_train.run import Run

NETWORKS = {"mobile": "nano", "resnet": "small", "restorer": "nano-x2"}


@cache
def float_model(network: str, fixed: tuple[int, int] | None = None, bare: bool = False) -> onnx.ModelProto:
    size = NETWORKS[network]
    generator = trained.strong(network, size)
    return attach_float_edges(
        in_dcr(trained.traced(network, size)),
        period=generator.period,
        stride=generator.stride,
        margin=generator.margin,
        veil=generator.veil,
        scale=generator.scale,
        fixed=fixed,
        bare=bare,
    )


@cache
def reference(network: str) -> Reference:
    return Reference(trained.strong(network, NETWORKS[network]))


@pytest.fixture(scope="module")
def bundle(small_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "trace", lambda network: trained.traced("mobile", "nano"))
        out = tmp_path_factory.mktemp("profiles") / "study.prima"
        return export(
            small_run.folder, out, variants=["fp32"], planes=[], profiles=list(PROFILES), fixed=[(90, 62)]
        )


def session(path: Path):
    import onnxruntime

    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def run_floats(path: Path, image: np.ndarray, strength: float) -> np.ndarray:
    """As a program does that has nothing of ours: float32 (1, 3, H, W) in 0..1 both ways."""
    inputs = {
        "image": np.ascontiguousarray(to_unit(image).transpose(2, 0, 1)[None]),
        "strength": np.array([strength], np.float32),
    }
    return session(path).run(["styled"], inputs)[0]


def test_every_profile_is_in_the_bundle_beside_fp32(bundle: Exported) -> None:
    found = {one.name: one for one in bundle.manifest.variants}
    assert list(found) == ["fp32", "portable", "mobile-62x90", "web", "float"]
    assert [one.profile for one in found.values()] == ["", "portable", "mobile", "web", "float"]
    assert [one.edges for one in found.values()] == ["rgb", "rgb", "float", "float", "float"]
    assert {one.opset for one in found.values() if one.profile} == {17}
    assert {one.ir_version for one in found.values() if one.profile} == {8}
    assert found["mobile-62x90"].fixed == (62, 90)
    assert bundle.dropped == ()
    assert not any("pieces" in note for note in bundle.notes)
    bundle_again = Bundle.open(bundle.path)
    with Stylizer.open(bundle_again, size=(90, 62)) as stylizer:
        assert stylizer.report.variant == "fp32"  # our runtime takes none that was made for others


@pytest.mark.parametrize(
    ("name", "shape"), [("mobile-62x90", (62, 90)), ("web", (61, 93)), ("web", (17, 23))]
)
def test_float_edges_paint_what_torch_paints_and_strength_zero_is_exact(
    bundle: Exported, name: str, shape: tuple[int, int]
) -> None:
    file = bundle.path / next(one.file for one in bundle.manifest.variants if one.name == name)
    image = trained.soft(*shape)
    for strength in (1.0, 0.5):
        styled = run_floats(file, image, strength)
        assert styled.dtype == np.float32
        assert styled.min() >= 0
        assert styled.max() <= 1
        expected = reference("mobile").paint(image, "test", strength=strength)
        assert np.abs(from_unit(styled[0].transpose(1, 2, 0)).astype(int) - expected).max() <= 1
    given = to_unit(image).transpose(2, 0, 1)[None]
    assert np.array_equal(run_floats(file, image, 0.0), given)


def test_the_bare_network_is_the_trained_one_without_a_margin(bundle: Exported) -> None:
    image = trained.soft(64, 96)
    with torch.no_grad():
        expected = trained.strong("mobile", "nano")(torch.from_numpy(to_unit(image)).permute(2, 0, 1)[None])
    styled = run_floats(bundle.path / "model_float.onnx", image, 1.0)
    assert np.abs(styled - expected.clamp(0, 1).numpy()).max() < 1e-4
    assert np.array_equal(
        run_floats(bundle.path / "model_float.onnx", image, 0.0), to_unit(image).transpose(2, 0, 1)[None]
    )
    operators = {node.op_type for node in onnx.load(bundle.path / "model_float.onnx").graph.node}
    assert not operators & {"Pad", "Shape"}


def test_the_portable_one_takes_bytes_of_any_size(bundle: Exported) -> None:
    image = trained.soft(61, 93)
    answer = session(bundle.path / "model_portable.onnx").run(
        ["styled"], {"image": image[None], "strength": np.ones(1, np.float32)}
    )[0][0]
    assert np.abs(answer.astype(int) - reference("mobile").paint(image, "test")).max() <= 1


def test_the_program_of_the_documentation_paints_with_the_web_one(bundle: Exported, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "embedding.md").read_text()
    (program,) = [block for block in re.findall(r"```python\n(.*?)```", page, re.S) if "model_web" in block]
    (tmp_path / "starry.prima").symlink_to(bundle.path)
    Pictures.fromarray(trained.soft(61, 93)).save(tmp_path / "photo.png")
    program = program.replace("photo.jpg", "photo.png")
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    painting = np.asarray(Pictures.open(tmp_path / "painting.png"))
    assert np.abs(painting.astype(int) - reference("mobile").paint(trained.soft(61, 93), "test")).max() <= 1


def test_the_web_one_is_small_and_says_what_it_takes(bundle: Exported) -> None:
    file = bundle.path / "model_web.onnx"
    assert file.stat().st_size < profiles.WEB_BYTES
    metadata = {entry.key: entry.value for entry in onnx.load(file).metadata_props}
    assert metadata["Image.NominalPixelRange"] == "Normalized_0_1"


@pytest.mark.parametrize("network", list(NETWORKS))
def test_a_phone_runs_the_mobile_one_in_one_piece(network: str) -> None:
    model = float_model(network, fixed=(61, 93))
    operators = {node.op_type for node in model.graph.node}
    assert "Pad" not in operators
    assert max(len(one.type.tensor_type.shape.dim) for one in model.graph.input) <= 4
    assert partitions(model)["CoreML"] == 1
    if network != "resnet":  # NNAPI has no instance norm
        assert partitions(model)["NNAPI"] == 1
        assert all(
            one.s == b"DCR"
            for node in model.graph.node
            for one in node.attribute
            if one.name == "mode" and node.op_type == "DepthToSpace"
        )
    # the checker sees the difference: the graph that our own runtime takes is cut up
    size = NETWORKS[network]
    assert (
        partitions(trained.wrapped(network, size, trained.traced(network, size), fixed=(61, 93)))["CoreML"]
        > 1
    )


@pytest.mark.parametrize("backend", ["ort", "openvino"])
@pytest.mark.parametrize("fixed", [None, (61, 93)], ids=["open", "fixed"])
@pytest.mark.parametrize("network", list(NETWORKS))
def test_float_edges_fit_every_generator(network: str, fixed: tuple[int, int] | None, backend: str) -> None:
    try:
        backends.load(backend)
    except Exception as error:
        pytest.skip(str(error))
    image = trained.soft(61, 93)
    painter = FloatPainter(float_model(network, fixed).SerializeToString(), backend, "fp32")
    expected = reference(network).paint(image, "test")
    styled = painter.paint(image)
    assert np.abs(styled.astype(int) - expected).max() <= 1
    assert (styled == expected).mean() > 0.99


def test_shuffles_in_another_order_change_nothing() -> None:
    core = trained.traced("mobile", "nano")
    turned = in_dcr(core)
    modes = [
        one.s
        for node in turned.graph.node
        for one in node.attribute
        if node.op_type == "DepthToSpace" and one.name == "mode"
    ]
    assert modes == [b"DCR"]
    image = trained.soft(40, 56)
    before, after = (
        Painter(trained.wrapped("mobile", "nano", one).SerializeToString(), "ort", "fp32").paint(image)
        for one in (core, turned)
    )
    assert np.array_equal(before, after)


def test_weights_stored_in_half_paint_nearly_the_same_from_half_the_file() -> None:
    whole = float_model("mobile")
    small = weights_in_half(whole)
    onnx.checker.check_model(small, full_check=True)
    assert small.ByteSize() < 0.6 * whole.ByteSize()
    image = trained.soft(61, 93)
    styled = FloatPainter(small.SerializeToString(), "ort", "fp32").paint(image)
    assert 0 < np.abs(styled.astype(int) - reference("mobile").paint(image, "test")).max() <= 3


def test_a_web_network_that_stays_too_large_is_dropped_with_its_size(
    bundle: Exported, monkeypatch: pytest.MonkeyPatch, small_run: Run
) -> None:
    from allaprima_export.parity import Panel
    from allaprima_export.variants import Material

    generator = trained.strong("mobile", "nano")
    panel = Panel.of(reference("mobile"), {"soft": trained.soft(61, 93)})
    material = Material(
        trained.traced("mobile", "nano"), generator, reference("mobile"), panel, small_run.recipe()
    )
    monkeypatch.setattr(profiles, "WEB_BYTES", 200_000)
    assert profiles.make_profile("web", material).precision == "fp16"
    monkeypatch.setattr(profiles, "WEB_BYTES", 1_000)
    assert "MB, with weights in fp16" in profiles.make_profile("web", material).why_not


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"profiles": ["mobil"]}, "E_EXPORT_PROFILE"),
        ({"profiles": ["mobile"]}, "E_EXPORT_SIZE"),
        ({"profiles": ["web"], "post": ["grain"]}, "E_EXPORT_PROFILE"),
    ],
)
def test_profiles_that_cannot_be_are_said_in_words(
    small_run: Run, tmp_path: Path, options, code: str
) -> None:
    with pytest.raises(UsageError) as caught:
        export(small_run.folder, tmp_path / "x.prima", variants=["fp32"], **options)
    assert caught.value.code == code
    assert caught.value.next
