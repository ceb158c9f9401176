"""CUDA through cuda-bindings, never torch: which card is here, and buffers, streams, events and graphs on it.

Every call is checked, in one place. What is made is given back once, in the reverse order, by `close`.

    gpu = find_gpu()                      # DeviceError where there is none
    with Cuda() as cuda:
        picture = cuda.buffer((1, 720, 1280, 3), np.uint8)
        stream = cuda.stream()
        np.copyto(picture.host, image)
        cuda.upload(picture, stream)
"""

from __future__ import annotations

import ctypes
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .errors import DeviceError

__all__ = ["Buffer", "Cuda", "Gpu", "driver_version", "find_gpu", "load_bindings"]


@dataclass(frozen=True)
class Gpu:
    name: str
    """`NVIDIA GeForce RTX 4090`."""
    sm: int
    """Compute capability times ten: 89."""
    driver: int
    """The version of CUDA that the driver has, 13000 for 13.0."""
    memory_bytes: int

    @property
    def line(self) -> str:
        memory = f"{self.memory_bytes / 2**30:.0f} GiB"
        return f"{self.name} (sm{self.sm}, {memory}, driver for CUDA {in_words(self.driver)})"


@dataclass(frozen=True)
class Buffer:
    """One tensor, twice: on the card, and in pinned memory of the host, which the card copies from by itself."""

    host: NDArray[Any]
    device: int
    """Address on the card."""


def driver_version() -> int | None:
    """The CUDA version of the driver that is installed, 13000 for 13.0; None where there is none. Starts nothing."""
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(name)
    except OSError:
        return None
    number = ctypes.c_int()
    return number.value if driver.cuDriverGetVersion(ctypes.byref(number)) == 0 else None


def in_words(cuda_version: int) -> str:
    """13010 -> `13.1`."""
    return f"{cuda_version // 1000}.{cuda_version % 1000 // 10}"


def load_bindings() -> Any:
    """`cuda.bindings.runtime`. DeviceError E_BACKEND_UNAVAILABLE with the pip command."""
    try:
        from cuda.bindings import runtime
    except ImportError as error:
        raise DeviceError(
            "E_BACKEND_UNAVAILABLE",
            "cannot reach a card of NVIDIA",
            f"cuda-bindings does not load: {error}",
            "pip install cuda-bindings; the extras gpu and rtx of allaprima bring it",
        ) from error
    return runtime


def find_gpu(bindings: Any = None) -> Gpu:
    """The card that CUDA takes first; CUDA_VISIBLE_DEVICES chooses another one.

    Raises DeviceError E_BACKEND_UNAVAILABLE: no driver, one that is too old, no card.
    """
    if bindings is None:
        bindings = load_bindings()
    try:
        with Cuda(bindings) as cuda:
            driver = int(cuda.call("cudaDriverGetVersion"))
            if driver == 0:
                raise _no_gpu("there is no driver for NVIDIA cards here", "install NVIDIA's driver")
            if int(cuda.call("cudaGetDeviceCount")) == 0:
                raise _no_gpu("the driver finds no card", "see nvidia-smi and CUDA_VISIBLE_DEVICES")
            about = cuda.call("cudaGetDeviceProperties", 0)
    except CudaError as error:
        if error.name == "cudaErrorInsufficientDriver":
            needed = _bindings_version()
            raise _no_gpu(
                f"the driver is for CUDA {in_words(driver)}, cuda-bindings {needed} needs a newer one",
                f"upgrade the driver, or pip install 'cuda-bindings<{needed.partition('.')[0]}'",
            ) from error
        raise _no_gpu(error.why, "see nvidia-smi and CUDA_VISIBLE_DEVICES") from error
    name = about.name.decode() if isinstance(about.name, bytes) else str(about.name)
    return Gpu(name.strip("\0 "), int(about.major) * 10 + int(about.minor), driver, int(about.totalGlobalMem))


class CudaError(DeviceError):
    """A call of CUDA that failed, E_CUDA; `name` is CUDA's own for the reason."""

    def __init__(self, function: str, name: str, text: str, next: str) -> None:
        self.name = name
        super().__init__("E_CUDA", f"{function} failed", f"{text} ({name})", next)


class Cuda:
    """The first card, and all that was made on it. One thread at a time may use it."""

    def __init__(self, bindings: Any = None) -> None:
        self.api = load_bindings() if bindings is None else bindings
        self._made = ExitStack()

    def __enter__(self) -> Cuda:
        return self

    def __exit__(self, *problem: object) -> None:
        self.close()

    def call(self, function: str, *arguments: Any) -> Any:
        """What the function answers besides its status: nothing, one value or a tuple. CudaError if that is bad."""
        status, *answer = getattr(self.api, function)(*arguments)
        if int(status) != 0:
            raise self._error(function, status)
        return answer[0] if len(answer) == 1 else tuple(answer) or None

    def buffer(self, shape: tuple[int, ...], dtype: DTypeLike) -> Buffer:
        kind = np.dtype(dtype)
        size = max(1, int(np.prod(shape)) * kind.itemsize)
        host = int(self.call("cudaMallocHost", size))
        self._made.callback(self.call, "cudaFreeHost", host)
        device = int(self.call("cudaMalloc", size))
        self._made.callback(self.call, "cudaFree", device)
        memory: Any = (ctypes.c_uint8 * size).from_address(host)
        return Buffer(np.ndarray(shape, kind, buffer=memory), device)

    def stream(self) -> Any:
        made = self.call("cudaStreamCreateWithFlags", self.api.cudaStreamNonBlocking)
        self._made.callback(self.call, "cudaStreamDestroy", made)
        return made

    def event(self) -> Any:
        """Without its time, which costs; whoever waits for it sleeps instead of spinning."""
        flags = self.api.cudaEventDisableTiming | self.api.cudaEventBlockingSync
        made = self.call("cudaEventCreateWithFlags", flags)
        self._made.callback(self.call, "cudaEventDestroy", made)
        return made

    def upload(self, buffer: Buffer, stream: Any) -> None:
        kind = self.api.cudaMemcpyKind.cudaMemcpyHostToDevice
        self.call("cudaMemcpyAsync", buffer.device, buffer.host.ctypes.data, buffer.host.nbytes, kind, stream)

    def download(self, buffer: Buffer, stream: Any) -> None:
        kind = self.api.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self.call("cudaMemcpyAsync", buffer.host.ctypes.data, buffer.device, buffer.host.nbytes, kind, stream)

    def captured(self, work: Any, stream: Any) -> Any:
        """What `work()` puts into the stream, as a graph that one call launches again and again."""
        mode = self.api.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self.call("cudaStreamBeginCapture", stream, mode)
        try:
            work()
        finally:  # also after an error: a stream that is being captured is of no use for anything else
            graph = self.call("cudaStreamEndCapture", stream)
        try:
            made = self.call("cudaGraphInstantiate", graph, 0)
        finally:
            self.call("cudaGraphDestroy", graph)
        self._made.callback(self.call, "cudaGraphExecDestroy", made)
        return made

    def close(self) -> None:
        """Give everything back, the newest first. May be called twice."""
        self._made.close()

    def _error(self, function: str, status: Any) -> CudaError:
        name, text = (
            words.decode() if isinstance(words, bytes) else str(words)
            for words in (self.api.cudaGetErrorName(status)[1], self.api.cudaGetErrorString(status)[1])
        )
        next = "see nvidia-smi; restart the program, and the machine if it stays"
        if name == "cudaErrorMemoryAllocation":
            free, total = self.api.cudaMemGetInfo()[1:]
            text = f"out of memory on the card: {free / 2**20:,.0f} of {total / 2**20:,.0f} MiB are free"
            next = "close other programs that use the card, or paint a smaller --size"
        return CudaError(function, name, text, next)


def _no_gpu(why: str, next: str) -> DeviceError:
    return DeviceError("E_BACKEND_UNAVAILABLE", "there is no card of NVIDIA to use", why, next)


def _bindings_version() -> str:
    try:
        return version("cuda-bindings")
    except PackageNotFoundError:
        return "?"
