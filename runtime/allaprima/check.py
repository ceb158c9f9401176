"""Does a bundle paint here what its makers saw? The golden pair on every backend, precision and variant."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np

from .backends import BACKENDS, load
from .bundle import Bundle
from .errors import BundleError, DeviceError, UsageError
from .frame import Image
from .manifest import Golden, Tolerance
from .metrics import Difference, compare
from .stylizer import Stylizer

__all__ = ["Checked", "check", "golden_pair"]


@dataclass(frozen=True)
class Checked:
    """One backend in one precision. Truthy when it passed."""

    backend: str
    precision: str
    """Empty where the backend did not start."""
    line: str
    """What ran, or why nothing did."""
    difference: Difference | None
    """From the golden picture; None where nothing ran."""
    tolerance: Tolerance | None
    identity: bool | None
    """Whether strength 0 gives the picture back byte for byte (each pixel s x s times where the scale is s);
    None where there is no such control."""

    def __bool__(self) -> bool:
        if self.difference is None or self.tolerance is None:
            return False
        return self.tolerance.holds(self.difference) and self.identity is not False

    @property
    def ran(self) -> bool:
        """False: not to be had on this machine, which is no fault of the bundle."""
        return self.difference is not None


def check(bundle: Bundle, *, backend: str | None = None, precision: str | None = None) -> list[Checked]:
    """Run the golden pair through the Stylizer and compare within the manifest's tolerance.

    None means all: every backend of the table, every precision that it has here and the bundle has a variant
    and a tolerance for. What does not start is in the list, with the reason, unless it was named: then its
    DeviceError is raised. Engines (TensorRT) are built for a backend that was named only: that can take minutes.
    Raises BundleError E_BUNDLE_GOLDEN for a lone ONNX file, which has no golden pair.
    """
    image, styled = golden_pair(bundle)
    golden = bundle.manifest.golden
    assert golden is not None  # golden_pair has raised
    checked: list[Checked] = []
    for name in [backend] if backend else BACKENDS:
        one = ""
        try:
            kind, device = load(name)
            for one in [precision] if precision else _wanted(bundle, golden, kind.precisions(device)):
                checked.append(_check(bundle, golden, image, styled, name, one, build=backend is not None))
        except DeviceError as error:
            if backend:
                raise
            checked.append(Checked(name, one, f"{name}: {error.why}", None, None, None))
    return checked


def golden_pair(bundle: Bundle) -> tuple[Image, Image]:
    """A picture and what the reference makes of it, (H, W, 3) uint8 RGB.

    Raises BundleError E_BUNDLE_GOLDEN for a lone ONNX file, and for a file that is no picture.
    """
    golden = bundle.manifest.golden
    if golden is None:
        raise BundleError(
            "E_BUNDLE_GOLDEN",
            f"cannot check {bundle.path}",
            "a lone ONNX file has no golden pair",
            "check the whole bundle that it came from",
        )
    return _picture(bundle, golden.image), _picture(bundle, golden.styled)


def _wanted(bundle: Bundle, golden: Golden, possible: dict[str, str]) -> list[str]:
    stored = {variant.precision for variant in bundle.manifest.for_pictures}
    return [one for one in possible if possible[one] in stored and one in golden.tolerances]


def _check(
    bundle: Bundle, golden: Golden, image: Image, styled: Image, name: str, precision: str, *, build: bool
) -> Checked:
    tolerances: dict[Any, Tolerance] = golden.tolerances
    if precision not in tolerances:
        raise UsageError(
            "E_STYLE_PRECISION",
            f"style {bundle.manifest.name!r} promises nothing for {precision!r}",
            f"it has tolerances for {', '.join(tolerances)}",
            "choose one of these",
        )
    size = (image.shape[1], image.shape[0])
    with Stylizer.open(bundle, backend=name, precision=precision, size=size, build=build) as stylizer:
        stylizer.set(**golden.controls)
        difference = compare(stylizer.paint(image), styled)
        identity = None
        if "strength" in stylizer.controls:
            scale = bundle.manifest.geometry.scale
            stylizer.set(strength=0.0)
            identity = bool(np.array_equal(stylizer.paint(image), image.repeat(scale, 0).repeat(scale, 1)))
        return Checked(name, precision, stylizer.report.line, difference, tolerances[precision], identity)


def _picture(bundle: Bundle, name: str) -> Image:
    from PIL import Image as Pictures

    try:
        with Pictures.open(io.BytesIO(bundle.read(name)), formats=["PNG"]) as picture:
            return np.asarray(picture.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Pictures.DecompressionBombError) as error:
        raise BundleError(
            "E_BUNDLE_GOLDEN",
            f"cannot read {name} of {bundle.path}",
            f"it is not a PNG picture: {error}",
            "get the bundle again",
        ) from None
