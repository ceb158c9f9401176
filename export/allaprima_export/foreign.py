"""What other people's style networks expect, and the slow twin of their wrapped form: numpy around the bare file.

Networks that paint agree on nothing but floats: channels first or last, 0..255 or -1..1, RGB or BGR, any size or
only multiples of something. A `Convention` says it for one network; `adopt.py` puts it into the graph.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import onnx
from annotated_types import Ge, Le
from numpy.typing import NDArray
from onnx import TensorProto, helper

from allaprima import settings
from allaprima.archive import MAX_FILE_BYTES
from allaprima.errors import BundleError, InputError
from allaprima.frame import Image
from allaprima.manifest import METADATA_MANIFEST
from allaprima.onnx_file import inspect
from allaprima.pixels import pad_edge
from allaprima.threads import available

__all__ = ["COLORS", "LAYOUTS", "RANGES", "Bare", "Convention", "Stranger", "read_stranger", "session"]

LAYOUTS = ("nchw", "nhwc")
COLORS = ("rgb", "bgr")


@dataclass(frozen=True)
class Range:
    """number = byte * factor + offset, for red, green and blue."""

    factor: tuple[float, float, float]
    offset: tuple[float, float, float]


def _even(factor: float, offset: float) -> Range:
    return Range((factor,) * 3, (offset,) * 3)


_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

RANGES = {  # the usual ones, most usual first
    "0..255": _even(1, 0),
    "0..1": _even(1 / 255, 0),
    "-1..1": _even(2 / 255, -1),
    "imagenet": Range(  # 0..1, then each channel minus the mean and by the deviation of ImageNet's photographs
        (1 / (255 * _STD[0]), 1 / (255 * _STD[1]), 1 / (255 * _STD[2])),
        (-_MEAN[0] / _STD[0], -_MEAN[1] / _STD[1], -_MEAN[2] / _STD[2]),
    ),
}


@dataclass(frozen=True, kw_only=True)
class Convention:
    """How a foreign network takes a picture and gives its painting."""

    layout: Literal["nchw", "nhwc"]
    """Channels first, or last."""
    range: str
    """What the bytes 0 to 255 become on the way in: a key of RANGES."""
    output_range: str
    """What its answer's numbers mean."""
    color: Literal["rgb", "bgr"]
    """The order of the three channels, in and out."""
    multiple_of: Annotated[int, Ge(1), Le(1024)] = 1
    """Height and width have to be multiples of this. The wrapped graph pads by the edge and crops."""
    minimum: Annotated[int, Ge(1), Le(1024)] = 16
    """The smallest height and width that it takes."""
    scale: Annotated[int, Ge(1), Le(8)] = 1
    """The answer's height and width over the picture's."""

    def __post_init__(self) -> None:
        for name in (self.range, self.output_range):
            if name not in RANGES:
                raise ValueError(
                    f"there is no range {name!r}{settings.nearest(name, RANGES)}; choose one of {', '.join(RANGES)}"
                )


@dataclass(frozen=True)
class Stranger:
    """A foreign model that has been looked at from outside, and can be run."""

    path: Path
    model: onnx.ModelProto
    """Without weights among its inputs, in an IR version that every runtime reads."""
    input: str
    output: str
    shape: tuple[int | str, ...]
    """Of the input, as the file declares it: four sizes, numbers or names ("" where it has none)."""

    @property
    def data(self) -> bytes:
        return bytes(self.model.SerializeToString())

    @property
    def layouts(self) -> tuple[str, ...]:
        """Which layouts the declared shape allows: three channels stand where it says 3, or where it says nothing."""
        channels = dict(zip(LAYOUTS, (self.shape[1], self.shape[3]), strict=True))
        declared = tuple(layout for layout, size in channels.items() if size == 3)
        return declared or tuple(layout for layout, size in channels.items() if isinstance(size, str))

    def fixed(self, layout: str) -> tuple[int, int] | None:
        """(height, width) where these are built in."""
        height, width = self.shape[2:] if layout == "nchw" else self.shape[1:3]
        return (height, width) if isinstance(height, int) and isinstance(width, int) else None


NOT_ONNX = {  # what people have instead, and the way from there
    (".pt", ".pth", ".ckpt", ".bin", ".pkl"): (
        "it is a checkpoint of PyTorch: weights without the network, in a format that can run code when it is read",
        "export it with torch.onnx.export where the network's code is, then import the .onnx",
    ),
    (".safetensors",): (
        "it holds weights without the network",
        "load them into the network where its code is, export that with torch.onnx.export, then import the .onnx",
    ),
    (".h5", ".keras", ".pb", ".tflite"): (
        "it is a model of TensorFlow",
        "convert it: pip install tf2onnx && python -m tf2onnx.convert --help; then import the .onnx",
    ),
    (".engine", ".plan", ".trt"): (
        "an engine of TensorRT is made for one machine, runs native code and is never loaded from elsewhere",
        "import the .onnx that it was built from",
    ),
}


def read_stranger(path: Path) -> Stranger:
    """Read a model that nobody vouches for. Nothing of it is run here, and no file but this one is opened.

    Raises InputError E_INPUT_MISSING, E_IMPORT_KIND (not ONNX, or not a network from a picture to a picture),
    BundleError E_BUNDLE_MODEL (see `onnx_file.inspect`), E_BUNDLE_LIMIT (too large).
    """
    what = f"cannot import {path}"
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InputError("E_INPUT_MISSING", what, error.strerror or str(error), "check the path") from None
    for endings, (why, next) in NOT_ONNX.items():
        if path.suffix.lower() in endings:
            raise InputError("E_IMPORT_KIND", what, why, next)
    if len(data) > MAX_FILE_BYTES:
        raise BundleError(
            "E_BUNDLE_LIMIT",
            what,
            f"it is larger than {MAX_FILE_BYTES >> 20} MiB",
            "a style has to be smaller",
        )
    head = inspect(data, str(path), newest_ir=onnx.IR_VERSION)  # the bundle's files get an older one
    if METADATA_MANIFEST in head.metadata:
        raise InputError(
            "E_IMPORT_KIND", what, "it is one of our own models already", f"allaprima run ... --style {path}"
        )
    model = onnx.load_from_string(data)  # without looking for external data, which inspect has refused anyway
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) != 1 or len(model.graph.output) != 1:
        raise _no_painter(
            what,
            f"it takes {_listed(inputs)} and gives {_listed(model.graph.output)}; "
            "a painting network has one picture in and one out",
        )
    for value in (inputs[0], model.graph.output[0]):
        if value.type.tensor_type.elem_type not in (TensorProto.FLOAT, TensorProto.FLOAT16):
            kind = TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower()
            raise _no_painter(what, f"its {value.name!r} is of type {kind} instead of float")
    shape = head.inputs[inputs[0].name]
    if len(shape) != 4 or (shape[0] != 1 and isinstance(shape[0], int)):
        raise _no_painter(
            what,
            f"its input has the shape {list(shape)} instead of one picture, [1, 3, H, W] or [1, H, W, 3]",
        )
    stranger = Stranger(path, model, inputs[0].name, model.graph.output[0].name, shape)
    if not stranger.layouts:
        raise _no_painter(what, f"its input has the shape {list(shape)}, which has no three colours")
    del model.graph.input[:]
    model.graph.input.append(inputs[0])
    model.ir_version = max(4, helper.find_min_ir_version_for(model.opset_import, ignore_unknown=True))
    return stranger


def session(model: bytes) -> Any:
    """ONNX Runtime on the processor, silent: its errors are exceptions."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before the import, or it reports home
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = available()
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


class Bare:
    """The network as its makers have it, with its convention in numpy: what the wrapped graph is compared with."""

    def __init__(self, stranger: Stranger) -> None:
        self._session = session(stranger.data)
        self._input = stranger.input
        value = next(value for value in stranger.model.graph.input if value.name == stranger.input)
        self._dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)

    def run(self, numbers: NDArray[np.float32]) -> NDArray[np.float32]:
        """The network alone, in its own numbers and layout. Raises what ONNX Runtime raises."""
        answer = self._session.run(None, {self._input: numbers.astype(self._dtype)})[0]
        return np.asarray(answer, np.float32)

    def paint(self, image: Image, convention: Convention) -> Image:
        """(H, W, 3) uint8 RGB -> (s·H, s·W, 3) uint8 RGB: padded by the edge, painted, rounded, cropped.

        Raises ValueError where the answer is not finite, and what ONNX Runtime raises.
        """
        height, width = image.shape[:2]
        multiple, scale = convention.multiple_of, convention.scale
        padded = pad_edge(image, 0, 0, -width % multiple, -height % multiple)
        painted = from_numbers(self.run(to_numbers(padded, convention)), convention)
        if not np.isfinite(painted).all():
            raise ValueError(
                f"{np.count_nonzero(~np.isfinite(painted)):,} of its numbers are NaN or infinite"
            )
        rounded = np.clip(painted + np.float32(0.5), 0, 255).astype(np.uint8)
        return np.ascontiguousarray(rounded[: scale * height, : scale * width])


def to_numbers(image: Image, convention: Convention) -> NDArray[np.float32]:
    """(H, W, 3) uint8 RGB -> float32 in the network's own range, order and layout, (1, ...)."""
    span = RANGES[convention.range]
    numbers = image * _floats(span.factor) + _floats(span.offset)
    ordered = numbers[..., ::-1] if convention.color == "bgr" else numbers
    laid = ordered.transpose(2, 0, 1) if convention.layout == "nchw" else ordered
    return np.ascontiguousarray(laid[np.newaxis], np.float32)


def from_numbers(answer: NDArray[np.float32], convention: Convention) -> NDArray[np.float32]:
    """The network's answer (1, ...) -> float32 (H, W, 3) RGB on the scale of bytes, not clipped."""
    laid = answer[0].transpose(1, 2, 0) if convention.layout == "nchw" else answer[0]
    ordered = laid[..., ::-1] if convention.color == "bgr" else laid
    span = RANGES[convention.output_range]
    return (ordered - _floats(span.offset)) / _floats(span.factor)


def _floats(values: tuple[float, float, float]) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def _listed(values: Any) -> str:
    return f"{len(values)} tensors ({', '.join(value.name for value in values)})"


def _no_painter(what: str, why: str) -> InputError:
    return InputError(
        "E_IMPORT_KIND", what, why, "export the network that paints, from one picture to one picture"
    )
