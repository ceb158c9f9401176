"""What this machine can paint with, tried out rather than guessed: each backend really starts, each encoder opens.

`ok` works, `--` is not here and not needed, `!!` needs attention. Exit status 0 without any `!!`, else 6.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

HELP = "show what works on this machine, and why not"

PACKAGES = (
    "numpy", "opencv-python", "opencv-python-headless", "av", "pillow", "pydantic", "rich", "onnxruntime",
    "onnxruntime-gpu", "openvino", "tensorrt", "tensorrt-rtx", "cuda-bindings", "torch", "onnx", "pyvirtualcam",
)  # fmt: skip


@dataclass(frozen=True)
class Finding:
    about: str
    state: Literal["ok", "--", "!!"]
    text: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="the same as one JSON object, for bug reports")


def run(args: argparse.Namespace) -> int:
    findings = [
        *system(),
        *distributions(),
        *tensorrt(),
        *backends(),
        *measured(),
        *media(),
        *shown(),
        *cameras(),
    ]
    if args.json:
        print(json.dumps([vars(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            print(f"{finding.state}  {finding.about:<16} {finding.text}")
    return 6 if any(finding.state == "!!" for finding in findings) else 0


def system() -> Iterator[Finding]:
    from .. import __version__
    from ..machine import processor_name
    from ..threads import available

    yield Finding(
        "allaprima", "ok", f"{__version__}, Python {platform.python_version()}, {platform.platform()}"
    )
    processors = f"{available()} of {os.cpu_count()} processors are ours"
    yield Finding("processor", "ok", f"{processor_name()}; {processors}")
    free = shutil.disk_usage(".").free / 1e9
    yield Finding("disk", "ok" if free > 1 else "!!", f"{free:.1f} GB free in {os.getcwd()}")


def distributions() -> Iterator[Finding]:
    installed = {}
    for name in PACKAGES:
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            continue
    yield Finding("packages", "ok", ", ".join(f"{name} {number}" for name, number in installed.items()))
    for pair in (("onnxruntime", "onnxruntime-gpu"), ("opencv-python", "opencv-python-headless")):
        if all(name in installed for name in pair):
            yield Finding(
                "packages", "!!",
                f"{' and '.join(pair)} are the same folder on disk, and the last one installed wins: "
                f"pip uninstall {' '.join(pair)}, then install the one that you want",
            )  # fmt: skip


def tensorrt() -> Iterator[Finding]:
    """Which flavours are installed, the driver and card that they find, and what is missing."""
    from ..cuda import driver_version, find_gpu, in_words
    from ..engines import FLAVOURS, Cache, Vendor, cache_folder, load_flavour
    from ..errors import AllaPrimaError

    vendors: list[Vendor] = []
    for flavour in FLAVOURS.values():
        try:
            vendors.append(load_flavour(flavour.word))
        except AllaPrimaError as error:
            if "not installed" not in error.why:
                yield Finding("TensorRT", "!!", f"{error.why}; {error.next}")
    if not vendors:
        number = driver_version()
        driver = f"driver for CUDA {in_words(number)}" if number else "no driver for NVIDIA cards"
        yield Finding("TensorRT", "--", f"pip install 'allaprima[gpu]' or 'allaprima[rtx]'; {driver}")
        return
    titles = " and ".join(vendor.title for vendor in vendors)
    try:
        yield Finding("TensorRT", "ok", f"{titles}; {find_gpu().line}")
    except AllaPrimaError as error:
        ahead = "; engines for other cards can be built" if any(one.targets for one in vendors) else ""
        yield Finding("TensorRT", "--", f"{titles}; {error.why}{ahead}")
    try:
        found = list(Cache()) if cache_folder().is_dir() else []
    except AllaPrimaError as error:
        yield Finding("engines", "!!", str(error))
        return
    proven = sum(entry.proof is not None for entry in found)
    kept = f"{len(found)} in {cache_folder()}, {proven} proven on a card" if found else "none yet"
    yield Finding("engines", "ok" if found else "--", kept)


def backends() -> Iterator[Finding]:
    """Every backend on a small picture, in every precision that it has here: started, run, compared."""
    from ..bundle import Bundle, styles
    from ..check import check
    from ..errors import AllaPrimaError

    found = styles()
    if not found:
        yield Finding("styles", "!!", "none is installed; set ALLAPRIMA_STYLES or install allaprima again")
        return
    yield Finding("styles", "ok", ", ".join(found))
    name = "starry" if "starry" in found else next(iter(found))
    try:
        results = check(Bundle.open(found[name]))
    except AllaPrimaError as error:
        yield Finding("backends", "!!", str(error))
        return
    for one in results:
        if one.difference is None:
            yield Finding("backend", "--", one.line)
        else:
            figures = f"PSNR {one.difference.psnr_db:.0f} dB from the golden picture of {name}"
            yield Finding("backend", "ok" if one else "!!", f"{one.line}: {figures}")
    if not any(one.ran for one in results):
        yield Finding("backends", "!!", "none starts: pip install 'allaprima[cpu]'")


def measured() -> Iterator[Finding]:
    """What `allaprima bench --remember` has chosen for this machine."""
    from ..machine import fingerprint
    from ..winners import remembered

    now = fingerprint()
    for winner in remembered():
        width, height = winner.size
        text = (
            f"{winner.style} at {width}x{height} ({winner.edges}): {winner.backend} in {winner.precision}, "
            f"{winner.p50_ms:.1f} ms, {winner.words}"
        )
        if winner.machine == now:
            yield Finding("fastest", "ok", text)
        else:
            yield Finding("fastest", "--", f"{text}; out of date: the machine or a version has changed")


def media() -> Iterator[Finding]:
    import av

    for kind, names in (
        ("video encoders", ("libx264", "libx265", "libsvtav1", "libvpx-vp9")),
        ("sound", ("aac", "libopus")),
    ):
        have = [name for name in names if name in av.codecs_available]
        state: Literal["ok", "!!"] = "ok" if names[0] in have else "!!"
        yield Finding(kind, state, ", ".join(have) or "none: pip install --force-reinstall av")


def shown() -> Iterator[Finding]:
    """What cameras, windows, --virtual-camera and --page need."""
    from ..errors import DeviceError
    from ..opencv import import_cv2
    from ..sinks.window import display_problem

    try:
        import_cv2("open a camera")
    except DeviceError as error:
        yield Finding("OpenCV", "--", f"{error.why}; pictures and files work without it. {error.next}")
    else:
        yield Finding("OpenCV", "ok", "loads: cameras can be tried")
    problem = display_problem()
    yield Finding("display", "--" if problem else "ok", problem or "answers: --window can be tried")
    for what, package, extra, words in (
        ("virtual camera", "pyvirtualcam", "live", "the device is tried when it is used"),
        ("page", "uvicorn", "web", "allaprima live --page serves one"),
    ):
        try:
            version(package)
        except PackageNotFoundError:
            yield Finding(what, "--", f"pip install 'allaprima[{extra}]'")
        else:
            yield Finding(what, "ok", f"{package} is installed; {words}")


def cameras() -> Iterator[Finding]:
    from ..sources import list_cameras

    found = list_cameras()
    text = ", ".join(f"{camera.index}: {camera.name}" for camera in found)
    yield Finding("cameras", "ok" if found else "--", text or "none")
