"""Networks of others: what they expect is found out, and their bundle paints what the bare file paints."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import strangers
import trained
from onnx import TensorProto, helper, numpy_helper

from allaprima.bundle import Bundle
from allaprima.cli import main
from allaprima.errors import AllaPrimaError, BundleError, InputError, QualityError
from allaprima.metrics import compare
from allaprima.pixels import resize
from allaprima.sources.pictures import PictureSource
from allaprima.stylizer import Stylizer
from allaprima_export import importing, probe
from allaprima_export.adopt import adopt, count_macs, count_parameters
from allaprima_export.foreign import RANGES, Bare, Convention, from_numbers, read_stranger, to_numbers
from allaprima_export.importing import Terms, import_network
from allaprima_export.probe import propose

PEERS = {  # file: (layout, range, color, multiple_of, fixed); the order of White-box no statistics of one picture find
    "candy": ("nchw", "0..255", "rgb", 4, None),
    "wave": ("nchw", "0..255", "rgb", 4, None),
    "light_shinkai": ("nhwc", "-1..1", "rgb", 4, None),
    "whitebox_dr": ("nhwc", "-1..1", "rgb", 1, (512, 512)),
}


@pytest.fixture
def few_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two drawn scenes, and one small picture in place of the photograph: for tests of the rest."""
    drawn = {"bars": importing.scenes()["bars 128x96"], "noise": importing.scenes()["noise 61x93"]}
    monkeypatch.setattr(importing, "scenes", lambda: drawn)
    monkeypatch.setattr(importing, "look", lambda pictures: {"soft": trained.soft(66, 90)})


@pytest.mark.parametrize("name", ["candy", "wave", "light_shinkai", "whitebox_dr"])
def test_what_the_peers_expect_is_proposed(name: str, shared_data: Path) -> None:
    layout, span, color, multiple, fixed = PEERS[name]
    proposal = propose(shared_data / "peers" / f"{name}.onnx", {})
    found = proposal.convention
    assert (found.layout, found.range, found.output_range, found.color) == (layout, span, span, color)
    assert (found.multiple_of, found.scale, proposal.fixed) == (multiple, 1, fixed)
    assert proposal.findings["color"].sure == "a guess"
    assert proposal.findings["layout"].sure == "certain"


@pytest.mark.usefixtures("few_scenes")
@pytest.mark.parametrize(
    "name", ["wave", "light_shinkai", pytest.param("whitebox_dr", marks=pytest.mark.slow)]
)
def test_a_peer_imports_and_paints_as_the_bare_file_does(
    name: str, shared_data: Path, tmp_path: Path
) -> None:
    layout, span, _, multiple, fixed = PEERS[name]
    color = "bgr" if name == "whitebox_dr" else "rgb"
    said = Convention(layout=layout, range=span, output_range=span, color=color, multiple_of=multiple)  # type: ignore[arg-type]
    path = shared_data / "peers" / f"{name}.onnx"
    made = import_network(path, said, tmp_path / "peer.prima", variants=["fp32"])
    assert made.judged["fp32"].parity.max_difference <= 1
    photo = next(iter(PictureSource(shared_data / "content/eval/kodim05.png"))).image
    photo = resize(photo, *(fixed or (201, 150)))
    with Stylizer.open(Bundle.open(made.path), backend="ort") as stylizer:
        painted = stylizer.paint(photo)
        assert compare(painted, Bare(read_stranger(path)).paint(photo, said)).max_difference <= 1
        stylizer.set(strength=0.0)
        assert np.array_equal(stylizer.paint(photo), photo)
    assert np.ptp(painted) > 100
    assert made.manifest.variants[0].fixed == fixed


@pytest.mark.parametrize("color", ["rgb", "bgr"])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("span", ["0..255", "0..1", "-1..1"])
def test_every_convention_is_met(layout: str, span: str, color: str, tmp_path: Path) -> None:
    """The wrapped graph, the numpy twin, and arithmetic agree, whatever the network expects."""
    path = strangers.stranger(tmp_path / "s.onnx", layout=layout, range=span, color=color)
    said = Convention(layout=layout, range=span, output_range=span, color=color, multiple_of=2)  # type: ignore[arg-type]
    image = trained.soft(40, 56)
    bare = Bare(read_stranger(path))
    assert compare(bare.paint(image, said), strangers.warmed(image)).max_difference <= 1
    odd = image[:39, :51]
    assert bare.paint(odd, said).shape == odd.shape


@pytest.mark.parametrize("span", RANGES)
def test_numbers_and_bytes_are_each_others_way_back(span: str) -> None:
    said = Convention(layout="nhwc", range=span, output_range=span, color="bgr")
    image = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    assert np.abs(from_numbers(to_numbers(image, said), said) - image).max() < 1e-3


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (
            {"layout": "nhwc", "range": "-1..1", "halvings": 2},
            {"layout": "nhwc", "range": "-1..1", "multiple_of": 4},
        ),
        ({"range": "0..1", "halvings": 0}, {"layout": "nchw", "range": "0..1", "multiple_of": 1}),
        ({"range": "0..255", "halvings": 3}, {"range": "0..255", "multiple_of": 8}),
        ({"range": "0..1", "scale": 2}, {"range": "0..1", "scale": 2, "multiple_of": 2}),
    ],
)
def test_what_a_network_expects_is_found_by_trying(made: dict, expected: dict, tmp_path: Path) -> None:
    proposal = propose(strangers.stranger(tmp_path / "s.onnx", **made), {})
    found = proposal.convention
    assert {name: getattr(found, name) for name in expected} == expected
    assert found.output_range == found.range


@pytest.mark.usefixtures("few_scenes")
@pytest.mark.parametrize(
    ("made", "said"),
    [
        ({"layout": "nhwc", "range": "-1..1", "color": "bgr"}, {"multiple_of": 2}),
        ({"size": (48, 64)}, {}),
        ({"scale": 2, "range": "0..1"}, {"multiple_of": 2, "scale": 2}),
        ({"opset": 11, "ir": 5}, {"multiple_of": 2}),
        ({"opset": 18, "ir": 12}, {"multiple_of": 2}),
    ],
    ids=["nhwc-bgr", "fixed", "larger", "old", "new"],
)
def test_an_import_is_a_whole_bundle(made: dict, said: dict, tmp_path: Path) -> None:
    path = strangers.stranger(tmp_path / "Some Style.onnx", **made)
    rest = {name: made.get(name, default) for name, default in (("layout", "nchw"), ("color", "rgb"))}
    span = made.get("range", "0..255")
    convention = Convention(range=span, output_range=span, **rest, **said)
    out = import_network(path, convention, tmp_path / "out.prima").path
    bundle = Bundle.open(out)
    assert bundle.manifest.name == "some-style"
    assert bundle.manifest.licence.bundle == "NOASSERTION"
    assert bundle.manifest.lineage.content == bundle.manifest.licence.style == "not stated"
    assert bundle.manifest.variants[0].fixed == made.get("size")
    assert "not stated" in (out / "LICENSE.txt").read_text()
    size = made.get("size", (46, 58))
    image = trained.soft(*size)
    for backend in ("ort", "openvino"):
        with Stylizer.open(bundle, backend=backend, precision="fp32") as stylizer:
            painted = stylizer.paint(image)
        assert compare(painted, strangers.warmed(image, scale=made.get("scale", 1))).max_difference <= 1


def test_terms_that_are_given_are_told(tmp_path: Path) -> None:
    path = strangers.stranger(tmp_path / "s.onnx")
    said = Convention(layout="nchw", range="0..255", output_range="0..255", color="rgb", multiple_of=2)
    terms = Terms(
        title="Warm", licence="CC-BY-NC-SA-4.0", style="none: arithmetic", content="none", network="a filter"
    )
    made = import_network(path, said, tmp_path / "s.prima", terms=terms, variants=["fp32"], as_zip=True)
    assert made.path.is_file()
    licence, lineage = made.manifest.licence, made.manifest.lineage
    assert (licence.bundle, lineage.style, lineage.network) == (
        "CC-BY-NC-SA-4.0",
        ("none: arithmetic",),
        "a filter",
    )
    assert "CC-BY-NC-SA-4.0" in licence.weights
    assert "as the importer says" in licence.weights
    assert b"Warm" in Bundle.open(made.path).read("card.md")


def test_weights_in_int8_become_floats_once(tmp_path: Path) -> None:
    """As White-box has them: per channel, along an axis that is not the first."""
    path = strangers.stranger(tmp_path / "s.onnx")
    model = onnx.load(path)
    stored = np.arange(81, dtype=np.int8).reshape(3, 3, 3, 3)
    scale, zero = np.array([0.5, 0.25, 2], np.float32), np.array([1, 0, -1], np.int8)
    kernel = next(one for one in model.graph.initializer if one.name == "kernel")
    model.graph.initializer.remove(kernel)
    for name, value in (("stored", stored), ("scale", scale), ("point", zero)):
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    model.graph.node.insert(
        0, helper.make_node("DequantizeLinear", ["stored", "scale", "point"], ["kernel"], axis=1)
    )
    onnx.save(model, path)
    said = Convention(layout="nchw", range="0..255", output_range="0..255", color="rgb")
    core = adopt(read_stranger(path), said)
    folded = next(numpy_helper.to_array(one) for one in core.graph.initializer if one.name == "net/kernel")
    along = (1, 3, 1, 1)
    assert np.array_equal(folded, (stored - zero.reshape(along).astype(np.int32)) * scale.reshape(along))
    assert all(node.op_type != "DequantizeLinear" for node in core.graph.node)
    assert count_parameters(core) >= 81
    assert count_macs(core, 32, 48) == 32 * 48 * 81


def hostile(kind: str) -> onnx.ModelProto:
    """A network from picture to picture that is none."""
    picture = helper.make_tensor_value_info("photo", TensorProto.FLOAT, [1, 3, "H", "W"])
    answer = helper.make_tensor_value_info("art", TensorProto.FLOAT, [1, 3, "H", "W"])
    nodes = [helper.make_node("Identity", ["photo"], ["art"])]
    weights = []
    if kind == "terabyte":
        weights = [
            numpy_helper.from_array(np.array([1 << 38]), "n"),
            numpy_helper.from_array(np.array([0]), "axes"),
        ]
        nodes = [
            helper.make_node("ConstantOfShape", ["n"], ["zeros"]),
            helper.make_node("ReduceSum", ["zeros", "axes"], ["none"], keepdims=0),
            helper.make_node("Add", ["photo", "none"], ["art"]),
        ]
    if kind == "weights that are not there":
        weights = [TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1 << 40])]
        nodes = [helper.make_node("Add", ["photo", "w"], ["art"])]
    if kind == "native code":
        nodes.append(helper.make_node("EPContext", ["photo"], ["x"], embed_mode=1))
    if kind == "loop":
        body = helper.make_graph([], "body", [], [])
        nodes.append(helper.make_node("Loop", ["", ""], ["x"], body=body))
    if kind == "two pictures":
        return helper.make_model(
            helper.make_graph([helper.make_node("Add", ["photo", "other"], ["art"])], "g",
                [picture, helper.make_tensor_value_info("other", TensorProto.FLOAT, [1, 3, "H", "W"])], [answer]),
            ir_version=8, opset_imports=[helper.make_opsetid("", 18)],
        )  # fmt: skip
    if kind == "no such operator":
        nodes = [helper.make_node("Repaint", ["photo"], ["art"])]
    if kind == "classifier":
        weights = [numpy_helper.from_array(np.array([0, -1]), "flat")]
        nodes = [helper.make_node("Reshape", ["photo", "flat"], ["art"], allowzero=0)]
    graph = helper.make_graph(nodes, "g", [picture], [answer], weights)
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 18)])


@pytest.mark.parametrize(
    ("kind", "code", "reason"),
    [
        ("terabyte", "E_IMPORT_RUN", "bad.onnx"),
        ("weights that are not there", "E_IMPORT_RUN", "bad.onnx"),
        ("native code", "E_BUNDLE_MODEL", "EPContext"),
        ("loop", "E_BUNDLE_MODEL", "subgraph"),
        ("two pictures", "E_IMPORT_KIND", "photo, other"),
        ("no such operator", "E_IMPORT_RUN", "Repaint"),
        ("classifier", "E_IMPORT_RUN", "it answers"),
    ],
)
def test_a_hostile_network_is_refused_and_leaves_nothing(
    kind: str, code: str, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(hostile(kind).SerializeToString())
    with pytest.raises(AllaPrimaError, match=reason) as caught:
        propose(path, {})
    assert caught.value.code == code
    assert "bad.onnx" in str(caught.value)
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_that_lies_in_the_current_folder_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numpy.py").write_text("open('ran', 'w').close()")
    monkeypatch.chdir(tmp_path)
    propose(strangers.stranger(tmp_path / "s.onnx"), {})
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("name", "content", "code", "reason"),
    [
        ("a.onnx", b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "E_BUNDLE_MODEL", "git-lfs"),
        ("a.onnx", b"<!DOCTYPE html><html></html>", "E_BUNDLE_MODEL", "web page"),
        ("a.onnx", b"", "E_BUNDLE_MODEL", "empty"),
        ("a.onnx", b"PK\x03\x04rest", "E_BUNDLE_MODEL", "checkpoints of PyTorch"),
        ("a.pth", b"\x80\x02rest", "E_IMPORT_KIND", "torch.onnx.export"),
        ("a.safetensors", b"{}", "E_IMPORT_KIND", "without the network"),
        ("a.engine", b"rt", "E_IMPORT_KIND", "import the .onnx that it was built from"),
        ("a.tflite", b"....TFL3", "E_IMPORT_KIND", "tf2onnx"),
        ("gone/a.onnx", None, "E_INPUT_MISSING", "No such file"),
    ],
)
def test_what_is_no_onnx_file_is_named(
    name: str, content: bytes | None, code: str, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises((BundleError, InputError), match=reason) as caught:
        read_stranger(path)
    assert caught.value.code == code


def test_a_file_that_was_cut_says_how_much_is_there(tmp_path: Path) -> None:
    whole = strangers.stranger(tmp_path / "s.onnx").read_bytes()
    (tmp_path / "cut.onnx").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BundleError, match=f"{len(whole) // 2:,} of at least .* bytes are there"):
        read_stranger(tmp_path / "cut.onnx")


def test_external_weights_are_named(tmp_path: Path) -> None:
    model = onnx.load(strangers.stranger(tmp_path / "s.onnx"))
    onnx.save(
        model, tmp_path / "two.onnx", save_as_external_data=True, location="two.onnx.data", size_threshold=0
    )
    with pytest.raises(BundleError, match=r"in another file, two\.onnx\.data"):
        read_stranger(tmp_path / "two.onnx")


def test_one_of_our_own_models_is_not_imported_again(exported, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match="one of our own"):
        read_stranger(exported.path / "model.onnx")


@pytest.mark.usefixtures("few_scenes")
def test_a_network_that_answers_nan_leaves_nothing(tmp_path: Path) -> None:
    path = strangers.stranger(tmp_path / "s.onnx")
    model = onnx.load(path)
    kernel = next(one for one in model.graph.initializer if one.name == "kernel")
    kernel.CopyFrom(numpy_helper.from_array(np.full((3, 3, 3, 3), np.nan, np.float32), "kernel"))
    onnx.save(model, path)
    with pytest.raises(BundleError, match="not finite"):
        propose(path, {})
    said = Convention(layout="nchw", range="0..255", output_range="0..255", color="rgb", multiple_of=2)
    with pytest.raises(QualityError, match="NaN"):
        import_network(path, said, tmp_path / "s.prima")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.usefixtures("few_scenes")
def test_an_unfaithful_half_is_left_out_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def swapped(core: onnx.ModelProto) -> onnx.ModelProto:
        made = onnx.ModelProto()
        made.CopyFrom(core)
        offset = next(one for one in made.graph.initializer if one.name == "out_offset")
        offset.CopyFrom(numpy_helper.from_array(np.full((1, 3, 1, 1), 9, np.float32), "out_offset"))
        return made

    monkeypatch.setitem(importing.PRECISIONS, "fp16", swapped)
    path = strangers.stranger(tmp_path / "s.onnx")
    said = Convention(layout="nchw", range="0..255", output_range="0..255", color="rgb", multiple_of=2)
    made = import_network(path, said, tmp_path / "s.prima")
    assert list(made.judged) == ["fp32"]
    assert "PSNR" in made.dropped["fp16"]
    assert [one.name for one in Bundle.open(made.path).manifest.variants] == ["fp32"]


@pytest.mark.usefixtures("few_scenes")
def test_bf16_that_is_not_near_is_not_promised_and_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "judged_elsewhere", lambda *given: {"bf16": "it was not tried"})
    path = strangers.stranger(tmp_path / "s.onnx")
    said = Convention(layout="nchw", range="0..255", output_range="0..255", color="rgb", multiple_of=2)
    made = import_network(path, said, tmp_path / "s.prima", variants=["fp32"])
    assert "it was not tried" in made.dropped["bf16"]
    assert made.manifest.golden is not None
    assert list(made.manifest.golden.tolerances) == ["fp32"]
    with Stylizer.open(Bundle.open(made.path), backend="openvino", size=(64, 48)) as stylizer:
        assert stylizer.report.precision == "fp32"
    with Stylizer.open(Bundle.open(made.path), backend="ort", precision="fp32", size=(64, 48)) as stylizer:
        assert stylizer.report.precision == "fp32"


def test_the_command_proposes_and_waits_for_a_yes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    strangers.stranger(tmp_path / "s.onnx", layout="nhwc", range="-1..1")
    assert main(["import", "s.onnx", "--licence", "CC BY", "--zip"]) == 2
    said = capsys.readouterr().err
    assert "--licence='CC BY' --zip" in said
    assert "E_IMPORT_CONFIRM" in said
    assert "--layout=nhwc --range=-1..1 --output-range=-1..1 --color=rgb" in said
    assert [path.name for path in tmp_path.iterdir()] == ["s.onnx"]


def test_a_picture_that_cannot_be_read_is_what_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    strangers.stranger(tmp_path / "s.onnx")
    (tmp_path / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert main(["import", "s.onnx", "--pictures", "torn.png"]) == 3
    assert "torn.png" in (said := capsys.readouterr().err)
    assert "network" not in said


@pytest.mark.usefixtures("few_scenes")
def test_the_command_imports_what_it_proposed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    strangers.stranger(tmp_path / "s.onnx", range="0..1")
    command = [
        "import",
        "s.onnx",
        "--layout=nchw",
        "--range=0..1",
        "--color=bgr",
        "--json",
        "--variants",
        "fp32",
    ]
    assert main(command) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["expects"]["color"] == {"value": "bgr", "sure": "given", "why": "as you say"}
    assert said["expects"]["multiple_of"]["value"] == 2
    assert Bundle.open("s.prima").manifest.geometry.stride == 2
    assert main(command) == 4  # it is there


def test_the_sheet_shows_both_orders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = strangers.stranger(tmp_path / "s.onnx")
    assert main(["import", str(path), "--sheet", str(tmp_path / "look.png")]) == 0
    assert next(iter(PictureSource(tmp_path / "look.png"))).image.shape == (480, 1440, 3)
    assert main(["import", str(path), "--range", "0..25"]) == 2
    assert "did you mean '0..255'" in capsys.readouterr().err


def test_a_network_that_takes_too_long_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "TIME_S", 0.05)
    with pytest.raises(BundleError, match="more than") as caught:
        propose(strangers.stranger(tmp_path / "s.onnx"), {})
    assert caught.value.code == "E_IMPORT_RUN"
