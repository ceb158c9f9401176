"""How a painted video is written: the options of commands that write one."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING

from ..errors import UsageError

if TYPE_CHECKING:
    from ..sinks.encoders import Encoding

__all__ = ["add_encoding_arguments", "encoding_of", "seconds_of"]

# also in sinks.encoders, which --help does not import: that would load FFmpeg
CODEC_WORDS = ("h264", "hevc", "av1", "prores", "vp9", "copy-settings")
QUALITY_WORDS = ("small", "good", "best")


def add_encoding_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--codec",
        choices=CODEC_WORDS,
        help="of a video (default: h264; vp9 in .webm); copy-settings: codec and bit rate of the source",
    )
    parser.add_argument(
        "--quality",
        choices=QUALITY_WORDS,
        default="good",
        help="of a video: size against looks (default: good)",
    )
    parser.add_argument(
        "--hardware", action="store_true", help="encode on the graphics card if it can, in software if not"
    )
    parser.add_argument(
        "--hdr",
        choices=["tonemap", "fail"],
        default="tonemap",
        help="video of high dynamic range: bring it to BT.709 (default), or stop",
    )


def encoding_of(args: argparse.Namespace) -> Encoding:
    from ..sinks.encoders import Encoding

    return Encoding(args.codec, args.quality, args.hardware)


def seconds_of(text: str, option: str) -> float:
    """`5s`, `5`, `1:30` or `0.5` -> seconds. `option` is what a user wrote it after; UsageError E_USAGE."""
    found = re.fullmatch(r"(?:(\d+):)?(\d+(?:\.\d+)?)s?", text)
    if found:
        seconds = 60 * int(found[1] or 0) + float(found[2])
        if seconds > 0:
            return seconds
    raise UsageError(
        "E_USAGE", f"cannot read {option} {text}", "it is a time", f"write {option} 5s or {option} 1:30"
    )
