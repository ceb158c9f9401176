"""Float edges: pictures as float32 [1, 3, height, width] from 0 to 1, for programs that convert and round themselves.

    image  ─ repeat edges ─ Conv (one, packs cells, x 255) ─ network ─ DepthToSpace ─ Slice ─ x strength / 255 ─┐
       └──────────────────────────────────────────────────────────── x (1 - (1 - veil) strength) ────────────── + ─ Clip
                                                                                                           styled ┘

Only what accelerators of phones and browsers know: no bytes, no Pad but where a size is open, no rank above 4. A
convolution with one 255 in each filter packs the pixels of a cell, exactly, where SpaceToDepth is not everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from .core import IN, OUT, repeats_the_edge
from .edges import open_padding
from .graph import Graph

__all__ = ["attach_float_edges", "in_dcr"]


def attach_float_edges(
    core: onnx.ModelProto,
    *,
    period: int,
    stride: int,
    margin: int,
    veil: float,
    scale: int = 1,
    fixed: tuple[int, int] | None = None,
    bare: bool = False,
) -> onnx.ModelProto:
    """Wrap a traced `core`: image float32 [1, 3, height, width] RGB 0..1, strength [1], the controls -> styled.

    `fixed` (height, width) builds the size in, and edges are then repeated by Slice and Concat alone. `bare`: nothing
    is repeated or cropped; height and width must be multiples of `stride`, and the border shows. Strength 0 gives
    the input back exactly, where the runtime computes in fp32.
    """
    graph = Graph()
    size = list(fixed) if fixed else ["height", "width"]
    end = ""
    if bare:
        padded = "image"
    elif fixed:
        padded = _repeated(graph, stride, margin, *fixed)
        end = graph.constant([scale * (margin + side) for side in fixed])
    else:
        shape = graph.node("Slice", graph.node("Shape", "image"), graph.constant([2]), graph.constant([4]))
        _, after = open_padding(graph, shape, stride, margin)
        before = graph.constant([0, 0, margin, margin])
        pads = graph.node("Concat", before, graph.constant([0, 0]), after, axis=0)
        padded = graph.node("Pad", "image", pads, mode="edge")
        around = graph.node("Add", shape, graph.constant([margin, margin]))
        end = graph.node("Mul", around, graph.constant([scale, scale]))

    if period == 1:
        graph.node("Mul", padded, graph.constant(255, np.float32), name=IN)
    else:
        filters = graph.constant(_packing(period), np.float32)
        sides = [period, period]
        # ONNX Runtime's WebGPU takes a convolution with every attribute written out, and no other
        graph.node(
            "Conv",
            padded,
            filters,
            dilations=[1, 1],
            group=1,
            kernel_shape=sides,
            pads=[0, 0, 0, 0],
            strides=sides,
            name=IN,
        )
    nodes = _splits_by_slices(graph, core, _edges_by_slices(graph, core.graph.node))
    graph.nodes.extend(_with_region(graph, nodes))
    graph.constants.extend(core.graph.initializer)
    cell = period * scale
    paint = OUT if cell == 1 else graph.node("DepthToSpace", OUT, blocksize=cell, mode="DCR")
    if end:
        start = graph.constant([scale * margin, scale * margin])
        paint = graph.node("Slice", paint, start, end, graph.constant([2, 3]))
    picture = "image" if scale == 1 else _enlarged(graph, "image", scale)
    less = graph.node("Mul", "strength", graph.constant([1 - veil], np.float32))
    share = graph.node("Sub", graph.constant([1], np.float32), less)
    amount = graph.node("Mul", "strength", graph.constant([1 / 255], np.float32))
    painted = graph.node("Add", graph.node("Mul", picture, share), graph.node("Mul", paint, amount))
    graph.node("Clip", painted, graph.constant(0, np.float32), graph.constant(1, np.float32), name="styled")
    larger = [
        side * scale if isinstance(side, int) else f"{scale}*{side}" if scale > 1 else side for side in size
    ]
    return graph.model(
        [
            helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, *size]),
            helper.make_tensor_value_info("strength", TensorProto.FLOAT, [1]),
            *(given for given in core.graph.input if given.name != IN),
        ],
        [helper.make_tensor_value_info("styled", TensorProto.FLOAT, [1, 3, *larger])],
        core.opset_import[0].version,
    )


def in_dcr(core: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose pixel shuffles have the order that NNAPI and CoreML know (DCR), folded into the convolutions before.

    torch's order is CRD. A shuffle that does not follow a convolution of its own stays as it is.
    """
    model = onnx.ModelProto()
    model.CopyFrom(core)
    made_by = {name: node for node in model.graph.node for name in node.output}
    readers = [name for node in model.graph.node for name in node.input]
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        given = {one.name: one for one in node.attribute}
        before = made_by.get(node.input[0]) if node.op_type == "DepthToSpace" else None
        if before is None or before.op_type != "Conv" or given["mode"].s != b"CRD":
            continue
        if readers.count(node.input[0]) > 1 or any(readers.count(name) > 1 for name in before.input[1:]):
            continue
        block = given["blocksize"].i
        for name in before.input[1:]:
            values = numpy_helper.to_array(weights[name])
            colours = len(values) // block**2
            order = np.arange(len(values)).reshape(colours, block**2).T.flatten()
            weights[name].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values[order]), name))
        given["mode"].s = b"DCR"
    return model


def _packing(period: int) -> NDArray[np.float32]:
    """(3p², 3, p, p): filter (row, column, colour) takes that pixel and colour of a cell, times 255."""
    filters = np.zeros((period, period, 3, 3, period, period), np.float32)
    for row in range(period):
        for column in range(period):
            for colour in range(3):
                filters[row, column, colour, colour, row, column] = 255
    return filters.reshape(3 * period**2, 3, period, period)


def _repeated(graph: Graph, stride: int, margin: int, height: int, width: int) -> str:
    """The picture with its edge pixels repeated: `margin` before, up to a multiple of `stride` after."""
    whole = "image"
    for axis, side in ((2, height), (3, width)):
        after = margin + -side % stride
        ends = [
            graph.node("Slice", whole, *(graph.constant([n]) for n in (at, at + 1, axis)))
            for at in (0, side - 1)
        ]
        whole = graph.node("Concat", *[ends[0]] * margin, whole, *[ends[1]] * after, axis=axis)
    return whole


def _with_region(graph: Graph, nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """The nodes; each Resize with an empty region of interest in place of none, whose shape ORT's checker misses."""
    for node in nodes:
        if node.op_type == "Resize" and len(node.input) > 1 and not node.input[1]:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            copy.input[1] = graph.constant([], np.float32)
            node = copy
        yield node


def _edges_by_slices(graph: Graph, nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """The nodes; each Pad that repeats one row and column all around (`branched.beyond`) as Slice and Concat."""
    for node in nodes:
        if not repeats_the_edge(node):
            yield node
            continue
        whole = node.input[0]
        for number, axis in enumerate((2, 3)):
            ends = []
            for first, last in ((0, 1), (-1, 2**31 - 1)):
                ends.append(f"end_{first}_{axis}_of_{node.output[0]}")
                places = [graph.constant([place]) for place in (first, last, axis)]
                yield helper.make_node("Slice", [whole, *places], ends[-1:], name=f"slice_{ends[-1]}")
            name = node.output[0] if number else f"around_{axis}_of_{node.output[0]}"
            yield helper.make_node(
                "Concat", [ends[0], whole, ends[1]], [name], name=f"concat_{name}", axis=axis
            )
            whole = name


def _splits_by_slices(
    graph: Graph, core: onnx.ModelProto, nodes: Iterable[onnx.NodeProto]
) -> Iterator[onnx.NodeProto]:
    """The nodes; each Split into parts of known sizes as so many Slices.

    A step of WebGPU binds eight buffers where the browser promises no more, and ONNX Runtime's Split all of its parts
    at once: a dozen parts are left as they were in memory, and the painting is another one without any error.
    """
    constants = {one.name: one for one in core.graph.initializer}
    for node in nodes:
        if node.op_type != "Split" or len(node.input) != 2 or node.input[1] not in constants:
            yield node
            continue
        axis = next((one.i for one in node.attribute if one.name == "axis"), 0)
        ends = numpy_helper.to_array(constants[node.input[1]]).cumsum().tolist()
        for first, last, name in zip([0, *ends], ends, node.output, strict=False):
            places = [graph.constant([place]) for place in (first, last, axis)]
            yield helper.make_node("Slice", [node.input[0], *places], [name], name=f"slice_{name}")


def _enlarged(graph: Graph, picture: str, scale: int) -> str:
    """Every pixel scale x scale times."""
    scales = graph.constant([1, 1, scale, scale], np.float32)
    return graph.node(
        "Resize",
        picture,
        graph.constant([], np.float32),  # see _with_region
        scales,
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
