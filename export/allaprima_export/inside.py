"""What passes through an exported graph: tensors inside it, while it paints pictures.

Calibration takes the network's own inputs from here, so that packing is written once, in the edges; the gate looks
here for NaN and infinity, which bytes cannot show.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import cycle
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from allaprima.frame import Image
from allaprima.manifest import Control
from allaprima.pixels import to_unit
from allaprima_train.generators.controls import Values, as_tensors, positions

from .several import pictures_of

__all__ = ["Frame", "all_finite", "feed", "frames"]

Frame = dict[str, NDArray[Any]]
"""Inputs of a core by name: `packed` float32 (1, C, H/p, W/p), and controls as they are."""


def feed(
    model: onnx.ModelProto, picture: Image, controls: Sequence[Control], values: Values | None = None
) -> Frame:
    """Inputs of a whole graph: the picture, uint8 (H, W, 3), wherever it takes one, or several.py's; full strength."""
    given = zip(controls, as_tensors(controls, values), strict=True)
    kinds = {one.name: one.type.tensor_type.elem_type for one in model.graph.input}
    if kinds["image"] == TensorProto.FLOAT:
        pictures = {"image": np.ascontiguousarray(to_unit(picture).transpose(2, 0, 1)[None])}
    else:
        images = [name for name, kind in kinds.items() if kind == TensorProto.UINT8]
        each = pictures_of(picture) if len(images) > 1 else [picture]
        pictures = {
            name: np.ascontiguousarray(one[None]) for name, one in zip(images, cycle(each), strict=False)
        }
    return {
        **pictures,
        "strength": np.ones(1, np.float32),
        **{control.name: value.numpy() for control, value in given},
    }


def frames(
    model: onnx.ModelProto, core: onnx.ModelProto, pictures: Iterable[Image], controls: Sequence[Control]
) -> list[Frame]:
    """What reaches `core` when the graph `model` around it paints each of `pictures`, uint8 (H, W, 3).

    Its `controls` are turned from picture to picture, so that no style of several is left out.
    """
    names = [one.name for one in core.graph.input]
    return list(_inside(model, names, pictures, controls))


def all_finite(
    model: onnx.ModelProto, tensor: str, pictures: Iterable[Image], controls: Sequence[Control]
) -> bool:
    """Whether `tensor` is finite everywhere while `model` paints the pictures on ONNX Runtime."""
    return all(np.isfinite(found[tensor]).all() for found in _inside(model, [tensor], pictures, controls))


def _inside(
    model: onnx.ModelProto, names: Collection[str], pictures: Iterable[Image], controls: Sequence[Control]
) -> Iterator[Frame]:
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before the import, or it reports home
    import onnxruntime

    fed = {one.name for one in model.graph.input}
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    inner = [name for name in names if name not in fed]
    opened.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in inner)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        opened.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    turns = [None, *positions(controls).values()]
    for number, picture in enumerate(pictures):
        inputs = feed(model, picture, controls, turns[number % len(turns)])
        found = dict(zip(inner, session.run(inner, inputs), strict=True))
        yield {name: found[name] if name in found else inputs[name] for name in names}
