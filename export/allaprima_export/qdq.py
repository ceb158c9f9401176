"""QDQ graphs: int8 said with QuantizeLinear and DequantizeLinear around ordinary float operators.

All quantizers of the table answer in this form, so what is done with their answers is written once: which layers are
in int8, and taking some of them back to floating point.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import onnx

from .core import layer_names

__all__ = ["keep", "layers"]

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"


def layers(quantized: onnx.ModelProto, core: onnx.ModelProto) -> list[str]:
    """The layers of `core` that `quantized` computes in int8, in its order: operators that read dequantized numbers."""
    names = layer_names(core)
    dequantized = {
        name for node in quantized.graph.node if node.op_type == DEQUANTIZE for name in node.output
    }
    reading = {
        node.name for node in quantized.graph.node if node.name in names and dequantized & set(node.input)
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
