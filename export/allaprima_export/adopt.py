"""A stranger's network as a *core*: float32 bytes in and out, channels first, RGB, as `trace` makes them of ours.

    packed ─ order ─ x factor + offset ─ layout ─ the network as it came ─ layout ─ - offset, / factor ─ order ─ paint

After that it goes the way of our own: edges, variants, parity, bundle.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from allaprima.errors import BundleError

from .core import IN, OPSETS, OUT
from .foreign import RANGES, Convention, Stranger, session

__all__ = ["adopt", "count_macs", "count_parameters"]

OLDEST_OPSET = (
    13  # from here on every operator that the edges and the variants need means what it means today
)
PREFIX = "net/"  # before every name of the stranger's, so that none is one of ours


def adopt(stranger: Stranger, convention: Convention) -> onnx.ModelProto:
    """The network as a core. Raises BundleError E_IMPORT_OPSET where its operator set cannot be brought up to ours."""
    model = _in_our_opset(stranger)
    graph = model.graph
    _fold_weights(graph)
    names = _rename(graph)
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = list(graph.initializer)

    def constant(value: NDArray[np.generic], name: str) -> str:
        constants.append(numpy_helper.from_array(value, name))
        return name

    def node(operator: str, *inputs: str, output: str, **attributes: Any) -> str:
        nodes.append(
            helper.make_node(operator, inputs, [output], name=f"{operator.lower()}_{output}", **attributes)
        )
        return output

    reversed_ = constant(np.array([2, 1, 0]), "bgr") if convention.color == "bgr" else ""
    into, out_of = RANGES[convention.range], RANGES[convention.output_range]

    def planes(values: tuple[float, float, float]) -> NDArray[np.float32]:
        return np.array(values, np.float32).reshape(1, 3, 1, 1)

    scaled = node("Mul", IN, constant(planes(into.factor), "in_factor"), output="in_scaled")
    x = node("Add", scaled, constant(planes(into.offset), "in_offset"), output="in_shifted")
    if reversed_:
        x = node("Gather", x, reversed_, output="in_ordered", axis=1)
    if convention.layout == "nhwc":
        x = node("Transpose", x, output="in_laid", perm=[0, 2, 3, 1])
    _join(nodes, x, names[stranger.input], graph.input[0])
    nodes.extend(graph.node)
    x = names[stranger.output]
    if graph.output[0].type.tensor_type.elem_type != TensorProto.FLOAT:
        x = node("Cast", x, output="out_float", to=TensorProto.FLOAT)
    if convention.layout == "nhwc":
        x = node("Transpose", x, output="out_laid", perm=[0, 3, 1, 2])
    if reversed_:
        x = node("Gather", x, reversed_, output="out_ordered", axis=1)
    factor = tuple(1 / one for one in out_of.factor)
    shifted = node("Sub", x, constant(planes(out_of.offset), "out_offset"), output="out_shifted")
    larger = OUT if convention.scale == 1 else "out_pixels"
    node("Mul", shifted, constant(planes((factor[0], factor[1], factor[2])), "out_factor"), output=larger)
    if (
        convention.scale > 1
    ):  # as edges.py expects it: the pixels of one of the picture's, one after the other
        node("SpaceToDepth", larger, output=OUT, blocksize=convention.scale)

    any_size: list[Any] = ["batch", None, "rows", "columns"]
    core = helper.make_graph(
        nodes,
        "stranger",
        [helper.make_tensor_value_info(IN, TensorProto.FLOAT, any_size)],
        [helper.make_tensor_value_info(OUT, TensorProto.FLOAT, any_size)],
        constants,
    )
    imports = [one for one in model.opset_import if one.domain in ("", "ai.onnx")]
    return helper.make_model(
        core, opset_imports=imports, ir_version=helper.find_min_ir_version_for(imports, ignore_unknown=True)
    )


def count_parameters(core: onnx.ModelProto) -> int:
    """Numbers in floating-point weights; not those of shapes and sizes."""
    floats = (TensorProto.FLOAT, TensorProto.FLOAT16)
    return sum(math.prod(one.dims) for one in core.graph.initializer if one.data_type in floats)


def count_macs(core: onnx.ModelProto, height: int, width: int) -> int:
    """Multiply-adds of the convolutions and matrix products for a picture of that size, by running it once.

    The sizes between the layers are asked of a run, because files of TensorFlow compute theirs on the way.
    """
    weights = {tensor.name: tuple(tensor.dims) for tensor in core.graph.initializer}
    heavy = [node for node in core.graph.node if node.op_type in ("Conv", "ConvTranspose", "MatMul", "Gemm")]
    # A convolution multiplies its kernel at every place of its output, a transposed one at every place of its input.
    placed = [node.input[0] if node.op_type == "ConvTranspose" else node.output[0] for node in heavy]
    watched = onnx.ModelProto()
    watched.CopyFrom(core)
    del watched.graph.output[:]
    for name in dict.fromkeys(placed):
        watched.graph.output.append(helper.make_empty_tensor_value_info(name))
        watched.graph.output[-1].type.tensor_type.elem_type = TensorProto.FLOAT
    if not placed:
        return 0
    running = session(watched.SerializeToString())
    answers = running.run(None, {IN: np.full((1, 3, height, width), 128, np.float32)})
    shapes = dict(zip(dict.fromkeys(placed), (answer.shape for answer in answers), strict=True))
    total = 0
    for node, name in zip(heavy, placed, strict=True):
        kernel = weights.get(node.input[1], ())
        if node.op_type in ("Conv", "ConvTranspose"):
            total += math.prod(shapes[name][2:]) * math.prod(kernel)
        else:
            total += math.prod(shapes[name]) * (kernel[-2] if len(kernel) > 1 else shapes[name][-1])
    return total


def _join(nodes: list[onnx.NodeProto], ours: str, theirs: str, value: onnx.ValueInfoProto) -> None:
    """Make the last node, whose output is called `ours`, give what the network's input is called; cast if it must."""
    kind = value.type.tensor_type.elem_type
    if kind == TensorProto.FLOAT:
        nodes[-1].output[0] = theirs
    else:
        nodes.append(helper.make_node("Cast", [ours], [theirs], name=f"cast_{theirs}", to=kind))


def _in_our_opset(stranger: Stranger) -> onnx.ModelProto:
    model = onnx.ModelProto()
    model.CopyFrom(stranger.model)
    for part in (model, model.graph, *model.graph.node, *model.graph.initializer):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    model.graph.ClearField("value_info")
    opset = next(one.version for one in model.opset_import if one.domain in ("", "ai.onnx"))
    if OLDEST_OPSET <= opset <= OPSETS[-1]:
        return model
    try:
        return onnx.version_converter.convert_version(model, 18)
    except Exception as error:  # its C++ half raises RuntimeError, its checker others
        raise BundleError(
            "E_IMPORT_OPSET",
            f"cannot import {stranger.path}",
            f"its operator set {opset} cannot be brought to 18: {str(error).splitlines()[0]}",
            f"export it for an operator set from {OLDEST_OPSET} to {OPSETS[-1]}",
        ) from None


def _rename(graph: onnx.GraphProto) -> dict[str, str]:
    """Put PREFIX before every tensor's and node's name; old -> new. "" stays: an input that is left out."""
    names = {name: PREFIX + name for node in graph.node for name in (*node.input, *node.output) if name}
    names |= {tensor.name: PREFIX + tensor.name for tensor in graph.initializer}
    names |= {value.name: PREFIX + value.name for value in (*graph.input, *graph.output)}
    for number, node in enumerate(graph.node):
        node.name = f"{PREFIX}{node.op_type.lower()}_{number}"
        node.input[:] = [names.get(name, "") for name in node.input]
        node.output[:] = [names.get(name, "") for name in node.output]
    for tensor in graph.initializer:
        tensor.name = names[tensor.name]
    return names


def _fold_weights(graph: onnx.GraphProto) -> None:
    """Weights that are stored as int8 and made floats on the way become floats here, once.

    Only where nothing else is quantized: then int8 made the file small, and nothing faster. In a network that
    computes in int8 the same operator is what makes it do so.
    """
    if any(node.op_type in ("QuantizeLinear", "QLinearConv", "ConvInteger") for node in graph.node):
        return
    weights = {tensor.name: tensor for tensor in graph.initializer}
    kept = []
    for node in graph.node:
        if node.op_type != "DequantizeLinear" or any(name not in weights for name in node.input if name):
            kept.append(node)
            continue
        stored, scale, *zero = (numpy_helper.to_array(weights[name]) for name in node.input if name)
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
        along = [-1 if place == axis % max(1, stored.ndim) else 1 for place in range(stored.ndim)]
        number = stored.astype(np.int32) - (
            zero[0].astype(np.int32).reshape(along)
            if zero and zero[0].size > 1
            else zero[0].astype(np.int32).reshape(())
            if zero
            else 0
        )
        factor = scale.reshape(along) if scale.size > 1 else scale.reshape(())
        graph.initializer.append(
            numpy_helper.from_array((number * factor).astype(scale.dtype), node.output[0])
        )
    del graph.node[:]
    graph.node.extend(kept)
    used = {name for node in kept for name in node.input} | {value.name for value in graph.output}
    left = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(left)
