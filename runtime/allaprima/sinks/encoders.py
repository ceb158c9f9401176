"""The codecs that video is written in: which encoders of FFmpeg make them, how good, and whether they work here.

    chosen = choose(Encoding("h264", quality="good", hardware=True), "mp4", (1280, 720), Fraction(30))
    chosen.encoder, chosen.options, chosen.passed_over

A hardware encoder that is compiled in need not work: there may be no such card, no driver, or no room for this size.
So each is tried with one frame before a run, and what does not work is told with the reason that it gave.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

import av
from av.video.frame import VideoFrame

from ..errors import OutputError, RunError

__all__ = ["CODECS", "COPY", "QUALITIES", "Chosen", "Encoding", "Quality", "choose"]

Quality = Literal["small", "good", "best"]
QUALITIES: tuple[Quality, ...] = ("small", "good", "best")
"""small: seen to be compressed by who looks for it; good: hardly to be told from the painting; best: for editing on."""


@dataclass(frozen=True)
class Encoder:
    """A row: one encoder of FFmpeg's."""

    name: str
    qualities: tuple[Mapping[str, str], Mapping[str, str], Mapping[str, str]]
    """Options for each of QUALITIES."""
    options: Mapping[str, str] = field(default_factory=dict)
    pix_fmt: str = "yuv420p"
    hardware: bool = False
    tag: str = ""
    """What MP4 and MOV call it, where FFmpeg's own choice does not play everywhere."""


@dataclass(frozen=True)
class Codec:
    containers: tuple[str, ...]
    """FFmpeg's names of the formats that hold it."""
    encoders: tuple[Encoder, ...]
    """Best first among those that are alike; hardware is only taken when it is asked for."""


def _steps(
    option: str, small: int, good: int, best: int
) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    return {option: str(small)}, {option: str(good)}, {option: str(best)}


def _nvidia(name: str, tag: str = "") -> Encoder:
    return Encoder(name, _steps("cq", 28, 21, 16), {"rc": "vbr", "preset": "p4"}, hardware=True, tag=tag)


def _intel(name: str, tag: str = "") -> Encoder:
    return Encoder(name, _steps("global_quality", 28, 22, 17), pix_fmt="nv12", hardware=True, tag=tag)


def _amd(name: str, tag: str = "") -> Encoder:
    steps = tuple({"qp_i": str(qp), "qp_p": str(qp)} for qp in (28, 22, 17))
    return Encoder(name, steps, {"rc": "cqp"}, hardware=True, tag=tag)  # type: ignore[arg-type]


def _apple(name: str, tag: str = "") -> Encoder:
    return Encoder(name, _steps("q:v", 45, 65, 80), hardware=True, tag=tag)


CODECS: dict[str, Codec] = {
    "h264": Codec(
        ("mp4", "mov", "matroska"),
        (
            # veryfast takes a third of medium's time; at the same crf it is larger, not worse
            Encoder("libx264", _steps("crf", 24, 18, 12), {"preset": "veryfast"}),
            Encoder("libopenh264", _steps("b", 2_000_000, 6_000_000, 16_000_000)),
            *(_nvidia("h264_nvenc"), _intel("h264_qsv"), _amd("h264_amf"), _apple("h264_videotoolbox")),
        ),
    ),
    "hevc": Codec(
        ("mp4", "mov", "matroska"),
        (
            Encoder(
                "libx265",
                _steps("crf", 27, 21, 15),
                {"preset": "fast", "x265-params": "log-level=error"},
                tag="hvc1",  # FFmpeg's own hev1 does not play on Apple's
            ),
            *(_nvidia("hevc_nvenc", "hvc1"), _intel("hevc_qsv", "hvc1")),
            *(_amd("hevc_amf", "hvc1"), _apple("hevc_videotoolbox", "hvc1")),
        ),
    ),
    "av1": Codec(
        ("mp4", "matroska", "webm"),
        (
            Encoder("libsvtav1", _steps("crf", 38, 28, 18), {"preset": "9", "svtav1-params": "lp=0"}),
            *(_nvidia("av1_nvenc"), _intel("av1_qsv"), _amd("av1_amf")),
        ),
    ),
    "prores": Codec(
        ("mov", "matroska"),
        (
            # proxy, standard, HQ: what film editors ask for; 10 bits and 4:2:2, and ten times the size
            Encoder("prores_ks", _steps("profile", 0, 2, 3), {"vendor": "apl0"}, pix_fmt="yuv422p10le"),
            Encoder("prores_videotoolbox", _steps("profile", 0, 2, 3), pix_fmt="p210le", hardware=True),
        ),
    ),
    "vp9": Codec(
        ("matroska", "webm", "mp4"),
        (
            Encoder(
                "libvpx-vp9",
                _steps("crf", 34, 24, 15),
                {"deadline": "realtime", "cpu-used": "6", "row-mt": "1", "b": "0"},
            ),
            _intel("vp9_qsv"),
        ),
    ),
}
"""Name -> who makes it. What somebody types after `--codec`, besides `copy-settings`."""

_SOURCES = {"libdav1d": "av1", "libvpx-vp9": "vp9"}
"""What FFmpeg calls its decoders, where that is not the name of the codec."""

_USUAL = {"webm": "vp9"}
"""The codec of a container when nobody asks for one; h264 for all others."""


@dataclass(frozen=True)
class Encoding:
    """How a video is to be written."""

    codec: str | None = None
    """A name in CODECS, or `copy-settings`: codec and bit rate of the source. None: the container's usual one."""
    quality: Quality = "good"
    """Not for `copy-settings`, where the bit rate decides."""
    hardware: bool = False
    """Encoders of graphics cards first: several times as fast, and larger or worse at the same setting."""


@dataclass(frozen=True)
class Chosen:
    """An encoder that has encoded a frame here."""

    codec: str
    encoder: str
    options: dict[str, str]
    pix_fmt: str
    tag: str
    passed_over: dict[str, str]
    """What was asked for first, and why it is not that."""


COPY = "copy-settings"


def choose(
    encoding: Encoding,
    container: str,
    size: tuple[int, int],
    rate: Fraction,
    like: tuple[str, int] | None = None,
) -> Chosen:
    """The first encoder that encodes a frame of this size (width, height).

    `container` is FFmpeg's name of the format; `like` the source's codec, by FFmpeg's name, and its bits per second:
    for `copy-settings`. Raises OutputError E_OUTPUT_FORMAT where the container does not hold the codec, RunError
    E_ENCODER_MISSING where nothing works.
    """
    bits = 0
    name = encoding.codec or _USUAL.get(container, "h264")
    if encoding.codec == COPY:
        if like is None:
            raise OutputError(
                "E_OUTPUT_FORMAT",
                "cannot copy settings",
                "there is no video file to copy them from",
                "choose a --codec",
            )
        name, bits = like
        name = _SOURCES.get(name, name)
    if name not in CODECS:
        raise RunError(
            "E_ENCODER_MISSING",
            f"cannot encode {name}",
            "nothing here does",
            f"choose one of {', '.join(CODECS)}",
        )
    if container not in CODECS[name].containers:
        held = [codec for codec, row in CODECS.items() if container in row.containers]
        raise OutputError(
            "E_OUTPUT_FORMAT",
            f"cannot write {name} into this kind of file",
            f"{container} does not hold it",
            f"choose another extension, or --codec {' or '.join(held)}",
        )
    rows = CODECS[name].encoders
    order = [row for row in rows if row.hardware and encoding.hardware] + [
        row for row in rows if not row.hardware
    ]
    failed: dict[str, str] = {}
    for row in order:
        steps = {"b": str(bits)} if bits else row.qualities[QUALITIES.index(encoding.quality)]
        options = {**row.options, **steps}
        why = _trial(row, options, size, rate)
        if not why:
            tag = row.tag if container in ("mp4", "mov") else ""
            return Chosen(name, row.name, options, row.pix_fmt, tag, failed)
        failed[row.name] = why
    raise RunError(
        "E_ENCODER_MISSING",
        f"cannot encode {name} of {size[0]}x{size[1]}",
        "; ".join(f"{encoder}: {why}" for encoder, why in failed.items()),
        "choose another --codec, or install the usual PyAV: pip install --force-reinstall av",
    )


def _trial(row: Encoder, options: dict[str, str], size: tuple[int, int], rate: Fraction) -> str:
    """Encode one grey frame and throw it away. Why that is not possible, in the vendor's words; empty if it is."""
    os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 writes twenty lines to stderr otherwise
    try:
        context: Any = av.CodecContext.create(row.name, "w")
    except (ValueError, av.FFmpegError):  # PyAV's word for what is not in this build
        return "not in this build of FFmpeg"
    context.width, context.height = size
    context.pix_fmt = row.pix_fmt
    context.framerate, context.time_base = rate, 1 / rate
    context.options = dict(options)
    frame = VideoFrame(*size, row.pix_fmt)
    for plane in frame.planes:
        plane.update(bytes([128]) * plane.buffer_size)
    frame.pts, frame.time_base = 0, 1 / rate
    try:
        packets = [*context.encode(frame), *context.encode(None)]
    except (OSError, ValueError, av.FFmpegError) as error:  # FFmpeg's, and the system's that it passes on
        return getattr(error, "strerror", None) or str(error)
    return "" if any(packet.size for packet in packets) else "it took a frame and gave nothing"
