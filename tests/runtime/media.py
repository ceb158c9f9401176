"""Small real media, made by arithmetic."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from allaprima.planes import BT601, BT709, BT2020, LIMITED_BT709, Coding, Planes
from allaprima.sinks.subtitles import ASS_HEADER, written


def picture(width: int, height: int, number: int = 0) -> np.ndarray:
    """(H, W, 3) uint8: a smooth gradient with a bright square that moves with `number`, asymmetric both ways."""
    x = np.linspace(30, 200, width)[None, :]
    y = np.linspace(20, 180, height)[:, None]
    image = np.stack([x + 0 * y, y + 0 * x, (x + y) / 2], axis=-1)
    side = max(1, min(width, height) // 4)
    left = number * 3 % max(1, width - side)
    image[:side, left : left + side] = (230, 60, 40)
    return image.astype(np.uint8)


CODINGS = [Coding(matrix, full) for matrix in (BT709, BT601, BT2020) for full in (False, True)]


def planes(height: int, width: int, coding: Coding = LIMITED_BT709) -> Planes:
    """Other numbers in every plane, none of them flat."""
    rows, columns = np.mgrid[0:height, 0:width]
    half = np.s_[: -(-height // 2), : -(-width // 2)]
    y = (30 + rows * 3 + columns * 2) % 200 + 16
    u, v = (60 + rows + 2 * columns) % 120 + 60, (90 + 2 * rows + columns) % 120 + 60
    return Planes(y.astype(np.uint8), u[half].astype(np.uint8), v[half].astype(np.uint8), coding)


def write_video(
    path: Path,
    *,
    size: tuple[int, int] = (64, 48),
    times: list[int] | int = 12,
    time_base: Fraction = Fraction(1, 25),
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    audio: tuple[str, ...] = (),
    audio_seconds: float = 1.0,
    audio_delay: float = 0.0,
    audio_layout: str = "stereo",
    subtitle: str | None = None,
    chapters: bool = False,
    title: str | None = None,
    format: str | None = None,
    colour: tuple[int, int] | None = None,
) -> Path:
    """A small real file. `times` are presentation stamps in `time_base` (or how many, evenly); `audio` names
    one encoder for each sound stream; `colour` is (matrix, range) in H.273's numbers."""
    stamps = list(range(times)) if isinstance(times, int) else times
    with av.open(str(path), "w", format=format) as out:
        video: Any = out.add_stream(codec, rate=round(1 / time_base) if time_base.numerator == 1 else 25)
        video.width, video.height = size
        video.pix_fmt = pix_fmt
        video.codec_context.time_base = time_base
        video.options = {"crf": "4", "preset": "ultrafast"} if options is None else options
        if colour:
            video.codec_context.colorspace, video.codec_context.color_range = colour
        if title:
            out.metadata["title"] = title
        sounds = []
        for number, name in enumerate(audio):
            sound: Any = out.add_stream(name, rate=48_000)
            sound.codec_context.layout = audio_layout
            sound.metadata["language"] = ("eng", "deu", "fra")[number]
            sounds.append(sound)
        words: Any = None
        if subtitle:
            words = out.add_stream(subtitle)
            words.time_base = Fraction(1, 1000)
            words.codec_context.subtitle_header = ASS_HEADER
        if chapters:
            out.set_chapters(
                [
                    {
                        "id": 1,
                        "start": 0,
                        "end": 200,
                        "time_base": Fraction(1, 1000),
                        "metadata": {"title": "One"},
                    },
                    {
                        "id": 2,
                        "start": 200,
                        "end": 480,
                        "time_base": Fraction(1, 1000),
                        "metadata": {"title": "Two"},
                    },
                ]
            )
        out.start_encoding()
        for number, stamp in enumerate(stamps):
            frame = av.VideoFrame.from_ndarray(picture(*size, number), "rgb24")
            if colour:
                frame = frame.reformat(
                    format=pix_fmt,
                    dst_colorspace={6: 5}.get(colour[0], colour[0]),
                    src_color_range=2,
                    dst_color_range=colour[1],
                    interpolation=2 | 0x2000 | 0x40000,
                )
            frame.pts, frame.time_base = stamp, time_base
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        for number, sound in enumerate(sounds):
            _write_tone(out, sound, 440.0 * (number + 1), audio_seconds, audio_delay, audio_layout)
        if words is not None:
            for begin, text in ((40, "Hello, <i>world</i>"), (240, "Grüße")):
                packet = av.Packet(written(subtitle or "", text))
                packet.pts = packet.dts = begin
                packet.duration, packet.time_base, packet.stream = 150, Fraction(1, 1000), words
                packet.is_keyframe = True
                out.mux(packet)
    return path


def _write_tone(out: Any, sound: Any, pitch: float, seconds: float, delay: float, layout: str) -> None:
    channels = av.AudioLayout(layout).nb_channels
    count = sound.codec_context.frame_size or 1024
    for start in range(0, int(seconds * 48_000), count):
        wave = 0.3 * np.sin(2 * np.pi * pitch * np.arange(start, start + count) / 48_000)
        frame = av.AudioFrame.from_ndarray(np.tile(wave.astype(np.float32), (channels, 1)), "fltp", layout)
        frame.sample_rate = 48_000
        frame.pts, frame.time_base = start + round(delay * 48_000), Fraction(1, 48_000)
        out.mux(sound.encode(frame))
    out.mux(sound.encode(None))
