"""Bytes as floats inside: the same bits come out, and nothing but a uint8 input or output is uint8 any more."""

from pathlib import Path

import bundles
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from allaprima.bundle import Bundle, styles
from allaprima.onnx_file import inspect
from allaprima.onnx_floats import floats_inside

MODELS = [
    pytest.param(bundle.read(variant.file), id=f"{bundle.manifest.name}-{variant.name}")
    for bundle in map(Bundle.open, styles().values())
    for variant in bundle.manifest.variants
]


def answers(model: bytes, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    ort = pytest.importorskip("onnxruntime")
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    wanted = {one.name for one in session.get_inputs()}
    names = [one.name for one in session.get_outputs()]
    return dict(zip(names, session.run(names, {name: inputs[name] for name in wanted}), strict=True))


def types_between(model: bytes) -> set[int]:
    """Types of all tensors that are neither input nor output."""
    made = onnx.shape_inference.infer_shapes(onnx.load_from_string(model), strict_mode=True)
    return {one.type.tensor_type.elem_type for one in made.graph.value_info}


def bare_model(*nodes: onnx.NodeProto, constants: tuple[onnx.TensorProto, ...] = ()) -> bytes:
    """`image` uint8 [1, 4, 4, 3] to `styled` uint8 of the same size by these nodes."""
    values = [
        helper.make_tensor_value_info(name, TensorProto.UINT8, [1, 4, 4, 3]) for name in ("image", "styled")
    ]
    graph = helper.make_graph(list(nodes), "bare", values[:1], values[1:], list(constants))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


DOMAIN = np.array([0.2, 0.5, 0.3], np.float32)  # of masters


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("size", [(16, 16), (17, 31), (61, 93)], ids=str)
def test_every_shipped_model_answers_the_same_bits(model: bytes, size: tuple[int, int]) -> None:
    image = bundles.ramp(*size)[np.newaxis]
    chroma = image[:, ::2, ::2]
    planes = {"y": image[..., :1], "u": chroma[..., 1:2], "v": chroma[..., 2:]}
    made = floats_inside(model)
    for strength in (0.0, 0.4, 1.0):
        given = {"image": image, **planes, "strength": np.full(1, strength, np.float32), "domain": DOMAIN}
        before, after = answers(model, **given), answers(made, **given)
        assert before.keys() == after.keys()
        assert all(np.array_equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("model", [one for one in MODELS if "int8" not in str(one.id)])
def test_nothing_inside_is_bytes_any_more_and_the_face_is_the_same(model: bytes) -> None:
    made = floats_inside(model)
    assert TensorProto.UINT8 in types_between(model)
    assert TensorProto.UINT8 not in types_between(made)
    onnx.checker.check_model(onnx.load_from_string(made), full_check=True)
    before, after = inspect(model, "before"), inspect(made, "after")
    assert (before.inputs, before.outputs, before.metadata) == (after.inputs, after.outputs, after.metadata)


def test_a_state_and_a_picture_go_through_alike() -> None:
    model = bundles.echo_model({})
    given = {"image": bundles.ramp(4, 6)[None], "memory": np.full((1, 4, 6, 3), 91.5, np.float32)}
    before, after = answers(model, **given), answers(floats_inside(model), **given)
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_a_model_that_only_moves_bytes_goes_through_alike() -> None:
    model = bare_model(helper.make_node("Transpose", ["image"], ["styled"], perm=[0, 2, 1, 3]))
    made = floats_inside(model)
    assert [node.op_type for node in onnx.load_from_string(made).graph.node] == ["Cast", "Transpose", "Cast"]
    image = bundles.ramp(4, 4)[None]
    assert np.array_equal(answers(made, image=image)["styled"], image.transpose(0, 2, 1, 3))


def test_what_does_more_with_bytes_than_moving_them_stays_as_it_is() -> None:
    cast = helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT)
    shorten = helper.make_node("Cast", ["float"], ["whole"], to=TensorProto.UINT8)
    again = helper.make_node("Cast", ["whole"], ["again"], to=TensorProto.FLOAT)
    out = helper.make_node("Cast", ["again"], ["styled"], to=TensorProto.UINT8)
    fill = numpy_helper.from_array(np.uint8(7), "fill")
    pads = numpy_helper.from_array(np.array([0, 0, -1, 0, 0, 0, 1, 0]), "pads")
    padded = helper.make_node("Pad", ["image", "pads", "fill"], ["styled"])
    bitwise = helper.make_node("BitwiseNot", ["image"], ["styled"])
    for model in (
        bare_model(cast, shorten, again, out),
        bare_model(padded, constants=(fill, pads)),
        bare_model(bitwise),
    ):
        assert floats_inside(model) == model


def test_a_peers_float_model_stays_as_it_is(shared_data: Path) -> None:
    for path in sorted((shared_data / "peers").glob("*.onnx"))[:2]:
        data = path.read_bytes()
        assert floats_inside(data) == data
