"""The same ONNX model with its bytes as floats from the first node to the last, for GPUs.

    image -> Pad, Reshape, Transpose on bytes -> Cast -> network -> Cast -> Transpose, Reshape, Slice on bytes -> styled
    image -> Cast -> Pad, Reshape, Transpose -> Cast -> network -> Transpose, Reshape, Slice -> Cast -> styled

The bundle's graph moves bytes, which processors are quicker with (docs/performance.md). TensorRT takes uint8 at its
inputs and outputs only, and a Cast next to them; ONNX Runtime's CUDA has no Pad for uint8. A byte is exact as a
float, and moving it changes nothing: both graphs answer the same bits. On a GPU the moves cost next to nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from .protobuf import Value, encoded, fields, message_of, number_of, parts, text_of

__all__ = ["REVISION", "floats_inside"]

REVISION = 1
"""Counts up whenever the rewritten graph changes: engines that were built from an older one are stale."""

# Field numbers of onnx.proto3; they are frozen for good.
_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT, _GRAPH_VALUE_INFO = 1, 5, 11, 12, 13
_NODE_INPUT, _NODE_OUTPUT, _NODE_NAME, _NODE_OPERATOR, _NODE_ATTRIBUTE = 1, 2, 3, 4, 5
_ATTRIBUTE_NAME, _ATTRIBUTE_NUMBER, _ATTRIBUTE_KIND, _KIND_NUMBER = 1, 3, 20, 2
_TENSOR_KIND, _TENSOR_NAME = 2, 8
_VALUE_NAME, _VALUE_TYPE, _TYPE_TENSOR, _TYPE_KIND = 1, 2, 1, 1
_FLOAT, _UINT8 = 1, 2

_MOVES = {
    "Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "Identity", "Pad", "Reshape", "Slice", "SpaceToDepth",
    "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze",
}  # fmt: skip
"""What moves numbers and changes none, so that it can stand before a Cast or after it."""


def floats_inside(data: bytes) -> bytes:
    """`data` is a model that `onnx_file.inspect` let pass. Inputs and outputs keep their types.

    A model that has no uint8 at its edges, or does more with it than moving it, comes back as it is.
    """
    model = list(parts(memoryview(data)))
    (graph,) = (message_of(value) for number, value, _ in model if number == _MODEL_GRAPH)
    made = _rewritten(graph)
    if made is None:
        return data
    return b"".join(
        encoded(_MODEL_GRAPH, made) if number == _MODEL_GRAPH else bytes(raw) for number, _, raw in model
    )


@dataclass
class _Node:
    message: memoryview
    operator: str = ""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    casts_to: int = 0

    def written(self, names: dict[str, str]) -> bytes:
        """The node with tensors renamed; a cast to bytes is one to float now."""
        made = bytearray()
        for number, value, raw in parts(self.message):
            if number in (_NODE_INPUT, _NODE_OUTPUT):
                name = text_of(value)
                made += encoded(number, names.get(name, name))
            elif number == _NODE_ATTRIBUTE and self.casts_to == _UINT8:
                made += encoded(number, _to(_FLOAT))
            else:
                made += raw
        return bytes(made)


def _rewritten(graph: memoryview) -> bytes | None:
    """The graph with its casts at the edges; None where there is nothing to do, or no way."""
    content = list(parts(graph))
    bytes_in = [name for name, kind in _values(content, _GRAPH_INPUT) if kind == _UINT8]
    bytes_out = [name for name, kind in _values(content, _GRAPH_OUTPUT) if kind == _UINT8]
    weights = [name for name, kind in _weights(content) if kind == _UINT8]
    nodes = [_node(message_of(value)) for number, value, _ in content if number == _GRAPH_NODE]
    if not _only_moved(nodes, bytes_in, bytes_out, weights):
        return None
    names = {name: f"{name}_as_floats" for name in (*bytes_in, *bytes_out)}
    written = [
        *(_cast(name, names[name], _FLOAT) for name in bytes_in),
        *(node.written(names) for node in nodes),
        *(_cast(names[name], name, _UINT8) for name in bytes_out),
    ]
    # What the old graph noted about types between its nodes does not hold any more, and is never needed.
    kept = [bytes(raw) for number, _, raw in content if number not in (_GRAPH_NODE, _GRAPH_VALUE_INFO)]
    return b"".join([*(encoded(_GRAPH_NODE, node) for node in written), *kept])


def _only_moved(nodes: list[_Node], bytes_in: list[str], bytes_out: list[str], weights: list[str]) -> bool:
    """Whether every uint8 is an input on its way to a cast, or a cast's answer on its way out."""
    if not (bytes_in or bytes_out):
        return False
    coming, going = set(bytes_in), set[str]()
    for node in nodes:
        if (
            node.casts_to == _UINT8
        ):  # what it cuts off must not be wanted again inside, where a float keeps it
            going |= set(node.outputs)
        touched = (coming | going) & set(node.inputs)
        if not touched or node.operator == "Shape" or (node.operator == "Cast" and not touched & going):
            continue
        if node.operator not in _MOVES or set(weights) & set(node.inputs):
            return False
        (going if touched & going else coming).update(node.outputs)
    return set(bytes_out) <= coming | going


def _node(message: memoryview) -> _Node:
    found = _Node(message)
    for number, value in fields(message):
        if number == _NODE_INPUT:
            found.inputs.append(text_of(value))
        elif number == _NODE_OUTPUT:
            found.outputs.append(text_of(value))
        elif number == _NODE_OPERATOR:
            found.operator = text_of(value)
    if found.operator == "Cast":
        attributes = [
            dict(fields(message_of(value))) for number, value in fields(message) if number == _NODE_ATTRIBUTE
        ]
        (found.casts_to,) = (
            number_of(one[_ATTRIBUTE_NUMBER]) for one in attributes if text_of(one[_ATTRIBUTE_NAME]) == "to"
        )
    return found


def _values(content: list[tuple[int, Value, memoryview]], place: int) -> Iterator[tuple[str, int]]:
    """Name and type of each input, or each output."""
    for number, value, _ in content:
        if number == place:
            known = dict(fields(message_of(value)))
            tensor = dict(fields(message_of(dict(fields(message_of(known[_VALUE_TYPE])))[_TYPE_TENSOR])))
            yield text_of(known[_VALUE_NAME]), number_of(tensor.get(_TYPE_KIND, 0))


def _weights(content: list[tuple[int, Value, memoryview]]) -> Iterator[tuple[str, int]]:
    """Name and type of each initializer."""
    for number, value, _ in content:
        if number == _GRAPH_INITIALIZER:
            known = dict(fields(message_of(value)))
            yield text_of(known[_TENSOR_NAME]), number_of(known[_TENSOR_KIND])


def _cast(source: str, target: str, kind: int) -> bytes:
    return b"".join(
        [
            encoded(_NODE_INPUT, source),
            encoded(_NODE_OUTPUT, target),
            encoded(_NODE_NAME, f"cast_{target}"),
            encoded(_NODE_OPERATOR, "Cast"),
            encoded(_NODE_ATTRIBUTE, _to(kind)),
        ]
    )


def _to(kind: int) -> bytes:
    """A Cast's one attribute."""
    name, number = encoded(_ATTRIBUTE_NAME, "to"), encoded(_ATTRIBUTE_NUMBER, kind)
    return name + number + encoded(_ATTRIBUTE_KIND, _KIND_NUMBER)
