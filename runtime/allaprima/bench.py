"""How fast is a bundle here? Every variant on every backend and precision that starts, each with its golden check.

    for line in bench(Bundle.open("starry.prima"), (1280, 720)):
        print(line.backend, line.precision, line.latency_ms)

What is timed is a call of the stylizer: what everybody waits for, with padding and copies. The picture is the bundle's
golden one, brought to size.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from .backends import BACKENDS, gpu_expected, load
from .bundle import Bundle
from .check import check, golden_pair
from .errors import AllaPrimaError, DeviceError
from .frame import Frame, Image
from .machine import fingerprint
from .manifest import Variant
from .meter import Percentiles
from .metrics import Difference
from .pixels import resize
from .planes import LIMITED_BT709, Planes
from .stylizer import Stylizer
from .threads import available
from .winners import Winner, narrowed

__all__ = ["Line", "bench", "fastest"]

FEWEST = 5  # measurements, however long each takes


@dataclass(frozen=True)
class Line:
    """One variant on one backend in one precision; or why there is none."""

    backend: str
    precision: str
    """What is computed in; empty where the backend does not start."""
    variant: str
    edges: str
    size: tuple[int, int]
    """(width, height) of the pictures."""
    threads: int
    what: str
    """What ran, in words, or why nothing did."""
    latency_ms: Percentiles | None
    runs: int
    golden: bool | None
    """Whether it keeps the manifest's promise; None where it did not run or promises nothing."""
    difference: Difference | None
    """From the golden picture."""

    @property
    def ran(self) -> bool:
        return self.latency_ms is not None


def bench(
    bundle: Bundle, size: tuple[int, int], *, seconds: float = 2.0, threads: int | None = None
) -> Iterator[Line]:
    """Measure pictures of (width, height), each `seconds` long. What does not start is a line, too, with the reason.

    Raises BundleError E_BUNDLE_GOLDEN for a lone ONNX file, which has nothing to be checked with.
    """
    picture = resize(golden_pair(bundle)[0], *size)
    for name, entry in BACKENDS.items():
        try:
            if entry.extra == "gpu" and not gpu_expected():
                raise DeviceError(
                    "E_BACKEND_UNAVAILABLE", f"backend {name!r}", "there is no NVIDIA card here"
                )
            kind, device = load(name)
            possible = kind.precisions(device)
        except DeviceError as error:
            yield Line(name, "", "", "", size, threads or available(), error.why, None, 0, None, None)
            continue
        for precision, stored in possible.items():
            for variant in bundle.manifest.variants:
                fits = variant.fixed in (None, size[::-1]) or not _open_sizes(bundle)
                if variant.precision == stored and variant.edges != "float" and fits:
                    yield _measure(bundle, variant, name, precision, picture, seconds, threads)


def fastest(bundle: Bundle, lines: Iterable[Line]) -> list[Winner]:
    """The winner of each edges (RGB, planes): the lowest median of those that ran and kept the promise."""
    found: dict[str, Line] = {}
    for line in lines:
        if line.latency_ms is None or line.golden is not True:
            continue
        before = found.get(line.edges)
        if before is None or before.latency_ms is None or line.latency_ms.p50 < before.latency_ms.p50:
            found[line.edges] = line
    today = datetime.now(UTC).date().isoformat()
    return [
        Winner(
            style=bundle.manifest.name,
            size=line.size,
            edges=line.edges,
            threads=line.threads,
            backend=line.backend,
            precision=line.precision,
            variant=line.variant,
            p50_ms=round(line.latency_ms.p50, 3),
            measured=today,
            machine=fingerprint(),
        )
        for line in found.values()
        if line.latency_ms is not None
    ]


def _measure(
    bundle: Bundle,
    variant: Variant,
    backend: str,
    precision: str,
    picture: Image,
    seconds: float,
    threads: int | None,
) -> Line:
    size = (picture.shape[1], picture.shape[0])
    used = threads or available()
    alone = narrowed(bundle, variant.name)
    frame = Frame(picture) if variant.edges == "rgb" else Frame(Planes.from_rgb(picture, LIMITED_BT709))
    try:
        with Stylizer.open(alone, backend=backend, precision=precision, threads=threads, tile=0) as stylizer:
            stylizer(frame)  # starts, and warms up
            found = _time(stylizer, frame, seconds)
            what = stylizer.report.line
            if stylizer.report.edges != variant.edges:
                raise DeviceError("E_BACKEND_UNAVAILABLE", "planes", "; ".join(stylizer.report.degraded))
        passed, difference = _golden(alone, variant, backend, precision)
    except (
        AllaPrimaError
    ) as error:  # a vendor's refusal of one variant is a line, and not the end of the others
        why = error.why or error.what
        return Line(backend, precision, variant.name, variant.edges, size, used, why, None, 0, None, None)
    return Line(
        backend, precision, variant.name, variant.edges, size, used, what,
        Percentiles.of(found), len(found), passed, difference,
    )  # fmt: skip


def _time(stylizer: Stylizer, frame: Frame, seconds: float) -> deque[float]:
    """Milliseconds of each painting, for that long."""
    found: deque[float] = deque()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(found) < FEWEST:
        began = time.perf_counter()
        stylizer(frame)
        found.append((time.perf_counter() - began) * 1000)
    return found


def _golden(
    alone: Bundle, variant: Variant, backend: str, precision: str
) -> tuple[bool | None, Difference | None]:
    """Whether it keeps the promise, and how near it comes; None, None where there is nothing to compare with.

    That is: a precision without a tolerance, and a built-in size that the golden picture does not have.
    """
    golden = alone.manifest.golden
    if golden is None or precision not in golden.tolerances:
        return None, None
    if variant.fixed is not None and golden_pair(alone)[0].shape[:2] != variant.fixed:
        return None, None
    checked = check(alone, backend=backend, precision=precision)[-1]  # of planes, the last one is
    return bool(checked), checked.difference


def _open_sizes(bundle: Bundle) -> bool:
    return any(variant.fixed is None for variant in bundle.manifest.for_pictures)
