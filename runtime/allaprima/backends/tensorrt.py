"""TensorRT, all three flavours: engines of the user's cache, run with pinned buffers, two streams and CUDA graphs.

    slot 0   pinned -> card | network (graph) | card -> pinned
    slot 1                    pinned -> card  | network (graph) | card -> pinned

Each slot has a stream, so one picture is copied while another is computed; the networks themselves take turns,
because they share the engine's scratch memory. `run` is one picture there and back; `submit` keeps several going.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cuda import Buffer, Cuda, CudaError, Gpu, find_gpu
from ..engines import FLAVOURS, Cache, Entry, NotBuilt, Proof, Request, Vendor, engine_request, load_flavour
from ..engines.cache import now
from ..errors import DeviceError, OutputError
from ..files import write_whole
from ..manifest import METADATA_MANIFEST, METADATA_VARIANT
from ..onnx_file import inspect
from . import Arrays

__all__ = ["Runner"]


class Runner:
    """An engine on the first card, for one size. See `Backend` and `Overlapping`. The device is a flavour: `standard`
    or `rtx`.

    It builds nothing: without an engine it raises `NotBuilt`, and whoever starts it decides what to do meanwhile.
    Not run on a card so far; tested against a recording stand-in of CUDA and TensorRT.
    """

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
        vendor, gpu = _here(device)
        self._cache = _cache()
        request = engine_request(
            model,
            {name: array.shape for name, array in sample.items()},
            precision=precision,
            vendor=vendor,
            gpu=gpu,
            what=_name_of(model),
        )
        self.entry, data = _engine(self._cache, request)
        self.precision = precision
        self.notes: tuple[str, ...] = ()
        self._card = gpu.line
        self._cuda = Cuda()
        self._engine: Any = None
        self._context: Any = None
        self._inputs: list[str] = []
        self._outputs: list[str] = []
        self._free: list[_Slot] = []
        self._going: list[_Going] = []
        self._computed: Any = None  # event: the network that was begun last has run
        try:
            self._load(vendor, data, request, sample, in_flight)
        except BaseException:
            self.close()
            raise
        how = ", CUDA graph" if all(slot.graph is not None for slot in self._free) else ""
        how += f", {in_flight} frames at once" if in_flight > 1 else ""
        name = vendor.flavour.module.replace("_", "-")
        self.description = f"{name} {vendor.version} ({gpu.name}, {precision}{how})"

    @staticmethod
    def precisions(device: str | None) -> dict[str, str]:
        _here(device)
        # Every card since 2017 multiplies fp16 in its tensor cores, at a multiple of fp32's speed.
        return {"fp16": "fp16", "fp32": "fp32", "int8": "int8"}

    @property
    def proven(self) -> bool:
        """Whether this engine has painted the golden pair on this card: engines may be copied, cards exchanged."""
        return self.entry.proof is not None and self.entry.proof.on == self._card

    def prove(self, against: str, psnr_db: float) -> None:
        """It did: it counts from now on."""
        with contextlib.suppress(OutputError):  # another process says the same of it; or the next start does
            proof = Proof(against=against, psnr_db=round(psnr_db, 1), on=self._card, when=now())
            self.entry = self._cache.prove(self.entry, proof)

    def refute(self, why: str) -> None:
        """It painted something else, and will not be used again."""
        with contextlib.suppress(OutputError):  # then it stays unproven, and is tried again at the next start
            self._cache.refute(self.entry, why)

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        return self.submit(inputs)()

    def submit(self, inputs: Arrays) -> Callable[[], dict[str, NDArray[Any]]]:
        """See `Overlapping`. Inputs are copied before this returns."""
        if not self._free:
            raise RuntimeError(f"{len(self._going)} runs are going; wait for one of them first")
        slot = self._free[-1]
        for name in self._inputs:
            given, buffer = inputs[name], slot.buffers[name]
            if given.shape != buffer.host.shape or given.dtype != buffer.host.dtype:
                raise ValueError(
                    f"{name!r} is {given.dtype} {list(given.shape)}; this engine runs "
                    f"{buffer.host.dtype} {list(buffer.host.shape)}"
                )
        for name in self._inputs:
            np.copyto(slot.buffers[name].host, inputs[name])
            self._cuda.upload(slot.buffers[name], slot.stream)
        if self._computed not in (None, slot.computed):
            self._cuda.call("cudaStreamWaitEvent", slot.stream, self._computed, 0)
        if slot.graph is not None:
            self._cuda.call("cudaGraphLaunch", slot.graph, slot.stream)
        else:
            self._enqueue(slot)
        self._cuda.call("cudaEventRecord", slot.computed, slot.stream)
        self._computed = slot.computed
        for name in self._outputs:
            self._cuda.download(slot.buffers[name], slot.stream)
        self._cuda.call("cudaEventRecord", slot.done, slot.stream)
        going = _Going(self._free.pop())
        self._going.append(going)
        return partial(self._answer, going)

    def close(self) -> None:
        try:
            for going in self._going:  # whoever began them may still ask
                going.found = self._collected(going.slot)
        finally:
            # the context before the engine, both before the memory that they point to
            self._context = None
            self._engine = None
            self._free, self._going, self._computed = [], [], None
            self._cuda.close()

    def _answer(self, going: _Going) -> dict[str, NDArray[Any]]:
        if going.found is not None:  # closed meanwhile
            return going.found
        self._going.remove(going)
        self._free.append(going.slot)
        return self._collected(going.slot)

    def _collected(self, slot: _Slot) -> dict[str, NDArray[Any]]:
        self._cuda.call("cudaEventSynchronize", slot.done)
        return {name: slot.buffers[name].host.copy() for name in self._outputs}

    def _load(self, vendor: Vendor, data: bytes, request: Request, sample: Arrays, in_flight: int) -> None:
        trt = vendor.trt
        self._runtime = trt.Runtime(vendor.logger)
        self._engine = self._runtime.deserialize_cuda_engine(data)
        if self._engine is None:
            why = vendor.reason()
            if "memory" in why.lower():
                raise DeviceError(
                    "E_GPU_MEMORY",
                    f"cannot load the engine of {request.what}",
                    why,
                    "close other programs that use the card, or paint a smaller --size",
                )
            self._cache.remove(self.entry.key)  # of another driver, say: what the key cannot know
            raise NotBuilt(request, f"{vendor.title} does not load the one that is there: {why}")
        self._context, remembered = _context(vendor, self._engine, self._cache, self.entry)
        names = [self._engine.get_tensor_name(number) for number in range(self._engine.num_io_tensors)]
        self._inputs = [
            name for name in names if self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        ]
        self._outputs = [name for name in names if name not in self._inputs]
        for name in self._inputs:
            if not self._context.set_input_shape(name, sample[name].shape):
                raise RuntimeError(
                    f"the engine does not take {name!r} of {list(sample[name].shape)}: {vendor.reason()}"
                )
        kinds = {
            name: (
                tuple(self._context.get_tensor_shape(name)),
                trt.nptype(self._engine.get_tensor_dtype(name)),
            )
            for name in names
        }
        self._free = [_Slot.made(self._cuda, kinds) for _ in range(in_flight)]
        self._warm_up(sample)
        if remembered is not None:
            _remember(remembered, self._cache, self.entry)

    def _warm_up(self, sample: Arrays) -> None:
        """Run each slot as it is, then capture it: what an engine sets up at its first run must not be in a graph."""
        self._run_all(sample)
        for slot in self._free:
            try:
                slot.graph = self._cuda.captured(partial(self._enqueue, slot), slot.stream)
            except (CudaError, _NotStarted) as error:
                self.notes = (
                    f"without a CUDA graph, which costs a fraction of a millisecond a frame: {error}",
                )
        self._run_all(sample)

    def _run_all(self, sample: Arrays) -> None:
        for answer in [self.submit(sample) for _ in self._free[:]]:
            answer()

    def _enqueue(self, slot: _Slot) -> None:
        for name, buffer in slot.buffers.items():
            self._context.set_tensor_address(name, buffer.device)
        if not self._context.execute_async_v3(int(slot.stream)):
            raise _NotStarted("TensorRT could not start the network")


class _NotStarted(RuntimeError):
    pass


@dataclass
class _Slot:
    """What one picture needs while it is under way."""

    buffers: dict[str, Buffer]
    stream: Any
    computed: Any
    """Event: the network has run; the other slot's may."""
    done: Any
    """Event: the outputs are in the host's memory."""
    graph: Any = None

    @classmethod
    def made(cls, cuda: Cuda, kinds: dict[str, tuple[tuple[int, ...], Any]]) -> _Slot:
        buffers = {name: cuda.buffer(shape, kind) for name, (shape, kind) in kinds.items()}
        return cls(buffers, cuda.stream(), cuda.event(), cuda.event())


@dataclass(eq=False)
class _Going:
    """A run that was begun."""

    slot: _Slot
    found: dict[str, NDArray[Any]] | None = None
    """Its outputs, where the backend was closed before anybody asked."""


def _here(device: str | None) -> tuple[Vendor, Gpu]:
    """The flavour that runs here and the card. DeviceError E_BACKEND_UNAVAILABLE."""
    word = device.lower() if device else None
    if word is not None and word not in FLAVOURS:
        raise DeviceError(
            "E_BACKEND_UNAVAILABLE",
            f"backend 'tensorrt:{device}' does not start",
            f"there is no flavour {device} of TensorRT",
            f"choose one of {', '.join(FLAVOURS)}",
        )
    try:
        return load_flavour(word), find_gpu()
    except DeviceError as error:
        name = f"tensorrt:{word}" if word else "tensorrt"
        raise DeviceError(error.code, f"backend {name!r} does not start", error.why, error.next) from error


def _cache() -> Cache:
    """A folder that cannot be used is a reason to take another backend, as any other is."""
    try:
        return Cache()
    except OutputError as error:
        raise DeviceError(error.code, error.what, error.why, error.next) from error


def _engine(cache: Cache, request: Request) -> tuple[Entry, bytes]:
    entry = cache.find(request.key)
    if entry is None:
        raise NotBuilt(request)
    if entry.refuted:
        raise DeviceError(
            "E_ENGINE_REFUTED",
            f"the engine of {request.what} at {request.key.size} is not used",
            entry.refuted,
            "use another precision, or build it anew: allaprima engines build --rebuild",
        )
    data = cache.load(entry)
    if data is None:
        raise NotBuilt(request, "the one that is there was damaged, and is removed")
    return entry, data


def _context(vendor: Vendor, engine: Any, cache: Cache, entry: Entry) -> tuple[Any, Any]:
    """What runs the engine, and TensorRT-RTX's memory of the kernels that it compiles for this card, or None."""
    config = engine.create_runtime_config() if vendor.flavour.word == "rtx" else None
    if config is None:  # 10.x and 11.x compile everything when they build
        return _made(engine.create_execution_context(), vendor), None
    compiled = config.create_runtime_cache()
    with contextlib.suppress(OSError):  # none yet; of one for another card or driver, TensorRT takes nothing
        compiled.deserialize(cache.runtime_file(entry.key).read_bytes())
    config.set_runtime_cache(compiled)
    return _made(engine.create_execution_context(config), vendor), compiled


def _made(context: Any, vendor: Vendor) -> Any:
    if context is None:
        raise DeviceError(
            "E_GPU_MEMORY",
            "cannot run the engine",
            vendor.reason(),
            "close other programs that use the card, or paint a smaller --size",
        )
    return context


def _remember(compiled: Any, cache: Cache, entry: Entry) -> None:
    data = bytes(compiled.serialize())
    with contextlib.suppress(OutputError):  # another process writes the same; the next start tries again
        write_whole(cache.runtime_file(entry.key), data)


def _name_of(model: bytes) -> str:
    """`starry fp16`, by the manifest inside the model."""
    metadata = inspect(model, "the model").metadata
    if METADATA_MANIFEST not in metadata:
        return "a model"
    return f"{json.loads(metadata[METADATA_MANIFEST])['name']} {metadata.get(METADATA_VARIANT, '')}".strip()
