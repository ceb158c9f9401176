"""The vendor runtimes that can run a bundle's graph, and the choice among them.

A name given means that backend or an error. No name means the best that really starts on this machine, with
the reason why each better one was passed over. Never a silent step down.

    started = start(bundle, {"image": picture, "strength": np.ones(1, np.float32)})
    started.line       # "openvino 2026.4.1 (CPU, bf16, 2 threads)"
    started.backend.run({"image": picture, ...})["styled"]
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from .. import settings
from ..bundle import Bundle
from ..engines import Building, Cache, NotBuilt, Request, build_apart
from ..engines.trial import Compiled, try_out
from ..errors import AllaPrimaError, DeviceError, UsageError
from ..manifest import Manifest, Variant, resolve_shape
from ..onnx_file import with_weights
from ..planes import Coding, rules
from ..threads import available

__all__ = [
    "BACKENDS",
    "PRECISIONS",
    "Arrays",
    "Backend",
    "Better",
    "Entry",
    "Overlapping",
    "Started",
    "choose",
    "gpu_expected",
    "load",
    "start",
]

Arrays = Mapping[str, NDArray[Any]]

PRECISIONS = ("fp32", "bf16", "fp16", "int8")


class Backend(Protocol):
    """One loaded model on one device. It knows nothing of pictures, frames or styles."""

    precision: str
    """What it computes in: one of PRECISIONS."""
    description: str
    """`openvino 2026.4.1 (CPU, bf16, 2 threads)`."""
    notes: tuple[str, ...]
    """What the user should know of this machine's installation."""

    def __init__(
        self, model: bytes, sample: Arrays, *, precision: str, device: str | None, threads: int
    ) -> None:
        """Load, compile, and run the sample once, so that the first real run is as fast as all others.

        `model` is the ONNX file; `sample` are inputs of the shapes that will be run, which may be built in;
        `precision` is one of `precisions(device)`; `device` is the vendor's word, None for the usual one.
        Raises DeviceError when it is not the asked device that would run, and whatever the vendor raises.
        """

    @staticmethod
    def precisions(device: str | None) -> dict[str, str]:
        """What this device computes in, the one to prefer first -> the precision of the variant to run."""

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """All outputs by name. Inputs are C-contiguous and not kept; outputs belong to the caller."""

    def close(self) -> None:
        """Give the memory back. Nothing can be run afterwards."""


@runtime_checkable
class Overlapping(Protocol):
    """A `Backend` that can have several runs going at once: more frames per second, each of them later.

    Its constructor takes `in_flight` besides.
    """

    def submit(self, inputs: Arrays) -> Callable[[], dict[str, NDArray[Any]]]:
        """Begin a run; what is returned waits for its answer, once, and gives or raises it. At most `in_flight` runs
        may be going; their inputs are not changed meanwhile."""


@dataclass(frozen=True)
class Entry:
    """A row of the table: where a backend is, and how users get what it needs."""

    module: str
    """Relative to this package, with one class `Runner`."""
    needs: str
    """The package that it imports."""
    extra: str
    """The extra of `allaprima` that installs it; `gpu` is for NVIDIA cards."""


BACKENDS = {  # best first; a device after a colon is what the row is for
    "tensorrt": Entry(".tensorrt", "tensorrt", "gpu"),
    "ort:cuda": Entry(".ort", "onnxruntime", "gpu"),
    "openvino": Entry(".openvino", "openvino", "cpu"),
    "ort": Entry(".ort", "onnxruntime", "cpu"),
}


@dataclass(frozen=True)
class Better:
    """A better backend than the one that runs, which lacks no more than an engine."""

    name: str
    request: Request


@dataclass(frozen=True)
class Started:
    name: str
    """What to give as `name` to get this one again."""
    backend: Backend
    variant: Variant
    passed_over: dict[str, str]
    """Better backends, and why they do not run here. All of them."""
    better: Better | None = None
    """One of them that will, once its engine is built; see `upgrade.py`."""

    @property
    def line(self) -> str:
        """For people: what runs, and why nothing better does. Of NVIDIA's only to those whom it concerns."""
        reasons = ", ".join(
            f"{name} ({reason})"
            for name, reason in self.passed_over.items()
            if BACKENDS[name].extra != "gpu" or gpu_expected()
        )
        return self.backend.description + (f"; passed over: {reasons}" if reasons else "")


def start(
    bundle: Bundle,
    sample: Arrays,
    *,
    name: str | None = None,
    precision: str | None = None,
    threads: int | None = None,
    coding: Coding | None = None,
    in_flight: int = 1,
    build: bool = True,
    on_build: Callable[[Building], None] | None = None,
) -> Started:
    """Start a backend for inputs of the sample's shapes, and prove that it answers.

    `name` is a row of BACKENDS, with a device after a colon where not the usual one is wanted: `ort:dml`,
    `openvino:gpu`. `precision` None means the one that the device is fastest in (see the backend's `precisions`)
    and the style has a variant for. `sample` should show a picture of many colours: an answer of one flat
    colour counts as a failure. With a `coding`, the sample is YUV planes, and what runs is a variant for these that
    takes its numbers to mean that. `in_flight` is how many runs the caller would like to have going at once: a
    backend that is an `Overlapping` is made for that many, another one for one.

    A named backend that lacks an engine builds it first, in a process of its own, unless `build` is off; `on_build`
    hears how far that is. Without a name, the next best starts at once, and `better` says what to build meanwhile.

    Raises UsageError E_BACKEND_UNKNOWN, E_PRECISION_UNKNOWN, E_STYLE_PRECISION (the style has no such
    variant), DeviceError E_BACKEND_UNAVAILABLE, E_BACKEND_ANSWER, E_PRECISION_UNAVAILABLE, E_ENGINE_...
    """
    if precision is not None and precision not in PRECISIONS:
        raise UsageError(
            "E_PRECISION_UNKNOWN",
            f"there is no precision {precision!r}{settings.nearest(precision, PRECISIONS)}",
            next=f"choose one of {', '.join(PRECISIONS)}",
        )
    if name is not None:
        try:
            return _start(bundle, sample, name, precision, threads, coding, in_flight)
        except NotBuilt as missing:
            if not build:
                raise
            build_apart(missing.request, Cache(), on_build or (lambda now: None))
            return _start(bundle, sample, name, precision, threads, coding, in_flight)
    failed: dict[str, DeviceError] = {}
    better: Better | None = None
    for candidate, entry in BACKENDS.items():
        try:
            if entry.extra == "gpu" and not gpu_expected():
                # Importing onnxruntime to hear the same would cost everybody else 20 ms and 17 MiB at the start.
                raise _unavailable(candidate, "there is no NVIDIA card here", "name it to try it anyway")
            started = _start(bundle, sample, candidate, precision, threads, coding, in_flight)
        except DeviceError as error:
            failed[candidate] = error
            if isinstance(error, NotBuilt) and better is None:
                better = Better(candidate, error.request)
            continue
        return Started(candidate, started.backend, started.variant, _reasons(failed), better)
    reasons = "; ".join(f"{candidate}: {reason}" for candidate, reason in _reasons(failed).items())
    if any(error.code == "E_PRECISION_UNAVAILABLE" for error in failed.values()):
        raise DeviceError(
            "E_PRECISION_UNAVAILABLE",
            f"no backend here runs in {precision}",
            reasons,
            "leave the precision open",
        )
    raise DeviceError(
        "E_BACKEND_UNAVAILABLE", "no backend starts", reasons, "install one: pip install 'allaprima[cpu]'"
    )


def load(name: str) -> tuple[type[Backend], str | None]:
    """The class of a backend and the device that the name asks for; its vendor's package is imported.

    Raises UsageError E_BACKEND_UNKNOWN, DeviceError E_BACKEND_UNAVAILABLE.
    """
    row, _, device = name.partition(":")
    entry = BACKENDS.get(name) or BACKENDS.get(row)
    if entry is None:
        raise UsageError(
            "E_BACKEND_UNKNOWN",
            f"there is no backend {row!r}{settings.nearest(row, BACKENDS)}",
            next=f"choose one of {', '.join(BACKENDS)}",
        )
    try:
        kind: type[Backend] = import_module(entry.module, __name__).Runner
        kind.precisions(device or None)
    except DeviceError:
        raise
    except ModuleNotFoundError as error:
        why = f"{entry.needs} is not installed" if error.name == entry.needs else _first_line(error)
        raise _unavailable(name, why, f"pip install 'allaprima[{entry.extra}]'") from error
    except Exception as error:
        # vendors raise anything: OSError for a library that is missing, AttributeError for half a wheel
        raise _unavailable(
            name, f"{entry.needs} is damaged: {_first_line(error)}", f"install {entry.needs} again"
        ) from error
    return kind, device or None


def gpu_expected() -> bool:
    """Whether a user of this machine may think that a NVIDIA card paints: there is one, or packages for one."""
    # The driver's tool is there on Linux, Windows and WSL; its folder in containers that are without the tool.
    if shutil.which("nvidia-smi") or Path("/proc/driver/nvidia/version").exists():
        return True
    for distribution in ("onnxruntime-gpu", "tensorrt"):
        try:
            version(distribution)
        except PackageNotFoundError:
            continue
        return True
    return False


def _start(
    bundle: Bundle,
    sample: Arrays,
    name: str,
    precision: str | None,
    threads: int | None,
    coding: Coding | None,
    in_flight: int = 1,
) -> Started:
    """That backend or an error."""
    kind, device = load(name)
    possible = kind.precisions(device)
    if precision is not None and precision not in possible:
        raise DeviceError(
            "E_PRECISION_UNAVAILABLE",
            f"backend {name!r} does not run in {precision} here",
            f"it has {', '.join(possible)}",
            "choose one of these, or leave the precision open",
        )
    edges = "rgb" if coding is None else "planes"
    precision, variant = choose(bundle, sample, name, possible, precision, edges)
    model = bundle.read(variant.file)
    if coding is not None:
        model = with_weights(model, rules(coding)._asdict())
    threads = threads or available()
    try:
        several = {"in_flight": in_flight} if in_flight > 1 and issubclass(kind, Overlapping) else {}
        backend = kind(model, sample, precision=precision, device=device, threads=threads, **several)
    except AllaPrimaError:
        raise
    except Exception as error:  # see load(); the vendor's own words are the reason, and stay as the cause
        raise _unavailable(name, _first_line(error), "allaprima doctor says what runs here") from error
    try:
        _prove(name, backend, bundle.manifest, variant, sample)
        if isinstance(backend, Compiled) and not backend.proven:
            note = try_out(
                bundle, sample, backend, lambda inputs: _elsewhere(bundle, inputs, threads, coding)
            )
            backend.notes += (note,) if note else ()
    except BaseException:
        backend.close()
        raise
    return Started(name, backend, variant, {})


def _elsewhere(
    bundle: Bundle, inputs: Arrays, threads: int, coding: Coding | None
) -> dict[str, NDArray[Any]] | None:
    """What a backend that compiles nothing makes of these inputs in fp32; None where none starts."""
    for name in ("openvino", "ort"):
        try:
            backend = _start(bundle, inputs, name, "fp32", threads, coding).backend
        except AllaPrimaError:  # not here, or a style without fp32: the other one is tried
            continue
        try:
            return backend.run(inputs)
        finally:
            backend.close()
    return None


def choose(
    bundle: Bundle, sample: Arrays, name: str, possible: dict[str, str], precision: str | None, edges: str
) -> tuple[str, Variant]:
    """The precision to run in and the variant for it.

    What the golden pair speaks for comes before what the bundle promises nothing for. Then what was measured faster on
    this backend than all else comes first, what was only faster on others last; then the precision that the device
    is fastest in, and what is made for exactly this size before what takes any.
    """
    manifest = bundle.manifest
    size = next(iter(sample.values())).shape[1:3]

    promised: Container[str] = manifest.golden.tolerances if manifest.golden else PRECISIONS

    def place(choice: tuple[str, Variant]) -> tuple[bool, int, int, bool]:
        wanted, variant = choice
        made_for = 0 if name in variant.made_for else 2 if variant.made_for else 1
        return wanted not in promised, made_for, list(possible).index(wanted), variant.fixed is None

    choices = [
        (wanted, variant)
        for wanted in ([precision] if precision else possible)
        for variant in manifest.variants
        if variant.edges == edges and variant.precision == possible[wanted] and variant.fixed in (size, None)
    ]
    if choices:
        return min(choices, key=place)
    asked = precision or " or ".join(possible)
    asked += " with planes" if edges == "planes" else ""
    raise UsageError(
        "E_STYLE_PRECISION",
        f"style {manifest.name!r} has no variant for {asked} at {size[1]}x{size[0]}",
        f"it has {', '.join(variant.name for variant in manifest.variants)}",
        "choose another precision, or export the style with this variant",
    )


def _prove(name: str, backend: Backend, manifest: Manifest, variant: Variant, sample: Arrays) -> None:
    """Run the sample once more and look at the answer: a session that was made is not yet one that works."""
    try:
        answer = backend.run(sample)
    except Exception as error:  # see load()
        raise _unavailable(name, _first_line(error), "allaprima doctor says what runs here") from error
    picture = next(iter(sample.values()))
    height, width = picture.shape[1:3]
    promised = manifest.gives(variant)
    for tensor, (shape, dtype) in promised.items():
        found = answer.get(tensor)
        if found is None or found.shape != resolve_shape(shape, height, width) or found.dtype != dtype:
            is_there = "nothing" if found is None else f"{found.dtype} {list(found.shape)}"
            raise _wrong(
                name, f"its {tensor!r} is {is_there} where the manifest promises {dtype} {list(shape)}"
            )
        if found.dtype.kind == "f" and not np.isfinite(found).all():
            raise _wrong(name, f"its {tensor!r} is not finite in {backend.precision}")
    styled = answer[next(iter(promised))]
    # Bytes cannot be NaN: a graph that computes NaN answers with black (or white) everywhere.
    if np.ptp(picture) > 0 and np.ptp(styled) == 0:
        raise _wrong(name, f"a colourful picture came back as one flat colour in {backend.precision}")


def _reasons(failed: dict[str, DeviceError]) -> dict[str, str]:
    return {name: error.why for name, error in failed.items()}


def _unavailable(name: str, why: str, next: str) -> DeviceError:
    return DeviceError("E_BACKEND_UNAVAILABLE", f"backend {name!r} does not start", why, next)


def _wrong(name: str, why: str) -> DeviceError:
    return DeviceError(
        "E_BACKEND_ANSWER", f"backend {name!r} gives a wrong answer", why, "try another precision or backend"
    )


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__
