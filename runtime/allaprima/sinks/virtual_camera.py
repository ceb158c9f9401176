"""A camera that other programs see, through pyvirtualcam."""

from __future__ import annotations

from fractions import Fraction
from types import TracebackType
from typing import Any, Self

import numpy as np

from ..errors import DeviceError
from ..frame import Frame
from ..pixels import resize

__all__ = ["VirtualCameraSink"]


class VirtualCameraSink:
    """Feeds the system's virtual camera (v4l2loopback, OBS). Its size is the first frame's; others are scaled to it."""

    live = True
    takes_planes = False

    def __init__(self, rate: Fraction | None = None, *, other_than: str = "") -> None:
        """`other_than` is the device that is painted from: a camera that films its own painting shows nothing else."""
        self._other_than = other_than
        self.name = "virtual camera"
        self.notes: list[str] = []
        self._rate = float(rate) if rate else 30.0
        self._camera: Any = None
        try:
            import pyvirtualcam
        except ImportError as error:
            raise DeviceError(
                "E_DISPLAY_VIRTUAL_CAMERA",
                "cannot open a virtual camera",
                "pyvirtualcam is not installed",
                "pip install 'allaprima[live]'",
            ) from error
        self._module = pyvirtualcam

    def put(self, frame: Frame) -> bool:
        if self._camera is None:
            self._camera = self._open(frame)
            self.name = f"virtual camera {self._camera.device}"
        if (frame.width, frame.height) != (self._camera.width, self._camera.height):
            frame = Frame(resize(frame.image, self._camera.width, self._camera.height))
        try:
            self._camera.send(np.ascontiguousarray(frame.image))
        except RuntimeError as error:
            raise DeviceError(
                "E_DISPLAY_VIRTUAL_CAMERA",
                f"cannot send to the {self.name}",
                " ".join(str(error).split()),
                "check that it is still there and that no other program feeds it, then start again",
            ) from error
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._camera is not None:
            self._camera.close()

    def _open(self, frame: Frame) -> Any:
        try:
            camera = self._module.Camera(width=frame.width, height=frame.height, fps=self._rate)
        except RuntimeError as error:
            raise DeviceError(
                "E_DISPLAY_VIRTUAL_CAMERA",
                "cannot open a virtual camera",
                " ".join(str(error).split()),
                "Linux: sudo apt-get install v4l2loopback-dkms && sudo modprobe v4l2loopback; elsewhere install OBS",
            ) from error
        if self._other_than and camera.device == self._other_than:
            camera.close()
            raise DeviceError(
                "E_DISPLAY_VIRTUAL_CAMERA",
                "cannot open a virtual camera",
                f"{camera.device} is the camera that is painted",
                "choose the real one: allaprima cameras",
            )
        return camera
