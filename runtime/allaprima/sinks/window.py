"""A window on the screen, through OpenCV."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import socket
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ..errors import DeviceError
from ..frame import Frame
from ..opencv import import_cv2, windows_hang

__all__ = ["WindowSink", "display_problem"]

_STOP_KEYS = (27, ord("q"), ord("Q"))  # Esc
_LARGEST = (1920, 1080)  # pixels of a window, until the viewer makes it larger: screens are that large
_SAME_FORM = 0.02  # width over height, of frames that were painted smaller
_NO_KEY = 255  # -1, as waitKey says it


class WindowSink:
    """Shows frames; `q`, Esc or closing the window stops. Used from the thread that made it, as window systems want.

    With `hold`, the last frame stays until any key is pressed or the window is closed: for a picture, which would
    otherwise be gone as it appears. Every other key goes to `on_key`.
    """

    live = True
    takes_planes = False

    def __init__(
        self,
        title: str = "Alla Prima",
        *,
        hold: bool = False,
        on_key: Callable[[str], None] | None = None,
    ) -> None:
        self.name = "window"
        self.notes: list[str] = []
        self._title = title
        self._hold = hold
        self._on_key = on_key
        self._shown = False
        self._form: float | None = None  # width over height of what is shown
        problem = display_problem()
        if problem is None and windows_hang():
            problem = (
                "this program has imported av before cv2, and with the X libraries of av's wheel OpenCV would hang: "
                "import cv2, or allaprima.sources, before av"
            )
        if problem is not None:
            raise DeviceError(
                "E_DISPLAY",
                "cannot open a window",
                problem,
                "write a file instead (run --out, live --record) or a page (live --page --no-window), or use ssh -X",
            )
        self._cv2 = import_cv2("open a window")
        if not Path(os.environ.get("QT_QPA_FONTDIR", "/")).is_dir():
            # cv2 names a folder that its wheel has not, and Qt complains five times; nothing is written by it
            os.environ["QT_QPA_FONTDIR"] = str(Path(__file__).parent)
        try:
            self._cv2.namedWindow(title, _bare(self._cv2))
        except self._cv2.error as error:
            raise DeviceError(
                "E_DISPLAY",
                "cannot open a window",
                f"this OpenCV cannot: {str(error).strip().splitlines()[0]}",
                "pip uninstall opencv-python-headless && pip install --force-reinstall opencv-python",
            ) from error

    def put(self, frame: Frame) -> bool:
        cv2 = self._cv2
        self._fit(frame)
        cv2.imshow(self._title, cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR))
        wanted = self.look()
        self._shown = True
        return wanted

    def _fit(self, frame: Frame) -> None:
        """The window as wide as the first frame, and as high as a frame's form wants when that changes, for example to
        side by side: resized by the viewer it keeps the form, but not by itself."""
        form = frame.width / frame.height
        if self._form is not None and abs(form / self._form - 1) < _SAME_FORM:
            return
        width = frame.width if self._form is None else self._cv2.getWindowImageRect(self._title)[2]
        width = min(width if width > 0 else frame.width, _LARGEST[0], round(_LARGEST[1] * form))
        self._cv2.resizeWindow(self._title, width, max(1, round(width / form)))
        self._form = form

    def look(self) -> bool:
        """Hear what the viewer does, without a new frame: a window that does not listen counts as hung. False: stop."""
        key = self._cv2.waitKey(1) & 0xFF
        if key in _STOP_KEYS or (self._shown and self._closed()):
            self._hold = False
            return False
        if self._on_key is not None and key != _NO_KEY:
            self._on_key(chr(key))
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            while kind is None and self._hold and self._shown and not self._closed():
                if self._cv2.waitKey(50) != -1:
                    break
        finally:
            with contextlib.suppress(self._cv2.error):  # the viewer may have closed it already
                self._cv2.destroyWindow(self._title)

    def _closed(self) -> bool:
        try:
            return bool(self._cv2.getWindowProperty(self._title, self._cv2.WND_PROP_VISIBLE) < 1)
        except self._cv2.error:  # OpenCV 5 with Qt: with its last window, who would answer is gone
            return True


def _bare(cv2: Any) -> int:
    """A window that can be resized, with the picture alone: Qt's bars of tools and status leave grey at its sides."""
    return int(cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)


def display_problem() -> str | None:
    """Why no window can be opened here, as far as can be told without opening one; None where nothing is known.

    Asked before OpenCV is, because Qt ends the whole process, without an exception, where no display answers.
    """
    if sys.platform != "linux":
        return None
    wayland, display = os.environ.get("WAYLAND_DISPLAY"), os.environ.get("DISPLAY")
    if not wayland and not display:
        return "there is no display here (DISPLAY and WAYLAND_DISPLAY are not set)"
    if wayland and not _speaks_x_only():
        path = os.path.join(os.environ.get("XDG_RUNTIME_DIR", ""), wayland)
        if _answers([(socket.AF_UNIX, path)]):
            return None
        if not display:
            return f"no display answers at WAYLAND_DISPLAY={wayland}"
    if not display:
        return "DISPLAY is not set, and this OpenCV does not know Wayland (it would use XWayland)"
    host, _, screen = display.rpartition(":")
    number = screen.partition(".")[0]
    if not number.isdigit():
        return f"DISPLAY={display} is not the name of a display"
    port = (socket.AF_INET, (host.removeprefix("tcp/") or "localhost", 6000 + int(number)))
    path = f"/tmp/.X11-unix/X{number}"
    here = [(socket.AF_UNIX, f"\0{path}"), (socket.AF_UNIX, path)] if host in ("", "unix") else []
    return None if _answers([*here, port]) else f"no display answers at DISPLAY={display}"


def _speaks_x_only() -> bool:
    """Whether OpenCV is the wheel from PyPI, whose Qt knows X and nothing else. Found out without importing it."""
    found = importlib.util.find_spec("cv2")
    if found is None or found.origin is None:
        return False
    names = [file.name for file in Path(found.origin).parent.glob("qt/plugins/platforms/*")]
    return bool(names) and not any("wayland" in name for name in names)


def _answers(addresses: Iterable[tuple[int, Any]]) -> bool:
    """Whether somebody listens at one of these (family, address)."""
    for family, address in addresses:
        with socket.socket(family, socket.SOCK_STREAM) as connection:
            connection.settimeout(3)
            try:
                connection.connect(address)
            except (OSError, OverflowError):  # nobody there; a port or path that cannot be
                continue
            return True
    return False
