"""Cameras, through OpenCV, which is imported here and nowhere earlier: it needs the system's libGL."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from ..errors import DeviceError
from ..frame import Image
from ..opencv import import_cv2
from .live import LiveSource

__all__ = ["Camera", "find_camera", "list_cameras", "open_camera"]

_SYS = Path("/sys/class/video4linux")


@dataclass(frozen=True)
class Camera:
    """A camera that this machine has."""

    index: int
    name: str
    path: str
    """`/dev/video0`, or the empty string where the system has no such thing."""

    def __str__(self) -> str:
        return f"{self.index} {self.name!r}" + (f" ({self.path})" if self.path else "")


def list_cameras() -> list[Camera]:
    """The cameras of this machine, without opening one on Linux; elsewhere the first few indices are tried."""
    if sys.platform == "linux":
        return _linux_cameras()
    cv2 = import_cv2("look for cameras")
    found = []
    for index in range(5):
        capture = cv2.VideoCapture(index)
        if capture.isOpened():
            found.append(Camera(index, f"camera {index}", ""))
        capture.release()
    return found


def find_camera(spec: str) -> Camera:
    """By index (`0`), path (`/dev/video0`) or name (a part of it will do). DeviceError E_CAMERA_NOT_FOUND with what
    there is, at once."""
    if spec.startswith("/dev/") and Path(spec).exists():
        path = str(Path(spec).resolve())  # /dev/v4l/by-id/... are links, and the names that stay
        digits = "".join(char for char in path if char.isdigit())
        known = [camera for camera in _linux_cameras() if camera.path == path]
        return known[0] if known else Camera(int(digits or 0), spec, path)
    if spec.isdigit() and sys.platform != "linux":
        return Camera(int(spec), f"camera {spec}", "")  # asking what there is means opening them all
    cameras = list_cameras()
    for matches in (
        [camera for camera in cameras if spec in (str(camera.index), camera.path)],
        [camera for camera in cameras if camera.name.lower() == spec.lower()],
        [camera for camera in cameras if not spec.isdigit() and spec.lower() in camera.name.lower()],
    ):
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise DeviceError(
                "E_CAMERA_NOT_FOUND",
                f"more than one camera is called {spec!r}",
                "; ".join(map(str, matches)),
                "name it by its number or path",
            )
    there = "; ".join(map(str, cameras)) if cameras else "this machine has none"
    raise DeviceError(
        "E_CAMERA_NOT_FOUND",
        f"there is no camera {spec!r}",
        f"found: {there}" if cameras else there,
        "list them: allaprima cameras; without one, try fake:1280x720@30",
    )


def open_camera(
    spec: str,
    *,
    size: tuple[int, int] | None = None,
    rate: float | None = None,
    reconnect: bool = False,
) -> LiveSource:
    """A camera as a live `Source`. `size` (width, height) and `rate` are asked for; `about` tells what it gives, and
    `notes` where that is something else. More than `size` is shrunk to fit into it. `reconnect`: see `LiveSource`."""
    camera = find_camera(spec)
    if camera.path and not os.access(camera.path, os.R_OK | os.W_OK):
        raise DeviceError(
            "E_CAMERA_PERMISSION",
            f"cannot open the camera {camera.name!r}",
            f"permission denied for {camera.path}",
            "join the group that owns it: sudo usermod -aG video $USER, then log in again",
        )
    import_cv2("open a camera")  # here, so that its error is not one of the camera's
    opened = False

    def open() -> _CvCapture:
        nonlocal opened
        now = _same_camera(camera) if opened else camera
        opened = True
        return _CvCapture(now, size or (1280, 720), rate or 30.0)

    return LiveSource(open, camera.name, path=camera.path, size=size, reconnect=reconnect)


def _same_camera(camera: Camera) -> Camera:
    """A camera that was pulled out, where it is now: back in, it may have another number."""
    if sys.platform != "linux":
        return camera
    known = [other for other in _linux_cameras() if other.name == camera.name]
    return next((other for other in known if other.path == camera.path), None) or find_camera(camera.name)


def _linux_cameras() -> list[Camera]:
    found = []
    for entry in sorted(_SYS.glob("video*"), key=lambda path: int(path.name[5:] or 0)):
        try:
            # one camera has several nodes; only the first of each takes pictures, the others carry its metadata
            if int((entry / "index").read_text()) != 0:
                continue
            name = (entry / "name").read_text().strip()
        except (OSError, ValueError):
            continue  # pulled out while we looked
        found.append(Camera(int(entry.name[5:]), name, f"/dev/{entry.name}"))
    return found


class _CvCapture:
    """`cv2.VideoCapture` as a `Capture`."""

    def __init__(self, camera: Camera, size: tuple[int, int], rate: float) -> None:
        cv2 = import_cv2("open a camera")
        self._cv2 = cv2
        self.name = camera.name
        # MJPG must be asked for at opening: uncompressed, USB carries 5 frames a second of this size
        wanted = [
            cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"),
            cv2.CAP_PROP_FRAME_WIDTH, size[0],
            cv2.CAP_PROP_FRAME_HEIGHT, size[1],
            cv2.CAP_PROP_FPS, round(rate),
        ]  # fmt: skip
        system = cv2.CAP_V4L2 if sys.platform == "linux" else cv2.CAP_ANY
        self._capture = cv2.VideoCapture(camera.path or camera.index, system, wanted)
        if not self._capture.isOpened():
            self._capture.release()
            raise DeviceError(
                "E_CAMERA_BUSY",
                f"cannot open the camera {camera.name!r}",
                "it is there, but gives no pictures; another program may be using it, or it is no camera",
                "close that program, or try another: allaprima cameras",
            )
        # a driver that queues four pictures adds four pictures of delay
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        self.width = int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        self.height = int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        given = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = Fraction(given).limit_denominator(1001) if 0 < given <= 1000 else None
        asked = f"asked the camera for {size[0]}x{size[1]} at {rate:g} fps"
        got = f"got {self.width}x{self.height} at {given:g}"
        self.about = f"{asked} in MJPG, {got} in {_fourcc(self._capture.get(cv2.CAP_PROP_FOURCC))}"
        self.notes: list[str] = []
        if (self.width, self.height) != size or (self.rate is not None and abs(given - rate) > 0.5):
            self.notes.append(f"{asked}, {got}")

    def read(self) -> Image | None:
        came, bgr = self._capture.read()
        if not came or bgr is None or bgr.ndim != 3:
            return None
        return np.ascontiguousarray(self._cv2.cvtColor(bgr, self._cv2.COLOR_BGR2RGB))

    def close(self) -> None:
        self._capture.release()


def _fourcc(number: float) -> str:
    """OpenCV's number of a pixel format in its four letters: `MJPG`, `YUYV`."""
    letters = int(number).to_bytes(4, "little", signed=int(number) < 0).decode("ascii", "replace")
    return letters if letters.isprintable() and letters.strip() else "an unknown format"
