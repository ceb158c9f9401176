"""How fast is a style here? Every variant on every backend and precision that starts, with its golden check.

With --remember, the fastest that keeps the bundle's promise is chosen from now on wherever no --backend is named, for
pictures of this size, until the style, the machine or a version of what runs it changes. `allaprima doctor` lists what
is remembered, `allaprima bench --forget` removes it.
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from ..errors import DeviceError, UsageError
from .job import tell, wanted_size

if TYPE_CHECKING:
    from ..bench import Line
    from ..bundle import Bundle

HELP = "measure a style on everything that runs here; remember the fastest"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "bundle", nargs="?", metavar="BUNDLE", help="a style's name or a .prima folder or file"
    )
    parser.add_argument(
        "--size",
        action="append",
        metavar="WxH",
        help="size of the pictures; may be repeated (default: 1280x720)",
    )
    parser.add_argument(
        "--seconds", type=float, default=2.0, metavar="S", help="how long each is measured (default: 2)"
    )
    parser.add_argument(
        "--threads", type=int, metavar="N", help="processors to use (default: all that are ours)"
    )
    parser.add_argument("--remember", action="store_true", help="choose the fastest from now on")
    parser.add_argument("--forget", action="store_true", help="forget everything that was remembered")
    parser.add_argument("--json", action="store_true", help="one JSON line for each measurement")


def run(args: argparse.Namespace) -> int:
    if args.forget:
        from ..winners import forget

        gone = forget()
        print(json.dumps({"forgotten": gone}) if args.json else f"forgot {gone}")
        return 0
    if args.bundle is None:
        raise UsageError("E_USAGE", "it takes a BUNDLE", next="allaprima bench starry")
    if not 0 < args.seconds <= 600:
        raise UsageError("E_USAGE", f"cannot measure for {args.seconds:g} s", next="give 0.1 to 600")
    if args.threads is not None and args.threads < 1:
        raise UsageError("E_USAGE", f"cannot use {args.threads} threads", next="give --threads 1 or more")
    from ..bench import bench, fastest
    from ..bundle import Bundle, find_style
    from ..winners import remember

    bundle = Bundle.open(find_style(args.bundle))
    for size in [wanted_size(text) or (1280, 720) for text in args.size or ["1280x720"]]:
        lines = []
        for line in bench(bundle, size, seconds=args.seconds, threads=args.threads):
            lines.append(line)
            if args.json:
                print(json.dumps(as_json(bundle, line)), flush=True)
            elif line.ran:
                tell(f"{line.backend} {line.precision} {line.variant}: {row(line)}")
        if not any(line.ran for line in lines):
            raise DeviceError(
                "E_BACKEND_UNAVAILABLE",
                f"nothing here can run {bundle.path}",
                "; ".join(f"{line.backend}: {line.what}" for line in lines),
                "pip install 'allaprima[cpu]'",
            )
        if not args.json:
            print(table(bundle, lines))
        for winner in fastest(bundle, lines) if args.remember else []:
            remember(bundle, winner)
            text = f"{winner.backend} in {winner.precision} ({winner.variant}), {winner.p50_ms:.1f} ms"
            tell(f"remembered for {size[0]}x{size[1]} ({winner.edges}): {text}")
    return 0


def row(line: Line) -> str:
    assert line.latency_ms is not None
    found = line.latency_ms
    golden = {True: "golden ok", False: "golden FAILS", None: "no golden pair for it"}[line.golden]
    near = f", {line.difference.psnr_db:.0f} dB" if line.difference is not None else ""
    return (
        f"p50 {found.p50:.1f} ms, p95 {found.p95:.1f}, p99 {found.p99:.1f} ({line.runs} runs); {golden}{near}"
    )


def table(bundle: Bundle, lines: list[Line]) -> str:
    """For people, fastest first; then what did not run, and why."""
    ran = sorted((line for line in lines if line.latency_ms is not None), key=_p50)
    width, height = lines[0].size
    rows = [f"{bundle.manifest.name} at {width}x{height}, fastest first:"]
    for line in ran:
        edges = "" if line.edges == "rgb" else f" ({line.edges})"
        rows.append(f"  {line.backend:<10} {line.precision:<5} {line.variant + edges:<16} {row(line)}")
    for line in lines:
        if not line.ran:
            rows.append(f"  {line.backend:<10} {line.precision:<5} {line.variant:<16} not run: {line.what}")
    return "\n".join(rows)


def as_json(bundle: Bundle, line: Line) -> dict[str, Any]:
    """What, machine, versions, shape, precision, percentiles, golden check."""
    from datetime import UTC, datetime

    from .. import settings
    from ..machine import machine, versions

    return {
        "benchmark": "bundle",
        "date": datetime.now(UTC).date().isoformat(),
        "style": bundle.manifest.name,
        "what": line.what,
        "machine": machine(),
        "versions": versions(),
        "shape": [line.size[1], line.size[0], 3],
        "backend": line.backend,
        "precision": line.precision,
        "variant": line.variant,
        "edges": line.edges,
        "threads": line.threads,
        "latency_ms": {**settings.write(line.latency_ms), "n": line.runs} if line.latency_ms else None,
        "golden": {"passed": line.golden, **(settings.write(line.difference) or {})},
    }


def _p50(line: Line) -> float:
    return line.latency_ms.p50 if line.latency_ms else 0.0
