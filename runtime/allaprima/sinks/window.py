"""A window on the screen, through OpenCV."""

from __future__ import annotations

import contextlib
import os
import sys
from types import TracebackType
from typing import Self

from ..errors import DeviceError
from ..frame import Frame
from ..sources.camera import import_cv2

__all__ = ["WindowSink"]

_STOP_KEYS = (27, ord("q"), ord("Q"))  # Esc


class WindowSink:
    """Shows frames; `q`, Esc or closing the window stops. Used from the thread that made it, as window systems want."""

    live = True

    def __init__(self, title: str = "Alla Prima") -> None:
        self.name = "window"
        self.notes: list[str] = []
        self._title = title
        self._shown = False
        if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            # asked before OpenCV is, because Qt ends the whole process where there is no display
            raise DeviceError(
                "E_DISPLAY",
                "cannot open a window",
                "there is no display here (DISPLAY and WAYLAND_DISPLAY are not set)",
                "write a file with --out instead, or log in with ssh -X",
            )
        self._cv2 = import_cv2("open a window")
        try:
            self._cv2.namedWindow(title, self._cv2.WINDOW_NORMAL | self._cv2.WINDOW_KEEPRATIO)
        except self._cv2.error as error:
            raise DeviceError(
                "E_DISPLAY",
                "cannot open a window",
                f"this OpenCV cannot: {str(error).strip().splitlines()[0]}",
                "pip uninstall opencv-python-headless && pip install --force-reinstall opencv-python",
            ) from error

    def put(self, frame: Frame) -> bool:
        cv2 = self._cv2
        if not self._shown:
            cv2.resizeWindow(self._title, frame.width, frame.height)
        cv2.imshow(self._title, cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR))
        key = cv2.waitKey(1) & 0xFF
        if key in _STOP_KEYS:
            return False
        if self._shown and cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1:
            return False
        self._shown = True
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(self._cv2.error):  # the viewer may have closed it already
            self._cv2.destroyWindow(self._title)
