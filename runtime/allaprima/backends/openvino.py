"""OpenVINO: the engine for x86 processors, with bf16 and int8 in hardware where they have it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DeviceError
from ..kernels import rounded, to_bf16
from . import Arrays

__all__ = ["Runner"]


class Runner:
    """A model compiled for one device and one size. See `Backend`."""

    notes: tuple[str, ...] = ()

    def __init__(
        self,
        model: bytes,
        sample: Arrays,
        *,
        precision: str,
        device: str | None,
        threads: int,
        in_flight: int = 1,
    ) -> None:
        core, device = _core(), (device or "CPU").upper()
        # Built-in shapes: 5-10 % faster than open ones on a small network,
        # and memory does not grow with every new size.
        graph = core.read_model(model)
        graph.reshape({name: list(array.shape) for name, array in sample.items()})
        hint = _hint(_capabilities(device), precision)
        if hint == "bf16":
            _round(graph)
        options: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY" if in_flight == 1 else "THROUGHPUT",
            "INFERENCE_PRECISION_HINT": hint,
        }
        if device == "CPU":
            options["INFERENCE_NUM_THREADS"] = threads
            if in_flight > 1:
                # Runs side by side, each with its share of the threads: nobody waits for a thread that a decoder or
                # an encoder has pushed aside. Two thirds of the time per frame on a machine that is busy otherwise.
                options["NUM_STREAMS"] = in_flight
        compiled = core.compile_model(graph, device, options)
        self.precision = precision
        self.description = (
            f"openvino {version('openvino')} ({device}, {precision}"
            f"{f', {threads} threads' if device == 'CPU' else ''}"
            f"{f', {in_flight} frames at once' if in_flight > 1 else ''})"
        )
        # All names that a tensor has: where the graph ends in something that does nothing, its name is one of two.
        self._names = {
            name: place for place, output in enumerate(compiled.outputs) for name in output.get_names()
        }
        self._free: list[Any] = [compiled.create_infer_request() for _ in range(in_flight)]
        for waiting in [self.submit(sample) for _ in self._free]:
            waiting()

    @staticmethod
    def precisions(device: str | None) -> dict[str, str]:
        capabilities = _capabilities((device or "CPU").upper())
        # bf16 first where there are instructions for it: 2 to 5 times as fast as fp32 on a processor with
        # AMX, and a painting forgives 8 bits of mantissa. Emulated (no BF16 here) it would only be slower.
        # fp16 is always there: without instructions for it, it is a smaller file that is computed in fp32.
        native = {"bf16": "fp32"} if "BF16" in capabilities else {}
        if device and not device.upper().startswith("CPU") and "FP16" in capabilities:
            # Intel's GPUs and NPUs: half the bytes, twice the rate. Not run; OpenVINO computes so by itself there.
            native = {"fp16": "fp16", **native}
        return {**native, "fp32": "fp32", "fp16": "fp16", "int8": "int8"}

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        # Shared inputs save a copy. Shared outputs would save another, but be overwritten by the next run,
        # and a picture travels on to another thread: 0.05-0.4 ms of 11 at 1280x720, within the noise. A
        # request is reused; a buffer of our own as output tensor measured the same as the copy.
        answer = self._free[-1].infer(dict(inputs), share_inputs=True, share_outputs=False)
        return {name: answer[place] for name, place in self._names.items()}

    def submit(self, inputs: Arrays) -> Callable[[], dict[str, NDArray[Any]]]:
        """See `Overlapping`. IndexError where `in_flight` runs are going already."""
        request, free = self._free.pop(), self._free
        kept = dict(inputs)  # shared with the request, which reads them until it has ended
        request.start_async(kept, share_inputs=True)

        def answer() -> dict[str, NDArray[Any]]:
            try:
                request.wait()
                found = {
                    name: request.get_output_tensor(place).data.copy() for name, place in self._names.items()
                }
            finally:
                kept.clear()
                free.append(request)
            return found

        return answer

    def close(self) -> None:
        self._free = []  # of what still runs, its caller keeps the request


@cache
def _core() -> Any:
    """The one `Core` of this process; each one would load the device plugins again."""
    # OpenVINO's Python tools report home through this package unless it cannot be imported.
    if "openvino" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    import openvino

    return openvino.Core()


def _capabilities(device: str) -> list[str]:
    core = _core()
    if device.split(".")[0] not in {one.split(".")[0] for one in core.available_devices}:
        raise DeviceError(
            "E_BACKEND_UNAVAILABLE",
            f"backend 'openvino:{device.lower()}' does not start",
            f"OpenVINO finds no {device} here",
            f"choose one of {', '.join(core.available_devices).lower()}",
        )
    return list(core.get_property(device, "OPTIMIZATION_CAPABILITIES"))


def _round(graph: Any) -> None:
    """The graph's kernels in bf16 already, each adding up to what it did, so that OpenVINO has nothing to round, and a
    plain sky gets no lattice. Kernels of int8 stay as they are."""
    from openvino import op

    for node in graph.get_ops():
        if node.get_type_name() in ("Convolution", "GroupConvolution"):
            kernel = _floats(node.input_value(1))
            if kernel is not None:
                found = rounded(kernel, to_bf16).astype(np.float32)
                node.input(1).replace_source_output(op.Constant(found).output(0))


def _floats(output: Any) -> NDArray[np.float32] | None:
    """What a kernel is: a constant, or what is computed from such, as at the edges of planes. None where it is not one
    of floats, or is computed from a picture."""
    import openvino

    nodes, todo = [], [output.get_node()]
    while todo:
        nodes.append(todo.pop())
        todo += [given.get_source_output().get_node() for given in nodes[-1].inputs()]
    for node in nodes:
        constant = node.get_type_name() == "Constant"
        if not (constant or node.inputs()) or (
            constant and node.get_element_type().to_string() not in ("f32", "i64")
        ):
            return None
    if len(nodes) == 1:
        return np.asarray(nodes[0].get_data())
    computed = _core().compile_model(openvino.Model([output], []), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.asarray(computed([])[0])


def _hint(capabilities: list[str], precision: str) -> str:
    # What an int8 model keeps in floating point runs in bf16 where there is bf16: the same painting (41.5 dB from
    # fp32 either way), and a layer that is kept costs half.
    if precision == "bf16" or (precision == "int8" and "BF16" in capabilities):
        return "bf16"
    return "f16" if precision == "fp16" and "FP16" in capabilities else "f32"
