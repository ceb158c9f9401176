"""QDQ graphs: int8 said with QuantizeLinear and DequantizeLinear around ordinary float operators.

All quantizers of the table answer in this form, so what is done with their answers is written once: kernels that add up
to what they did, which layers are in int8, and taking some of them back to floating point.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import onnx
from onnx import numpy_helper

from allaprima.kernels import in_steps

from .core import layer_names

__all__ = ["adding_up", "behind_copies", "keep", "layers"]

QUANTIZE, DEQUANTIZE, PAD = "QuantizeLinear", "DequantizeLinear", "Pad"


def adding_up(quantized: onnx.ModelProto, core: onnx.ModelProto) -> onnx.ModelProto:
    """The same with each kernel rounded so that it adds up to what it did in `core`: quantizers round tap by tap, and a
    plain area comes out another one. Kernels that are not there as int8 already (ModelOpt's) stay as they are."""
    model = onnx.ModelProto()
    model.CopyFrom(quantized)
    weights = {tensor.name: tensor for tensor in core.graph.initializer}
    ours = {tensor.name: tensor for tensor in model.graph.initializer}
    made_by = {name: node for node in model.graph.node for name in node.output}
    originals = {node.name: node for node in core.graph.node if node.op_type == "Conv"}
    for node in model.graph.node:
        back = made_by.get(node.input[1]) if node.name in originals else None
        if back is None or back.op_type != DEQUANTIZE or back.input[0] not in ours:
            continue
        kernels, whole = ours[back.input[0]], weights.get(originals[node.name].input[1])
        if whole is not None and kernels.data_type == onnx.TensorProto.INT8:
            steps = numpy_helper.to_array(ours[back.input[1]])
            found = in_steps(numpy_helper.to_array(whole), steps)
            kernels.CopyFrom(numpy_helper.from_array(found, kernels.name))
    return model


def behind_copies(quantized: onnx.ModelProto) -> onnx.ModelProto:
    """The same numbers, with each pair of Quantize and Dequantize in front of a Pad moved behind it.

    There ONNX Runtime finds it beside its convolution and makes that one of integers, which it does for none behind a
    Pad. And OpenVINO 2026.4 answers nonsense (30 grey levels off) where some of the pairs in front are left out again.
    """
    model = onnx.ModelProto()
    model.CopyFrom(quantized)
    made_by = {name: node for node in model.graph.node for name in node.output}
    requantized = {node.input[0] for node in model.graph.node if node.op_type == QUANTIZE}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        nodes.append(node)
        back = made_by.get(node.input[0]) if node.op_type == PAD else None
        if back is None or back.op_type != DEQUANTIZE:
            continue
        there, answer = made_by[back.input[0]], node.output[0]
        node.input[0] = there.input[0]
        if answer in requantized:  # there is a pair behind it already
            continue
        node.output[0] = f"{answer}_whole"
        for pair, source, target in (
            (there, f"{answer}_whole", f"{answer}_q"),
            (back, f"{answer}_q", answer),
        ):
            nodes.append(onnx.NodeProto.FromString(pair.SerializeToString()))
            nodes[-1].name, nodes[-1].input[0], nodes[-1].output[0] = f"{pair.name}_{answer}", source, target
    _replace(model.graph.node, [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes])
    _drop_unused(model.graph)
    return model


def layers(quantized: onnx.ModelProto, core: onnx.ModelProto) -> list[str]:
    """The layers of `core` that `quantized` computes in int8, in its order: operators that read dequantized numbers.

    Pad copies bytes for the convolution behind it, and is a part of that.
    """
    names = layer_names(core)
    dequantized = {
        name for node in quantized.graph.node if node.op_type == DEQUANTIZE for name in node.output
    }
    reading = {
        node.name
        for node in quantized.graph.node
        if node.name in names and node.op_type != PAD and dequantized & set(node.input)
    }
    return [names[node.name] for node in core.graph.node if node.name in reading]


def keep(quantized: onnx.ModelProto, core: onnx.ModelProto, kept: Collection[str]) -> onnx.ModelProto:
    """A copy of `quantized` in which the layers `kept` read and compute floats, with the weights of `core`.

    Biases come from `core`, too: quantizers correct them for the errors that the layer no longer makes.
    """
    model = onnx.ModelProto()
    model.CopyFrom(quantized)
    names = layer_names(core)
    weights = {tensor.name: tensor for tensor in core.graph.initializer}
    originals = {node.name: node for node in core.graph.node if names[node.name] in kept}
    read = {name for node in originals.values() for name in node.input}
    originals |= {
        node.name: node for node in core.graph.node if node.op_type == PAD and node.output[0] in read
    }
    made_by = {name: node for node in model.graph.node for name in node.output}
    added: dict[str, onnx.TensorProto] = {}
    for node in model.graph.node:
        if node.name not in originals:
            continue
        for place, (ours, theirs) in enumerate(zip(node.input, originals[node.name].input, strict=True)):
            if theirs in weights:
                name = f"{theirs}_float"
                added[name] = weights[theirs]
                node.input[place] = name
            else:
                node.input[place] = _before(ours, made_by)
    for name, tensor in added.items():
        model.graph.initializer.add().CopyFrom(tensor)
        model.graph.initializer[-1].name = name
    _drop_unused(model.graph)
    return model


def _before(name: str, made_by: dict[str, onnx.NodeProto]) -> str:
    """The float tensor that was quantized and dequantized to `name`; `name` itself where it was not."""
    for kind in (DEQUANTIZE, QUANTIZE):
        node = made_by.get(name)
        if node is None or node.op_type != kind:
            return name
        name = node.input[0]
    return name


def _drop_unused(graph: onnx.GraphProto) -> None:
    """Without the nodes and weights that no output needs any more."""
    needed = {one.name for one in graph.output}
    for node in reversed(graph.node):  # in the order of computation
        if needed & set(node.output):
            needed |= set(node.input)
    _replace(graph.node, [node for node in graph.node if needed & set(node.output)])
    _replace(graph.initializer, [tensor for tensor in graph.initializer if tensor.name in needed])
    graph.ClearField("value_info")


def _replace(field: object, items: Iterable[object]) -> None:
    """A repeated protobuf field cannot be assigned."""
    kept = list(items)
    del field[:]  # type: ignore[attr-defined]
    field.extend(kept)  # type: ignore[attr-defined]
