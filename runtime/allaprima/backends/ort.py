"""ONNX Runtime: the portable engine, and the one that other programs embed. Takes any execution provider."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from numpy.typing import NDArray

from ..errors import DeviceError
from ..onnx_file import inspect
from . import Arrays

__all__ = ["Runner"]

CPU = "CPUExecutionProvider"


class Runner:
    """A session with one provider, for one size. See `Backend`.

    The device is an execution provider: `cuda` for CUDAExecutionProvider, or its whole name.
    """

    def __init__(
        self, model: bytes, sample: Arrays, *, precision: str, device: str | None, threads: int
    ) -> None:
        ort = _onnxruntime()
        provider = _provider(device)
        options = ort.SessionOptions()
        options.log_severity_level = 3  # errors only; they are raised as exceptions besides
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1  # the graph is a chain: nothing to run side by side
        # Waiting threads sleep instead of spinning: as fast per frame at 1280x720, and a paced loop used 1.4
        # processors instead of 1.75 (of two), which decoding and encoding need.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if provider != CPU:
            # Otherwise a provider that cannot start prints a line and the processor does the work, slowly.
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        # Sizes built in: shape arithmetic folds away (10-15 % faster), and a GPU has none left to give to the
        # processor, which the entry above forbids.
        for name, shape in inspect(model, "the model").inputs.items():
            for size, number in zip(shape, sample[name].shape, strict=True):
                if isinstance(size, str) and size:
                    options.add_free_dimension_override_by_name(size, number)
        session = ort.InferenceSession(model, options, providers=[provider])
        if session.get_providers()[0] != provider:
            raise DeviceError(
                "E_BACKEND_UNAVAILABLE",
                f"backend 'ort:{device}' does not start",
                f"ONNX Runtime fell back to {session.get_providers()[0]}",
                "check the driver and the vendor's libraries",
            )
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
        _provider(device)
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


def _provider(device: str | None) -> str:
    """The provider of that name, which this build has."""
    ort = _onnxruntime()
    if device is None:
        return CPU
    known = ort.get_available_providers()
    for provider in known:
        if device.lower() in (provider.lower(), provider.removesuffix("ExecutionProvider").lower()):
            return str(provider)
    raise DeviceError(
        "E_BACKEND_UNAVAILABLE",
        f"backend 'ort:{device}' does not start",
        f"this build of ONNX Runtime has no provider {device!r}",
        f"it has {', '.join(name.removesuffix('ExecutionProvider').lower() for name in known)}",
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
