"""ONNX Runtime: the portable engine, and the one that other programs embed. Takes any execution provider."""

from __future__ import annotations

import ctypes
import io
import os
import sys
from contextlib import redirect_stdout
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from numpy.typing import NDArray

from ..errors import DeviceError
from ..onnx_file import inspect
from . import Arrays

__all__ = ["Runner"]

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


class Runner:
    """A session with one provider, for one size. See `Backend`.

    The device is an execution provider: `cuda` for CUDAExecutionProvider, or its whole name. Only the CPU's has
    been run so far; of CUDA, what a machine without a card can show: that it is asked for, and fails with a reason.
    """

    def __init__(
        self, model: bytes, sample: Arrays, *, precision: str, device: str | None, threads: int
    ) -> None:
        ort = _onnxruntime()
        provider = _provider(device)
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
        # Sizes built in: shape arithmetic folds away (10-15 % faster), and a GPU has none left to give to the
        # processor, which the entry above forbids.
        for name, shape in inspect(model, "the model").inputs.items():
            for size, number in zip(shape, sample[name].shape, strict=True):
                if isinstance(size, str) and size:
                    options.add_free_dimension_override_by_name(size, number)
        # fp32 means fp32: without this, cuDNN multiplies with 10 bits of mantissa (TF32) from Ampere on.
        settings = {"use_tf32": "0"} if provider == CUDA and precision == "fp32" else {}
        # Looked for first: without them, ORT only says that it may not fall back to the processor.
        missing = _missing_for_cuda(ort) if provider == CUDA else ""
        if missing:
            raise _not_started(device, missing)
        # Without enable_fallback=0, Python's half of ORT would print to stdout and try the processor.
        session = ort.InferenceSession(model, options, providers=[(provider, settings)], enable_fallback=0)
        if session.get_providers()[0] != provider:
            raise _not_started(device, f"ONNX Runtime fell back to {session.get_providers()[0]}")
        self.precision = precision
        self.notes = _clash()
        self.description = (
            f"ort {ort.__version__} ({provider.removesuffix('ExecutionProvider')}, {precision}"
            f"{f', {threads} threads' if provider == CPU else ''})"
        )
        self._names = [output.name for output in session.get_outputs()]
        self._session: Any = session
        self.run(sample)

    @staticmethod
    def precisions(device: str | None) -> dict[str, str]:
        if _provider(device) == CUDA:
            # Every card since 2017 multiplies fp16 in its tensor cores, at a multiple of fp32's speed.
            return {"fp16": "fp16", "fp32": "fp32", "int8": "int8"}
        return {"fp32": "fp32", "fp16": "fp16", "int8": "int8"}

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        # Inputs are used in place and outputs are new arrays; bound buffers measured no faster.
        return dict(zip(self._names, self._session.run(self._names, dict(inputs)), strict=True))

    def close(self) -> None:
        self._session = None


def _onnxruntime() -> Any:
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # from 1.29 on it reports home unless told before the import
    import onnxruntime

    return onnxruntime


def _missing_for_cuda(ort: Any) -> str:
    """What CUDA needs and does not find here, in the linker's words; empty if all is there.

    Loads the libraries that pip has put beside onnxruntime, where no linker looks by itself.
    """
    driver = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        ctypes.CDLL(driver)
    except OSError:
        return f"there is no driver for NVIDIA cards here, no {driver}"
    said = io.StringIO()
    with redirect_stdout(said):  # it prints, and stdout is ours: the user may read JSON there
        ort.preload_dlls()  # in every onnxruntime-gpu that the extra `gpu` takes (from 1.21 on)
    # "Failed to load libcublasLt.so.13: libcublasLt.so.13: cannot open shared object file: ..."
    failed = [line for line in said.getvalue().splitlines() if line.startswith("Failed to load ")]
    return failed[0].partition(": ")[2] if failed else ""


def _not_started(device: str | None, why: str) -> DeviceError:
    return DeviceError(
        "E_BACKEND_UNAVAILABLE",
        f"backend 'ort:{device}' does not start",
        why,
        "check the driver and the vendor's libraries",
    )


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
    if device.lower() == "cuda":
        next += "; for cards of NVIDIA, pip uninstall onnxruntime and pip install 'allaprima[gpu]'"
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
