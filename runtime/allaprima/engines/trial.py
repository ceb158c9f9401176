"""Does a new engine paint what it should? The golden pair, laid into the size that the engine was built for.

Where the sizes differ, only what lies farther from the golden picture's cut or continued border than anything can
reach is compared. Where everything reaches everything (instance norm), another backend's fp32 painting of the same
picture takes the golden one's place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ..bundle import Bundle
from ..errors import DeviceError
from ..manifest import Tolerance
from ..metrics import compare

__all__ = ["Compiled", "Elsewhere", "laid", "try_out"]

Arrays = Mapping[str, NDArray[Any]]
SMALLEST = 32  # pixels a side that a comparison needs to mean something


@runtime_checkable
class Compiled(Protocol):
    """A backend that runs what was compiled on this machine, and may have been compiled wrongly."""

    precision: str
    notes: tuple[str, ...]

    @property
    def proven(self) -> bool: ...
    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]: ...
    def prove(self, against: str, psnr_db: float) -> None: ...
    def refute(self, why: str) -> None: ...


Elsewhere = Callable[[Arrays], dict[str, NDArray[Any]] | None]
"""What another backend makes of these inputs in fp32; None where none starts."""


def try_out(bundle: Bundle, sample: Arrays, backend: Compiled, elsewhere: Elsewhere) -> str:
    """Compare, and tell the backend. A note for the user where nothing could be compared, else an empty string.

    `sample` has the shapes that the engine was built for. Raises DeviceError E_ENGINE_REFUTED; the engine is not used
    again.
    """
    golden, geometry = bundle.manifest.golden, bundle.manifest.geometry
    if golden is None:
        return "the engine was not compared with a golden pair: a lone ONNX file has none"
    from ..check import golden_others, golden_pair

    name, styled = bundle.manifest.inputs[0].name, bundle.manifest.outputs[0].name
    image, expected = golden_pair(bundle)
    inputs, near = sample, False
    if name in sample:  # planes of YUV have no golden pair
        size = sample[name].shape[1:3]
        controls = {
            one.name: np.full(one.shape, golden.controls[one.name], np.float32)
            if one.name in golden.controls
            else np.reshape(np.array(one.initial, np.float32), one.shape)
            for one in bundle.manifest.controls
        }
        pictures = zip(bundle.manifest.inputs, (image, *golden_others(bundle)), strict=True)
        inputs = {
            **sample,
            **controls,
            **{one.name: laid(given, size)[np.newaxis] for one, given in pictures},
        }
        rows, columns = (
            min(ours, theirs) - (0 if ours == theirs else geometry.margin)
            for ours, theirs in zip(size, image.shape[:2], strict=True)
        )
        near = size == image.shape[:2] or (not geometry.whole and min(rows, columns) >= SMALLEST)
    answer = backend.run(inputs)
    if near:
        part = np.s_[: rows * geometry.scale, : columns * geometry.scale]
        against, ours, theirs = "the golden pair", answer[styled][0][part], expected[part]
    else:
        other = elsewhere(inputs)
        if other is None:
            return "the engine was not compared with anything: no other backend starts here"
        first = next(name for name, array in other.items() if array.dtype == np.uint8)
        against, ours, theirs = "another backend", answer[first][0], other[first][0]
    difference = compare(_as_picture(ours), _as_picture(theirs))
    tolerances: dict[Any, Tolerance] = golden.tolerances
    tolerance = tolerances.get(backend.precision)
    if tolerance is None or tolerance.holds(difference):
        backend.prove(against, difference.psnr_db)
        return ""
    why = (
        f"it paints {difference.psnr_db:.1f} dB from {against} in {backend.precision}, "
        f"where {tolerance.psnr_db:g} dB are promised"
    )
    backend.refute(why)
    raise DeviceError(
        "E_ENGINE_REFUTED",
        f"the engine of {bundle.manifest.name} is not used",
        why,
        "try another precision or backend, and report this with the output of allaprima doctor --json",
    )


def _as_picture(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3), or a plane of one channel three times."""
    return np.ascontiguousarray(np.broadcast_to(array, (*array.shape[:2], 3)))


def laid(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """(H, W, 3) -> (height, width, 3): cut at the bottom and right, or continued by its edge there."""
    height, width = size
    cut = picture[:height, :width]
    missing = ((0, height - cut.shape[0]), (0, width - cut.shape[1]), (0, 0))
    return np.pad(cut, missing, mode="edge")
