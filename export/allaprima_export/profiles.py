"""Profiles: variants for programs that are not this runtime, each with what its platform asks for.

made = make_profile("mobile", material, (720, 1280))
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from allaprima_train.generators import Generator

from .core import OUT, to_opset
from .float_edges import attach_float_edges, in_dcr
from .gate import unfaithful
from .inside import all_finite
from .parity import FloatPainter, Painter, Panel, Reference
from .variants import Made, Material, stretched

__all__ = ["PROFILES", "WEB_BYTES", "Profile", "make_profile", "partitions"]

Size = tuple[int, int]

OPSET = 17
"""The widest reach: ONNX Runtime from 1.12 on, DirectML, and what is built into phones' and browsers' packages."""
WEB_BYTES = 4_000_000
"""What a page may load before it paints."""


@dataclass(frozen=True)
class Profile:
    """A row of the table."""

    make: Callable[[Material, Size | None], onnx.ModelProto]
    edges: str
    help: str
    sized: bool = False
    """It has a size built in, and is made for each that is asked for."""
    bare: bool = False
    """It takes multiples of the stride only, and paints no margin."""


def make_profile(name: str, material: Material, size: Size | None = None) -> Made:
    """The fp32 core in that profile, judged as every variant is; dropped with a reason where it does not hold."""
    row = PROFILES[name]
    full_name = f"{name}-{size[0]}x{size[1]}" if size else name
    model = row.make(material, size)
    precision = "fp32"
    if name == "web" and model.ByteSize() > WEB_BYTES:
        model, precision = weights_in_half(model), "fp16"
    panel = _bare(material) if row.bare else stretched(material, *size) if size else material.panel
    material.on_stage(f"comparing {full_name} with the reference on {len(panel.pictures)} pictures")
    painter = (FloatPainter if row.edges == "float" else Painter)(
        model.SerializeToString(), "ort", precision, panel.controls
    )
    judged = panel.judge_with(painter, precision)
    judged = replace(judged, finite=all_finite(model, OUT, panel.pictures.values(), panel.controls))
    why_not = unfaithful(judged, precision)
    if name == "web" and model.ByteSize() > WEB_BYTES:
        why_not = (
            why_not
            or f"{model.ByteSize() / 1e6:.1f} MB, with weights in fp16; a page may load {WEB_BYTES / 1e6:g}"
        )
    return Made(
        full_name,
        precision,
        material.core,
        model,
        judged,
        why_not,
        fixed=size,
        edges=row.edges,
        profile=name,
    )


def partitions(model: onnx.ModelProto) -> dict[str, int]:
    """Into how many pieces NNAPI and CoreML would cut a model of a fixed size, by ONNX Runtime's own checker.

    1 is best: all of it runs there. 0: none of it does.
    """
    from onnxruntime.tools.mobile_helpers import usability_checker as checker

    inferred = onnx.shape_inference.infer_shapes(model)
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        found = {
            "NNAPI": checker.check_nnapi_partitions(inferred, require_fixed_input_sizes=True),
            "CoreML": checker.check_coreml_partitions(
                inferred, require_fixed_input_sizes=True, config_filename="coreml_supported_mlprogram_ops.md"
            ),
        }
    finally:
        logging.disable(before)
    # what is not supported is computed elsewhere, between the pieces
    return {
        name: info.num_partitions + (info.num_supported_nodes < info.num_nodes)
        for name, info in found.items()
    }


def weights_in_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph with its large weights stored as fp16 and cast back before use: half the file, fp32 sums."""
    smaller = onnx.ModelProto()
    smaller.CopyFrom(model)
    casts = []
    for tensor in smaller.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < 64:
            continue
        stored = f"{tensor.name}_fp16"
        casts.append(
            helper.make_node("Cast", [stored], [tensor.name], name=f"cast_{stored}", to=TensorProto.FLOAT)
        )
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), stored))
    nodes = [*casts, *smaller.graph.node]
    del smaller.graph.node[:]
    smaller.graph.node.extend(nodes)
    return smaller


def _portable(material: Material, size: Size | None) -> onnx.ModelProto:
    return material.wrap(to_opset(material.core, OPSET), size)


def _float(material: Material, size: Size | None, **options: Any) -> onnx.ModelProto:
    network = cast(Generator, material.generator)
    return attach_float_edges(
        in_dcr(to_opset(material.core, OPSET)),
        period=network.period,
        stride=network.stride,
        margin=network.margin,
        veil=network.veil,
        scale=network.scale,
        fixed=size,
        **options,
    )


def _bare(material: Material) -> Panel:
    """The pictures cut to multiples of the stride, painted by torch without a margin."""
    network = copy.copy(material.generator)
    network.margin = 0  # type: ignore[assignment]
    stride = cast(Generator, network).stride
    cut = {
        name: image[: image.shape[0] // stride * stride, : image.shape[1] // stride * stride].copy()
        for name, image in material.panel.pictures.items()
        if name not in material.panel.turned
    }
    return Panel.of(Reference(network), cut)


PROFILES: dict[str, Profile] = {
    "portable": Profile(_portable, "rgb", "bytes in and out, any size, opset 17: the widest reach"),
    "mobile": Profile(
        _float, "float", "a fixed size, one piece on NNAPI and CoreML: no bytes, no Pad", sized=True
    ),
    "web": Profile(_float, "float", "floats in and out, any size, under 4 MB: for WebGPU"),
    "float": Profile(
        lambda material, size: _float(material, size, bare=True),
        "float",
        "the bare network: floats, multiples of the stride, no margin",
        bare=True,
    ),
}
