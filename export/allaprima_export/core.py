"""The network as ONNX: folded, in bytes, traced by torch. The pixel edges around it are `edges.py`.

Only what computes is traced, (1, C, H/p, W/p) packed pixels -> the paint on them. So the traced graph is a
plain row of convolutions, and how bytes get in and out is written by hand, where it can be made fast.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import onnx
import torch
from torch import Tensor, nn

from allaprima.errors import QualityError, UsageError
from allaprima_train.frame_model import memory_order
from allaprima_train.generators import Generator
from allaprima_train.generators.controls import as_tensors
from allaprima_train.generators.fuser import Fuser

__all__ = [
    "IN",
    "OPSETS",
    "OUT",
    "billion_macs",
    "in_bytes",
    "layer_names",
    "reach",
    "repeats_the_edge",
    "require_finite",
    "to_opset",
    "trace",
    "without_notes",
]

IN, OUT = "packed", "paint"
"""Names of the traced graph's picture input and its one output. Controls are further inputs, by their own names."""

TRACED_OPSET = 18  # the lowest that torch writes
OPSETS = (17, 18, 19, 20, 21)


def require_finite(network: nn.Module, where: str) -> None:
    """Raises QualityError E_WEIGHTS_FINITE naming the tensors: a painting of NaN is black, and looks like bytes."""
    bad = {
        name: int((~torch.isfinite(tensor)).sum())
        for name, tensor in network.state_dict().items()
        if not torch.isfinite(tensor).all()
    }
    if bad:
        listed = ", ".join(f"{name} ({count})" for name, count in list(bad.items())[:3])
        raise QualityError(
            "E_WEIGHTS_FINITE",
            f"cannot export {where}",
            f"{sum(bad.values())} of its weights are NaN or infinite: {listed}",
            "go back to an earlier checkpoint; train with a lower learning rate or gradient_clip",
        )


def in_bytes(generator: nn.Module) -> nn.Module:
    """The folded generator, reading and answering bytes 0..255 in the order in which pixels lie in memory.

    Two changes, both into the weights of the first (`stem`) and last (`head`) convolution, for nothing:
    the factors 1/255 and 255, and the order of the packed channels. torch's pixel_unshuffle has (colour,
    row, column); a pixel's colours are neighbours in memory, so (row, column, colour) needs no byte-wise
    gather. Exact up to rounding: black is zero on either scale. A network that paints larger
    answers cells of scale x period. One that looks at the picture at several scales has several first convolutions in
    its stem: those that take pixels. One that mixes pictures instead of painting has no such layers, and a
    `take_bytes` of its own.
    """
    plain = copy.deepcopy(
        cast(Generator, generator).folded()
    ).eval()  # where nothing folds it is the generator itself
    network = cast(Generator, generator)
    if isinstance(plain, Fuser):
        plain.take_bytes()
        return plain
    into, out_of = memory_order(network.period), memory_order(network.period * network.scale)
    stem, head = _convolutions(plain.stem), _convolutions(plain.head)[-1]
    with torch.no_grad():
        for first in (convolution for convolution in stem if convolution.in_channels == len(into)):
            first.weight.copy_(first.weight[:, into] / 255)
        head.weight.copy_(head.weight[out_of] * 255)
        if head.bias is not None:
            head.bias.copy_(head.bias[out_of] * 255)
    return plain


def trace(network: nn.Module) -> onnx.ModelProto:
    """The `packed_paint` of `in_bytes`' network as a model with open height and width, opset 18.

    Inputs: the packed pixels, then the network's controls, float32 of their shapes.
    """
    generator = cast(Generator, network)
    period, stride = generator.period, generator.stride
    channels = 3 * generator.pictures * period**2
    sample = torch.zeros(1, channels, 4 * stride // period, 6 * stride // period)
    no_size = tuple(None for _ in generator.controls)
    any_size = {2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}
    with _quiet():
        program = torch.onnx.export(
            _Paint(network).eval(),
            (sample, *as_tensors(generator.controls)),
            dynamo=True,
            external_data=False,
            opset_version=TRACED_OPSET,
            input_names=[IN, *(control.name for control in generator.controls)],
            output_names=[OUT],
            dynamic_shapes=(any_size, *([no_size] if no_size else ())),  # as in _Paint.forward
            verbose=False,
        )
    model: onnx.ModelProto = cast(Any, program).model_proto
    return _bare(model)


def to_opset(core: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """A traced core in another operator set. Raises UsageError E_EXPORT_OPSET for one that is not in OPSETS."""
    if opset not in OPSETS:
        raise UsageError(
            "E_EXPORT_OPSET", f"cannot write opset {opset}", next=f"choose one of {OPSETS[0]} to {OPSETS[-1]}"
        )
    return core if opset == TRACED_OPSET else _bare(_converted(core, opset))


def _converted(core: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """By ONNX's own converter, which knows no way back for Pad and Split: what there is of them means the same in every
    opset from 13 on, and waits outside, while an Identity for each of its answers holds its place."""
    model = onnx.ModelProto()
    model.CopyFrom(core)
    held: dict[str, onnx.NodeProto] = {}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.op_type == "Split" or (node.op_type == "Pad" and len(node.input) <= 3):
            held[node.output[0]] = onnx.NodeProto.FromString(node.SerializeToString())
            nodes += [onnx.helper.make_node("Identity", node.input[:1], [name]) for name in node.output]
        else:
            nodes.append(onnx.NodeProto.FromString(node.SerializeToString()))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    converted = onnx.version_converter.convert_version(model, opset)
    if opset < 18:
        for node in held.values():
            kept = [one for one in node.attribute if one.name != "num_outputs"]  # parts were equal without it
            del node.attribute[:]
            node.attribute.extend(kept)
    others = {name for node in held.values() for name in node.output[1:]}
    nodes = [held.get(node.output[0], node) for node in converted.graph.node if node.output[0] not in others]
    del converted.graph.node[:]
    converted.graph.node.extend(nodes)
    there = {tensor.name for tensor in converted.graph.initializer}
    used = {name for node in held.values() for name in node.input[1:] if name}
    converted.graph.initializer.extend(
        tensor for tensor in core.graph.initializer if tensor.name in used - there
    )
    return converted


def repeats_the_edge(node: onnx.NodeProto) -> bool:
    """Is it the Pad of `branched.beyond`: one row and column more all around, a copy of the outermost?"""
    return node.op_type == "Pad" and any(attribute.s == b"edge" for attribute in node.attribute)


def billion_macs(generator: nn.Module, height: int, width: int) -> float:
    """Multiply-adds of the folded network for a picture of that size, margin left out, as papers count."""
    from torch.utils.flop_counter import FlopCounterMode

    plain = copy.deepcopy(cast(Generator, generator).folded())
    made = cast(Generator, generator)
    period, stride, channels = made.period, made.stride, 3 * made.pictures * made.period**2
    height, width = (-(-side // stride) * stride for side in (height, width))
    with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.no_grad():
        packed = torch.empty(1, channels, height // period, width // period)
        network = cast(Generator, plain.to("meta"))
        network.packed_paint(packed, *as_tensors(network.controls, place="meta"))
    return counter.get_total_flops() / 2e9


def reach(generator: nn.Module) -> int | None:
    """How far beyond a pixel others can change it; None where that is the whole picture (instance norm).

    Measured by the gradient of one cell in the middle, so that it holds for whatever network comes.
    """
    plain = cast(Generator, generator)
    period, stride = plain.period, plain.stride
    cells = 48 * stride // period
    channels = 3 * plain.pictures * period**2
    packed = torch.rand(1, channels, cells, cells, generator=torch.Generator().manual_seed(0))
    packed.requires_grad_(True)
    middle = cells // 2
    answer = plain.packed_paint(packed, *as_tensors(plain.controls))[..., middle, middle].sum()
    (gradient,) = torch.autograd.grad(answer, packed)
    touched = gradient.abs().sum((0, 1, 2)).nonzero().flatten() - middle
    farthest = int(touched.abs().max())
    return None if farthest >= middle - 1 else (farthest + 1) * period - 1


class _Paint(nn.Module):
    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, packed: Tensor, *controls: Tensor) -> Tensor:
        return cast(Generator, self.generator).packed_paint(packed, *controls)


def _convolutions(module: Any) -> list[nn.Conv2d]:
    return [part for part in module.modules() if isinstance(part, nn.Conv2d)]


def layer_names(core: onnx.ModelProto) -> dict[str, str]:
    """Node name -> the layer's, which another tracing gives it again: that of its weights in torch, or the node's."""
    weights = {tensor.name for tensor in core.graph.initializer}
    names = {}
    for node in core.graph.node:
        own = [name for name in node.input if name in weights and name.endswith(".weight")]
        names[node.name] = own[0].removeprefix("generator.").removesuffix(".weight") if own else node.name
    return names


def without_notes(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model itself, rid of what tools write on it: half the file's text, with stack traces and paths."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    graph.ClearField("value_info")
    return model


def _bare(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without torch's notes, and with names that count."""
    without_notes(model)
    for number, node in enumerate(model.graph.node):
        node.name = f"{node.op_type.lower()}_{number}"
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's talk: it looks for torchvision, and its own deprecated calls warn on every export."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        logger.setLevel(before)
