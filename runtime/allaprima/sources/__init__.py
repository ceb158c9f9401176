# ruff: noqa: E402 - something has to be done before PyAV is imported
"""Where frames come from: pictures, video files, cameras, and sources made of arithmetic.

with open_source("clip.mp4") as source:
    for frame in source: ...
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ..errors import InputError
from ..opencv import before_av

before_av()

from .camera import Camera, list_cameras, open_camera
from .live import Capture, EndOfCapture, LiveSource
from .pictures import PictureFolder, PictureSource, pictures_in
from .sniff import is_picture, kind_of, readable
from .source import Source
from .synthetic import BarsSource, bars, fake_camera
from .video import Hdr, OnCorrupt, VideoSource

__all__ = [
    "BarsSource",
    "Camera",
    "Capture",
    "EndOfCapture",
    "Hdr",
    "LiveSource",
    "OnCorrupt",
    "PictureFolder",
    "PictureSource",
    "Source",
    "VideoSource",
    "is_picture",
    "list_cameras",
    "open_source",
    "pictures_in",
]


def open_source(
    spec: str | Path,
    *,
    size: tuple[int, int] | None = None,
    rate: float | None = None,
    on_corrupt: OnCorrupt = "fail",
    hdr: Hdr = "tonemap",
    reconnect: bool = False,
) -> Source:
    """Whatever `spec` names, as a `Source`: a file (picture or video, by its content), `bars:...`, `fake:...`, or a
    camera by number (`0`), path (`/dev/video0`) or name.

    `size` (width, height) is a box that frames are shrunk to fit, and what a camera is asked for, as is `rate` (frames
    per second). With `reconnect`, a camera that is lost is waited for instead of being an error. A file whose name is
    a number or begins with `bars:` is reached as `./0`. Raises InputError, DeviceError or UsageError.
    """
    text = str(spec)
    if text.startswith("bars:"):
        return bars(text, size=size)
    if text.startswith("fake:"):
        return fake_camera(text, size=size, reconnect=reconnect)
    if text.isdigit() or text.startswith("/dev/video") or text.startswith("/dev/v4l/"):
        return open_camera(text, size=size, rate=rate, reconnect=reconnect)
    a_word = not os.path.exists(text) and _is_a_word(text)
    if a_word and _is_a_camera(text):
        return open_camera(text, size=size, rate=rate, reconnect=reconnect)
    try:
        path = readable(Path(text))
    except InputError as error:
        if not a_word:
            raise
        cameras = "or list the cameras with: allaprima cameras"
        raise InputError(error.code, error.what, error.why, f"{error.next}, {cameras}") from None
    if kind_of(path) == "picture":
        return PictureSource(path, size=size)
    return VideoSource(path, size=size, on_corrupt=on_corrupt, hdr=hdr)


def _is_a_word(text: str) -> bool:
    """A name without a folder and an extension: of a camera, perhaps."""
    if "://" in text:
        raise InputError(
            "E_INPUT_ADDRESS",
            f"cannot read {text}",
            "network addresses are not read",
            "download it to a file first",
        )
    return not ("/" in text or "\\" in text or Path(text).suffix)


def _is_a_camera(text: str) -> bool:
    """Part of a camera's name. Only Linux tells names, and without opening every camera to ask."""
    return sys.platform == "linux" and any(text.lower() in camera.name.lower() for camera in list_cameras())
