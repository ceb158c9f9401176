"""OpenCV, imported when it is needed and not before: it wants the system's libGL, which bare servers do not have."""

from __future__ import annotations

import os
from typing import Any

from .errors import DeviceError

__all__ = ["import_cv2"]


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
