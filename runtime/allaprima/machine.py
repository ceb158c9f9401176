"""Which machine this is: what decides how fast a network runs here, in words, and as a fingerprint."""

from __future__ import annotations

import hashlib
import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .threads import available

__all__ = ["cards", "fingerprint", "machine", "processor_name", "versions"]

RUNTIMES = ("allaprima", "numpy", "onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt", "tensorrt-rtx")
"""The packages whose versions decide how fast something runs."""


def machine() -> dict[str, Any]:
    """Processor, how much of it is ours, cards and system: for the lines of benchmarks."""
    return {
        "processor": processor_name(),
        "processors": available(),
        "cards": cards(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions() -> dict[str, str]:
    """Of what is installed of RUNTIMES, and Python."""
    found = {"python": platform.python_version()}
    for name in RUNTIMES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def fingerprint() -> str:
    """Another one as soon as the machine, or a version that matters, is another one."""
    said = json.dumps([machine(), versions(), platform.release()], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def processor_name() -> str:
    """The model, and the instructions that decide how fast a network runs on it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            lines = dict(line.split(":", 1) for line in file if ":" in line)
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    fields = {key.strip(): value.strip() for key, value in lines.items()}
    flags = fields.get("flags", "").split()
    useful = [
        flag
        for flag in ("amx_int8", "amx_bf16", "avx512_bf16", "avx512_vnni", "avx_vnni", "avx2")
        if flag in flags
    ]
    return f"{fields.get('model name', platform.machine())} ({', '.join(useful) or 'no vector extensions named'})"


def cards(driver: Path = Path("/proc/driver/nvidia/gpus")) -> list[str]:
    """NVIDIA's cards by model, as the Linux driver lists them; none where it is not there."""
    found = []
    for file in sorted(driver.glob("*/information")):
        about = dict(line.split(":", 1) for line in file.read_text().splitlines() if ":" in line)
        found.append(about.get("Model", "?").strip())
    return found
