"""The edges of a graph for video: YUV 4:2:0 in and out, any size; 24 packed channels at both ends instead of 48.

    y, u, v ─ Pad ─ Reshape ─ Transpose ─ Reshape ─ Concat ─ Cast ─ - black ─┬─ network ─ x strength ─┐
              edge  each plane into its own cells, bytes                     └─ x (1 - strength) ──── + ─ + black + 0.5
    styled_y, styled_u, styled_v ─ Slice ─ Reshape ─ Transpose ─ Reshape ─ Slice ─ Cast ─ Clip ─────────────┘

(the transposes around the network and the veil are those of `edges.py`).

The colour matrix is linear, and so are the first and the last convolution: it goes into their weights. Which matrix
that is, a video says and not a style. So the file keeps both apart and the graph multiplies them, constants all,
which runtimes fold when they load the file; `allaprima.onnx_file.with_weights` writes other numbers in before.
Black is subtracted first, so that where a convolution pads with zeros they mean black here as they do in RGB; and what
the network sees is clipped to what RGB can be, as it is there. What shines through is not.

A sample of U and V is taken as the colour of its 2x2 pixels: copied to them on the way in, their mean on the way out.
Strength 0 gives every plane back bit for bit, as in `edges.py`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from allaprima.planes import LIMITED_BT709, rules

from .core import IN, OUT, repeats_the_edge
from .graph import Graph

__all__ = ["attach_planes", "unfit"]

PLANES = {"y": 1, "u": 2, "v": 2}
"""Name -> how many pixels lie between two samples, across and down."""


def unfit(core: onnx.ModelProto, period: int) -> str:
    """Why planes cannot be the edges of this core, in words; empty where they can."""
    if period % 2:
        return f"its pixels are packed by {period}, and chroma needs pairs"
    try:
        _stem(core)
        _head(core)
    except ValueError as error:
        return str(error)
    return ""


def attach_planes(
    core: onnx.ModelProto,
    *,
    period: int,
    stride: int,
    margin: int,
    veil: float,
    fixed: tuple[int, int] | None = None,
) -> onnx.ModelProto:
    """Wrap a `core` of packed RGB bytes, of any precision, into the contract of docs/bundle.md for planes.

    The first and the last convolution are computed in floats, whatever the core had there; what lies between is as it
    was. The other parameters are those of `edges.attach_edges`. ValueError for a core that is `unfit`.
    """
    assert period % 2 == 0, period
    assert margin % 2 == 0, margin
    graph = Graph()
    for name, numbers in rules(LIMITED_BT709)._asdict().items():
        graph.constant(numbers, np.float32, name)
    places = (
        _fixed_places(graph, period, stride, margin, *fixed)
        if fixed
        else _open_places(graph, period, stride, margin)
    )

    cells = [_pack(graph, name, place) for name, place in places.items()]
    # a byte is exact in every type, and so is its distance from black
    packed = graph.node("Cast", graph.node("Concat", *cells, axis=3), to=TensorProto.FLOAT)
    order = np.repeat([0, 1, 2], [place.period**2 for place in places.values()])

    def of_samples(three: str) -> str:
        """(3,) for Y, U, V -> (24,) for a cell's samples."""
        return graph.node("Gather", three, graph.constant(order), axis=0)

    black = of_samples("yuv_of_black")
    centred = graph.node("Sub", packed, black)
    low, high = (of_samples(bound) for bound in _bounds(graph))
    # The network has never seen what is blacker than black: some cameras' shadows are, and grew spots in odd colours.
    seen = graph.node("Max", graph.node("Min", centred, high), low)
    graph.node("Transpose", seen, perm=[0, 3, 1, 2], name=IN)
    _add_network(graph, core, period)
    paint = graph.node("Transpose", OUT, perm=[0, 2, 3, 1])
    # picture + strength (veil picture + paint - picture), so that strength 0 is the picture times exactly one
    less = graph.node("Mul", "strength", graph.constant([1 - veil], np.float32))
    share = graph.node("Sub", graph.constant([1], np.float32), less)
    painted = graph.node("Add", graph.node("Mul", centred, share), graph.node("Mul", paint, "strength"))
    # One half and a clip before the cast: a bare cast truncates, wraps 300 to 44, and is undefined elsewhere.
    rounded = graph.node("Add", painted, graph.node("Add", black, graph.constant(0.5, np.float32)))
    clipped = graph.node("Clip", rounded, graph.constant(0, np.float32), graph.constant(255, np.float32))
    whole = graph.node("Cast", clipped, to=TensorProto.UINT8)
    begin = 0
    for name, place in places.items():
        end = begin + place.period**2
        cells_of_one = graph.node("Slice", whole, *(graph.constant([number]) for number in (begin, end, 3)))
        _unpack(graph, cells_of_one, place, f"styled_{name}")
        begin = end
    strength = helper.make_tensor_value_info("strength", TensorProto.FLOAT, [1])
    controls = [given for given in core.graph.input if given.name != IN]
    return graph.model(
        [*_planes("", fixed), strength, *controls], _planes("styled_", fixed), core.opset_import[0].version
    )


def _bounds(graph: Graph) -> tuple[str, str]:
    """(3,) twice: the least and the most that Y, U and V can be, above black, for a colour of RGB."""
    white, blue = (graph.constant(colour, np.float32) for colour in ([255, 255, 255], [0, 0, 255]))
    most_luma = graph.node("MatMul", "yuv_from_rgb", white)  # (219, 0, 0)
    most_blue = graph.node("Gather", graph.node("MatMul", "yuv_from_rgb", blue), graph.constant([1]), axis=0)
    below, above = (
        graph.node("Mul", most_blue, graph.constant(signs, np.float32))  # (0, 112, 112), and negative
        for signs in ([0, -1, -1], [0, 1, 1])
    )
    return below, graph.node("Add", most_luma, above)


def _planes(prefix: str, fixed: tuple[int, int] | None) -> list[onnx.ValueInfoProto]:
    def sides(part: int) -> list[int | str]:
        if fixed:
            return [-(-side // part) for side in fixed]
        return ["height", "width"] if part == 1 else ["half_height", "half_width"]

    return [
        helper.make_tensor_value_info(f"{prefix}{name}", TensorProto.UINT8, [1, *sides(part), 1])
        for name, part in PLANES.items()
    ]


class _Place(NamedTuple):
    """Where one plane lies in the packed cells. Strings name int64 tensors, computed in the graph or constant."""

    period: int
    """Of this plane: 4 for Y, 2 for chroma."""
    pads: str
    """[8] for Pad."""
    rows: str
    """[1, rows, period, columns, period]: the padded plane, its rows cut at the cells' borders."""
    cells: str
    """[1, rows, columns, period, period]: the same, cell by cell."""
    whole: str
    """[1, period * rows, period * columns, 1]: the padded plane."""
    start: str
    """[2] its margin: where Slice begins."""
    end: str
    """[2] margin + height, margin + width: where Slice stops."""


def _fixed_places(
    graph: Graph, period: int, stride: int, margin: int, height: int, width: int
) -> dict[str, _Place]:
    places = {}
    for name, part in PLANES.items():
        own, around = period // part, margin // part
        sides = [-(-side // part) for side in (height, width)]
        padded = [(2 * margin + side + -side % stride) // part for side in (height, width)]
        after = [whole - around - side for whole, side in zip(padded, sides, strict=True)]
        rows, columns = (side // own for side in padded)
        places[name] = _Place(
            period=own,
            pads=graph.constant([0, around, around, 0, 0, *after, 0]),
            rows=graph.constant([1, rows, own, columns, own]),
            cells=graph.constant([1, rows, columns, own, own]),
            whole=graph.constant([1, *padded, 1]),
            start=graph.constant([around, around]),
            end=graph.constant([around + side for side in sides]),
        )
    return places


def _open_places(graph: Graph, period: int, stride: int, margin: int) -> dict[str, _Place]:
    def number(*values: int) -> str:
        return graph.constant(values)

    def concat(*parts: str) -> str:
        return graph.node("Concat", *parts, axis=0)

    def size_of(plane: str) -> str:
        return graph.node("Slice", graph.node("Shape", plane), number(1), number(3))  # height, width

    size = size_of("y")
    strides = number(stride, stride)
    steps = graph.node("Div", graph.node("Add", size, number(stride - 1, stride - 1)), strides)  # rounded up
    padded_y = graph.node("Add", graph.node("Mul", steps, strides), number(2 * margin, 2 * margin))
    cells = graph.node("Div", padded_y, number(period, period))
    rows, columns = (graph.node("Slice", cells, number(at), number(at + 1)) for at in (0, 1))
    places = {}
    for name, part in PLANES.items():
        around, p, one = number(margin // part, margin // part), number(period // part), number(1)
        padded = graph.node("Div", padded_y, number(part, part))
        end = graph.node("Add", size_of(name), around)
        after = graph.node("Sub", padded, end)
        places[name] = _Place(
            period=period // part,
            pads=concat(number(0), around, number(0, 0), after, number(0)),
            rows=concat(one, rows, p, columns, p),
            cells=concat(one, rows, columns, p, p),
            whole=concat(one, padded, one),
            start=around,
            end=end,
        )
    return places


def _pack(graph: Graph, plane: str, place: _Place) -> str:
    """uint8 (1, H, W, 1) -> (1, rows, columns, period²), padded, in the order (row, column) of a cell."""
    padded = graph.node("Pad", plane, place.pads, mode="edge")
    rows = graph.node("Reshape", padded, place.rows)
    together = graph.node("Transpose", rows, perm=[0, 1, 3, 2, 4])
    return graph.node("Reshape", together, graph.constant([0, 0, 0, place.period**2]))


def _unpack(graph: Graph, packed: str, place: _Place, name: str) -> None:
    """uint8 (1, rows, columns, period²) -> (1, H, W, 1) called `name`: the way back, cropped."""
    cells = graph.node("Transpose", graph.node("Reshape", packed, place.cells), perm=[0, 1, 3, 2, 4])
    whole = graph.node("Reshape", cells, place.whole)
    graph.node("Slice", whole, place.start, place.end, graph.constant([1, 2]), name=name)


def _add_network(graph: Graph, core: onnx.ModelProto, period: int) -> None:
    """The core's nodes, with the colour matrix in the weights of its first and its last convolution."""
    stem, head = _stem(core), _head(core)
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in core.graph.node]
    # Both layers are computed in floats: eight bits for the colours themselves would show, and cannot be folded into.
    unquantized = {
        node.output[0]: node.input[0] for node in (*stem.around, *head.around) if node.op_type != "Cast"
    }
    for node in nodes:
        node.input[:] = [_through(unquantized, name) for name in node.input]
    first, last = nodes[stem.place], nodes[head.place]
    graph.constants.extend(core.graph.initializer)
    first.input[1] = _stem_weight(graph, core, first.input[1], period)
    last.input[1:] = [_head_weight(graph, core, name, period) for name in last.input[1:]]
    kept = [node for node in nodes if node.output[0] not in unquantized]
    if head.around and head.around[0].output[0] in unquantized:
        last.output[0] = OUT
    graph.nodes.extend(kept)


def _stem_weight(graph: Graph, core: onnx.ModelProto, name: str, period: int) -> str:
    """Weights for packed pixels -> for packed planes: each U and V counts for the four pixels that it is copied to."""
    weight = _numbers(core, name)
    out, _, down, across = weight.shape
    pixels = weight.transpose(0, 2, 3, 1).reshape(out, down, across, period**2, 3)
    coloured = graph.node("MatMul", graph.constant(pixels, np.float32), "rgb_from_yuv")
    flat = graph.node("Reshape", coloured, graph.constant([out, down, across, 3 * period**2]))
    summed = graph.node("MatMul", flat, graph.constant(_samples(period), np.float32))
    return _like(graph, core, name, graph.node("Transpose", summed, perm=[0, 3, 1, 2]))


def _head_weight(graph: Graph, core: onnx.ModelProto, name: str, period: int) -> str:
    """Weights or biases for packed pixels -> for packed planes: each U and V is the mean of its four pixels."""
    weight = _numbers(core, name)  # (3p², ...)
    pixels = weight.reshape(period**2, 3, -1)
    coloured = graph.node("MatMul", "yuv_from_rgb", graph.constant(pixels, np.float32))
    flat = graph.node("Reshape", coloured, graph.constant([3 * period**2, pixels.shape[2]]))
    samples = _samples(period).T
    mean = graph.node(
        "MatMul", graph.constant(samples / samples.sum(axis=1, keepdims=True), np.float32), flat
    )
    shape = graph.constant([len(samples), *weight.shape[1:]])
    return _like(graph, core, name, graph.node("Reshape", mean, shape))


def _samples(period: int) -> NDArray[np.float32]:
    """(3p², 1.5p²) of zeros and ones: which sample of the planes tells this number of this pixel.

    Rows: a cell's pixels in the order (row, column, Y U V). Columns: its Y samples in the order (row, column), U, V.
    """
    half = period // 2
    row, column = np.divmod(np.arange(period**2), period)
    chroma = period**2 + row // 2 * half + column // 2
    sample = np.stack([np.arange(period**2), chroma, chroma + half**2], axis=-1).flatten()
    return np.eye(period**2 + 2 * half**2, dtype=np.float32)[sample]


def _like(graph: Graph, core: onnx.ModelProto, name: str, folded: str) -> str:
    """`folded`, which is fp32, in the type of the core's tensor `name`."""
    half = any(one.name == name and one.data_type == TensorProto.FLOAT16 for one in core.graph.initializer)
    return graph.node("Cast", folded, to=TensorProto.FLOAT16) if half else folded


class _End(NamedTuple):
    """The first or the last convolution of a core."""

    place: int
    """Which of the core's nodes it is."""
    around: list[onnx.NodeProto]
    """What a lower precision has put between it and the packed pixels or the paint, from outside in."""


_OF_PRECISION = ("Cast", "QuantizeLinear", "DequantizeLinear")


def _stem(core: onnx.ModelProto) -> _End:
    """ValueError where the packed pixels go into something else than one convolution."""
    name, around = IN, list[onnx.NodeProto]()
    while True:
        users = [(place, node) for place, node in enumerate(core.graph.node) if name in node.input]
        if len(users) != 1:
            raise ValueError(f"{len(users)} of its layers read the picture, and the matrix goes into one")
        place, node = users[0]
        name = node.output[0]
        if node.op_type in _OF_PRECISION:
            around.append(node)
        elif not repeats_the_edge(node):  # a copy of a colour is the same colour in planes
            return _End(_convolution(node, place, "first"), around)


def _head(core: onnx.ModelProto) -> _End:
    """ValueError where the paint does not come from a convolution."""
    name, around = OUT, list[onnx.NodeProto]()
    while True:
        place, node = next((place, node) for place, node in enumerate(core.graph.node) if name in node.output)
        if node.op_type not in _OF_PRECISION:
            return _End(_convolution(node, place, "last"), around)
        around.append(node)
        name = node.input[0]


def _convolution(node: onnx.NodeProto, place: int, which: str) -> int:
    groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
    if node.op_type != "Conv" or groups != 1:
        raise ValueError(f"its {which} layer is {node.op_type}, not a plain convolution")
    return place


def _numbers(core: onnx.ModelProto, name: str) -> NDArray[np.float32]:
    """The values of a weight, from whatever it is stored as. ValueError where it is computed from something else."""
    tensors = {one.name: one for one in core.graph.initializer}
    if name in tensors:
        return numpy_helper.to_array(tensors[name]).astype(np.float32)
    made = {output: node for node in core.graph.node for output in node.output}[name]
    if made.op_type in ("Cast", "QuantizeLinear"):
        return _numbers(core, made.input[0])
    if made.op_type != "DequantizeLinear":
        raise ValueError(f"the weight {name!r} is computed by {made.op_type}")
    if made.input[0] not in tensors:  # quantized in the graph: these are the numbers before
        return _numbers(core, made.input[0])
    stored, scale, *zero = (_numbers(core, one) for one in made.input if one)
    axis = next((attribute.i for attribute in made.attribute if attribute.name == "axis"), 1)
    along = [-1 if number == axis else 1 for number in range(stored.ndim)] if scale.ndim == 1 else []
    scale, *zero = (part.reshape(along) if part.size > 1 else part.reshape(()) for part in (scale, *zero))
    return (stored - sum(zero)) * scale


def _through(shortcuts: dict[str, str], name: str) -> str:
    while name in shortcuts:
        name = shortcuts[name]
    return name
