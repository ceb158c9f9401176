"""A painting sent to another program or machine: RTMP, SRT, RTSP, MPEG-TS over UDP or TCP, through PyAV's muxers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from fractions import Fraction
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import urlsplit

import av
import numpy as np
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from ..errors import OutputError, UsageError
from ..frame import Frame
from ..pixels import resize
from ..planes import Coding
from ..sources.colour import Colour, convert

__all__ = ["FORMATS", "NetworkSink", "without_secrets"]

# what a URL begins with -> FFmpeg's container for it
FORMATS = {
    "rtmp": "flv",
    "rtmps": "flv",
    "rtsp": "rtsp",
    "srt": "mpegts",
    "tcp": "mpegts",
    "udp": "mpegts",
}
_CLOCK = Fraction(1, 90_000)
_PATIENCE = 10.0  # seconds to connect, and for each write: a server that hangs must not hang us
_PORTS = {
    "rtmp": 1935,
    "rtmps": 443,
    "rtsp": 554,
}  # where TCP is spoken; those without a usual port name theirs

T = TypeVar("T")


class NetworkSink:
    """Sends H.264 without sound. Connects with the first frame, whose size it keeps; others are scaled to it."""

    live = True
    takes_planes = False

    def __init__(self, url: str, *, rate: Fraction | None = None, crf: int = 23) -> None:
        """Raises UsageError E_STREAM_ADDRESS for an address that nothing is sent to."""
        self.name = without_secrets(url)
        self._format = FORMATS.get(urlsplit(url).scheme.lower(), "")
        if not self._format or not urlsplit(url).netloc:
            raise UsageError(
                "E_STREAM_ADDRESS",
                f"cannot send to {self.name}",
                "it is no address of a stream",
                f"write one that begins with {' '.join(f'{name}://' for name in FORMATS)}",
            )
        self.notes: list[str] = []
        self._url = url
        self._rate = rate or Fraction(30)
        self._crf = crf
        self._container: OutputContainer | None = None
        self._stream: VideoStream
        self._reformatter = VideoReformatter()
        self._began = 0.0
        self._last_ticks = -1

    def put(self, frame: Frame) -> bool:
        self._guarded(lambda: self._send(frame))
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        container, self._container = self._container, None
        if container is None:
            return
        with contextlib.suppress(
            av.FFmpegError, ValueError
        ):  # the other side may be gone: nothing is lost by it
            container.mux(self._stream.encode(None))
        with contextlib.suppress(av.FFmpegError, ValueError):
            container.close()

    def _send(self, frame: Frame) -> None:
        if self._container is None:
            self._connect(frame)
        assert self._container is not None
        width, height = self._stream.codec_context.width, self._stream.codec_context.height
        image = np.ascontiguousarray(resize(frame.image, width, height))
        picture = convert(
            self._reformatter,
            VideoFrame.from_numpy_buffer(image, "rgb24"),
            "yuv420p",
            Coding(self._colour.matrix),
        )
        ticks = max(round(Fraction(frame.time - self._began) / _CLOCK), self._last_ticks + 1)
        picture.pts, picture.time_base = ticks, _CLOCK
        self._last_ticks = ticks
        self._container.mux(self._stream.encode(picture))

    def _connect(self, first: Frame) -> None:
        # PyAV connects while every other thread of Python waits, the window's too: patience is short for that reason.
        # To ask beforehand whether somebody is there would cost those who listen once their only connection.
        options = {"rw_timeout": str(round(_PATIENCE * 1e6))}
        self._container = av.open(self._url, "w", format=self._format, container_options=options)
        stream = self._container.add_stream("libx264", rate=self._rate)
        assert isinstance(stream, VideoStream)
        context = stream.codec_context
        context.width, context.height = first.width - first.width % 2, first.height - first.height % 2
        context.pix_fmt = "yuv420p"
        context.time_base = _CLOCK
        context.gop_size = max(1, round(2 * self._rate))  # who tunes in sees something within two seconds
        context.options = {"preset": "ultrafast", "tune": "zerolatency", "crf": str(self._crf)}
        self._colour = Colour.usual(first.height)
        context.color_range, context.colorspace = 1, self._colour.matrix
        context.color_primaries, context.color_trc = self._colour.primaries, self._colour.transfer
        self._stream, self._began = stream, first.time

    def _guarded(self, step: Callable[[], T]) -> T:
        try:
            return step()
        except (av.FFmpegError, OSError) as error:
            raise OutputError(
                "E_STREAM_FAILED",
                f"cannot send to {self.name}",
                (getattr(error, "strerror", "") or str(error)).lower(),
                "check that somebody listens there, then start again",
            ) from error


def without_secrets(url: str) -> str:
    """`rtmp://user:password@host/app/KEY` -> `rtmp://host/...`: stream keys belong on no screen and in no log.

    Raises UsageError E_STREAM_ADDRESS for what cannot be read as an address; it is not shown either.
    """
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError as error:
        raise UsageError(
            "E_STREAM_ADDRESS",
            "cannot send to an address that is none",
            str(error).partition("'")[0].strip().removesuffix(" as").lower(),
            "write it as rtmp://host:1935/app/key, with a port from 1 to 65535",
        ) from None
    return f"{parts.scheme}://{parts.hostname or ''}{port}{'/...' if parts.path.strip('/') or parts.query else ''}"
