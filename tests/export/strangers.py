"""Networks as other people export them, small and with known weights, so that a test can say what they expect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FACTOR = {"0..255": (1.0, 0.0), "0..1": (255.0, 0.0), "-1..1": (127.5, 127.5)}
"""byte = number * first + second."""

WARM = (1.153, 1.013, 0.717)  # no halves, which two programs may round differently


def stranger(
    path: Path,
    *,
    layout: str = "nchw",
    range: str = "0..255",
    color: str = "rgb",
    halvings: int = 1,
    size: tuple[Any, Any] = ("H", "W"),
    opset: int = 13,
    ir: int = 7,
    scale: int = 1,
) -> Path:
    """More contrast and warmer colours: red up, blue down. Its stride is 2 ** `halvings`: pooled and brought back.

    What it does to bytes is the same for every convention, so its answer tells whether the convention was met.
    """
    factor, offset = FACTOR[range]
    warm = np.diag(WARM).astype(np.float32)
    if color == "bgr":
        warm = warm[::-1, ::-1].copy()
    kernel = np.zeros((3, 3, 3, 3), np.float32)
    kernel[:, :, 1, 1] = warm
    weights = {
        "kernel": kernel,
        "factor": np.float32(factor),
        "offset": np.float32(offset),
        "scales": np.array([1, 1, 2**halvings * scale, 2**halvings * scale], np.float32),
        "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        "roi": np.zeros(0, np.float32),
        **{name: np.float32(value) for name, value in (("zero", 0), ("two", 2), ("three", 3), ("full", 255))},
    }
    last_to_first, first_to_last = [0, 3, 1, 2], [0, 2, 3, 1]
    nodes = [
        helper.make_node("Transpose", ["photo"], ["x"], perm=last_to_first)
        if layout == "nhwc"
        else helper.make_node("Identity", ["photo"], ["x"]),
        helper.make_node("Mul", ["x", "factor"], ["scaled"]),
        helper.make_node("Add", ["scaled", "offset"], ["bytes"]),
        helper.make_node("Clip", ["bytes", "zero", "full"], ["seen"]),
        helper.make_node("Div", ["seen", "full"], ["t"]),
        helper.make_node("Mul", ["t", "two"], ["tt"]),
        helper.make_node("Sub", ["three", "tt"], ["rest"]),
        helper.make_node("Mul", ["t", "seen"], ["square"]),
        helper.make_node("Mul", ["square", "rest"], ["curve"]),
        helper.make_node("Pad", ["curve", "pads"], ["padded"], mode="reflect"),
        helper.make_node("Conv", ["padded", "kernel"], ["warm"]),
        helper.make_node(
            "AveragePool",
            ["warm"],
            ["small"],
            kernel_shape=[2**halvings] * 2,
            strides=[2**halvings] * 2,
            ceil_mode=1,
        ),
        helper.make_node(
            "Resize",
            ["small", "roi", "scales"],
            ["large"],
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        ),
        helper.make_node("Sub", ["large", "offset"], ["back"]),
        helper.make_node("Div", ["back", "factor"], ["y"]),
        helper.make_node("Transpose", ["y"], ["art"], perm=first_to_last)
        if layout == "nhwc"
        else helper.make_node("Identity", ["y"], ["art"]),
    ]
    shape = [1, *size, 3] if layout == "nhwc" else [1, 3, *size]
    graph = helper.make_graph(
        nodes,
        "stranger",
        [helper.make_tensor_value_info("photo", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("art", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)
    onnx.save(model, path)
    return path


def warmed(image: np.ndarray, period: int = 2, scale: int = 1) -> np.ndarray:
    """The numpy twin for pictures in multiples of `period`: (H, W, 3) uint8 -> the same, `scale` times."""
    t = image / np.float32(255)
    warm = 255 * t * t * (3 - 2 * t) * np.array(WARM, np.float32)
    high, wide = image.shape[0] // period, image.shape[1] // period
    cells = warm.reshape(high, period, wide, period, 3).mean((1, 3))
    large = cells.repeat(period * scale, 0).repeat(period * scale, 1)
    return np.clip(large + 0.5, 0, 255).astype(np.uint8)
