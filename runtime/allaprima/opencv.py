"""OpenCV, imported when it is needed and not before: it wants the system's libGL, which bare servers do not have."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

from .errors import DeviceError

__all__ = ["before_av", "import_cv2", "windows_hang"]


def import_cv2(purpose: str) -> Any:
    """OpenCV, or a DeviceError that names the one package that is missing."""
    # Media Foundation's hardware transforms take half a minute to start; read once, at import
    os.environ.setdefault("OPENCV_VIDEOIO_MSMF_ENABLE_HW_TRANSFORMS", "0")
    # "can't open camera by index" on stderr says nothing that the error does not say better
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
    try:
        import cv2
    except ImportError as error:
        raise DeviceError(
            "E_DISPLAY_LIBRARY",
            f"cannot {purpose}",
            f"OpenCV does not load: {error}",
            "install what it needs: sudo apt-get install libgl1 (or, without windows: "
            "pip uninstall opencv-python && pip install opencv-python-headless)",
        ) from error
    return cv2


def before_av() -> None:
    """To be called before PyAV is imported: where there is a display, OpenCV has to be first.

    On Linux the wheels of both bring libraries for X under the same names. Whose are loaded first are everybody's, and
    with PyAV's the first window never opens, at full load, and Ctrl-C does not end it (PyAV's issue 1050, OpenCV's
    29195).
    """
    if sys.platform == "linux" and (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        with contextlib.suppress(DeviceError):  # whoever opens a window is told
            import_cv2("open a window")


def windows_hang() -> bool:
    """Whether PyAV has been imported before OpenCV all the same, so that a window would never open (`before_av`)."""
    loaded = [name for name in sys.modules if name in ("av", "cv2")]  # in this order
    if sys.platform != "linux" or loaded[:1] != ["av"]:
        return False
    found = importlib.util.find_spec("cv2")
    if found is None or found.origin is None:
        return False
    beside = (
        Path(found.origin).parents[1] / "opencv_python.libs"
    )  # of OpenCV's wheels since 4.13; others share no names
    with contextlib.suppress(OSError):
        mapped = Path("/proc/self/maps").read_text()
        return any(f"av.libs/{library.name}" in mapped for library in beside.glob("libxcb*"))
    return False
