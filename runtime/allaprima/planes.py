"""YUV 4:2:0 as video files hold it: three planes of bytes, and what their numbers mean as colours.

A picture at full and two at half the resolution: half the bytes of RGB, and what every decoder gives and every
encoder takes. A frame that travels as planes from file to file is never converted: `Frame.planes`.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from av.video.frame import VideoFrame
    from av.video.reformatter import VideoReformatter

__all__ = ["BT601", "BT709", "BT2020", "LIMITED_BT709", "Coding", "Planes", "Rules", "rules"]

Plane = NDArray[np.uint8]

BT709, BT601, BT2020 = 1, 6, 9
"""ITU-T H.273's numbers of the three matrices that files have today, as they stand in their tags."""

# The weights of red and blue in luma (ITU-T H.273 table 4; green has the rest); 5 and 6 differ in their primaries.
_KR_KB = {
    BT709: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    BT601: (0.299, 0.114),
    7: (0.212, 0.087),
    BT2020: (0.2627, 0.0593),
    10: (0.2627, 0.0593),
}


class Coding(NamedTuple):
    """What the numbers of three planes mean."""

    matrix: int = BT709
    """H.273 MatrixCoefficients: BT709, BT601, BT2020, or one of the rarer 4, 5, 7, 10."""
    full_range: bool = False
    """Black is 0 and white 255; otherwise 16 and 235, and chroma from 16 to 240."""


LIMITED_BT709 = Coding()


class Rules(NamedTuple):
    """The same in arithmetic: `yuv = yuv_from_rgb @ rgb + yuv_of_black`, and back; bytes 0 to 255 on both sides."""

    rgb_from_yuv: NDArray[np.float32]
    """(3, 3): rows red, green, blue; columns Y, U, V."""
    yuv_from_rgb: NDArray[np.float32]
    """(3, 3), its inverse."""
    yuv_of_black: NDArray[np.float32]
    """(3,): 16 or 0 for Y; 128 for U and V, which have no sign."""


def rules(coding: Coding) -> Rules:
    """The arithmetic of a coding. ValueError for a matrix that is not one of the table."""
    if coding.matrix not in _KR_KB:
        raise ValueError(f"no coefficients for matrix {coding.matrix}; known are {sorted(_KR_KB)}")
    red, blue = _KR_KB[coding.matrix]
    luma = np.array([red, 1 - red - blue, blue])
    y_span, chroma_span = (1.0, 1.0) if coding.full_range else (219 / 255, 224 / 255)
    forward = np.stack(
        [
            y_span * luma,
            chroma_span * (np.array([0, 0, 1]) - luma) / (2 * (1 - blue)),
            chroma_span * (np.array([1, 0, 0]) - luma) / (2 * (1 - red)),
        ]
    )
    black = np.array([0 if coding.full_range else 16, 128, 128], np.float32)
    return Rules(np.linalg.inv(forward).astype(np.float32), forward.astype(np.float32), black)


@dataclass(frozen=True, slots=True, eq=False)
class Planes:
    """One picture. The arrays may be views of a decoder's memory: read them, never write them."""

    y: Plane
    """(H, W) uint8."""
    u: Plane
    """(H/2, W/2) uint8, both rounded up; Cb."""
    v: Plane
    """The same; Cr."""
    coding: Coding = LIMITED_BT709

    def __post_init__(self) -> None:
        half = tuple(-(-side // 2) for side in self.y.shape)
        if self.y.ndim != 2 or self.u.shape != half or self.v.shape != half:
            raise ValueError(f"planes of {self.y.shape}, {self.u.shape}, {self.v.shape} are not 4:2:0")

    @property
    def height(self) -> int:
        return int(self.y.shape[0])

    @property
    def width(self) -> int:
        return int(self.y.shape[1])

    @classmethod
    def of(cls, frame: VideoFrame, coding: Coding) -> Planes:
        """The planes of a decoded frame of format yuv420p, yuvj420p or nv12, without a copy; ValueError for others."""
        name, (height, width) = frame.format.name, (frame.height, frame.width)
        half = (-(-height // 2), -(-width // 2))
        if name in ("yuv420p", "yuvj420p"):
            return cls(_rows(frame, 0, height, width), _rows(frame, 1, *half), _rows(frame, 2, *half), coding)
        if name == "nv12":  # what cameras' and hardware's decoders give: U and V take turns in one plane
            both = _rows(frame, 1, half[0], 2 * half[1])
            return cls(_rows(frame, 0, height, width), both[:, 0::2], both[:, 1::2], coding)
        raise ValueError(f"frames of {name} are not 4:2:0 bytes")

    @classmethod
    def from_rgb(cls, image: Plane, coding: Coding = LIMITED_BT709) -> Planes:
        """(H, W, 3) uint8 RGB -> planes, the slow and plain way: chroma is the mean of its 2x2 pixels, edges repeated.

        What proves a variant is made with it; video is converted by swscale, in a fraction of the time.
        """
        arithmetic = rules(coding)
        even = np.pad(image, ((0, image.shape[0] % 2), (0, image.shape[1] % 2), (0, 0)), mode="edge")
        yuv = even @ arithmetic.yuv_from_rgb.T + arithmetic.yuv_of_black
        mean = yuv.reshape(len(even) // 2, 2, -1, 2, 3).mean((1, 3))
        y, chroma = (np.clip(numbers + 0.5, 0, 255).astype(np.uint8) for numbers in (yuv, mean))
        return cls(y[: len(image), : image.shape[1], 0], chroma[..., 1], chroma[..., 2], coding)

    @classmethod
    def converted(cls, image: Plane, coding: Coding = LIMITED_BT709) -> Planes:
        """The same by swscale, as video is converted."""
        from av.video.frame import VideoFrame

        from .sources.colour import convert

        rgb = VideoFrame.from_numpy_buffer(np.ascontiguousarray(image), "rgb24")
        return cls.of(convert(_reformatter(), rgb, "yuv420p", coding), coding)

    @classmethod
    def unstacked(cls, stacked: Plane, coding: Coding = LIMITED_BT709) -> Planes:
        """The way back from `stacked`."""
        return cls(stacked[..., 0], stacked[::2, ::2, 1], stacked[::2, ::2, 2], coding)

    def stacked(self) -> Plane:
        """(H, W, 3) uint8: Y, U and V of each pixel, every sample of U and V four times: for comparing, and for PNG."""
        chroma = (part.repeat(2, 0).repeat(2, 1)[: self.height, : self.width] for part in (self.u, self.v))
        return np.stack([self.y, *chroma], axis=-1)

    def frame(self) -> VideoFrame:
        """A yuv420p frame of PyAV's with a copy of these planes, untagged."""
        from av.video.frame import VideoFrame

        made = VideoFrame(self.width, self.height, "yuv420p")
        for number, plane in enumerate((self.y, self.u, self.v)):
            _rows(made, number, *plane.shape)[:] = plane
        return made

    def rgb(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB, by swscale, with chroma interpolated: for whoever cannot take planes."""
        from .sources.colour import rgb_of

        return rgb_of(self.frame(), _reformatter(), self.coding)


def _rows(frame: VideoFrame, number: int, height: int, width: int) -> Plane:
    """(height, width) view of a plane; its rows may lie further apart than they are wide."""
    plane = frame.planes[number]
    return np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[:height, :width]


_OF_THREAD = threading.local()


def _reformatter() -> VideoReformatter:
    """This thread's: it holds swscale's tables, and is not for two threads at once."""
    from av.video.reformatter import VideoReformatter

    if not hasattr(_OF_THREAD, "reformatter"):
        _OF_THREAD.reformatter = VideoReformatter()
    made: VideoReformatter = _OF_THREAD.reformatter
    return made
