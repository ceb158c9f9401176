"""The fp16 variant: half the bytes, and twice the speed where the hardware has fp16.

Only the network is converted. The pixel edges and the sum of picture and change stay fp32, so that strength 0
stays exact; what adds up a whole picture, as normalisations do, stays fp32, because squares of 255 overflow
fp16 after one pixel.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

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
    kept = {name for node in graph.node if node.op_type in IN_FP32 for name in node.input}
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and tensor.name not in kept:
            # Weights beyond fp16 become infinite here, on purpose: parity then refuses the variant.
            with np.errstate(over="ignore"):
                values = numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    constants = {tensor.name for tensor in graph.initializer}

    nodes: list[onnx.NodeProto] = []

    def cast(source: str, target: str, to: int) -> None:
        nodes.append(helper.make_node("Cast", [source], [target], name=f"cast_{target}", to=to))

    inputs = [given.name for given in graph.input]  # the picture and the controls stay float32
    halved = {name: f"{name}_fp16" for name in inputs}
    for name, target in halved.items():
        cast(name, target, TensorProto.FLOAT16)
    for node in graph.node:
        if node.op_type not in IN_FP32:
            node.input[:] = [halved.get(name, name) for name in node.input]
            nodes.append(node)
            continue
        for place, name in enumerate(node.input):
            of_sizes = node.op_type == "Resize" and place > 0  # whole numbers
            if name and name not in constants and name not in inputs and not of_sizes:
                cast(name, f"{name}_for_{node.name}", TensorProto.FLOAT)
                node.input[place] = f"{name}_for_{node.name}"
        nodes.append(node)
        for place, name in enumerate(node.output):
            node.output[place] = f"{name}_fp32"
            cast(f"{name}_fp32", name, TensorProto.FLOAT16)
    for node in nodes:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == OUT:
                    names[place] = f"{OUT}_fp16"
    cast(f"{OUT}_fp16", OUT, TensorProto.FLOAT)
    del graph.node[:]
    graph.node.extend(nodes)
    return converted
