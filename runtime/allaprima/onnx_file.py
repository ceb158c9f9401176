"""What an ONNX file says of itself, read without running or even loading it.

A few lines of protobuf instead of the `onnx` package, which the runtime does not need otherwise, and before
any vendor's parser sees the file: external data can point anywhere on the disk, custom operators and
`EPContext` nodes carry native code, and loops need not end. A style needs none of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .errors import BundleError

__all__ = ["OnnxFile", "inspect", "sniff"]

MAX_NODES = 20_000


@dataclass(frozen=True)
class OnnxFile:
    ir_version: int
    opset: int
    metadata: dict[str, str]
    """The file's `metadata_props`."""
    nodes: int


# Field numbers of onnx.proto3; they are frozen for good.
_MODEL_IR_VERSION, _MODEL_GRAPH, _MODEL_OPSET, _MODEL_METADATA = 1, 7, 8, 14
_MODEL_TRAINING, _MODEL_FUNCTIONS = 20, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE_INITIALIZER = 1, 5, 15
_NODE_OPERATOR, _NODE_ATTRIBUTE, _NODE_DOMAIN = 4, 5, 7
_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS = 5, 6, 10, 11
_TENSOR_EXTERNAL_DATA, _TENSOR_DATA_LOCATION = 13, 14
_OPSET_DOMAIN, _OPSET_VERSION = 1, 2
_ENTRY_KEY, _ENTRY_VALUE = 1, 2

_STANDARD_DOMAINS = (b"", b"ai.onnx")


def inspect(data: bytes, where: str) -> OnnxFile:
    """Read the head of a model and refuse what a style has no use for.

    Raises BundleError E_BUNDLE_MODEL with the reason in words: not ONNX (but a web page, a git-lfs pointer),
    cut off, external data, operators outside the standard, subgraphs, functions.
    """
    found = sniff(data)
    if found:
        raise _refused(where, f"it is {found}, not an ONNX model", "get the file again")
    try:
        return _inspect(memoryview(data), where)
    except (LookupError, ValueError):
        raise _refused(where, "it is damaged or cut off", "get the file again") from None


def sniff(data: bytes) -> str:
    """What a file is that should have been a model or a bundle, in words; empty if not recognised."""
    head = data[:512].lstrip().lower()
    if not data:
        return "empty"
    if head.startswith(b"version https://git-lfs"):
        return "a git-lfs pointer"
    if head.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page"
    if head.startswith(b"\x80\x02") or head.startswith(b"\x80\x04"):
        return "a Python pickle"
    return ""


def _inspect(data: memoryview, where: str) -> OnnxFile:
    ir_version, opset, nodes = 0, 0, -1
    metadata: dict[str, str] = {}
    for field, value in _fields(data):
        if field == _MODEL_IR_VERSION:
            ir_version = _number(value)
        elif field == _MODEL_OPSET:
            entry = dict(_fields(_message(value)))
            if bytes(_message(entry.get(_OPSET_DOMAIN, b""))) in _STANDARD_DOMAINS:
                opset = _number(entry[_OPSET_VERSION])
        elif field == _MODEL_METADATA:
            entry = dict(_fields(_message(value)))
            key, text = (bytes(_message(entry.get(part, b""))) for part in (_ENTRY_KEY, _ENTRY_VALUE))
            metadata[key.decode()] = text.decode()
        elif field == _MODEL_GRAPH:
            nodes = _inspect_graph(_message(value), where)
        elif field in (_MODEL_TRAINING, _MODEL_FUNCTIONS):
            raise _refused(where, "it has functions of its own", "export it with its functions inlined")
    if nodes < 1 or not opset:
        raise ValueError("no graph")
    return OnnxFile(ir_version, opset, metadata, nodes)


def _inspect_graph(graph: memoryview, where: str) -> int:
    nodes = 0
    for field, value in _fields(graph):
        if field == _GRAPH_NODE:
            nodes += 1
            if nodes > MAX_NODES:
                raise _refused(where, f"it has more than {MAX_NODES} nodes", "do not use this model")
            _inspect_node(_message(value), where)
        elif field == _GRAPH_INITIALIZER:
            _inspect_tensor(_message(value), where)
        elif field == _GRAPH_SPARSE_INITIALIZER:
            raise _refused(where, "it has sparse weights", "export it with dense weights")
    return nodes


def _inspect_node(node: memoryview, where: str) -> None:
    operator, domain = "?", b""
    for field, value in _fields(node):
        if field == _NODE_OPERATOR:
            operator = bytes(_message(value)).decode()
        elif field == _NODE_DOMAIN:
            domain = bytes(_message(value))
        elif field == _NODE_ATTRIBUTE:
            for part, content in _fields(_message(value)):
                if part in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS):
                    raise _refused(where, f"it has a subgraph ({operator})", "export it without control flow")
                if part in (_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS):
                    _inspect_tensor(_message(content), where)
    if domain not in _STANDARD_DOMAINS:
        name = f"{domain.decode()}.{operator}"
        raise _refused(where, f"it has the custom operator {name}", "export it with standard operators only")


def _inspect_tensor(tensor: memoryview, where: str) -> None:
    for field, value in _fields(tensor):
        if field == _TENSOR_EXTERNAL_DATA or (field == _TENSOR_DATA_LOCATION and _number(value) != 0):
            raise _refused(where, "its weights are in another file", "export it as one file")


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Field numbers and values of a protobuf message: integers, or the bytes of everything else."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield tag >> 3, value
            continue
        if kind == 2:
            size, at = _varint(message, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError("not protobuf")
        if at + size > len(message):
            raise ValueError("cut off")
        yield tag >> 3, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("not protobuf")


def _number(value: int | memoryview | bytes) -> int:
    if not isinstance(value, int):
        raise ValueError("not a number")
    return value


def _message(value: int | memoryview | bytes) -> memoryview:
    if isinstance(value, int):
        raise ValueError("not a message")
    return memoryview(value)


def _refused(where: str, why: str, next: str) -> BundleError:
    return BundleError("E_BUNDLE_MODEL", f"refused {where}", why, next)
