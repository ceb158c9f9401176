"""A graph under construction, by hand: nodes and constants with names that nobody has to think of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

__all__ = ["Graph"]


@dataclass
class Graph:
    """Nodes in the order in which they are computed, and the constants that they use."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    prefix: str = "edge"
    """Begins the names: graphs that become one need different ones."""

    def constant(self, values: Any, kind: type[np.generic] = np.int64, name: str = "") -> str:
        """Add it; its name."""
        name = name or f"{self.prefix}_constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, kind), name))
        return name

    def node(self, operator: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """Append it; the name of its output."""
        output = name or f"{self.prefix}_{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(operator, inputs, [output], name=f"{operator.lower()}_{output}", **attributes)
        )
        return output

    def drop_unused(self, *answers: str) -> None:
        """Without what the `answers` do not need: sizes of cells, where the period is 1 and there are none."""
        needed = set(answers)
        for node in reversed(self.nodes):
            if needed & set(node.output):
                needed |= set(node.input)
        self.nodes = [node for node in self.nodes if needed & set(node.output)]
        self.constants = [constant for constant in self.constants if constant.name in needed]

    def model(
        self, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto], opset: int
    ) -> onnx.ModelProto:
        """The whole as a checked model, without what the outputs do not need."""
        self.drop_unused(*(output.name for output in outputs))
        whole = helper.make_graph(self.nodes, "allaprima", inputs, outputs, self.constants)
        imports = [helper.make_opsetid("", opset)]
        # The lowest IR version that has this opset: opset 18 is IR 8, which old runtimes read, too.
        model = helper.make_model(
            whole,
            opset_imports=imports,
            ir_version=helper.find_min_ir_version_for(imports),
            producer_name="allaprima",
        )
        onnx.checker.check_model(model, full_check=True)
        return model
