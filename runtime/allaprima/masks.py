"""Where to paint: a picture of weights, what moves, faces, or whatever a segmentation network finds.

Each is a `Weights`: a picture in, a map of 0 (leave the picture) to 255 (paint) out. Edges are feathered, so that no
outline is seen where painting begins.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .blend import enlarged_map
from .errors import BundleError, InputError, UsageError
from .frame import Image
from .opencv import import_cv2

__all__ = ["Faces", "Moving", "Network", "PictureMask", "Weights", "open_region"]

Weights = Callable[[Image], Image]
"""(H, W, 3) uint8 RGB -> (H, W) uint8. Called once for each frame of a stream, in order."""

_SIDE = 320  # regions are looked for in pictures of this longer side: feathered, more would not be seen
_FEATHER = 0.02  # of the longer side: the blur of a region's edge
_FADE = 48  # of 255 for each frame: how fast a region that was lost goes; a detector that blinks is not seen
_AROUND_FACE = 1.45  # a detector's box ends at the forehead and the chin


class PictureMask:
    """A picture as weights: white is painted, black is left, grey is between. Stretched to the frames' size."""

    def __init__(self, path: str | Path) -> None:
        """Raises InputError where it cannot be read."""
        from .sources.pictures import PictureSource

        with PictureSource(Path(path)) as source:
            image = next(iter(source)).image
        luma = image.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
        self._weights: Image = np.round(luma).astype(np.uint8)
        self._fitted = self._weights

    def __call__(self, image: Image) -> Image:
        height, width = image.shape[:2]
        if self._fitted.shape != (height, width):
            self._fitted = enlarged_map(self._weights, width, height)
        return self._fitted


class Moving:
    """What moves before a still camera: OpenCV's background subtraction (Zivkovic's mixtures), no model needed.

    Somebody who sits quite still becomes background after `memory` frames.
    """

    def __init__(self, memory: int = 600) -> None:
        cv2 = import_cv2("find what moves")
        self._cv2: Any = cv2
        self._background = cv2.createBackgroundSubtractorMOG2(memory, 24, False)
        self._soft = _Soft()

    def __call__(self, image: Image) -> Image:
        cv2 = self._cv2
        found = self._background.apply(_shrunk(image))
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
        found = cv2.morphologyEx(found, cv2.MORPH_OPEN, kernel)  # specks of noise
        found = cv2.dilate(cv2.morphologyEx(found, cv2.MORPH_CLOSE, kernel, iterations=4), kernel)
        return self._soft(found, image)


class Faces:
    """Faces, by OpenCV's YuNet detector, whose model OpenCV's model zoo has: face_detection_yunet_2023mar.onnx."""

    def __init__(self, model: str | Path) -> None:
        """Raises InputError or BundleError for a model that is none, DeviceError without OpenCV."""
        cv2 = import_cv2("find faces")
        data = _model(Path(model))
        try:
            self._detector = cv2.FaceDetectorYN.create(
                "onnx", np.frombuffer(data, np.uint8), np.empty(0, np.uint8), (_SIDE, _SIDE), 0.6
            )
            self._detector.detect(np.zeros((_SIDE, _SIDE, 3), np.uint8))
        except cv2.error as error:
            raise _refused(model, f"OpenCV cannot find faces with it: {_first_line(error)}") from error
        self._soft = _Soft()

    def __call__(self, image: Image) -> Image:
        from PIL import Image as Pictures
        from PIL import ImageDraw

        small = _shrunk(image)
        height, width = small.shape[:2]
        self._detector.setInputSize((width, height))
        found = self._detector.detect(np.ascontiguousarray(small[..., ::-1]))[1]  # (faces, 15) or None
        drawn = Pictures.new("L", (width, height))
        for x, y, w, h in (face[:4] for face in (() if found is None else found)):
            half_w, half_h = w * _AROUND_FACE / 2, h * _AROUND_FACE / 2
            middle_x, middle_y = x + w / 2, y + h / 2
            box = (middle_x - half_w, middle_y - half_h, middle_x + half_w, middle_y + half_h)
            ImageDraw.Draw(drawn).ellipse(box, fill=255)
        return self._soft(np.asarray(drawn), image)


class Network:
    """Whatever a segmentation network finds: people, skies, hair.

    The ONNX file has one input: float32 `[1, 3, H, W]` RGB in 0..1, or uint8 `[1, H, W, 3]` RGB as styles have it;
    H and W fixed or open. Its first output is a map of 0..1 (uint8: 0..255) with one channel in any place, or two,
    background first.
    """

    def __init__(self, model: str | Path, *, threads: int = 1) -> None:
        """Raises InputError, BundleError E_REGION_MODEL for files that are no such model, DeviceError where none of the
        backends runs it."""
        from .onnx_file import inspect

        data = _model(Path(model))
        found = inspect(data, str(model))
        if len(found.inputs) != 1:
            raise _refused(model, f"it has {len(found.inputs)} inputs, not one")
        (self._input, shape), *_ = found.inputs.items()
        if len(shape) != 4 or 3 not in (shape[1], shape[3]):
            raise _refused(model, f"its input is {list(shape)}, neither [1, 3, H, W] nor [1, H, W, 3]")
        self._planar = shape[1] == 3
        sides = shape[2:] if self._planar else shape[1:3]
        self._size = tuple(side if isinstance(side, int) and side > 0 else None for side in sides)
        self._data, self._model, self._threads = data, model, threads
        self._runner: Any = None
        self._fed = (0, 0)
        self._soft = _Soft(feather=_FEATHER / 2)

    def __call__(self, image: Image) -> Image:
        from .pixels import resize, to_unit

        height, width = self._input_size(image)
        small = resize(image, width, height)
        tensor = (
            np.ascontiguousarray(to_unit(small).transpose(2, 0, 1)[np.newaxis])
            if self._planar
            else np.ascontiguousarray(small[np.newaxis])
        )
        if self._fed != (height, width):
            self._start(tensor)
            self._fed = (height, width)
        answer = next(iter(self._runner.run({self._input: tensor}).values()))
        return self._soft(_as_weights(answer, self._model), image)

    def _input_size(self, image: Image) -> tuple[int, int]:
        """(height, width) to shrink to: the model's own where it has one."""
        factor = min(1.0, _SIDE / max(image.shape[:2]))
        height, width = (
            fixed or max(32, round(side * factor / 32) * 32)
            for fixed, side in zip(self._size, image.shape[:2], strict=True)
        )
        return height, width

    def _start(self, tensor: NDArray[Any]) -> None:
        from .backends import load
        from .errors import DeviceError

        reasons = []
        for name in ("openvino", "ort"):
            try:
                kind, device = load(name)
                self._runner = kind(
                    self._data,
                    {self._input: tensor},
                    precision="fp32",
                    device=device,
                    threads=self._threads,
                )
                return
            except Exception as error:  # a vendor raises anything; all reasons are told if none runs it
                reasons.append(f"{name}: {_first_line(error)}")
        raise DeviceError(
            "E_BACKEND_UNAVAILABLE",
            f"no backend runs {self._model}",
            "; ".join(reasons),
            "check that it takes float32 [1, 3, H, W] or uint8 [1, H, W, 3]",
        )


def open_region(spec: str, *, threads: int = 1) -> Weights:
    """`moving`, `faces:YUNET.onnx` or `MASK.onnx`; with `not:` in front, everything else.

    Raises UsageError E_REGION, InputError, BundleError E_REGION_MODEL, DeviceError.
    """
    if spec.startswith("not:"):
        inner = open_region(spec[4:], threads=threads)
        return lambda image: 255 - inner(image)
    if spec == "moving":
        return Moving()
    if spec.startswith("faces:"):
        return Faces(spec[6:])
    if spec.lower().endswith(".onnx"):
        return Network(spec, threads=threads)
    raise UsageError(
        "E_REGION",
        f"there is no region {spec!r}",
        "a face detector and a segmentation network are files of yours, none ships"
        if spec in ("face", "faces", "person", "people")
        else "",
        "write moving, faces:face_detection_yunet_2023mar.onnx or segmentation.onnx, or not: and one of these",
    )


class _Soft:
    """A raw region -> weights of the frame's size: feathered, and fading where the region was lost."""

    def __init__(self, feather: float = _FEATHER) -> None:
        self._feather = feather
        self._last: Image | None = None

    def __call__(self, found: Image, image: Image) -> Image:
        from PIL import Image as Pictures
        from PIL import ImageFilter

        radius = self._feather * max(found.shape)
        soft = np.asarray(Pictures.fromarray(found).filter(ImageFilter.GaussianBlur(radius)))
        if self._last is not None and self._last.shape == soft.shape:
            soft = np.maximum(soft, np.maximum(self._last, _FADE) - _FADE)
        self._last = soft
        return enlarged_map(soft, image.shape[1], image.shape[0])


def _shrunk(image: Image) -> Image:
    """(H, W, 3) -> the same with a longer side of at most 320."""
    from .pixels import fit, resize

    return resize(image, *fit(image.shape[1], image.shape[0], (_SIDE, _SIDE)))


def _as_weights(answer: NDArray[Any], model: str | Path) -> Image:
    """A network's answer -> (h, w) uint8."""
    maps = answer.reshape(answer.shape[1:]) if answer.ndim == 4 and answer.shape[0] == 1 else answer
    if maps.ndim == 3 and maps.shape[0] in (1, 2):
        maps = maps[-1]
    elif maps.ndim == 3 and maps.shape[2] in (1, 2):
        maps = maps[..., -1]
    if maps.ndim != 2:
        raise _refused(
            model, f"its answer is {list(answer.shape)}: not one map, nor one of background and one beside"
        )
    if maps.dtype == np.uint8:
        return np.ascontiguousarray(maps)
    if not np.isfinite(maps).all() or maps.min() < -0.01 or maps.max() > 1.01:
        raise _refused(
            model,
            f"its answer goes from {maps.min():g} to {maps.max():g}, not from 0 to 1: the sigmoid is missing",
        )
    return np.clip(maps * 255 + 0.5, 0, 255).astype(np.uint8)


def _model(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            "E_INPUT_MISSING" if isinstance(error, FileNotFoundError) else "E_INPUT_KIND",
            f"cannot read {path}",
            (error.strerror or str(error)).lower(),
            "check the path of the region's model",
        ) from error


def _refused(model: str | Path, why: str) -> BundleError:
    return BundleError(
        "E_REGION_MODEL",
        f"{model} finds no region",
        why,
        "see 'Only a part' in docs/live.md for what it has to be",
    )


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__
