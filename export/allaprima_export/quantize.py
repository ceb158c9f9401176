"""INT8: a traced core with weights of 8 bits per channel and activations of 8 bits, as explicit QDQ.

    quantizer = QUANTIZERS["nncf"]
    quantized = quantizer.make(core, frames)

Only the core is quantized. The edges stay as they are, so that strength 0 gives the picture back exactly. What a
number's range is, each quantizer measures on `frames` (see `calibration.py`).
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from allaprima.errors import UsageError
from allaprima.settings import nearest

from .core import without_notes
from .inside import Frame
from .qdq import adding_up, behind_copies

__all__ = ["QUANTIZERS", "Quantizer", "quantize", "quantizer_version", "require_quantizer"]


@dataclass(frozen=True)
class Quantizer:
    """A row of the table."""

    make: Callable[[onnx.ModelProto, Sequence[Frame]], onnx.ModelProto]
    package: str
    """The distribution that it needs, and whose version the manifest names."""
    module: str
    targets: tuple[str, ...]
    """The backends whose habits it serves: only what measures faster on one of them is packed."""


def quantize(name: str, core: onnx.ModelProto, frames: Sequence[Frame]) -> onnx.ModelProto:
    """The traced `core` in QDQ int8, with the names of its own nodes. Raises UsageError E_EXPORT_QUANTIZER."""
    row = require_quantizer(name)
    copy = onnx.ModelProto()
    copy.CopyFrom(core)  # ONNX Runtime's quantizer changes what it is given
    with _silent():
        quantized = row.make(copy, frames)
    return behind_copies(adding_up(without_notes(quantized), core))


def require_quantizer(name: str) -> Quantizer:
    """The row of that name, if what it needs is installed. Raises UsageError E_EXPORT_QUANTIZER."""
    if name not in QUANTIZERS:
        raise UsageError(
            "E_EXPORT_QUANTIZER",
            f"there is no quantizer {name!r}{nearest(name, QUANTIZERS)}",
            next=f"choose one of {', '.join(QUANTIZERS)}",
        )
    row = QUANTIZERS[name]
    if find_spec(row.module) is None:
        raise UsageError(
            "E_EXPORT_QUANTIZER",
            f"cannot quantize with {name!r}",
            f"{row.package} is not installed",
            f"pip install {row.package}, or leave int8 out of --variants",
        )
    return row


def _nncf(core: onnx.ModelProto, frames: Sequence[Frame], preset: str) -> onnx.ModelProto:
    # OpenVINO's tools report home through this package unless it cannot be imported.
    if "openvino" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    import nncf
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    # By default, ranges are the mean over pictures of each one's extremes. For `starry` that is 2 dB better on average
    # and leaves patches that are bright in few pictures 5 dB worse (30 against 36 dB in a tile): what one sees.
    # Its correction of biases makes each layer's mean right over all pictures, and cost `wave` 2 to 8 dB: flat areas
    # came out 10 levels wrong (docs/performance.md).
    how = nncf.AdvancedQuantizationParameters(
        activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX, disable_bias_correction=True
    )
    return nncf.quantize(
        core,
        nncf.Dataset(list(frames), lambda frame: frame),
        preset=nncf.QuantizationPreset(preset),
        target_device=nncf.TargetDevice.CPU,
        subset_size=len(frames),
        advanced_parameters=how,
    )


def _onnxruntime(core: onnx.ModelProto, frames: Sequence[Frame]) -> onnx.ModelProto:
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before the import, or it reports home
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(frames)

        def get_next(self) -> Frame | None:
            return next(self.left, None)

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "int8.onnx"
        quantize_static(
            core,
            out,
            Reader(),
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            extra_options={
                # TensorRT's parser refuses a zero point that is not 0, and a bias in int32.
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "QuantizeBias": False,
                # The answer is what the picture is made of: 8 bits for it would be 8 bits for all.
                "OpTypesToExcludeOutputQuantization": sorted({node.op_type for node in core.graph.node}),
            },
        )
        return onnx.load(out)


def _modelopt(core: onnx.ModelProto, frames: Sequence[Frame]) -> onnx.ModelProto:
    from modelopt.onnx.quantization import quantize as modelopt_quantize

    with tempfile.TemporaryDirectory() as folder:
        place, out = Path(folder) / "core.onnx", Path(folder) / "int8.onnx"
        onnx.save(core, place)
        modelopt_quantize(
            str(place),
            quantize_mode="int8",
            calibration_data=_of_one_size(frames),
            calibration_eps=["cpu"],
            high_precision_dtype="fp32",
            output_path=str(out),
            log_level="ERROR",
        )
        return onnx.load(out)


def _of_one_size(frames: Sequence[Frame]) -> dict[str, Any]:
    """The frames as one array per input: pictures cut to what all of them have, for a tool that stacks them."""
    whole: dict[str, Any] = {}
    for name in frames[0]:
        arrays = [frame[name] for frame in frames]
        least = np.min([array.shape for array in arrays], axis=0)
        whole[name] = np.concatenate([array[tuple(slice(side) for side in least)] for array in arrays])
    return whole


QUANTIZERS = {
    # Activations in uint8 with a zero point where they have two signs: 3 dB nearer than symmetric ones for `starry`.
    "nncf": Quantizer(lambda core, frames: _nncf(core, frames, "mixed"), "nncf", "nncf", ("openvino", "ort")),
    # All zero points are 0, which is what TensorRT takes.
    "nncf-symmetric": Quantizer(
        lambda core, frames: _nncf(core, frames, "performance"),
        "nncf",
        "nncf",
        ("tensorrt", "ort:cuda", "openvino", "ort"),
    ),
    "ort": Quantizer(_onnxruntime, "onnxruntime", "onnxruntime", ("tensorrt", "ort:cuda", "openvino", "ort")),
    "modelopt": Quantizer(
        _modelopt, "nvidia-modelopt", "modelopt", ("tensorrt", "ort:cuda", "openvino", "ort")
    ),
}
"""Best first for the backends that they name."""


def quantizer_version(name: str) -> str:
    """`nncf 3.4.0`, for the manifest."""
    row = QUANTIZERS[name]
    try:
        return f"{name} {version(row.package)}"
    except PackageNotFoundError:  # onnxruntime comes as onnxruntime-gpu, too
        return name


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Without the tools' progress bars and advice: stdout is ours, and the user may read JSON there."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)
