"""The head of an ONNX file is read without a vendor, and what a style has no use for is refused."""

import bundles
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from allaprima.errors import BundleError
from allaprima.onnx_file import inspect, with_weights


def model() -> onnx.ModelProto:
    return onnx.load_from_string(bundles.frame_model(metadata={"hello": "wörld"}))


def test_head_agrees_with_the_onnx_package():
    head = inspect(bundles.frame_model(metadata={"hello": "wörld"}), "here")
    assert (head.ir_version, head.opset, head.metadata) == (bundles.IR, bundles.OPSET, {"hello": "wörld"})
    assert head.nodes == len(model().graph.node)
    assert head.inputs == {"image": (1, "height", "width", 3), "strength": (1,)}
    assert head.outputs == {"styled": (1, "height", "width", 3)}


def test_weights_that_are_listed_as_inputs_do_not_have_to_be_fed():
    made = model()
    made.graph.input.append(helper.make_tensor_value_info("kernel", TensorProto.FLOAT, [3, 3, 3, 3]))
    assert inspect(made.SerializeToString(), "here").inputs.keys() == {"image", "strength"}


def with_external_weights() -> onnx.ModelProto:
    made = model()
    weight = made.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../../etc/passwd")
    return made


def with_external_constant() -> onnx.ModelProto:
    made = model()
    tensor = numpy_helper.from_array(np.zeros(1, np.float32))
    tensor.data_location = TensorProto.EXTERNAL
    made.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))
    return made


def sparse(external: bool) -> onnx.SparseTensorProto:
    values = numpy_helper.from_array(np.ones(1, np.float32), "values")
    if external:
        values.ClearField("raw_data")
        values.data_location = TensorProto.EXTERNAL
        values.external_data.add(key="location", value="../../etc/passwd")
    return helper.make_sparse_tensor(values, numpy_helper.from_array(np.zeros(1, np.int64)), [4])


def with_sparse_constant(*, many: bool) -> onnx.ModelProto:
    made = model()
    node = made.graph.node.add(op_type="Constant", output=["c"])
    attribute = node.attribute.add(name="sparse_value")
    if many:
        attribute.sparse_tensors.append(sparse(external=True))
    else:
        attribute.sparse_tensor.CopyFrom(sparse(external=True))
    return made


def with_sparse_weights() -> onnx.ModelProto:
    made = model()
    made.graph.sparse_initializer.append(sparse(external=False))
    return made


def with_newer_ir() -> onnx.ModelProto:
    made = model()
    made.ir_version = 11
    return made


def with_operator(domain: str) -> onnx.ModelProto:
    made = model()
    made.graph.node.append(helper.make_node("EPContext", ["image"], ["x"], domain=domain))
    return made


def with_branch() -> onnx.ModelProto:
    made = model()
    branch = helper.make_graph([], "branch", [], [])
    made.graph.node.append(helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch))
    return made


def with_function() -> onnx.ModelProto:
    made = model()
    made.functions.append(helper.make_function("", "Conv", ["x"], ["y"], [], [helper.make_opsetid("", 18)]))
    return made


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (with_external_weights(), "another file"),
        (with_external_constant(), "another file"),
        (with_sparse_constant(many=False), r"sparse weights \(Constant\)"),
        (with_sparse_constant(many=True), "sparse weights"),
        (with_sparse_weights(), "sparse weights"),
        (with_newer_ir(), "IR version is 11"),
        (with_operator("com.microsoft"), "com.microsoft.EPContext"),
        (with_branch(), "subgraph"),
        (with_function(), "functions"),
    ],
)
def test_models_that_could_do_more_than_paint_are_refused(made, reason):
    with pytest.raises(BundleError, match=reason) as caught:
        inspect(made.SerializeToString(), "here")
    assert caught.value.code == "E_BUNDLE_MODEL"


def test_two_graphs_which_a_parser_would_merge_are_refused():
    with pytest.raises(BundleError, match="damaged"):
        inspect(bundles.frame_model() * 2, "here")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git-lfs pointer"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"\x80\x04\x95", "pickle"),
        (b"\x00" * 50, "damaged"),
        (bytes(range(256)), "damaged"),
    ],
)
def test_files_that_are_something_else_are_named(data, reason):
    with pytest.raises(BundleError, match=reason):
        inspect(data, "here")


def test_a_model_cut_anywhere_is_refused():
    whole = model()
    whole.ClearField("metadata_props")  # so that the cut always lands in what a model cannot miss
    data = whole.SerializeToString()
    for end in range(1, len(data) - 8, 13):
        with pytest.raises(BundleError):
            inspect(data[:end], "here")


def test_any_damaged_byte_is_refused_or_still_a_model():
    whole = bundles.frame_model()
    for at in range(len(whole)):
        for byte in (0, 0x7F, 0xFF):
            try:
                inspect(whole[:at] + bytes([byte]) + whole[at + 1 :], "here")
            except BundleError:
                continue


def test_numbers_are_written_into_a_model_without_touching_the_rest() -> None:
    before = bundles.frame_model()
    after = with_weights(before, {"bias": np.array([1, 2, 3], np.float32)})
    old, new = onnx.load_from_string(before), onnx.load_from_string(after)
    for one, other in zip(old.graph.initializer, new.graph.initializer, strict=True):
        values = onnx.numpy_helper.to_array(other)
        if one.name == "bias":
            assert values.tolist() == [1, 2, 3]
        else:
            assert np.array_equal(values, onnx.numpy_helper.to_array(one))
    assert list(old.graph.node) == list(new.graph.node)
    assert inspect(after, "x").weights["kernel"] == (3, 3, 3, 3)


@pytest.mark.parametrize(
    "weights",
    [
        {"nobody": np.zeros(3, np.float32)},
        {"bias": np.zeros(4, np.float32)},  # of another size
        {"pads": np.zeros(16, np.float32)},  # 64 bytes, as 8 of int64 are
    ],
    ids=["name", "size", "type"],
)
def test_numbers_for_a_tensor_that_is_not_there_are_refused(weights) -> None:
    with pytest.raises(KeyError, match="no float32 tensors"):
        with_weights(bundles.frame_model(), weights)
