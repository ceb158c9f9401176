"""Video files, through PyAV: every frame at its own time, with all sound and subtitles of the source."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import av
import numpy as np
from av.codec.context import Flags
from av.container import OutputContainer
from av.format import Flags as FormatFlags
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from ..errors import DeviceError, OutputError, RunError
from ..files import Draft, write_error
from ..frame import Frame, Image
from ..pixels import pad_edge, resize
from ..planes import Coding, Planes
from ..sources.colour import Colour, convert
from ..sources.source import Source
from ..sources.video import VideoSource
from .chunks import Chunks, Piece
from .encoders import Chosen, Encoding, choose
from .tracks import Tracks

__all__ = ["FORMATS", "VideoSink"]

# extension -> FFmpeg's format, and the muxer's options
FORMATS: dict[str, tuple[str, dict[str, str]]] = {
    ".mp4": ("mp4", {"movflags": "+faststart"}),
    ".m4v": ("mp4", {"movflags": "+faststart"}),
    ".mov": ("mov", {"movflags": "+faststart"}),
    ".mkv": ("matroska", {}),
    ".webm": ("webm", {}),
}

# The clock of what has none of its own (cameras, synthetic sources): 24, 25, 30 and 60 a second are whole in it.
_CLOCK = Fraction(1, 90_000)

CHUNK_FRAMES = 300
"""Pictures in a chunk: ten seconds at 30 a second are lost at most. Each begins with a key frame and an encoder of its
own, so that a resumed run encodes what an uninterrupted one does; below a hundred that would cost size and speed."""

T = TypeVar("T")

USUAL = Encoding()
_EXPECTED = (1280, 720)  # what an encoder is tried with before the first frame of an unknown size


class VideoSink:
    """A video file that appears under its name when it is complete.

    `like` is the source that the frames come from: its clock, pixel aspect and colours are taken over, and where it
    is a file, its other streams, chapters and metadata are copied. `rate` (frames per second) is a hint for players;
    the frames' own times decide. The first frame's size is the video's; later ones are fitted into it.

    Interrupted by Ctrl-C, the painted part is kept as NAME.partial.EXT. The recording of a live source is
    kept under its own name then, and also when the camera is lost: it is as long as it is.
    """

    live = False
    takes_planes = True

    def __init__(
        self,
        path: str | Path,
        *,
        like: Source | None = None,
        rate: Fraction | None = None,
        overwrite: bool = False,
        encoding: Encoding = USUAL,
    ) -> None:
        """Raises OutputError and RunError for an `encoding` that is not possible here: it is tried with one frame."""
        suffix = Path(path).suffix.lower()
        if suffix not in FORMATS:
            raise OutputError(
                "E_OUTPUT_FORMAT",
                f"cannot write {path}",
                f"{suffix or 'a name without extension'} is no video format known here",
                f"use one of {' '.join(FORMATS)}",
            )
        self.notes: list[str] = []
        self._format, self._mux_options = FORMATS[suffix]
        self._like = like
        self._file = like if isinstance(like, VideoSource) else None
        self._rate = rate or (like.rate if like is not None else None)
        self._encoding = encoding
        self._chosen = self._choose(_even(like.width, like.height) if like is not None else _EXPECTED)
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
        self._chunks: Chunks | None = None
        self._encode_picture: Callable[[VideoFrame | None], list[Packet]]
        self._begun = 0  # pictures in the encoder of this chunk
        self._last_dts: int | None = None

    def keep_chunks(
        self, settings: Mapping[str, Any], *, unfinished: Literal["refuse", "resume", "restart"] = "refuse"
    ) -> int:
        """Keep what is painted in chunks beside the output until it is complete, to go on after a power cut.

        To be called before the first frame, for a source that gives the same frames each time. `settings` is all that
        decides about the pictures; see `chunks.Chunks` for what becomes of `unfinished` work and for what is raised.
        Answers how many frames are done: the next one to put is that one.
        """
        settings = {**settings, "encoder": self._chosen.encoder, "options": self._chosen.options}
        if unfinished == "resume":
            self._chunks = Chunks.resume(self.path, settings)
        else:
            self._chunks = Chunks.begin(self.path, settings, restart=unfinished == "restart")
        return self._chunks.frames

    @property
    def bytes_written(self) -> int:
        """The file's size so far."""
        return self._draft.temp.stat().st_size if self._draft.temp.exists() else 0

    def put(self, frame: Frame) -> bool:
        if self._container is None:
            self._guarded(lambda: self._start(frame))
        if self._waiting is not None:
            waiting, until = self._waiting, frame.time
            self._guarded(lambda: self._encode(waiting, until))
            if self._chunks is not None and self._begun == CHUNK_FRAMES:
                self._guarded(self._seal)
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
            if self._chunks is not None:
                self._chunks.remove()
            if lost:
                self.notes.append(f"the recording until then, {self.seconds:.1f} s, is kept in {self.name}")
        else:
            part = self._draft.keep_part()
            self.notes.append(f"stopped before its end; {self.seconds:.1f} s are kept in {part.name}")
            if self._chunks is not None and self._chunks.frames:
                self.notes.append(f"--resume goes on after frame {self._chunks.frames}")

    def _start(self, first: Frame) -> None:
        width, height = first.width, first.height
        self._size = _even(width, height)
        if self._size != self._tried:
            self._chosen = self._choose(self._size)
        if self._chosen.passed_over:
            reasons = ", ".join(f"{name} ({why})" for name, why in self._chosen.passed_over.items())
            self.notes.append(f"{self._chosen.encoder} encodes; passed over: {reasons}")
        if self._size != (width, height):
            self.notes.append(
                f"{width}x{height} is odd, which H.264 cannot be; edge pixels are repeated to {_by(self._size)}"
            )
        self._colour = self._file.colour if self._file else Colour.usual(height)
        # RGB becomes limited range, what every player expects; planes are what they are.
        self._coding = first.planes.coding if first.planes is not None else Coding(self._colour.matrix)
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
        state = self._chunks.state if self._chunks is not None else None
        if state is not None:
            self._size = (state["size"][0], state["size"][1])
        self._stream = self._add_stream()
        self._encode_picture = self._stream.encode
        if self._file is not None:
            until = first.time + self._file.until if self._file.until is not None else None
            self._tracks = Tracks(self._file, self._container, self._stream, self.notes, until=until)
        self._container.start_encoding()
        if self._chunks is not None and state is not None:
            for piece in self._chunks:
                self._mux_one(_packet(piece, self._time_base))
            self._last_ticks, self._last_step = state["ticks"], state["step"]
            self._fitted, self._last_dts = state["fitted"], state["dts"]
            self.seconds = float((self._last_ticks + self._last_step) * self._time_base)

    def _add_stream(self) -> VideoStream:
        assert self._container is not None
        stream = self._container.add_stream(self._chosen.encoder, rate=_sane_rate(self._rate))
        assert isinstance(stream, VideoStream)
        stream.time_base = self._time_base
        self._set_up(stream.codec_context)
        if (
            self._file is not None
            and self._file.pixel_aspect is not None
            and self._format in ("matroska", "webm")
        ):
            self.notes.append(
                "pixels are not square, which some players do not see in this container (use .mp4)"
            )
        return stream

    def _set_up(self, context: VideoCodecContext) -> None:
        """Size, clock, quality and colours of an encoder."""
        context.width, context.height = self._size
        context.pix_fmt = self._chosen.pix_fmt
        context.time_base = self._time_base
        context.options = dict(self._chosen.options)
        if self._chosen.tag:
            context.codec_tag = self._chosen.tag
        if self._file is not None and self._file.pixel_aspect is not None:
            context.sample_aspect_ratio = self._file.pixel_aspect
        context.color_range = 2 if self._coding.full_range else 1
        context.colorspace = self._coding.matrix
        context.color_primaries = self._colour.primaries
        context.color_trc = self._colour.transfer

    def _seal(self) -> None:
        """End the chunk: its encoder is emptied, and the next picture has a new one."""
        assert self._chunks is not None
        assert self._container is not None
        self._mux(self._encode_picture(None))
        self._chunks.seal(
            self._begun,
            {
                "size": list(self._size),
                "ticks": self._last_ticks,
                "step": self._last_step,
                "dts": self._last_dts,
                "fitted": self._fitted,
            },
        )
        self._begun = 0
        context = VideoCodecContext.create(self._chosen.encoder, "w")
        assert isinstance(context, VideoCodecContext)
        context.framerate = _sane_rate(self._rate)
        self._set_up(context)
        if FormatFlags(self._container.format.flags) & FormatFlags.global_header:
            context.flags |= Flags.global_header
        self._encode_picture = context.encode

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

        picture = self._as_stored(frame)
        picture.color_primaries = self._colour.primaries
        picture.color_trc = self._colour.transfer
        picture.pts = ticks
        picture.time_base = self._time_base
        self._steps[ticks] = self._last_step
        self._begun += 1
        self._mux(self._encode_picture(picture))

    def _mux(self, packets: list[Packet]) -> None:
        """Pictures from the encoder. Encoders forget how long a frame lasts."""
        for packet in packets:
            if packet.pts is not None:
                packet.duration = self._steps.pop(packet.pts, self._last_step)
            if packet.dts is not None:
                # An encoder puts its first pictures some frames before their time, which with variable frame times
                # can be before the last one of the chunk before. It is never after their own time.
                if self._last_dts is not None and packet.dts <= self._last_dts:
                    packet.dts = self._last_dts + 1
                self._last_dts = packet.dts
            if self._chunks is not None:
                self._chunks.add(_piece(packet))
            self._mux_one(packet)

    def _mux_one(self, packet: Packet) -> None:
        """One picture, after the sound that belongs before."""
        assert self._container is not None
        if self._tracks is not None and packet.dts is not None:
            self._tracks.copy_until(float(packet.dts * packet.time_base))
        packet.stream = self._stream
        self._container.mux_one(packet)

    def _as_stored(self, frame: Frame) -> VideoFrame:
        """In the video's size, pixel format and coding; planes that have all of these are copied, not converted."""
        planes, format = frame.planes, self._chosen.pix_fmt
        if (
            planes is None
            or planes.coding != self._coding
            or _even(planes.width, planes.height) != self._size
        ):
            rgb = VideoFrame.from_numpy_buffer(np.ascontiguousarray(self._fit(frame.image)), "rgb24")
            return convert(self._reformatter, rgb, format, self._coding)
        lacking = ((0, planes.height % 2), (0, planes.width % 2))  # chroma is rounded up as it is
        luma = np.pad(planes.y, lacking, mode="edge") if any(map(any, lacking)) else planes.y
        made = Planes(luma, planes.u, planes.v, planes.coding).frame()
        return made if format == "yuv420p" else convert(self._reformatter, made, format, self._coding)

    def _choose(self, size: tuple[int, int]) -> Chosen:
        self._tried = size
        like = (self._file.codec, self._file.bit_rate) if self._file else None
        return choose(self._encoding, self._format, size, _sane_rate(self._rate), like)

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
        self._mux(self._encode_picture(None))
        if self._tracks is not None:
            preview = self._file is not None and self._file.until is not None
            self._tracks.copy_until(None if whole and not preview else self.seconds)
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
                f"{self._chosen.encoder}: {error.strerror or error}",
                "try --size, or another output format",
            ) from error


def _piece(packet: Packet) -> Piece:
    assert packet.pts is not None  # every encoder of ours says both
    assert packet.dts is not None
    return Piece(packet.pts, packet.dts, packet.duration or 0, packet.is_keyframe, bytes(packet))


def _packet(piece: Piece, time_base: Fraction) -> Packet:
    packet = Packet(piece.data)
    packet.pts, packet.dts, packet.duration = piece.pts, piece.dts, piece.duration
    packet.time_base, packet.is_keyframe = time_base, piece.keyframe
    return packet


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _even(width: int, height: int) -> tuple[int, int]:
    return width + width % 2, height + height % 2


def _sane_rate(rate: Fraction | None) -> Fraction:
    """A rate that encoders take: the source's as far as 65,535 can express it, or 30 where nobody knows."""
    if rate is None or not Fraction(1, 100) <= rate <= 1000:
        return Fraction(30)
    return Fraction(rate).limit_denominator(65_535) if rate.denominator > 65_535 else rate
