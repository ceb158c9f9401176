"""The other streams of a source file - sound, subtitles, attachments - and its chapters and metadata, copied.

Packets are copied, not decoded: bit for bit what they were. Only what the new container cannot hold is converted
(sound to AAC or Opus, text subtitles to the container's kind), and what cannot be converted is named in the notes.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any, Literal

import av
from av.audio.resampler import AudioResampler
from av.container import OutputContainer
from av.packet import Packet
from av.stream import AttachmentStream, Disposition, Stream

from ..errors import RunError
from ..sources.video import VideoSource, open_container
from .subtitles import ASS_HEADER, WRITABLE, text_of, written

__all__ = ["Tracks"]

_AUDIO_ENCODER = {"mp4": "aac", "mov": "aac", "matroska": "aac", "webm": "libopus"}
_PAUSE = Fraction(
    1, 20
)  # seconds: what is missing before a piece of sound; less is how its container rounds times
# What describes the old file, not the film
_FILE_KEYS = frozenset(
    {
        *("major_brand", "minor_version", "compatible_brands", "encoder", "duration", "rotate", "vendor_id"),
        *("alpha_mode", "bps", "number_of_frames", "number_of_bytes"),
        *("_statistics_writing_app", "_statistics_writing_date_utc", "_statistics_tags"),
    }
)


class Tracks:
    """Copies from `source`'s file into `container`, in step with its pictures.

    Made after the picture stream is added and before the header is written. Adds to `notes` what is left out. `until`:
    seconds of the output's clock where its pictures are known to end, for a preview: it has the chapters that begin
    before.
    """

    def __init__(
        self,
        source: VideoSource,
        container: OutputContainer,
        pictures: Stream,
        notes: list[str],
        *,
        until: float | None = None,
    ) -> None:
        self._source = source
        self._out = container
        self._format = container.format.name
        self._notes = notes
        self._origin = source.origin
        self._input = open_container(source.path)
        self._from_mp4 = "mp4" in self._input.format.name.split(",")
        self._writers: dict[int, Callable[[Packet], None]] = {}
        self._at_end: list[Callable[[], None]] = []
        for stream in self._input.streams:
            if stream.index == source.stream_index:
                pictures.metadata.update(_film_metadata(stream.metadata))
                pictures.disposition = stream.disposition
            else:
                self._add(stream)
        container.metadata.update(_film_metadata(self._input.metadata))
        chapters = [
            one for one in self._input.chapters() if until is None or self._seconds(one, "start") < until
        ]
        if chapters:
            if until is not None and self._seconds(chapters[-1], "end") > until:
                chapters[-1]["end"] = round((until + self._origin) / (chapters[-1]["time_base"] or 1))
            container.set_chapters(chapters)
        self._packets = self._read()
        self._next: Packet | None = next(self._packets, None)

    def copy_until(self, seconds: float | None) -> None:
        """Write what belongs before `seconds` of the output's clock; None: all that is left."""
        while self._next is not None and (seconds is None or self._time(self._next) <= seconds):
            packet, self._next = self._next, next(self._packets, None)
            self._writers[packet.stream_index](packet)
        if seconds is None:
            for finish in self._at_end:
                finish()
            self._at_end = []

    def close(self) -> None:
        self._next = None
        self._input.close()

    def _read(self) -> Iterator[Packet]:
        """The packets of the copied streams, in the order of the file."""
        if not self._writers:
            return
        wanted = [self._input.streams[index] for index in sorted(self._writers)]
        try:
            for packet in self._input.demux(wanted):
                if packet.size and (packet.pts is not None or packet.dts is not None):
                    yield packet
        except av.FFmpegError:
            self._notes.append(
                "the file is damaged; sound and subtitles end where it could not be read any more"
            )

    def _time(self, packet: Packet) -> float:
        ticks = packet.dts if packet.dts is not None else packet.pts
        assert ticks is not None
        return float(ticks * packet.time_base - self._origin)

    def _seconds(self, chapter: Any, side: Literal["start", "end"]) -> float:
        """Of the output's clock."""
        return float(chapter[side] * (chapter["time_base"] or 1) - self._origin)

    def _add(self, stream: Stream) -> None:
        """Find the way for one stream: copied, converted or left out with a note."""
        what = f"{stream.type} stream {stream.index}" + (
            f" ({stream.codec_context.name})" if stream.codec_context else ""
        )
        if stream.type == "attachment":
            if self._format == "matroska":
                assert isinstance(stream, AttachmentStream)
                self._out.add_attachment(stream.name or "attachment", stream.mimetype or "", stream.data)
            else:
                self._notes.append(f"{what} is left out: only .mkv holds attachments")
        elif stream.type == "video":
            if stream.disposition & Disposition.attached_pic:
                self._notes.append(f"the cover picture (stream {stream.index}) is left out")
        elif stream.type not in ("audio", "subtitle"):
            if not self._is_chapter_track(stream):
                self._notes.append(f"{what} is left out: timed data cannot be copied")
        elif stream.codec_context is None:
            self._notes.append(f"{what} is left out: it is damaged, or in a format that is not known here")
        elif _holds(self._format, stream):
            self._copy(stream)
        elif stream.type == "audio":
            self._encode_audio(stream, what)
        elif not self._convert_subtitles(stream, what):
            self._notes.append(f"{what} is left out: this container cannot hold it (use .mkv to keep it)")

    def _is_chapter_track(self, stream: Stream) -> bool:
        """MP4 keeps its chapters as a text track, too; the muxer writes it anew."""
        return stream.type == "data" and bool(self._input.chapters()) and stream.name in (None, "bin_data")

    def _copy(self, stream: Stream) -> None:
        out = self._out.add_stream_from_template(stream)
        self._dress(out, stream)
        fills_pauses = (
            stream.codec_context.name == "mov_text"
        )  # with empty packets, which the muxer writes anew
        last_dts: int | None = None

        def write(packet: Packet) -> None:
            nonlocal last_dts
            if self._is_priming(packet) or (fills_pauses and packet.size <= 2):
                return
            dts = packet.dts if packet.dts is not None else packet.pts
            assert dts is not None
            if last_dts is not None and dts <= last_dts and stream.type == "audio":
                dts = last_dts + 1  # the muxer refuses what runs backwards, and damaged files do
            last_dts = dts
            packet.dts = dts
            if packet.pts is None or packet.pts < dts:
                packet.pts = dts
            self._mux(packet, out)

        self._writers[stream.index] = write

    def _encode_audio(self, stream: Any, what: str) -> None:
        name = _AUDIO_ENCODER[self._format]
        context = stream.codec_context
        rate = 48_000 if name == "libopus" else context.sample_rate
        out: Any = self._out.add_stream(name, rate=rate)
        layout = _layout_for(name, context.layout.name, rate, what)
        out.codec_context.layout = layout
        self._dress(out, stream)
        mixed = (
            f" and mixed to {layout}"
            if av.AudioLayout(layout).nb_channels < context.layout.nb_channels
            else ""
        )
        self._notes.append(
            f"{what} is encoded anew as {name}{mixed}: this container cannot hold it (use .mkv to keep it)"
        )
        resampler = AudioResampler(format=out.codec_context.format, layout=layout, rate=rate)
        origin = self._origin
        start: Fraction | None = None
        at = -origin  # of what comes next
        damaged = False

        def write(packet: Packet) -> None:
            nonlocal start, at, damaged
            try:
                frames: list[Any] = list(packet.decode())
            except av.FFmpegError:
                damaged = True
                return
            for frame in frames:
                if frame.pts is not None:
                    said = Fraction(frame.pts) * (frame.time_base or packet.time_base) - origin
                    if start is None or said - at > _PAUSE:
                        at = said
                start = at if start is None else start
                # in samples from the start: the resampler does not count, nor the encoder
                frame.pts, frame.time_base = (
                    round((at - start) * frame.sample_rate),
                    Fraction(1, frame.sample_rate),
                )
                at += Fraction(frame.samples, frame.sample_rate)
                encode(resampler.resample(frame))

        def encode(frames: list[Any]) -> None:
            for frame in frames:
                for packet in encoded(frame):
                    send(packet)

        def encoded(frame: Any) -> list[Packet]:
            try:
                return list(out.encode(frame))
            except av.FFmpegError as error:
                raise _encoder_failed(name, what, error) from error

        def send(packet: Packet) -> None:
            shift = round((start or Fraction(0)) / packet.time_base)
            packet.pts = (packet.pts or 0) + shift
            packet.dts = packet.pts
            self._out.mux_one(packet)

        def finish() -> None:
            encode(resampler.resample(None))
            encode([None])
            if damaged:
                self._notes.append(f"{what} has damaged places, which are silent now")

        self._writers[stream.index] = write
        self._at_end.append(finish)

    def _convert_subtitles(self, stream: Stream, what: str) -> bool:
        """Write the words of a text subtitle as this container's kind; False where they are pictures."""
        given = stream.codec_context.name
        if text_of(given, b"") is None:
            return False
        name = WRITABLE[self._format]
        source_kind = self._source.path.suffix or self._input.format.name
        out: Any = self._out.add_stream(name)
        out.time_base = stream.time_base
        out.codec_context.subtitle_header = ASS_HEADER
        self._dress(out, stream)
        self._notes.append(f"{what} is written as {name}, without styling (write {source_kind} to keep it)")

        def write(packet: Packet) -> None:
            words = text_of(given, bytes(packet))
            if not words:
                return  # MP4 writes the pauses between subtitles as packets, too
            copy = Packet(written(name, words))
            copy.pts = copy.dts = packet.pts if packet.pts is not None else packet.dts
            copy.duration = packet.duration
            copy.time_base = packet.time_base
            copy.is_keyframe = True
            self._mux(copy, out)

        self._writers[stream.index] = write
        return True

    def _is_priming(self, packet: Packet) -> bool:
        """Whether a packet is there for the decoder to start on, and would only delay everything else here.

        MP4's edit list cuts off what lies before time 0. Matroska says the same with a codec delay, which FFmpeg
        sets for sound from Matroska but not for sound from MP4; it would move the whole film later instead.
        """
        if self._format in ("mp4", "mov") or not self._from_mp4 or packet.pts is None:
            return False
        middle = (packet.pts + Fraction(packet.duration or 0) / 2) * packet.time_base
        return middle < self._origin

    def _mux(self, packet: Packet, out: Stream) -> None:
        if self._origin:
            shift = round(self._origin / packet.time_base)
            packet.dts = None if packet.dts is None else packet.dts - shift
            packet.pts = None if packet.pts is None else packet.pts - shift
        packet.stream = out
        self._out.mux_one(packet)

    def _dress(self, out: Stream, stream: Stream) -> None:
        """Language, title, and whether it is played by default."""
        out.metadata.update(_film_metadata(stream.metadata))
        out.disposition = stream.disposition


def _holds(format: str, stream: Stream) -> bool:
    """Whether the container takes this stream as it is: asked by writing a header with it into memory.

    FFmpeg's own table answers "perhaps" for much, and a header that fails then would lose the whole output.
    """
    trial = av.open(io.BytesIO(), "w", format=format)
    try:
        trial.add_stream_from_template(stream)
        trial.start_encoding()
        trial.close()
    except (av.FFmpegError, ValueError):
        return False
    return True


def _layout_for(encoder: str, layout: str, rate: int, what: str) -> str:
    """The nearest arrangement of loudspeakers that the encoder takes: asked by opening it. Opus knows 5.1 with its pair
    at the back, but not `5.1(side)`, which AC-3 has; the two differ in name only. Raises RunError."""
    for name in (layout, layout.partition("(")[0], "stereo"):
        trial: Any = av.CodecContext.create(encoder, "w")
        try:
            trial.layout, trial.sample_rate = name, rate
            trial.format = trial.codec.audio_formats[0].name
            trial.open()
        except (av.FFmpegError, ValueError) as error:
            last = error
        else:
            return name
    raise _encoder_failed(encoder, what, last) from last


def _encoder_failed(encoder: str, what: str, error: Exception) -> RunError:
    return RunError(
        "E_ENCODER_FAILED",
        f"cannot encode {what}",
        f"{encoder}: {getattr(error, 'strerror', None) or error}",
        "write .mkv, which keeps the sound as it is",
    )


def _film_metadata(metadata: dict[str, str]) -> dict[str, str]:
    """Title, artist, date, language, place: without what described the file that it came from."""
    return {
        key: value
        for key, value in metadata.items()
        if key.lower() not in _FILE_KEYS and not key.upper().startswith(("BPS-", "DURATION-", "NUMBER_OF_"))
    }
