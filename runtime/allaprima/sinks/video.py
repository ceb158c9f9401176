"""Video files, through PyAV: H.264, every frame at its own time, with all sound and subtitles of the source."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import av
import numpy as np
from av.container import OutputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from ..errors import DeviceError, OutputError, RunError
from ..files import Draft, write_error
from ..frame import Frame, Image
from ..pixels import pad_edge, resize
from ..planes import Coding
from ..sources.colour import Colour, convert
from ..sources.source import Source
from ..sources.video import VideoSource
from .tracks import Tracks

__all__ = ["FORMATS", "VideoSink"]

# extension -> FFmpeg's format, the encoders that fit, best first, and the muxer's options
_H264 = ("libx264", "h264_videotoolbox", "h264_mf", "libopenh264")
FORMATS: dict[str, tuple[str, tuple[str, ...], dict[str, str]]] = {
    ".mp4": ("mp4", _H264, {"movflags": "+faststart"}),
    ".m4v": ("mp4", _H264, {"movflags": "+faststart"}),
    ".mov": ("mov", _H264, {"movflags": "+faststart"}),
    ".mkv": ("matroska", _H264, {}),
    ".webm": ("webm", ("libvpx-vp9",), {}),
}
_ENCODER_OPTIONS = {
    # veryfast takes a third of medium's time; at the same crf it is larger, not worse
    "libx264": {"preset": "veryfast"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "6", "row-mt": "1", "b": "0"},
}

# The clock of what has none of its own (cameras, synthetic sources): 24, 25, 30 and 60 a second are whole in it.
_CLOCK = Fraction(1, 90_000)

T = TypeVar("T")


class VideoSink:
    """A video file that appears under its name when it is complete.

    `like` is the source that the frames come from: its clock, pixel aspect and colours are taken over, and where it
    is a file, its other streams, chapters and metadata are copied. `rate` (frames per second) is a hint for players;
    the frames' own times decide. The first frame's size is the video's; later ones are fitted into it.

    Interrupted by Ctrl-C, the painted part is kept as NAME.partial.EXT. The recording of a live source is
    kept under its own name then, and also when the camera is lost: it is as long as it is.
    """

    live = False

    def __init__(
        self,
        path: str | Path,
        *,
        like: Source | None = None,
        rate: Fraction | None = None,
        overwrite: bool = False,
        encoder: str | None = None,
        crf: int = 18,
    ) -> None:
        """`encoder` is a name of FFmpeg's, by default the first one that is there. `crf` is its quality: 0 without
        loss, 18 hardly to be told from the source, 28 small."""
        suffix = Path(path).suffix.lower()
        if suffix not in FORMATS:
            raise OutputError(
                "E_OUTPUT_FORMAT",
                f"cannot write {path}",
                f"{suffix or 'a name without extension'} is no video format known here",
                f"use one of {' '.join(FORMATS)}",
            )
        self.notes: list[str] = []
        self._format, encoders, self._mux_options = FORMATS[suffix]
        self._encoder = _first_encoder((encoder,) if encoder else encoders)
        self._crf = crf
        self._like = like
        self._file = like if isinstance(like, VideoSource) else None
        self._rate = rate or (like.rate if like is not None else None)
        self._from_zero = self._file is None and (like is None or like.live)
        self._draft = Draft(path, inputs=(self._file.path,) if self._file else (), overwrite=overwrite)
        self.path = self._draft.path
        self.name = self.path.name
        self.seconds = 0.0
        """Of video written so far."""

        self._container: OutputContainer | None = None
        self._stream: VideoStream
        self._tracks: Tracks | None = None
        self._reformatter = VideoReformatter()
        self._size = (0, 0)
        self._waiting: Frame | None = None  # its length is known when the next one comes
        self._last_ticks = -1
        self._last_step = 0
        self._steps: dict[int, int] = {}  # time -> length of the frames in the encoder, in ticks
        self._fitted = 0

    def put(self, frame: Frame) -> bool:
        if self._container is None:
            self._guarded(lambda: self._start(frame))
        if self._waiting is not None:
            waiting, until = self._waiting, frame.time
            self._guarded(lambda: self._encode(waiting, until))
        self._waiting = frame
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._container is None:  # not one frame
            self._draft.discard()
            return
        live = self._like is not None and self._like.live
        by_hand = kind is not None and issubclass(kind, KeyboardInterrupt | SystemExit)
        lost = kind is not None and issubclass(kind, DeviceError)
        complete = kind is None or (live and (by_hand or lost))
        worth_keeping = by_hand or live
        if isinstance(error, OutputError):
            complete = worth_keeping = False  # it cannot be finished on a full disk
        if not complete and not worth_keeping:
            self._abandon()
            return
        try:
            self._guarded(lambda: self._finish(whole=kind is None))
        except BaseException:  # a second Ctrl-C, too
            self._abandon()
            raise
        if complete:
            self._draft.commit()
            if lost:
                self.notes.append(f"the recording until then, {self.seconds:.1f} s, is kept in {self.name}")
        else:
            part = self._draft.keep_part()
            self.notes.append(f"stopped before its end; {self.seconds:.1f} s are kept in {part.name}")

    def _start(self, first: Frame) -> None:
        height, width = first.image.shape[:2]
        self._size = (width + width % 2, height + height % 2)
        if self._size != (width, height):
            self.notes.append(
                f"{width}x{height} is odd, which H.264 cannot be; edge pixels are repeated to {_by(self._size)}"
            )
        self._colour = self._file.colour if self._file else Colour.usual(height)
        time_base = self._file.time_base if self._file else _CLOCK
        if not 1 <= time_base.denominator < 2**31 or time_base.numerator >= 2**31:
            time_base = _CLOCK
        self._time_base = time_base
        self._offset = Fraction(first.time) if self._from_zero else Fraction(0)

        options = dict(self._mux_options)
        if self._file is not None and "movflags" in options and self._file.has_keyed_metadata:
            options["movflags"] += (
                "+use_metadata_tags"  # telephones' place and maker; the usual way knows only titles
            )
        self._container = av.open(str(self._draft.temp), "w", format=self._format, container_options=options)
        self._stream = self._add_stream()
        if self._file is not None:
            self._tracks = Tracks(self._file, self._container, self._stream, self.notes)
        self._container.start_encoding()

    def _add_stream(self) -> VideoStream:
        assert self._container is not None
        stream = self._container.add_stream(self._encoder, rate=_sane_rate(self._rate))
        assert isinstance(stream, VideoStream)
        context = stream.codec_context
        context.width, context.height = self._size
        context.pix_fmt = "yuv420p"
        context.time_base = self._time_base
        stream.time_base = self._time_base
        context.options = {"crf": str(self._crf), **_ENCODER_OPTIONS.get(self._encoder, {})}
        if self._file is not None and self._file.pixel_aspect is not None:
            context.sample_aspect_ratio = self._file.pixel_aspect
            if self._format in ("matroska", "webm"):
                self.notes.append(
                    "pixels are not square, which some players do not see in this container (use .mp4)"
                )
        context.color_range = 1  # limited: what every player expects
        context.colorspace = self._colour.matrix
        context.color_primaries = self._colour.primaries
        context.color_trc = self._colour.transfer
        return stream

    def _encode(self, frame: Frame, until: float | None) -> None:
        """One frame, shown until `until` (seconds of the frames' clock)."""
        assert self._container is not None
        ticks = max(round((Fraction(frame.time) - self._offset) / self._time_base), self._last_ticks + 1)
        if self._last_ticks < 0:
            ticks = max(0, round((Fraction(frame.time) - self._offset) / self._time_base))
        if until is not None:
            self._last_step = max(1, round((Fraction(until) - self._offset) / self._time_base) - ticks)
        elif self._last_step == 0:
            self._last_step = max(1, round(1 / _sane_rate(self._rate) / self._time_base))
        self._last_ticks = ticks
        self.seconds = float((ticks + self._last_step) * self._time_base)

        rgb = VideoFrame.from_numpy_buffer(np.ascontiguousarray(self._fit(frame.image)), "rgb24")
        picture = convert(self._reformatter, rgb, "yuv420p", Coding(self._colour.matrix))
        picture.color_primaries = self._colour.primaries
        picture.color_trc = self._colour.transfer
        picture.pts = ticks
        picture.time_base = self._time_base
        self._steps[ticks] = self._last_step
        self._mux(self._stream.encode(picture))

    def _mux(self, packets: list[Packet]) -> None:
        """Pictures from the encoder, after the sound that belongs before. Encoders forget how long a frame lasts."""
        assert self._container is not None
        for packet in packets:
            if packet.pts is not None:
                packet.duration = self._steps.pop(packet.pts, self._last_step)
            if self._tracks is not None and packet.dts is not None:
                self._tracks.copy_until(float(packet.dts * packet.time_base))
            self._container.mux_one(packet)

    def _fit(self, image: Image) -> Image:
        """The frame in the video's size: odd edges repeated, a frame of another size inside black bars."""
        width, height = self._size
        if image.shape[1] + image.shape[1] % 2 == width and image.shape[0] + image.shape[0] % 2 == height:
            if image.shape[:2] == (height, width):
                return image
            return pad_edge(image, 0, 0, width - image.shape[1], height - image.shape[0])
        self._fitted += 1
        factor = min(width / image.shape[1], height / image.shape[0])
        smaller = resize(
            image, max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))
        )
        top, left = (height - smaller.shape[0]) // 2, (width - smaller.shape[1]) // 2
        framed = np.zeros((height, width, 3), np.uint8)
        framed[top : top + smaller.shape[0], left : left + smaller.shape[1]] = smaller
        return framed

    def _finish(self, *, whole: bool) -> None:
        """Everything that is still on its way into the file, and the file closed."""
        assert self._container is not None
        if self._waiting is not None:
            end = self._file.end if self._file is not None and whole else None
            if end is not None and end <= self._waiting.time:
                end = None
            self._encode(self._waiting, end)
            self._waiting = None
        self._mux(self._stream.encode(None))
        if self._tracks is not None:
            self._tracks.copy_until(None if whole else self.seconds)
            self._tracks.close()
        self._container.close()
        if self._fitted:
            self.notes.append(
                f"{self._fitted} frames had another size than the first; they are fitted into {_by(self._size)}"
            )

    def _abandon(self) -> None:
        """Close whatever is open, whatever that says, and leave nothing."""
        if self._tracks is not None:
            self._tracks.close()
        if self._container is not None:
            # the file is thrown away; what matters was raised before
            with contextlib.suppress(av.FFmpegError, ValueError):
                self._container.close()
        self._draft.discard()

    def _guarded(self, step: Callable[[], T]) -> T:
        """Run a step; what FFmpeg raises becomes an error of ours."""
        try:
            return step()
        except av.FFmpegError as error:
            # FFmpeg's numbers for the world's errors are the system's own
            if isinstance(error, OSError) and error.errno and 0 < error.errno < 200:
                raise write_error(self.path, OSError(error.errno, os.strerror(error.errno))) from error
            raise RunError(
                "E_ENCODER_FAILED",
                f"cannot encode {self.path}",
                f"{self._encoder}: {error.strerror or error}",
                "try --size, or another output format",
            ) from error


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _first_encoder(names: tuple[str, ...]) -> str:
    for name in names:
        if name in av.codecs_available:
            try:
                av.Codec(name, "w")
            except ValueError:
                continue
            return name
    raise RunError(
        "E_ENCODER_MISSING",
        f"cannot encode with {' or '.join(names)}",
        "this build of PyAV does not have it",
        "install the usual one: pip install --force-reinstall av",
    )


def _sane_rate(rate: Fraction | None) -> Fraction:
    """A rate that encoders take: the source's as far as 65,535 can express it, or 30 where nobody knows."""
    if rate is None or not Fraction(1, 100) <= rate <= 1000:
        return Fraction(30)
    return Fraction(rate).limit_denominator(65_535) if rate.denominator > 65_535 else rate
