"""Planes at the edges: the exported graph against its slow twin in torch, in every coding and size."""

from functools import cache
from importlib import import_module

import numpy as np
import onnx
import pytest
import torch
import trained
from onnx import TensorProto, helper, numpy_helper

from allaprima import backends
from allaprima.kernels import to_bf16
from allaprima.metrics import compare
from allaprima.onnx_file import with_weights
from allaprima.planes import BT601, BT2020, LIMITED_BT709, Coding, Planes, rules
from allaprima_export.core import IN, OPSETS, OUT, to_opset
from allaprima_export.edges import attach_edges
from allaprima_export.half import half
from allaprima_export.planes import attach_planes, unfit
from allaprima_export.scenes import checker
from allaprima_train.frame_model import PlanesModel

FP32 = [("ort", "fp32"), ("openvino", "fp32")]
EVERY = [*FP32, ("openvino", "bf16"), ("ort", "fp16")]
CODINGS = [LIMITED_BT709, Coding(BT601, True), Coding(BT2020)]


def sizes(generator) -> dict:
    return {name: getattr(generator, name) for name in ("period", "stride", "margin", "veil")}


@cache
def model(
    size: str = "nano", opset: int = 18, fixed: tuple[int, int] | None = None, fp16: bool = False
) -> bytes:
    core = to_opset(trained.traced("mobile", size), opset)
    made = attach_planes(half(core) if fp16 else core, **sizes(trained.strong("mobile", size)), fixed=fixed)
    return made.SerializeToString()


def paint(
    data: bytes, planes: Planes, strength: float = 1.0, backend: str = "ort", precision: str = "fp32"
) -> Planes:
    """As the runtime does: the coding's numbers are written into the file first."""
    inputs = {name: np.ascontiguousarray(getattr(planes, name))[None, ..., None] for name in ("y", "u", "v")}
    inputs["strength"] = np.array([strength], np.float32)
    kind, device = backends.load(backend)
    if precision not in kind.precisions(device):
        pytest.skip(f"{backend} has no {precision} here")
    coded = with_weights(data, rules(planes.coding)._asdict())
    answer = kind(coded, inputs, precision=precision, device=device, threads=1).run(inputs)
    return Planes(
        answer["styled_y"][0, ..., 0],
        answer["styled_u"][0, ..., 0],
        answer["styled_v"][0, ..., 0],
        planes.coding,
    )


@torch.no_grad()
def twin(size: str, planes: Planes, strength: float = 1.0) -> Planes:
    parts = (torch.from_numpy(part.copy())[None, ..., None] for part in (planes.y, planes.u, planes.v))
    made = PlanesModel(trained.strong("mobile", size), rules(planes.coding))(*parts, torch.tensor([strength]))
    y, u, v = (part[0, ..., 0].numpy() for part in made)
    return Planes(y, u, v, planes.coding)


def apart(one: Planes, other: Planes) -> int:
    return int(np.abs(one.stacked().astype(int) - other.stacked()).max())


@pytest.mark.parametrize(("backend", "precision"), FP32)
@pytest.mark.parametrize("shape", trained.SIZES, ids=str)
@pytest.mark.parametrize("coding", CODINGS, ids=str)
def test_planes_are_painted_like_torch_within_one(coding, shape, backend, precision) -> None:
    before = Planes.from_rgb(trained.soft(*shape), coding)
    expected = twin("nano", before)
    assert apart(expected, before) > 5  # it does paint
    painted = paint(model(), before, backend=backend, precision=precision)
    assert apart(painted, expected) <= 1
    assert (painted.stacked() == expected.stacked()).mean() > 0.99


@pytest.mark.parametrize("coding", CODINGS, ids=str)
def test_they_show_what_the_rgb_graph_paints(coding) -> None:
    """What is left is that RGB is clipped before its chroma is halved. This network paints far beyond it; a trained one
    hardly (starry on a photograph: 51 dB, SSIM 0.999)."""
    before = Planes.from_rgb(trained.soft(96, 64), coding)
    arithmetic = rules(coding)
    rgb = (before.stacked() - arithmetic.yuv_of_black) @ arithmetic.rgb_from_yuv.T
    inputs = {"image": np.clip(rgb + 0.5, 0, 255).astype(np.uint8)[None], "strength": np.ones(1, np.float32)}
    in_rgb = attach_edges(trained.traced("mobile", "nano"), **sizes(trained.strong("mobile", "nano")))
    kind, device = backends.load("ort")
    runner = kind(in_rgb.SerializeToString(), inputs, precision="fp32", device=device, threads=1)
    shown = Planes.from_rgb(runner.run(inputs)["styled"][0], coding).rgb()
    difference = compare(paint(model(), before).rgb(), shown)
    assert difference.psnr_db >= 36
    assert difference.ssim >= 0.97


@pytest.mark.parametrize(("backend", "precision"), EVERY)
@pytest.mark.parametrize("coding", CODINGS, ids=str)
def test_strength_zero_gives_every_plane_back_bit_for_bit(coding, backend, precision) -> None:
    every = np.arange(256, dtype=np.uint8)
    all_bytes = Planes(
        every.reshape(16, 16), every[::4].reshape(8, 8), 255 - every[::4].reshape(8, 8), coding
    )
    odd = Planes.from_rgb(checker(61, 93, side=1), coding)
    for before in (all_bytes, odd):
        painted = paint(model(fp16=precision == "fp16"), before, 0.0, backend, precision)
        assert apart(painted, before) == 0


def test_half_strength_lies_between() -> None:
    before = Planes.from_rgb(trained.soft(61, 93))
    assert apart(paint(model(), before, 0.5), twin("nano", before, 0.5)) <= 1


def test_a_built_in_size_computes_no_shape_and_paints_the_same() -> None:
    before = Planes.from_rgb(trained.soft(61, 93))
    fixed = model(fixed=(61, 93))
    graph = onnx.load_from_string(fixed).graph
    assert not {node.op_type for node in graph.node} & {"Shape", "Mod", "Div", "Neg"}
    used = {name for node in graph.node for name in node.input}
    assert {one.name for one in graph.initializer} <= used
    sides = [[one.dim_value for one in given.type.tensor_type.shape.dim] for given in graph.input[:3]]
    assert sides == [[1, 61, 93, 1], [1, 31, 47, 1], [1, 31, 47, 1]]
    assert apart(paint(fixed, before), paint(model(), before)) == 0


@pytest.mark.parametrize("opset", OPSETS)
def test_every_opset_is_what_it_says_and_paints_the_same(opset) -> None:
    made = onnx.load_from_string(model(opset=opset))
    assert [(one.domain, one.version) for one in made.opset_import] == [("", opset)]
    before = Planes.from_rgb(trained.soft(17, 23))
    assert apart(paint(model(opset=opset), before), twin("nano", before)) <= 1


@pytest.mark.parametrize(("backend", "precision"), [("ort", "fp16"), ("openvino", "fp16")])
def test_fp16_paints_the_same(backend, precision) -> None:
    before = Planes.from_rgb(trained.soft(61, 93), Coding(BT601, True))
    painted = paint(model(fp16=True), before, backend=backend, precision=precision)
    assert apart(painted, twin("nano", before)) <= 6


def test_the_colour_matrix_is_folded_when_the_file_is_loaded(tmp_path) -> None:
    """No multiplication of matrices is left to do for every frame."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(model(), options, providers=["CPUExecutionProvider"])
    left = [node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node]
    assert "MatMul" in {node.op_type for node in onnx.load_from_string(model()).graph.node}
    assert "MatMul" not in left
    assert "ReduceSum" not in left


def quantized_ends() -> onnx.ModelProto:
    """A core whose first and last convolution are int8, as quantizers write it: the numbers are those of QDQ."""
    core = trained.traced("mobile", "nano")
    graph = core.graph
    tensors = {one.name: one for one in graph.initializer}
    nodes: list[onnx.NodeProto] = []

    def constant(name: str, values: np.ndarray) -> str:
        graph.initializer.append(numpy_helper.from_array(values, name))
        return name

    def qdq(source: str, target: str, scale: float) -> None:
        pair = [constant(f"{target}_scale", np.float32(scale)), constant(f"{target}_zero", np.uint8(0))]
        nodes.append(helper.make_node("QuantizeLinear", [source, *pair], [f"{target}_q"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"{target}_q", *pair], [target]))

    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    for node in graph.node:
        if IN in node.input:  # Pad, for the first convolution
            qdq(IN, "packed_seen", 1.0)
            node.input[0] = "packed_seen"
        if node in (convolutions[0], convolutions[-1]):
            weight = numpy_helper.to_array(tensors[node.input[1]])
            scale = (np.abs(weight).max((1, 2, 3)) / 127).astype(np.float32)
            name = f"{node.input[1]}_int8"
            stored = constant(name, np.round(weight / scale[:, None, None, None]).astype(np.int8))
            scales = constant(f"{name}_scale", scale)
            zeros = constant(f"{name}_zero", np.zeros(len(scale), np.int8))
            nodes.append(
                helper.make_node("DequantizeLinear", [stored, scales, zeros], [f"{name}_back"], axis=0)
            )
            node.input[1] = f"{name}_back"
        nodes.append(node)
        if node is convolutions[-1]:
            node.output[0] = "paint_seen"
            qdq("paint_seen", OUT, 2.0)
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)
    return core


def test_what_a_quantizer_put_around_the_ends_is_computed_in_floats_again() -> None:
    core = quantized_ends()
    assert unfit(core, 4) == ""
    made = attach_planes(core, **sizes(trained.strong("mobile", "nano")))
    assert not {node.op_type for node in made.graph.node} & {"QuantizeLinear", "DequantizeLinear"}
    before = Planes.from_rgb(trained.soft(61, 93))
    # int8 weights of two layers are all that is left of the quantizer
    assert apart(paint(made.SerializeToString(), before), twin("nano", before)) <= 8


def test_what_cannot_have_planes_is_told_why() -> None:
    assert "packed by 1" in unfit(trained.traced("resnet", "small"), 1)
    core = trained.traced("mobile", "nano")
    last = core.graph.node[-1]
    last.output[0] = "before"
    core.graph.node.append(helper.make_node("Tanh", ["before"], [OUT]))
    assert "last layer is Tanh" in unfit(core, 4)
    core = trained.traced("mobile", "nano")
    core.graph.node.append(helper.make_node("Relu", [IN], ["twice"]))
    assert "2 of its layers read the picture" in unfit(core, 4)
    with pytest.raises(ValueError, match="2 of its layers"):
        attach_planes(core, **sizes(trained.strong("mobile", "nano")))


def test_the_file_means_limited_bt709_until_told_otherwise() -> None:
    tensors = {one.name: one for one in onnx.load_from_string(model()).graph.initializer}
    for name, values in rules(LIMITED_BT709)._asdict().items():
        assert tensors[name].data_type == TensorProto.FLOAT
        assert np.array_equal(numpy_helper.to_array(tensors[name]), values)


def test_blacker_than_black_is_seen_as_black() -> None:
    """Cameras that write full range and say limited have shadows of Y 3; unclipped, spots of odd colours grew there."""
    soft = Planes.from_rgb(trained.soft(64, 64))
    deep = soft.y.copy()
    deep[:32] = 3
    before = Planes(deep, soft.u, soft.v)
    assert apart(paint(model(), before), twin("nano", before)) <= 1
    black = deep.copy()
    black[:32] = 16
    at_black = Planes(black, soft.u, soft.v)
    veil = trained.strong("mobile", "nano").veil
    painted, expected = paint(model(), before), paint(model(), at_black)
    unclipped = expected.y[:32] > 13 * veil + 1
    assert np.abs(painted.y[:32].astype(int) - expected.y[:32])[unclipped].max() <= 13 * veil + 1
    assert np.array_equal(painted.u, expected.u)


def test_kernels_that_are_computed_from_constants_are_rounded_to_bf16_with_their_sums() -> None:
    """Both ends are products with the colour matrix: left to OpenVINO, what the last one lays beside each other in a
    plain sky would be apart by rounding."""
    core = pytest.importorskip("openvino").Core()
    runner = import_module("allaprima.backends.openvino")
    before, after = (core.read_model(model("nano-fine")) for _ in range(2))
    runner._round(after)
    kernels = [
        [node.input_value(1) for node in graph.get_ops() if node.get_type_name() == "Convolution"]
        for graph in (before, after)
    ]
    assert {kernel.get_node().get_type_name() for kernel in kernels[0]} != {"Constant"}
    for whole, found in zip(*kernels, strict=True):
        exact, held = runner._floats(whole), found.get_node().get_data()
        assert np.array_equal(to_bf16(held.astype(np.float64)), held)
        off = np.abs((held.astype(np.float64) - exact).sum((2, 3)))
        by_itself = np.abs((to_bf16(exact.astype(np.float64)) - exact).sum((2, 3)))
        assert off.mean() < by_itself.mean() / 5
