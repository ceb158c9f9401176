"""ONNX Runtime: the portable engine, and the one that other programs embed. Takes any execution provider.

On a card (CUDA, TensorRT, DirectML) inputs and outputs stay bound to its memory, the network is a CUDA graph, and
nothing may fall back to the processor: a provider that is named paints, or there is an error.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import io
import os
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cuda import driver_version, in_words
from ..engines import Cache
from ..errors import DeviceError, OutputError
from ..onnx_file import inspect
from ..onnx_floats import floats_inside
from . import Arrays

__all__ = ["Runner"]

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
TENSORRT, DIRECTML = "TensorrtExecutionProvider", "DmlExecutionProvider"


@dataclass(frozen=True)
class _Card:
    """A provider that paints on a card."""

    memory: str
    """Where inputs and outputs are bound, in ONNX Runtime's words."""
    graph: str = ""
    """Its option for CUDA graphs."""
    leaves: tuple[str, ...] = ()
    """Who may take the operators that it leaves: never the processor."""


CARDS = {
    CUDA: _Card("cuda", graph="enable_cuda_graph"),
    TENSORRT: _Card("cuda", graph="trt_cuda_graph_enable", leaves=(CUDA,)),
    DIRECTML: _Card("dml"),
}


class Runner:
    """A session with one provider, for one size. See `Backend`.

    The device is an execution provider: `cuda` for CUDAExecutionProvider, or its whole name. Only the CPU's has
    been run so far; of the others, what a machine without a card can show: how they are asked for, and that they
    fail with a reason. Bound memory is the same code on the processor, where it is tested.
    """

    def __init__(
        self, model: bytes, sample: Arrays, *, precision: str, device: str | None, threads: int
    ) -> None:
        ort = _onnxruntime()
        provider = _provider(device)
        card = CARDS.get(provider)
        missing = _missing(ort, provider)
        if missing:  # ORT would only say that it may not fall back to the processor
            raise _not_started(device, missing, ort)
        if card:
            model = floats_inside(model)  # CUDA pads no bytes, TensorRT moves none
        settings = _settings(ort, provider, model, sample, precision)
        notes = list(_clash())
        self._bound: _Bound | None = None
        try:
            self._open(ort, model, sample, provider, device, settings, threads)
        except DeviceError:
            raise
        except Exception as error:
            if not (card and card.graph):
                raise
            # Some operators cannot be part of a graph. Whatever else it was fails again, with its own words.
            self.close()
            self._open(ort, model, sample, provider, device, {**settings, card.graph: "0"}, threads)
            said = str(error).strip() or type(error).__name__
            notes.append(f"without a CUDA graph: {said.splitlines()[0]}")
        self.precision = precision
        self.notes = tuple(notes)
        self.description = (
            f"ort {ort.__version__} ({provider.removesuffix('ExecutionProvider')}, {precision}"
            f"{f', {threads} threads' if provider == CPU else ''})"
        )

    @staticmethod
    def precisions(device: str | None) -> dict[str, str]:
        if _provider(device) in CARDS:
            # Every card since 2017 multiplies fp16 in its tensor cores, at a multiple of fp32's speed.
            return {"fp16": "fp16", "fp32": "fp32", "int8": "int8"}
        return {"fp32": "fp32", "fp16": "fp16", "int8": "int8"}

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        if self._bound is not None:
            return self._bound.run(inputs)
        # Inputs are used in place and outputs are new arrays; on the processor, bound buffers measured no faster.
        return dict(zip(self._names, self._session.run(self._names, dict(inputs)), strict=True))

    def close(self) -> None:
        self._bound = None
        self._session: Any = None

    def _open(
        self,
        ort: Any,
        model: bytes,
        sample: Arrays,
        provider: str,
        device: str | None,
        settings: dict[str, str],
        threads: int,
    ) -> None:
        card = CARDS.get(provider)
        providers = [(provider, settings), *((other, {}) for other in (card.leaves if card else ()))]
        options = _options(ort, model, sample, provider, threads)
        # Without enable_fallback=0, Python's half of ORT would print to stdout and try the processor.
        session = ort.InferenceSession(model, options, providers=providers, enable_fallback=0)
        if session.get_providers()[0] != provider:
            raise _not_started(device, f"ONNX Runtime fell back to {session.get_providers()[0]}", ort)
        self._session = session
        self._names = [output.name for output in session.get_outputs()]
        if card:
            self._bound = _Bound(ort, session, sample, card.memory)
        self.run(sample)


class _Bound:
    """Inputs and outputs that keep their place on the device from run to run: no memory is asked for, and a CUDA
    graph, which has the places of its first run built in, can be launched again."""

    def __init__(self, ort: Any, session: Any, sample: Arrays, memory: str) -> None:
        self._session = session
        self._binding = session.io_binding()
        self._inputs = {
            name: ort.OrtValue.ortvalue_from_numpy(array, memory, 0) for name, array in sample.items()
        }
        self._shapes = {name: (array.shape, array.dtype) for name, array in sample.items()}
        for name, value in self._inputs.items():
            self._binding.bind_ortvalue_input(name, value)
        names = [output.name for output in session.get_outputs()]
        answers = [value.numpy() for value in self._first_run(ort, names, memory)]
        self._binding.clear_binding_outputs()
        self._outputs = {
            name: ort.OrtValue.ortvalue_from_shape_and_type(answer.shape, answer.dtype, memory, 0)
            for name, answer in zip(names, answers, strict=True)
        }
        for name, value in self._outputs.items():
            self._binding.bind_ortvalue_output(name, value)

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        for name, (shape, dtype) in self._shapes.items():
            given = inputs[name]
            if given.shape != shape or given.dtype != dtype:
                raise ValueError(
                    f"{name!r} is {given.dtype} {list(given.shape)}; this session runs {dtype} {list(shape)}"
                )
        for name, value in self._inputs.items():
            value.update_inplace(np.ascontiguousarray(inputs[name]))
        self._session.run_with_iobinding(self._binding)
        return {name: _owned(value.numpy()) for name, value in self._outputs.items()}

    def _first_run(self, ort: Any, names: list[str], memory: str) -> Any:
        """Outputs wherever ONNX Runtime puts them, for their shapes. Not captured: the places are not the last ones."""
        for name in names:
            self._binding.bind_output(name, memory, 0)
        options = ort.RunOptions()
        options.add_run_config_entry("gpu_graph_id", "-1")
        self._session.run_with_iobinding(self._binding, options)
        return self._binding.get_outputs()


def _owned(array: NDArray[Any]) -> NDArray[Any]:
    """An array that the next run does not write over: from a card it is a copy already."""
    return array if array.flags.owndata else array.copy()


def _options(ort: Any, model: bytes, sample: Arrays, provider: str, threads: int) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = 4  # nothing to stderr: its errors are raised as exceptions as well
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1  # the graph is a chain: nothing to run side by side
    # Waiting threads sleep instead of spinning: as fast per frame at 1280x720, and a paced loop used 1.4
    # processors instead of 1.75 (of two), which decoding and encoding need.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if provider != CPU:
        # Otherwise a provider that cannot start prints a line and the processor does the work, slowly.
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        ort.set_default_logger_severity(4)  # what loads providers logs before there is a session
    if provider == DIRECTML:  # it asks for both
        options.enable_mem_pattern = False
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    # Sizes built in: shape arithmetic folds away (10-15 % faster), memory does not grow with every new size, and a
    # GPU has no shapes left to give to the processor, which the entry above forbids.
    for name, shape in inspect(model, "the model").inputs.items():
        for size, number in zip(shape, sample[name].shape, strict=True):
            if isinstance(size, str) and size:
                options.add_free_dimension_override_by_name(size, number)
    return options


def _settings(ort: Any, provider: str, model: bytes, sample: Arrays, precision: str) -> dict[str, str]:
    """The provider's own options."""
    # fp32 means fp32: without this, cuDNN multiplies with 10 bits of mantissa (TF32) from Ampere on.
    exact = {"use_tf32": "0"} if precision == "fp32" else {}
    if provider == CUDA:
        # One size for good: an arena that doubles its memory each time would waste it.
        return {"enable_cuda_graph": "1", "arena_extend_strategy": "kSameAsRequested", **exact}
    if provider == TENSORRT:
        shapes = sorted((name, array.shape) for name, array in sample.items())
        about = [ort.__version__, hashlib.sha256(model).hexdigest(), shapes, precision, driver_version()]
        # By device it names its files itself; it does not look at the model, nor at its own version.
        folder = _engines_folder() / f"ort-{hashlib.sha256(repr(about).encode()).hexdigest()[:24]}"
        return {
            "trt_cuda_graph_enable": "1",
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(folder),
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": str(folder),
            "trt_fp16_enable": "1" if precision == "fp16" else "0",
            "trt_int8_enable": "1" if precision == "int8" else "0",
        }
    return {}


def _onnxruntime() -> Any:
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # from 1.29 on it reports home unless told before the import
    import onnxruntime

    return onnxruntime


def _engines_folder() -> Path:
    """Made, and ours. A folder that cannot be used is a reason to take another backend."""
    try:
        return Cache().folder
    except OutputError as error:
        raise DeviceError(error.code, error.what, error.why, error.next) from error


def _missing(ort: Any, provider: str) -> str:
    """What a provider for NVIDIA's cards needs and does not find here, in the linker's words; empty if all is there.

    Loads the libraries that pip has put beside onnxruntime, where no linker looks by itself.
    """
    if provider not in (CUDA, TENSORRT):
        return ""
    if driver_version() is None:
        return "there is no driver for NVIDIA cards here"
    said = io.StringIO()
    with redirect_stdout(said):  # it prints, and stdout is ours: the user may read JSON there
        ort.preload_dlls()  # in every onnxruntime-gpu that the extra `gpu` takes (from 1.21 on)
    # "Failed to load libcublasLt.so.13: libcublasLt.so.13: cannot open shared object file: ..."
    failed = [line for line in said.getvalue().splitlines() if line.startswith("Failed to load ")]
    if failed or provider == CUDA:
        return failed[0].partition(": ")[2] if failed else ""
    with contextlib.suppress(ImportError):  # the wheel's own way of loading its libraries
        import tensorrt  # noqa: F401
    try:
        ctypes.CDLL("nvinfer_10.dll" if sys.platform == "win32" else "libnvinfer.so.10")
    except OSError as error:
        return f"it is made for TensorRT 10: {error}"
    return ""


def _not_started(device: str | None, why: str, ort: Any) -> DeviceError:
    number = driver_version()
    next = "check the driver and the vendor's libraries"
    if number is None:
        next = "install NVIDIA's driver"
    elif "TensorRT" in why:
        next = "pip install 'tensorrt>=10,<11'"
    elif ".so." in why or ".dll" in why:
        release = tuple(int(part) for part in ort.__version__.split(".")[:2])
        built_for = 13 if release >= (1, 27) else 12  # as the wheels on PyPI are
        ours = f"onnxruntime-gpu {ort.__version__} is made for CUDA {built_for}"
        fitting = "'onnxruntime-gpu[cuda,cudnn]'"
        if number < built_for * 1000:
            fitting = "'onnxruntime-gpu[cuda,cudnn]<1.27', or upgrade the driver"
        next = f"{ours}, the driver here for CUDA {in_words(number)}: pip install {fitting}"
    return DeviceError("E_BACKEND_UNAVAILABLE", f"backend 'ort:{device}' does not start", why, next)


def _provider(device: str | None) -> str:
    """The provider of that name, which this build has."""
    ort = _onnxruntime()
    if device is None:
        return CPU
    known = ort.get_available_providers()
    for provider in known:
        if device.lower() in (provider.lower(), provider.removesuffix("ExecutionProvider").lower()):
            return str(provider)
    next = f"choose one of {', '.join(name.removesuffix('ExecutionProvider').lower() for name in known)}"
    if device.lower() in ("cuda", "tensorrt"):
        next += "; for cards of NVIDIA, pip uninstall onnxruntime and pip install 'allaprima[gpu]'"
    elif device.lower() == "dml":
        next += "; on Windows, pip uninstall onnxruntime and pip install onnxruntime-directml"
    raise DeviceError(
        "E_BACKEND_UNAVAILABLE",
        f"backend 'ort:{device}' does not start",
        f"this onnxruntime has no {device.upper()} provider",
        next,
    )


def _clash() -> tuple[str, ...]:
    """onnxruntime and onnxruntime-gpu are one folder: the last one installed wins, and pip sees nothing."""
    found = []
    for distribution in ("onnxruntime", "onnxruntime-gpu"):
        try:
            found.append(f"{distribution} {version(distribution)}")
        except PackageNotFoundError:
            continue
    if len(found) < 2:
        return ()
    return (f"{' and '.join(found)} overwrite each other: uninstall both, then install one",)
