"""Stand-ins for CUDA's bindings and for TensorRT, which compute for real and write down who called what.

Streams are lists of work that is done at once, in order; the card's memory is the host's; an engine is an ONNX file
that ONNX Runtime runs. So a test sees both the order of the calls and the picture that comes out.
"""

from __future__ import annotations

import ctypes
import enum
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

SUCCESS, INVALID, NO_MEMORY, CAPTURE_INVALIDATED, OLD_DRIVER = 0, 1, 2, 901, 35
NAMES = {
    INVALID: ("cudaErrorInvalidValue", "invalid argument"),
    NO_MEMORY: ("cudaErrorMemoryAllocation", "out of memory"),
    CAPTURE_INVALIDATED: ("cudaErrorStreamCaptureInvalidated", "operation failed due to a previous error"),
    OLD_DRIVER: (
        "cudaErrorInsufficientDriver",
        "CUDA driver version is insufficient for CUDA runtime version",
    ),
}


class Bindings:
    """`cuda.bindings.runtime`. `fails` maps a function to the status that it answers from its n-th call on."""

    cudaStreamNonBlocking = 1
    cudaEventBlockingSync = 1
    cudaEventDisableTiming = 2
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice="up", cudaMemcpyDeviceToHost="down")
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)

    def __init__(self, *, name: str = "NVIDIA GeForce RTX 4090", sm: int = 89, driver: int = 13000) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.fails: dict[str, tuple[int, int]] = {}
        self.name, self.sm, self.driver, self.cards = name, sm, driver, 1
        self.memory: dict[int, Any] = {}
        self.given: dict[str, set[int]] = {}
        self.capturing: dict[int, list[Callable[[], None]]] = {}
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self._handle = 1000

    def called(self, *functions: str) -> list[tuple[Any, ...]]:
        return [call for call in self.calls if call[0] in functions]

    def status(self, function: str, *arguments: Any) -> int:
        self.calls.append((function, *arguments))
        status, after = self.fails.get(function, (SUCCESS, 0))
        return status if status and len(self.called(function)) > after else SUCCESS

    def made(self, kind: str) -> int:
        self._handle += 1
        self.given.setdefault(kind, set()).add(self._handle)
        return self._handle

    def gave_back(self, kind: str, handle: int) -> None:
        self.given[kind].remove(handle)  # KeyError: given back twice, or never made

    @property
    def left(self) -> dict[str, set[int]]:
        """What was made and not given back."""
        return {kind: handles for kind, handles in self.given.items() if handles}

    def put(self, stream: int, work: Callable[[], None]) -> None:
        if stream in self.capturing:
            self.capturing[stream].append(work)
        else:
            work()

    # one method for each function of the vendor's that we call

    def cudaDriverGetVersion(self):
        return self.status("cudaDriverGetVersion"), self.driver

    def cudaGetDeviceCount(self):
        return self.status("cudaGetDeviceCount"), self.cards

    def cudaGetDeviceProperties(self, device):
        about = SimpleNamespace(
            name=self.name.encode(), major=self.sm // 10, minor=self.sm % 10, totalGlobalMem=24 << 30
        )
        return self.status("cudaGetDeviceProperties", device), about

    def cudaGetErrorName(self, status):
        return SUCCESS, NAMES[status][0].encode()

    def cudaGetErrorString(self, status):
        return SUCCESS, NAMES[status][1].encode()

    def cudaMemGetInfo(self):
        return SUCCESS, 100 << 20, 8000 << 20

    def _memory(self, function: str, kind: str, size: int):
        status = self.status(function, size)
        if status:
            return status, None
        room = (ctypes.c_uint8 * size)()
        address = ctypes.addressof(room)
        self.memory[address] = room
        self.given.setdefault(kind, set()).add(address)
        return SUCCESS, address

    def cudaMallocHost(self, size):
        return self._memory("cudaMallocHost", "host", size)

    def cudaMalloc(self, size):
        return self._memory("cudaMalloc", "device", size)

    def _free(self, function: str, kind: str, handle: int):
        status = self.status(function, handle)
        self.gave_back(kind, handle)
        return (status,)

    def cudaFreeHost(self, pointer):
        return self._free("cudaFreeHost", "host", pointer)

    def cudaFree(self, pointer):
        return self._free("cudaFree", "device", pointer)

    def cudaStreamCreateWithFlags(self, flags):
        status = self.status("cudaStreamCreateWithFlags", flags)
        return (status, None) if status else (SUCCESS, self.made("stream"))

    def cudaStreamDestroy(self, stream):
        return self._free("cudaStreamDestroy", "stream", stream)

    def cudaEventCreateWithFlags(self, flags):
        status = self.status("cudaEventCreateWithFlags", flags)
        return (status, None) if status else (SUCCESS, self.made("event"))

    def cudaEventDestroy(self, event):
        return self._free("cudaEventDestroy", "event", event)

    def cudaEventRecord(self, event, stream):
        return (self.status("cudaEventRecord", event, stream),)

    def cudaEventSynchronize(self, event):
        return (self.status("cudaEventSynchronize", event),)

    def cudaStreamWaitEvent(self, stream, event, flags):
        return (self.status("cudaStreamWaitEvent", stream, event, flags),)

    def cudaMemcpyAsync(self, target, source, size, kind, stream):
        status = self.status("cudaMemcpyAsync", kind, size, stream)
        self.put(stream, lambda: ctypes.memmove(target, source, size))
        return (status,)

    def cudaStreamBeginCapture(self, stream, mode):
        status = self.status("cudaStreamBeginCapture", stream, mode)
        if not status:
            self.capturing[stream] = []
        return (status,)

    def cudaStreamEndCapture(self, stream):
        status = self.status("cudaStreamEndCapture", stream)
        work = self.capturing.pop(stream, [])
        if status:
            return status, None
        graph = self.made("graph")
        self.graphs[graph] = work
        return SUCCESS, graph

    def cudaGraphInstantiate(self, graph, flags):
        status = self.status("cudaGraphInstantiate", graph, flags)
        if status:
            return status, None
        made = self.made("executable")
        self.graphs[made] = self.graphs[graph]
        return SUCCESS, made

    def cudaGraphDestroy(self, graph):
        return self._free("cudaGraphDestroy", "graph", graph)

    def cudaGraphExecDestroy(self, graph):
        return self._free("cudaGraphExecDestroy", "executable", graph)

    def cudaGraphLaunch(self, graph, stream):
        status = self.status("cudaGraphLaunch", graph, stream)
        for work in self.graphs[graph]:
            self.put(stream, work)
        return (status,)


class Severity(enum.IntEnum):
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


def tensorrt(bindings: Bindings, version: str = "11.4.0", *, spoil: int = 0) -> Any:
    """The module `tensorrt` (or, with a version below 10, `tensorrt_rtx`). `spoil` is added to every byte painted."""
    rtx = int(version.split(".")[0]) < 10
    log: list[tuple[Any, ...]] = []

    class ILogger:
        def log(self, severity, text): ...

    ILogger.Severity = Severity

    class IProgressMonitor:
        pass

    class Network:
        def __init__(self, flags):
            log.append(("create_network", flags))
            self.model, self._inputs = b"", []

        num_inputs = property(lambda self: len(self._inputs))

        def get_input(self, number):
            return self._inputs[number]

    class Builder:
        def __init__(self, logger):
            self.logger = logger

        def create_network(self, flags):
            return Network(flags)

        def create_builder_config(self):
            return Config()

        def create_optimization_profile(self):
            return Profile()

        def build_serialized_network(self, network, config):
            monitor = config.progress_monitor
            monitor.phase_start("Building engine", None, 2)
            for step in range(2):
                monitor.step_complete("Building engine", step)
            monitor.phase_finish("Building engine")
            if module.refuses_to_build:
                self.logger.log(Severity.ERROR, module.refuses_to_build)
                return None
            if config.cache is not None:
                config.cache.content += b"timed;"
            return json.dumps({"version": version}).encode() + b"\n" + network.model

    class Config:
        progress_monitor: Any = None

        def __init__(self):
            self.cache = None
            log.append(("config", self))

        def clear_flag(self, flag):
            log.append(("clear_flag", flag))

        def set_memory_pool_limit(self, pool, size):
            log.append(("workspace", size))

        def set_compute_capability(self, capability, index):
            log.append(("compute_capability", capability))

        def create_timing_cache(self, content):
            return TimingCache(content)

        def set_timing_cache(self, cache, ignore_mismatch):
            log.append(("timing_cache", cache.content))
            self.cache = cache
            return not cache.content.startswith(b"foreign")

        def add_optimization_profile(self, profile):
            log.append(("profile", profile.shapes))
            return 0

    class TimingCache:
        def __init__(self, content):
            self.content = bytes(content)

        def serialize(self):
            return self.content

    class Profile:
        def __init__(self):
            self.shapes = {}

        def set_shape(self, name, least, best, most):
            self.shapes[name] = (least, best, most)

    class OnnxParser:
        def __init__(self, network, logger):
            self.network, self.num_errors = network, 0

        def parse(self, model):
            from allaprima.onnx_file import inspect

            self.network.model = model
            found = inspect(model, "a test")
            self.network._inputs = [
                SimpleNamespace(name=name, shape=shape) for name, shape in found.inputs.items()
            ]
            return True

    class Runtime:
        def __init__(self, logger):
            self.logger = logger

        def deserialize_cuda_engine(self, data):
            head, _, model = bytes(data).partition(b"\n")
            if module.refuses_to_load or json.loads(head)["version"] != version:
                self.logger.log(
                    Severity.ERROR, module.refuses_to_load or "The engine plan file is not compatible"
                )
                return None
            return Engine(model)

    class Engine:
        def __init__(self, model):
            import onnxruntime

            self.session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
            self.tensors = {
                one.name: one for one in (*self.session.get_inputs(), *self.session.get_outputs())
            }
            self.names = list(self.tensors)
            self.num_io_tensors = len(self.names)
            # 10.9 and newer have one, too, without memory for what was compiled
            self.create_runtime_config = lambda: RuntimeConfig() if rtx else SimpleNamespace()

        def get_tensor_name(self, number):
            return self.names[number]

        def get_tensor_mode(self, name):
            inputs = {one.name for one in self.session.get_inputs()}
            return TensorIOMode.INPUT if name in inputs else TensorIOMode.OUTPUT

        def get_tensor_dtype(self, name):
            return self.tensors[name].type

        def create_execution_context(self, config=None):
            log.append(("context", config))
            return Context(self)

    class RuntimeConfig:
        def create_runtime_cache(self):
            return RuntimeCache()

        def set_runtime_cache(self, cache):
            return True

    class RuntimeCache:
        def deserialize(self, content):
            log.append(("runtime cache", content))
            return True

        def serialize(self):
            return b"compiled for this card"

    class Context:
        def __init__(self, engine):
            self.engine, self.shapes, self.addresses = engine, {}, {}

        def set_input_shape(self, name, shape):
            self.shapes[name] = tuple(shape)
            return True

        def get_tensor_shape(self, name):
            if name in self.shapes:
                return self.shapes[name]
            return self._run({n: np.zeros(s, self._kind(n)) for n, s in self.shapes.items()})[name].shape

        def set_tensor_address(self, name, address):
            bindings.calls.append(("set_tensor_address", name, address))
            self.addresses[name] = address

        def execute_async_v3(self, stream):
            bindings.calls.append(("execute_async_v3", stream))
            addresses = dict(self.addresses)  # a graph keeps those of its capture
            bindings.put(stream, lambda: self._compute(addresses))
            return not module.refuses_to_run

        def _compute(self, addresses):
            given = {name: self._view(name, addresses[name], shape) for name, shape in self.shapes.items()}
            for name, answer in self._run(given).items():
                self._view(name, addresses[name], answer.shape)[...] = answer + np.array(spoil, answer.dtype)

        def _run(self, given):
            names = [one.name for one in self.engine.session.get_outputs()]
            return dict(zip(names, self.engine.session.run(names, given), strict=True))

        def _kind(self, name):
            return nptype(self.engine.tensors[name].type)

        def _view(self, name, address, shape):
            size = int(np.prod(shape)) * np.dtype(self._kind(name)).itemsize
            return np.ndarray(shape, self._kind(name), buffer=(ctypes.c_uint8 * size).from_address(address))

    class TensorIOMode(enum.Enum):
        INPUT, OUTPUT = range(2)

    def nptype(kind):
        return {"tensor(uint8)": np.uint8, "tensor(float)": np.float32, "tensor(float16)": np.float16}[kind]

    module = SimpleNamespace(
        __version__=version,
        log=log,
        ILogger=ILogger,
        IProgressMonitor=IProgressMonitor,
        Builder=Builder,
        OnnxParser=OnnxParser,
        Runtime=Runtime,
        TensorIOMode=TensorIOMode,
        nptype=nptype,
        BuilderFlag=SimpleNamespace(TF32="TF32"),
        MemoryPoolType=SimpleNamespace(WORKSPACE="workspace"),
        # gone in 11, where nothing else is left
        NetworkDefinitionCreationFlag=SimpleNamespace(
            **({"STRONGLY_TYPED": 1} if version.startswith("10") else {})
        ),
        refuses_to_build="",
        refuses_to_load="",
        refuses_to_run=False,
    )
    if rtx:
        module.ComputeCapability = enum.Enum(
            "ComputeCapability", {f"SM{sm}": sm for sm in (75, 80, 86, 89, 120)}
        )
    return module
