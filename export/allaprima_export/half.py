"""The fp16 variant: half the bytes, and twice the speed where the hardware has fp16.

Only the network is converted. The pixel edges and the sum of picture and change stay fp32, so that strength 0
stays exact; what adds up a whole picture, as normalisations do, stays fp32, because squares of 255 overflow
fp16 after one pixel. What comes after the last convolution stays fp32, too: it handles pictures, not features, and
costs next to nothing.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from allaprima.kernels import rounded, to_fp16

from .core import OUT

__all__ = ["half"]

IN_FP32 = {
    "BatchNormalization", "Exp", "GlobalAveragePool", "GroupNormalization", "InstanceNormalization",
    "LayerNormalization", "LpNormalization", "MeanVarianceNormalization", "Pow", "Reciprocal", "ReduceMean",
    "ReduceSum", "ReduceSumSquare", "Softmax", "Sqrt",
    "Resize",  # its scales are floats, and OpenCV's fp16 one failed
}  # fmt: skip


def half(core: onnx.ModelProto) -> onnx.ModelProto:
    """A traced core with its weights and convolutions in fp16; its input and output stay float32."""
    converted = onnx.ModelProto()
    converted.CopyFrom(core)
    graph = converted.graph
    full = {node.name for node in graph.node if node.op_type in IN_FP32} | _after_convolutions(graph)
    kept = {name for node in graph.node if node.name in full for name in node.input}
    _split_shared(graph, full, kept)
    kernels = {node.input[1] for node in graph.node if node.op_type == "Conv"}
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and tensor.name not in kept:
            # Weights beyond fp16 become infinite here, on purpose: parity then refuses the variant.
            with np.errstate(over="ignore", invalid="ignore"):
                whole = numpy_helper.to_array(tensor)
                values = (rounded(whole, to_fp16) if tensor.name in kernels else whole).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    floats = _floats(core)
    nodes: list[onnx.NodeProto] = []
    casts: set[str] = set()

    def cast(source: str, to: int) -> str:
        """The tensor in the other type; made once."""
        target = f"{source}_fp16" if to == TensorProto.FLOAT16 else f"{source}_fp32"
        if target not in casts:
            casts.add(target)
            nodes.append(helper.make_node("Cast", [source], [target], name=f"cast_{target}", to=to))
        return target

    in_fp32 = {given.name for given in graph.input}  # the picture and the controls stay float32
    for node in graph.node:
        if node.name in full:
            node.input[:] = [
                cast(name, TensorProto.FLOAT) if name in floats and name not in in_fp32 else name
                for name in node.input
            ]
            in_fp32.update(node.output)
        else:
            node.input[:] = [
                cast(name, TensorProto.FLOAT16) if name in floats and name in in_fp32 else name
                for name in node.input
            ]
            node.output[:] = [f"{name}_fp16" if name == OUT else name for name in node.output]
        nodes.append(node)
    if OUT not in in_fp32:
        nodes.append(helper.make_node("Cast", [f"{OUT}_fp16"], [OUT], name="cast_out", to=TensorProto.FLOAT))
    del graph.node[:]
    graph.node.extend(nodes)
    return converted


def _floats(core: onnx.ModelProto) -> set[str]:
    """Names of what is computed in float32: not the constants, and not the sizes, which are whole numbers."""
    graph = onnx.shape_inference.infer_shapes(core).graph
    return {
        value.name
        for value in (*graph.input, *graph.value_info, *graph.output)
        if value.type.tensor_type.elem_type == TensorProto.FLOAT
    }


def _after_convolutions(graph: onnx.GraphProto) -> set[str]:
    """Names of the nodes whose answers no convolution hears of any more; none where there is no convolution."""
    heard: set[str] = set()
    after: set[str] = set()
    for node in reversed(graph.node):
        if node.op_type in ("Conv", "ConvTranspose") or heard & set(node.output):
            heard |= set(node.input)
        else:
            after.add(node.name)
    return after if heard else set()


def _split_shared(graph: onnx.GraphProto, full: set[str], kept: set[str]) -> None:
    """A constant that both kinds of nodes use becomes two: `kept` is then that of the nodes in `full` alone."""
    shared = kept & {name for node in graph.node if node.name not in full for name in node.input}
    for tensor in [one for one in graph.initializer if one.name in shared]:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        copied = f"{tensor.name}_fp32"
        graph.initializer.append(numpy_helper.from_array(numpy_helper.to_array(tensor), copied))
        kept.remove(tensor.name)
        kept.add(copied)
        for node in graph.node:
            if node.name in full:
                node.input[:] = [copied if name == tensor.name else name for name in node.input]
