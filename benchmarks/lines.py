"""What every benchmark shares: who measured (machine and versions), percentiles, and one JSON line as the result."""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results"
SHARED = Path(__file__).parents[2] / "shared" / "data"
"""Photographs, clips and peers' models: not part of the project. Benchmarks say so where it is absent."""


def arguments(description: str | None) -> argparse.ArgumentParser:
    """`--keep` is what all of them take."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--keep", action="store_true", help="append the line to benchmarks/results/")
    return parser


def machine() -> dict[str, Any]:
    """The processor with the instructions that matter, and how much of it is ours."""
    from allaprima.machine import processor_name
    from allaprima.threads import available

    return {
        "processor": processor_name(),
        "processors": available(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions(*names: str) -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("allaprima", *names):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def milliseconds(seconds: Sequence[float]) -> dict[str, float]:
    """p50, p95, p99 and the smallest of some measurements, in ms."""
    p50, p95, p99 = np.percentile(np.asarray(seconds) * 1000, [50, 95, 99])
    return {
        "p50": round(float(p50), 3),
        "p95": round(float(p95), 3),
        "p99": round(float(p99), 3),
        "min": round(float(min(seconds)) * 1000, 3),
        "n": len(seconds),
    }


def report(name: str, line: dict[str, Any], *, keep: bool) -> None:
    """Print the line; with `keep`, also append it to `results/NAME.jsonl`."""
    whole = {"benchmark": name, "date": datetime.now(UTC).date().isoformat(), **line}
    text = json.dumps(whole)
    print(text)
    if keep:
        RESULTS.mkdir(exist_ok=True)
        with open(RESULTS / f"{name}.jsonl", "a", encoding="utf-8") as file:
            file.write(text + "\n")
