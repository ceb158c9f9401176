"""Post-processing in the graph: the stages of `allaprima.post`, appended to a finished model.

    image, styled (bytes) - Cast - denoise - match - sharpen - grain - + 0.5 - Clip - Cast - styled

Each stage that is asked for is a control of that name, 0 unless the user turns it; so the model paints as before, and
one multiplication by zero is what an unused stage leaves. The formulas stand in `allaprima.post`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper

from allaprima.errors import UsageError
from allaprima.manifest import Control
from allaprima.post import GRAIN, GRAIN_PHASE, LUMA, STAGES, TEXTURE, texture
from allaprima.settings import nearest

from .graph import Graph

__all__ = ["REACH", "attach_post", "post_controls"]

REACH = 2
"""Pixels beyond a pixel that the stages see: one for the median, one for the binomial."""


def post_controls(stages: Sequence[str]) -> tuple[Control, ...]:
    """The controls of a bundle whose models have these stages.

    Raises UsageError E_EXPORT_POST for a stage that does not exist.
    """
    for stage in stages:
        if stage not in STAGES:
            raise UsageError(
                "E_EXPORT_POST",
                f"there is no stage {stage!r} of post-processing{nearest(stage, STAGES)}",
                next=f"choose among {', '.join(STAGES)}",
            )
    controls = [Control(name=stage, default=0.0, help=HELP[stage]) for stage in STAGES if stage in stages]
    if "grain" in stages:
        controls.append(
            Control(
                name=GRAIN_PHASE,
                default=0.0,
                maximum=float(TEXTURE**2 - 1),
                help="which cut of the noise the grain is: another one for every frame, or it stands still",
            )
        )
    return tuple(controls)


HELP = {
    "denoise": "against single odd pixels: the share of the 3x3 median",
    "match_luminance": "how much of its light and dark the painting has from the picture",
    "match_palette": "how much of its colours the painting has from the picture",
    "sharpen": "how much crisper the painting gets",
    "grain": "how much film grain lies over the painting",
}


def attach_post(model: onnx.ModelProto, stages: Sequence[str]) -> onnx.ModelProto:
    """A copy of `model` (image, ..., -> styled, uint8 NHWC) with these stages after it.

    The picture and its painting have one size: for networks that enlarge, the two stages that match colours
    raise UsageError E_EXPORT_POST.
    """
    controls = post_controls(stages)
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    sides = [
        [side.dim_value or side.dim_param for side in one.type.tensor_type.shape.dim]
        for one in (graph.input[0], graph.output[0])
    ]
    if sides[0] != sides[1] and {"match_luminance", "match_palette"} & set(stages):
        raise UsageError(
            "E_EXPORT_POST",
            "a network that enlarges has no picture of its painting's size to match",
            next="leave match_luminance and match_palette out",
        )
    for node in graph.node:
        node.output[:] = ["painting" if name == "styled" else name for name in node.output]
    added = Graph(prefix="post")
    p = added.node("Cast", "painting", to=TensorProto.FLOAT)
    if "match_luminance" in stages or "match_palette" in stages:
        x = added.node("Cast", "image", to=TensorProto.FLOAT)
    for stage in STAGES:
        if stage not in stages:
            continue
        if stage == "denoise":
            change = added.node("Sub", _median(added, p), p)
        elif stage == "match_luminance":
            change = added.node("Sub", _luma(added, x), _luma(added, p))
        elif stage == "match_palette":
            colour = added.node("Sub", x, _luma(added, x))
            change = added.node("Sub", colour, added.node("Sub", p, _luma(added, p)))
        elif stage == "sharpen":
            change = added.node("Sub", p, _binomial(added, p))
        else:
            change = added.node("Mul", _grain(added), added.constant([GRAIN], np.float32))
        p = added.node("Add", p, added.node("Mul", change, stage))
    rounded = added.node("Add", p, added.constant(0.5, np.float32))
    clipped = added.node("Clip", rounded, added.constant(0, np.float32), added.constant(255, np.float32))
    added.node("Cast", clipped, to=TensorProto.UINT8, name="styled")
    graph.node.extend(added.nodes)
    graph.initializer.extend(added.constants)
    graph.input.extend(
        helper.make_tensor_value_info(control.name, TensorProto.FLOAT, list(control.shape))
        for control in controls
    )
    onnx.checker.check_model(made, full_check=True)
    return made


def _luma(graph: Graph, rgb: str) -> str:
    """(1, H, W, 3) -> (1, H, W, 1)."""
    return graph.node("MatMul", rgb, graph.constant(np.array(LUMA).reshape(3, 1), np.float32))


def _around(graph: Graph, p: str) -> list[str]:
    """The nine pictures that `p` is when moved by a pixel, edges repeated; row by row."""
    padded = graph.node("Pad", p, graph.constant([0, 1, 1, 0, 0, 1, 1, 0]), mode="edge")
    return [_shifted(graph, padded, (1, 2), (down, right)) for down in range(3) for right in range(3)]


def _shifted(graph: Graph, padded: str, axes: Sequence[int], begins: Sequence[int]) -> str:
    ends = [begin - 2 if begin < 2 else np.iinfo(np.int64).max for begin in begins]
    return graph.node("Slice", padded, graph.constant(begins), graph.constant(ends), graph.constant(axes))


# Exchanges after which the fifth of nine is the median (Smith 1996, "Implementing median filters in XC4000E FPGAs").
_EXCHANGES = (
    (1, 2), (4, 5), (7, 8), (0, 1), (3, 4), (6, 7), (1, 2), (4, 5), (7, 8), (0, 3),
    (5, 8), (4, 7), (3, 6), (1, 4), (2, 5), (4, 7), (4, 2), (6, 4), (4, 2),
)  # fmt: skip


def _median(graph: Graph, p: str) -> str:
    values = _around(graph, p)
    for low, high in _EXCHANGES:
        pair = values[low], values[high]
        values[low], values[high] = graph.node("Min", *pair), graph.node("Max", *pair)
    return values[4]


def _binomial(graph: Graph, p: str) -> str:
    for axis in (1, 2):
        pads = [0] * 8
        pads[axis] = pads[axis + 4] = 1
        padded = graph.node("Pad", p, graph.constant(pads), mode="edge")
        before, middle, after = (_shifted(graph, padded, (axis,), (shift,)) for shift in range(3))
        twice = graph.node("Mul", middle, graph.constant(2, np.float32))
        total = graph.node("Add", graph.node("Add", before, after), twice)
        p = graph.node("Div", total, graph.constant(4, np.float32))
    return p


def _grain(graph: Graph) -> str:
    """(1, H, W, 1): rows and columns of the texture, begun where the phase says. By Gather, because a Slice from a
    number that is known only when it runs has no size that a compiler could know."""
    phase = graph.node("Cast", GRAIN_PHASE, to=TensorProto.INT64)
    side = graph.constant([TEXTURE])
    size = graph.node("Shape", "painting")
    found = graph.constant(texture().reshape(1, TEXTURE, TEXTURE, 1), np.float32)
    for axis, begin in ((1, graph.node("Div", phase, side)), (2, graph.node("Mod", phase, side))):
        length = graph.node("Gather", size, graph.constant(axis), axis=0)
        places = graph.node("Range", graph.constant(0), length, graph.constant(1))
        indices = graph.node("Mod", graph.node("Add", places, begin), side)
        found = graph.node("Gather", found, indices, axis=axis)
    return found
