"""Video files, through PyAV: every frame once, at its own time, right side up, in its own colours."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from ..errors import InputError
from ..frame import Frame, Image
from ..pixels import fit
from ..planes import Coding, Planes
from .colour import Colour, convert, rgb_of
from .hdr import ToneMap
from .sniff import cut_off, kind_of, readable

__all__ = ["Hdr", "OnCorrupt", "VideoSource", "open_container"]

OnCorrupt = Literal["fail", "skip"]
Hdr = Literal["tonemap", "fail"]

_PLANES = ("yuv420p", "yuvj420p", "nv12")
"""What needs no conversion at all."""

# Their clock started when the broadcast did, hours ago; every other format's starts with the file.
_BROADCAST_FORMATS = ("mpegts", "mpeg", "rtsp")


def open_container(path: Path) -> InputContainer:
    """The file as a PyAV container, or InputError. Only local files are followed, whatever a playlist may name."""
    try:
        return av.open(str(path), "r", metadata_errors="replace", options={"protocol_whitelist": "file"})
    except av.FFmpegError as error:
        why = cut_off(path)
        if why is not None:
            raise InputError(
                "E_INPUT_TRUNCATED", f"cannot read {path}", why, "copy or download it again"
            ) from error
        raise InputError(
            "E_INPUT_NOT_VIDEO",
            f"cannot read {path}",
            "it is not a video that FFmpeg knows, or it is damaged at its start",
            "check that it plays elsewhere, or convert it to .mp4",
        ) from error


class VideoSource:
    """A video file as a `Source`.

    `size` is a (width, height) box that frames are shrunk to fit. `on_corrupt="fail"` raises InputError at the
    first damaged frame and says when; `"skip"` leaves damaged frames out, counts them in `notes` and goes on.
    `hdr="tonemap"` brings PQ and HLG to BT.709 (hdr.py); `"fail"` refuses them: InputError E_INPUT_HDR.
    """

    live = False
    frames = None  # containers promise counts that they do not keep: edit lists, cut files, pipes

    def __init__(
        self,
        path: str | Path,
        *,
        size: tuple[int, int] | None = None,
        on_corrupt: OnCorrupt = "fail",
        hdr: Hdr = "tonemap",
        planes: bool = False,
    ) -> None:
        self.path = readable(Path(path))
        self.name = self.path.name
        self.notes: list[str] = []
        self.planes = planes
        """Whether frames come as YUV planes, where they can: without any conversion for 4:2:0 of 8 bits, which is
        most video. May be set until the first frame is taken."""
        self.until: float | None = None
        """Seconds from the first frame on: stop at the first one after them, for previews. May be set until the first
        is taken."""
        self._on_corrupt = on_corrupt
        self._hdr = hdr
        self._damaged = 0
        self._seen = False  # an undamaged frame
        if kind_of(self.path) == "text":
            raise InputError(
                "E_INPUT_NOT_VIDEO", f"cannot read {path}", "it is a text file, not a video", "check the name"
            )
        self._container = open_container(self.path)
        try:
            self._open(size)
        except BaseException:
            self._container.close()
            raise

    def _open(self, size: tuple[int, int] | None) -> None:
        missing = cut_off(self.path)
        if missing is not None:
            if self._on_corrupt == "fail":
                raise InputError(
                    "E_INPUT_TRUNCATED",
                    f"cannot read {self.path}",
                    missing,
                    "get the whole file, or paint what is there with --on-corrupt skip",
                )
            self.notes.append(f"the file is cut off: {missing}")
        stream = self._choose_stream()
        stream.thread_type = "AUTO"
        self._stream = stream
        self.stream_index = stream.index
        self.time_base: Fraction = stream.time_base or Fraction(1, 90_000)
        """The file's own clock; every `Frame.time` is a whole multiple of it (less `origin`)."""
        self.origin: Fraction = self._find_origin()
        """Seconds on the file's clock that are time 0 here; not 0 only for broadcast recordings."""
        self.codec: str = stream.codec_context.name
        """FFmpeg's name of what the pictures are encoded in."""
        self.bit_rate: int = stream.bit_rate or self._container.bit_rate or 0
        """Bits per second: of the pictures, or of the whole file where only that is known; 0 if nobody knows."""
        self.end: float | None = None
        """When the last frame that was decoded so far stops being shown."""
        rate = stream.average_rate or stream.guessed_rate
        self.rate = rate if rate and 0 < rate <= 1000 else None
        self._clock = _Clock(self.time_base, self.rate)

        self._decoded = self._decode()
        first = next(self._decoded, None)
        if first is None:
            raise InputError(
                "E_INPUT_CORRUPT",
                f"cannot read {self.path}",
                "it has a picture stream, but not one frame in it can be decoded",
                "it may be cut off or encrypted; check that it plays elsewhere",
            )
        self._first: VideoFrame | None = first
        stored = Colour.of(first)
        self._high_range = stored.hdr
        if stored.hdr and self._hdr == "fail":
            raise InputError(
                "E_INPUT_HDR",
                f"cannot read {self.path} without changing it",
                f"it is {stored.hdr}, and paintings have an ordinary range",
                "leave --hdr fail out: it is then tone-mapped",
            )
        self.colour = Colour.sdr() if stored.hdr else stored
        """Of the frames that come: after tone mapping, where that is done."""
        self._tone_map: ToneMap | None = None
        self._turn = _Turn.of(first)
        width, height = self._turn.size(first.width, first.height)
        self._box = size
        self.width, self.height = fit(width, height, size) if size else (width, height)
        aspect = stream.sample_aspect_ratio
        self.pixel_aspect: Fraction | None = None
        """Width of a pixel over its height, where it is not square."""
        if aspect and aspect != 1:
            self.pixel_aspect = 1 / aspect if self._turn.transposed else aspect
        self._duration = self._find_duration()
        self.has_keyed_metadata = any("." in key for key in self._container.metadata)
        """Whether it has metadata with names like `com.apple.quicktime.make`, which MP4 keeps in a place of its own."""
        self._reformatter = VideoReformatter()
        self._may_be_planes = self._can_be_planes(first)
        self._note_what_is_lost(first)

    @property
    def coding(self) -> Coding | None:
        """What the planes of the frames mean; None where they come as RGB."""
        return self.colour.coding if self.planes and self._may_be_planes else None

    @property
    def duration(self) -> float | None:
        return min(self._duration, self.until) if self._duration and self.until else self._duration

    def __iter__(self) -> Iterator[Frame]:
        first, self._first = self._first, None
        if first is None:
            return  # read to its end before
        begins: Fraction | None = None
        for index, decoded in enumerate(self._with_first(first)):
            ticks = self._clock.next(decoded)
            time = Fraction(ticks) * self.time_base - self.origin
            begins = time if begins is None else begins  # seconds after the sound, in some films
            length = decoded.duration or 0
            if self.until is not None and float(time - begins) >= self.until:
                self.end = float(time)
                return
            self.end = float(time + length * self.time_base) if length > 0 else None
            yield Frame(self._picture(decoded), index, float(time))
        self._note_what_was_repaired()

    def close(self) -> None:
        self._decoded.close()
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _with_first(self, first: VideoFrame) -> Iterator[VideoFrame]:
        yield first
        yield from self._decoded

    def _choose_stream(self) -> VideoStream:
        """The first stream of moving pictures; not the cover of a song, not a stream that nothing here decodes."""
        streams = self._container.streams.video
        films = [stream for stream in streams if not stream.disposition & Disposition.attached_pic]
        if not films:
            why = "it has a cover picture but no video" if streams else "it has no picture stream"
            if not streams and self._container.streams.audio:
                why = "it has sound but no picture stream"
            raise InputError(
                "E_INPUT_NO_PICTURES", f"cannot read {self.path}", why, "name a video or a picture"
            )
        known = [stream for stream in films if stream.codec_context is not None]
        if not known:
            raise InputError(
                "E_INPUT_CODEC",
                f"cannot read {self.path}",
                "this build of PyAV has no decoder for its pictures",
                "convert it to H.264 first, or upgrade: pip install -U av",
            )
        if len(films) > 1:
            self.notes.append(
                f"the file has {len(films)} picture streams; the first is painted, the others are left out"
            )
        return known[0]

    def _find_origin(self) -> Fraction:
        start = self._container.start_time
        if self._container.format.name in _BROADCAST_FORMATS and start is not None:
            return Fraction(start, av.time_base)
        return Fraction(0)

    def _find_duration(self) -> float | None:
        if self._stream.duration is not None and self._stream.duration > 0:
            return float(self._stream.duration * self.time_base)
        if self._container.duration is not None and self._container.duration > 0:
            return float(Fraction(self._container.duration, av.time_base))
        return None

    def _decode(self) -> Generator[VideoFrame]:
        """Frames in presentation order; damage as `on_corrupt` says."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError as error:
                # The demuxer cannot go on after this, whatever the policy.
                self._damage(None, error)
                return
            if packet is None:
                return
            try:
                frames = packet.decode()
            except av.FFmpegError as error:
                self._damage(self._seconds(packet), error)
                continue
            for frame in frames:
                if frame.is_corrupt:
                    self._damage(frame.time, None)
                else:
                    self._seen = True
                    yield frame

    def _seconds(self, packet: Packet) -> float | None:
        ticks = packet.pts if packet.pts is not None else packet.dts
        return None if ticks is None else float(ticks * self.time_base)

    def _damage(self, seconds: float | None, error: av.FFmpegError | None) -> None:
        self._damaged += 1
        if self._on_corrupt == "skip":
            return
        where = "" if seconds is None else f" at {seconds:.3f} s"
        reason = f" ({error.strerror})" if error is not None and error.strerror else ""
        raise InputError(
            "E_INPUT_CORRUPT",
            f"cannot read {self.path}{where}",
            f"its data are damaged or encrypted there{reason}",
            "get an undamaged copy"
            + (", or leave such frames out with --on-corrupt skip" if self._seen else ""),
        ) from error

    def _picture(self, decoded: VideoFrame) -> Image | Planes:
        """Upright, shrunk to the box: (H, W, 3) uint8 RGB, or planes."""
        width, height = decoded.width, decoded.height
        if self._box:
            width, height = self._turn.size(*fit(*self._turn.size(width, height), self._box))
        colour = self.colour if decoded.width == self._stream.width else Colour.of(decoded)
        if self._high_range:
            decoded, colour = self._tone_mapped(decoded, width, height), self.colour
        if not (self.planes and self._can_be_planes(decoded)):
            return self._turn.upright(rgb_of(decoded, self._reformatter, colour.coding, width, height))
        if decoded.format.name not in _PLANES or (width, height) != (decoded.width, decoded.height):
            # also 4:4:4 and 10 bits: one conversion instead of two
            decoded = convert(self._reformatter, decoded, "yuv420p", colour.coding, width, height)
        planes = Planes.of(decoded, colour.coding)
        if self._turn.nothing:
            return planes
        y, u, v = (self._turn.upright(plane) for plane in (planes.y, planes.u, planes.v))
        return Planes(y, u, v, planes.coding)

    def _can_be_planes(self, decoded: VideoFrame) -> bool:
        """Colour with a luma of its own; mirrored or turned only in whole 2x2 pixels."""
        layout = decoded.format
        even = decoded.width % 2 == decoded.height % 2 == 0
        return (
            layout.name.startswith(("yuv", "nv", "p0"))
            and len(layout.components) >= 3
            and (self._turn.nothing or even)
        )

    def _tone_mapped(self, decoded: VideoFrame, width: int, height: int) -> VideoFrame:
        if self._tone_map is None or self._tone_map.takes != (
            decoded.width,
            decoded.height,
            decoded.format.name,
        ):
            self._tone_map = ToneMap(decoded, width, height)
        return self._tone_map(decoded)

    def _note_what_is_lost(self, first: VideoFrame) -> None:
        if self._high_range:
            self.notes.append(
                f"the video is {self._high_range}; it is tone-mapped to BT.709 (docs/sources.md says how)"
            )
        elif any(component.bits > 8 for component in first.format.components):
            self.notes.append("the video has more than 8 bits per colour; it is painted with 8")
        alpha_beside = self._stream.metadata.get("alpha_mode") == "1"
        with_alpha = any(component.is_alpha for component in first.format.components)
        # every GIF decodes to a format with alpha, whether it uses it or not
        if alpha_beside or (with_alpha and self._container.format.name != "gif"):
            self.notes.append("the video has transparency, which is left out")
        if first.interlaced_frame:
            self.notes.append("the video is interlaced; its frames are painted as they are stored")
        if self._turn.ignored:
            self.notes.append(
                f"a rotation of {self._turn.ignored} degrees is ignored; only quarter turns are applied"
            )

    def _note_what_was_repaired(self) -> None:
        if self._damaged:
            self.notes.append(f"damaged places that were skipped: {self._damaged}")
        if self._clock.repaired:
            self.notes.append(
                f"frames without a usable time stamp, set to follow the one before: {self._clock.repaired}"
            )
        if self._clock.longest_gap:
            begin, end = (float(ticks * self.time_base - self.origin) for ticks in self._clock.longest_gap)
            self.notes.append(f"no frames from {begin:.2f} to {end:.2f} s: a still picture, or damage")


class _Clock:
    """Gives every frame a time later than the one before it, from the best of the stamps that it has."""

    def __init__(self, time_base: Fraction, rate: Fraction | None) -> None:
        self._usual_step = max(1, round(1 / rate / time_base)) if rate else 1
        self._last: int | None = None
        self._last_pts: int | None = None
        self._last_dts: int | None = None
        self._notable_gap = max(round(1 / time_base), 10 * self._usual_step)
        self._wrong_pts = 0
        self._wrong_dts = 0
        self.repaired = 0
        self.longest_gap: tuple[int, int] | None = None
        """From one frame to the next, where that took over a second: Matroska hides damage like this."""

    def next(self, frame: VideoFrame) -> int:
        """Ticks of the stream's time base. Some files, AVI among them, carry only decoding stamps that work:
        whichever of the two has run backwards less often is believed."""
        if frame.pts is not None:
            self._wrong_pts += self._last_pts is not None and frame.pts <= self._last_pts
            self._last_pts = frame.pts
        if frame.dts is not None:
            self._wrong_dts += self._last_dts is not None and frame.dts <= self._last_dts
            self._last_dts = frame.dts
        ticks = frame.pts
        if ticks is None or (frame.dts is not None and self._wrong_pts > self._wrong_dts):
            ticks = frame.dts
        if ticks is None or (self._last is not None and ticks <= self._last):
            ticks = 0 if self._last is None else self._last + self._usual_step
            self.repaired += 1
        if self._last is not None and ticks - self._last > self._notable_gap:
            self._notable_gap, self.longest_gap = ticks - self._last, (self._last, ticks)
        self._last = ticks
        return ticks


class _Turn:
    """The quarter turn or mirroring that makes a frame upright, from the file's display matrix."""

    def __init__(self, transposed: bool, flip_x: bool, flip_y: bool, ignored: int = 0) -> None:
        self.transposed, self._flip_x, self._flip_y, self.ignored = transposed, flip_x, flip_y, ignored

    @classmethod
    def of(cls, frame: VideoFrame) -> _Turn:
        matrix: Any = frame.side_data.get("DISPLAYMATRIX")
        if matrix is None:
            return cls(False, False, False)
        a, b, _, c, d = np.frombuffer(bytes(matrix), "=i4")[:5].tolist()
        # x' = a x + c y, y' = b x + d y; one of the two pairs is zero for a quarter turn
        if b == c == 0:
            return cls(False, a < 0, d < 0)
        if a == d == 0:
            return cls(True, c < 0, b < 0)
        return cls(False, False, False, ignored=int(frame.rotation))

    @property
    def nothing(self) -> bool:
        """Frames are upright as they are."""
        return not (self.transposed or self._flip_x or self._flip_y)

    def size(self, width: int, height: int) -> tuple[int, int]:
        return (height, width) if self.transposed else (width, height)

    def upright(self, image: Image) -> Image:
        """(H, W, 3) or (H, W)."""
        if self.transposed:
            image = image.swapaxes(0, 1)
        if self._flip_x:
            image = image[:, ::-1]
        if self._flip_y:
            image = image[::-1]
        return np.ascontiguousarray(image)
