"""Does a bundle paint here what its makers saw? The golden pair on every backend, precision and variant."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np

from .backends import BACKENDS, load
from .bundle import Bundle
from .errors import BundleError, DeviceError, UsageError
from .frame import Frame, Image
from .manifest import Golden, Tolerance
from .metrics import Difference, compare
from .planes import LIMITED_BT709, Coding, Planes
from .stylizer import Stylizer

__all__ = ["Checked", "check", "golden_others", "golden_pair"]


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
    golden_pair(bundle)
    golden = bundle.manifest.golden
    assert golden is not None  # golden_pair has raised
    checked: list[Checked] = []
    build = backend is not None
    for name in [backend] if backend else BACKENDS:
        one = ""
        try:
            kind, device = load(name)
            possible = kind.precisions(device)
            for one in [precision] if precision else _wanted(bundle, golden, name, possible):
                checked.append(_check(bundle, golden, name, one, build=build))
                if _has_planes(bundle, possible[one]):
                    checked.append(_check(bundle, golden, name, one, LIMITED_BT709, build=build))
        except DeviceError as error:
            if backend:
                raise
            checked.append(Checked(name, one, f"{name}: {error.why}", None, None, None))
    return checked


def golden_pair(bundle: Bundle, coding: Coding | None = None) -> tuple[Image, Image]:
    """A picture and what the reference makes of it, (H, W, 3) uint8 RGB; or of a `coding`, `Planes.stacked`. Of
    several pictures it is the first: `golden_others`.

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
    if coding is None:
        return _picture(bundle, golden.image), _picture(bundle, golden.styled)
    assert golden.planes is not None  # or the manifest, which has a variant for them, could not be read
    assert golden.styled_planes is not None
    return _picture(bundle, golden.planes), _picture(bundle, golden.styled_planes)


def golden_others(bundle: Bundle) -> list[Image]:
    """Of a bundle that makes one picture of several: all that go in besides the golden pair's own, in order."""
    golden = bundle.manifest.golden
    return [_picture(bundle, name) for name in golden.others] if golden else []


def _wanted(bundle: Bundle, golden: Golden, name: str, possible: dict[str, str]) -> list[str]:
    """Not the precisions whose variants are all made for other backends: they promise nothing for this one."""
    stored = {variant.precision for variant in bundle.manifest.for_pictures if variant.serves(name)}
    return [one for one in possible if possible[one] in stored and one in golden.tolerances]


def _has_planes(bundle: Bundle, stored: str) -> bool:
    return any(one.edges == "planes" and one.precision == stored for one in bundle.manifest.variants)


def _check(
    bundle: Bundle, golden: Golden, name: str, precision: str, coding: Coding | None = None, *, build: bool
) -> Checked:
    tolerances: dict[Any, Tolerance] = golden.tolerances
    if precision not in tolerances:
        raise UsageError(
            "E_STYLE_PRECISION",
            f"style {bundle.manifest.name!r} promises nothing for {precision!r}",
            f"it has tolerances for {', '.join(tolerances)}",
            "choose one of these",
        )
    image, styled = golden_pair(bundle, coding)
    others = golden_others(bundle)
    size = (image.shape[1], image.shape[0])
    with Stylizer.open(
        bundle, backend=name, precision=precision, size=size, coding=coding, build=build
    ) as stylizer:
        if coding is not None and stylizer.report.edges != "planes":
            why = stylizer.report.degraded[-1]
            raise DeviceError("E_BACKEND_UNAVAILABLE", f"{name} does not paint planes", why)
        stylizer.set(**golden.controls)

        def painted() -> Image:
            if coding is None:
                return stylizer.fuse([image, *others])
            return _bytes(stylizer(Frame(Planes.unstacked(image, coding))))

        difference = compare(painted(), styled)
        identity = None
        if "strength" in stylizer.controls:
            scale = bundle.manifest.geometry.scale
            stylizer.set(strength=0.0)
            identity = bool(np.array_equal(painted(), image.repeat(scale, 0).repeat(scale, 1)))
        line = stylizer.report.line if coding is None else f"{stylizer.report.line}, planes"
        return Checked(name, precision, line, difference, tolerances[precision], identity)


def _bytes(frame: Frame) -> Image:
    return frame.image if frame.planes is None else frame.planes.stacked()


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
