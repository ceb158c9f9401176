"""The pixel edges of the exported graph: bytes in, bytes out, any size. Written by hand, because it is worth it.

    image  ─ Pad ─ Reshape ─ Transpose ─ Reshape ─ Cast ─┬─ Transpose ─ network ─ Transpose ─ x strength ─┐
             edge  into cells of period x period, bytes  └─ x (1 - (1 - veil) strength) ───────────────── + ─ + 0.5
    styled ─ Slice ─ Reshape ─ Transpose ─ Reshape ─ Cast ─ Clip ───────────────────────────────────────────────┘

What moves pixels moves bytes, a quarter of the floats, in runs of a cell's row. The sum is made with channels
last; so the two transposes around the network stand alone, and OpenVINO, whose convolutions want channels last
anyway, leaves them out. Cards get the casts outermost: `allaprima.onnx_floats`.

Strength 0 gives the picture back bit for bit in every precision: a byte is exact in bf16 and fp16, it is multiplied
by one, and nothing is added to it but one half. The forms were chosen by timing: docs/performance.md.

Two things only some networks do. One that paints larger answers cells of scale x period pixels, and the picture's own
cells are brought to that size by repeating each pixel: a Gather over channels. One that fuses several pictures of the
same size gets them packed one after the other along the channels; the first is the picture that strength 0 gives back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper

from .core import IN, OUT
from .graph import Graph
from .several import picture_names

__all__ = ["attach_edges", "open_padding"]


def attach_edges(
    core: onnx.ModelProto,
    *,
    period: int,
    stride: int,
    margin: int,
    veil: float,
    scale: int = 1,
    pictures: int = 1,
    fixed: tuple[int, int] | None = None,
) -> onnx.ModelProto:
    """Wrap a traced `core` (float32 packed bytes -> float32 paint) into the contract of docs/bundle.md.

    image uint8 [1, height, width, 3] RGB, strength float32 [1] -> styled uint8 [1, scale height, scale width, 3]
    RGB. With several `pictures` there are image_2, image_3, ... of the same shape, too. What the core takes besides
    pictures, its controls, the whole graph takes by the same names.

    `margin` edge pixels are repeated around the picture, more at the bottom and right up to a multiple of `stride`,
    and cut off again. `veil` is the share of the picture that shines through at full strength. `fixed`
    (height, width) builds the size in: no shape is computed at run time.
    """
    graph = Graph()
    sizes = (
        _fixed_sizes(graph, period, stride, margin, scale, *fixed)
        if fixed
        else _open_sizes(graph, period, stride, margin, scale)
    )

    images = picture_names(pictures)
    packed = []
    for image in images:
        padded = graph.node("Pad", image, sizes.pads, mode="edge")
        # a byte is exact in every type
        packed.append(graph.node("Cast", _pack(graph, padded, sizes, period), to=TensorProto.FLOAT))
    together = graph.node("Concat", *packed, axis=3) if pictures > 1 else packed[0]
    graph.node("Transpose", together, perm=[0, 3, 1, 2], name=IN)
    cells = _enlarged(graph, packed[0], period, scale)
    graph.nodes.extend(core.graph.node)
    graph.constants.extend(core.graph.initializer)
    paint = graph.node("Transpose", OUT, perm=[0, 2, 3, 1])
    # picture + strength (veil picture + paint - picture), so that strength 0 is the picture times exactly one
    less = graph.node("Mul", "strength", graph.constant([1 - veil], np.float32))
    share = graph.node("Sub", graph.constant([1], np.float32), less)
    painted = graph.node("Add", graph.node("Mul", cells, share), graph.node("Mul", paint, "strength"))
    # One half and a clip before the cast: a bare cast truncates, wraps 300 to 44, and is undefined elsewhere.
    rounded = graph.node("Add", painted, graph.constant(0.5, np.float32))
    clipped = graph.node("Clip", rounded, graph.constant(0, np.float32), graph.constant(255, np.float32))
    whole = _unpack(graph, graph.node("Cast", clipped, to=TensorProto.UINT8), sizes, scale * period)
    start, axes = graph.constant([scale * margin, scale * margin]), graph.constant([1, 2])
    graph.node("Slice", whole, start, sizes.end, axes, name="styled")

    size = list(fixed) if fixed else ["height", "width"]
    larger = (
        [side * scale for side in fixed] if fixed else [_times(scale, side) for side in ("height", "width")]
    )
    return graph.model(
        [
            *(helper.make_tensor_value_info(image, TensorProto.UINT8, [1, *size, 3]) for image in images),
            helper.make_tensor_value_info("strength", TensorProto.FLOAT, [1]),
            *(given for given in core.graph.input if given.name != IN),
        ],
        [helper.make_tensor_value_info("styled", TensorProto.UINT8, [1, *larger, 3])],
        core.opset_import[0].version,
    )


@dataclass(frozen=True)
class _Sizes:
    """Names of int64 tensors, computed in the graph or constant.

    p is the period and q that of the painting, scale x p; rows and columns count cells, equally many in both.
    """

    pads: str
    """[8] for Pad."""
    rows: str
    """[1, rows, p, columns, 3p]: the padded picture, its rows cut at the cells' borders."""
    cells: str
    """[1, rows, columns, q, 3q]: the painting, cell by cell."""
    whole: str
    """[1, q * rows, q * columns, 3]: the padded painting."""
    end: str
    """[2] scale times margin + height, margin + width: where Slice stops."""


def _fixed_sizes(
    graph: Graph, period: int, stride: int, margin: int, scale: int, height: int, width: int
) -> _Sizes:
    bottom, right = margin + -height % stride, margin + -width % stride
    rows, columns = (margin + height + bottom) // period, (margin + width + right) // period
    return _Sizes(
        pads=graph.constant([0, margin, margin, 0, 0, bottom, right, 0]),
        rows=graph.constant([1, rows, period, columns, 3 * period]),
        cells=graph.constant([1, rows, columns, scale * period, 3 * scale * period]),
        whole=graph.constant([1, rows * scale * period, columns * scale * period, 3]),
        end=graph.constant([scale * (margin + height), scale * (margin + width)]),
    )


def _open_sizes(graph: Graph, period: int, stride: int, margin: int, scale: int) -> _Sizes:
    def concat(*parts: str) -> str:
        return graph.node("Concat", *parts, axis=0)

    def number(value: int) -> str:
        return graph.constant([value])

    first, second, third = number(0), number(1), number(2)
    size = graph.node("Slice", graph.node("Shape", "image"), second, number(3))  # height, width
    around = graph.constant([margin, margin])
    padded, after = open_padding(graph, size, stride, margin)
    cells = graph.node("Div", padded, graph.constant([period, period]))  # rows, columns
    rows, columns = graph.node("Slice", cells, first, second), graph.node("Slice", cells, second, third)
    p, three_p = number(period), number(3 * period)
    q, three_q = number(scale * period), number(3 * scale * period)

    def larger(size: str) -> str:
        return graph.node("Mul", size, number(scale)) if scale > 1 else size

    return _Sizes(
        pads=concat(graph.constant([0, margin, margin, 0]), first, after, first),
        rows=concat(second, rows, p, columns, three_p),
        cells=concat(second, rows, columns, q, three_q),
        whole=concat(second, larger(padded), number(3)),
        end=larger(graph.node("Add", size, around)),
    )


def open_padding(graph: Graph, size: str, stride: int, margin: int) -> tuple[str, str]:
    """Names of int64 [2]: height and width of a padded picture of `size`, and how much of that is bottom and right."""
    # Not by Mod of a negative: TensorRT cannot tell that such a size is positive, and refuses networks that resize.
    strides, around = graph.constant([stride, stride]), graph.constant([margin, margin])
    steps = graph.node(
        "Div", graph.node("Add", size, graph.constant([stride - 1] * 2)), strides
    )  # rounded up
    padded = graph.node("Add", graph.node("Mul", steps, strides), graph.constant([2 * margin] * 2))
    return padded, graph.node("Sub", graph.node("Sub", padded, size), around)


def _pack(graph: Graph, picture: str, sizes: _Sizes, period: int) -> str:
    """uint8 (1, H, W, 3) -> (1, H/p, W/p, 3p²), channels in the order (row, column, colour) of a cell."""
    if period == 1:
        return picture
    cells = graph.node("Reshape", picture, sizes.rows)  # 1, H/p, p, W/p, 3p
    together = graph.node("Transpose", cells, perm=[0, 1, 3, 2, 4])
    return graph.node("Reshape", together, graph.constant([0, 0, 0, 3 * period**2]))


def _enlarged(graph: Graph, cells: str, period: int, scale: int) -> str:
    """(1, H/p, W/p, 3p²) -> (1, H/p, W/p, 3q²), q = scale p: every pixel scale x scale times."""
    if scale == 1:
        return cells
    near = np.arange(scale * period) // scale
    order = (near[:, None, None] * period + near[:, None]) * 3 + np.arange(3)  # (q, q, 3) row, column, colour
    return graph.node("Gather", cells, graph.constant(order.flatten()), axis=3)


def _times(scale: int, side: str) -> str:
    return side if scale == 1 else f"{scale}*{side}"


def _unpack(graph: Graph, packed: str, sizes: _Sizes, period: int) -> str:
    """uint8 (1, H/p, W/p, 3p²) -> (1, H, W, 3): the way back, with the painting's period."""
    if period == 1:
        return packed
    cells = graph.node("Reshape", packed, sizes.cells)  # 1, H/p, W/p, p, 3p
    return graph.node("Reshape", graph.node("Transpose", cells, perm=[0, 1, 3, 2, 4]), sizes.whole)
