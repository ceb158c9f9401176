"""What an ONNX file says of itself, read without running or even loading it.

A few lines of protobuf instead of the `onnx` package, which the runtime does not need otherwise, and before
any vendor's parser sees the file: external data can point anywhere on the disk, custom operators and
`EPContext` nodes carry native code, and loops need not end. A style needs none of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .errors import BundleError
from .protobuf import CutOff, fields, message_of, number_of, numbers_of, text_of

__all__ = ["OnnxFile", "inspect", "sniff", "with_weights"]

MAX_NODES = 20_000
MAX_IR_VERSION = 10
"""The newest that every runtime which styles are made for reads."""


@dataclass(frozen=True)
class OnnxFile:
    ir_version: int
    opset: int
    metadata: dict[str, str]
    """The file's `metadata_props`."""
    nodes: int
    inputs: dict[str, tuple[int | str, ...]]
    """Shapes of what has to be fed: numbers, names of open sizes, and "" for a size without a name."""
    outputs: dict[str, tuple[int | str, ...]]
    weights: dict[str, tuple[int, ...]]
    """Shapes of the tensors in the file."""


# Field numbers of onnx.proto3; they are frozen for good.
_MODEL_IR_VERSION, _MODEL_GRAPH, _MODEL_OPSET, _MODEL_METADATA = 1, 7, 8, 14
_MODEL_TRAINING, _MODEL_FUNCTIONS = 20, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT, _GRAPH_SPARSE_INITIALIZER = 1, 5, 11, 12, 15
_NODE_OPERATOR, _NODE_ATTRIBUTE, _NODE_DOMAIN = 4, 5, 7
_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS = 5, 6, 10, 11
_ATTRIBUTE_SPARSE_TENSOR, _ATTRIBUTE_SPARSE_TENSORS = 22, 23
_TENSOR_SHAPE, _TENSOR_TYPE, _TENSOR_NAME, _TENSOR_RAW = 1, 2, 8, 9
_TENSOR_EXTERNAL_DATA, _TENSOR_DATA_LOCATION = 13, 14
_FLOAT = 1
_VALUE_NAME, _VALUE_TYPE, _TYPE_TENSOR, _TENSOR_TYPE_SHAPE, _SHAPE_SIZE = 1, 2, 1, 2, 1
_SIZE_NUMBER, _SIZE_NAME = 1, 2
_OPSET_DOMAIN, _OPSET_VERSION = 1, 2
_ENTRY_KEY, _ENTRY_VALUE = 1, 2

_STANDARD_DOMAINS = (b"", b"ai.onnx")


def inspect(data: bytes, where: str, *, newest_ir: int = MAX_IR_VERSION) -> OnnxFile:
    """Read the head of a model and refuse what a style has no use for.

    `newest_ir`: for who rewrites the file anyway, and only has to understand it.

    Raises BundleError E_BUNDLE_MODEL with the reason in words: not ONNX (but a web page, a git-lfs pointer),
    cut off, external data, operators outside the standard, subgraphs, functions.
    """
    found = sniff(data)
    if found:
        raise _refused(where, f"it is {found}, not an ONNX model", "get the file again")
    try:
        return _inspect(memoryview(data), where, newest_ir)
    except CutOff as error:
        whole = error.there == len(data)  # the file itself ends too early, and not a part that was damaged
        there = f": {error.there:,} of at least {error.said:,} bytes are there" if whole else ""
        raise _refused(where, f"it is damaged or cut off{there}", "get the file again") from None
    except (LookupError, ValueError):
        raise _refused(where, "it is damaged or cut off", "get the file again") from None


def with_weights(data: bytes, weights: Mapping[str, NDArray[np.float32]]) -> bytes:
    """The same model with other numbers in some of its float32 tensors, which are found by name.

    KeyError for a tensor that the file does not have, or has in another type, size or form of storage.
    """
    changed = bytearray(data)
    left = dict(weights)
    for number, graph in fields(memoryview(changed)):
        if number != _MODEL_GRAPH:
            continue
        for part, tensor in fields(message_of(graph)):
            if part != _GRAPH_INITIALIZER:
                continue
            found = dict(fields(message_of(tensor)))
            name = text_of(found.get(_TENSOR_NAME, b""))
            if name not in left or found.get(_TENSOR_TYPE) != _FLOAT:
                continue
            raw, wanted = message_of(found.get(_TENSOR_RAW, b"")), left[name].astype("<f4").tobytes()
            if len(raw) == len(wanted):
                raw[:] = wanted
                del left[name]
    if left:
        raise KeyError(f"no float32 tensors of that size called {', '.join(left)}")
    return bytes(changed)


def sniff(data: bytes) -> str:
    """What a file is that should have been a model or a bundle, in words; empty if not recognised."""
    head = data[:512].lstrip().lower()
    if not data:
        return "empty"
    if head.startswith(b"version https://git-lfs"):
        return "a git-lfs pointer"
    if head.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page"
    if head.startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
        return "a Python pickle"
    if head.startswith(b"pk\x03\x04"):
        return "a zip (as checkpoints of PyTorch are)"
    if head.startswith(b"\x89hdf"):
        return "an HDF5 file (as models of Keras are)"
    if head[4:8] == b"tfl3":
        return "a TensorFlow Lite model"
    return ""


def _inspect(data: memoryview, where: str, newest_ir: int) -> OnnxFile:
    ir_version, opset = 0, 0
    graph: _Graph | None = None
    metadata: dict[str, str] = {}
    for number, value in fields(data):
        if number == _MODEL_IR_VERSION:
            ir_version = number_of(value)
        elif number == _MODEL_OPSET:
            entry = dict(fields(message_of(value)))
            if bytes(message_of(entry.get(_OPSET_DOMAIN, b""))) in _STANDARD_DOMAINS:
                opset = number_of(entry[_OPSET_VERSION])
        elif number == _MODEL_METADATA:
            entry = dict(fields(message_of(value)))
            metadata[text_of(entry.get(_ENTRY_KEY, b""))] = text_of(entry.get(_ENTRY_VALUE, b""))
        elif number == _MODEL_GRAPH:
            if graph is not None:
                raise ValueError("two graphs, which protobuf would merge")
            graph = _inspect_graph(message_of(value), where)
        elif number in (_MODEL_TRAINING, _MODEL_FUNCTIONS):
            raise _refused(where, "it has functions of its own", "export it with its functions inlined")
    if ir_version > newest_ir:
        raise _refused(
            where, f"its IR version is {ir_version}, above {newest_ir}", "export it for an older version"
        )
    if graph is None or not graph.nodes or not opset:
        raise ValueError("no graph")
    # Old files list their weights as inputs, too; these do not have to be fed.
    inputs = {name: shape for name, shape in graph.inputs.items() if name not in graph.weights}
    return OnnxFile(ir_version, opset, metadata, graph.nodes, inputs, graph.outputs, graph.weights)


@dataclass
class _Graph:
    nodes: int = 0
    inputs: dict[str, tuple[int | str, ...]] = field(default_factory=dict)
    outputs: dict[str, tuple[int | str, ...]] = field(default_factory=dict)
    weights: dict[str, tuple[int, ...]] = field(default_factory=dict)


def _inspect_graph(graph: memoryview, where: str) -> _Graph:
    found = _Graph()
    for number, value in fields(graph):
        if number == _GRAPH_NODE:
            found.nodes += 1
            if found.nodes > MAX_NODES:
                raise _refused(where, f"it has more than {MAX_NODES} nodes", "do not use this model")
            _inspect_node(message_of(value), where)
        elif number == _GRAPH_INITIALIZER:
            found.weights.update([_inspect_tensor(message_of(value), where)])
        elif number == _GRAPH_INPUT:
            found.inputs.update([_inspect_value(message_of(value))])
        elif number == _GRAPH_OUTPUT:
            found.outputs.update([_inspect_value(message_of(value))])
        elif number == _GRAPH_SPARSE_INITIALIZER:
            raise _refused(where, "it has sparse weights", "export it with dense weights")
    return found


def _inspect_value(value: memoryview) -> tuple[str, tuple[int | str, ...]]:
    """Name and shape of an input or output. KeyError, as for what is damaged, if it is no tensor."""
    parts = dict(fields(value))
    tensor = dict(fields(message_of(dict(fields(message_of(parts[_VALUE_TYPE])))[_TYPE_TENSOR])))
    shape: list[int | str] = []
    for number, size in fields(message_of(tensor.get(_TENSOR_TYPE_SHAPE, b""))):
        if number == _SHAPE_SIZE:
            known = dict(fields(message_of(size)))
            named = text_of(known.get(_SIZE_NAME, b""))
            shape.append(number_of(known[_SIZE_NUMBER]) if _SIZE_NUMBER in known else named)
    return text_of(parts[_VALUE_NAME]), tuple(shape)


def _inspect_node(node: memoryview, where: str) -> None:
    operator, domain = "?", b""
    for number, value in fields(node):
        if number == _NODE_OPERATOR:
            operator = text_of(value)
        elif number == _NODE_DOMAIN:
            domain = bytes(message_of(value))
        elif number == _NODE_ATTRIBUTE:
            for part, content in fields(message_of(value)):
                if part in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS):
                    raise _refused(where, f"it has a subgraph ({operator})", "export it without control flow")
                if part in (_ATTRIBUTE_SPARSE_TENSOR, _ATTRIBUTE_SPARSE_TENSORS):
                    raise _refused(
                        where, f"it has sparse weights ({operator})", "export it with dense weights"
                    )
                if part in (_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS):
                    _inspect_tensor(message_of(content), where)
    if domain not in _STANDARD_DOMAINS or operator == "EPContext":  # which carries a vendor's native code
        name = _printable(f"{domain.decode()}.{operator}")
        raise _refused(where, f"it has the custom operator {name}", "export it with standard operators only")


def _inspect_tensor(tensor: memoryview, where: str) -> tuple[str, tuple[int, ...]]:
    """The tensor's name and shape."""
    name = ""
    shape: list[int] = []
    for number, value in fields(tensor):
        if number == _TENSOR_NAME:
            name = text_of(value)
        if number == _TENSOR_SHAPE:
            shape += [value] if isinstance(value, int) else numbers_of(value)  # both forms are protobuf
        if number == _TENSOR_EXTERNAL_DATA:
            entry = dict(fields(message_of(value)))
            file = _printable(text_of(entry.get(_ENTRY_VALUE, b"")))
            named = f", {file}" if text_of(entry.get(_ENTRY_KEY, b"")) == "location" else ""
            raise _refused(where, f"its weights are in another file{named}", _ONE_FILE)
        if number == _TENSOR_DATA_LOCATION and number_of(value) != 0:
            raise _refused(where, "its weights are in another file", _ONE_FILE)
    return name, tuple(shape)


_ONE_FILE = "export it as one file (torch.onnx.export: external_data=False)"


def _printable(text: str) -> str:
    """What a stranger wrote, without what a terminal would obey."""
    return text if text.isprintable() else ascii(text)


def _refused(where: str, why: str, next: str) -> BundleError:
    return BundleError("E_BUNDLE_MODEL", f"refused {where}", why, next)
