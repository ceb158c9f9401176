"""Text subtitles from one container's kind into another's: the words and line breaks, without styling."""

from __future__ import annotations

import re

__all__ = ["ASS_HEADER", "WRITABLE", "text_of", "written"]

# Encoders of text subtitles read the style sheet of an ASS file before anything else; this is the plainest.
ASS_HEADER = (
    b"[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\n"
    b"Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, "
    b"Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, "
    b"MarginR, MarginV, Encoding\n"
    b"Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,0\n\n[Events]\n"
    b"Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
)

WRITABLE = {"mp4": "mov_text", "mov": "mov_text", "matroska": "subrip", "webm": "webvtt"}
"""FFmpeg's container -> the kind of text subtitle that it holds."""

_READABLE = frozenset({"mov_text", "subrip", "srt", "text", "webvtt", "ass", "ssa"})
_TAG = re.compile(r"<[^>\n]*>")
_OVERRIDE = re.compile(r"\{[^}]*\}")


def text_of(codec: str, payload: bytes) -> str | None:
    """The words of one packet. Empty for a pause; None where `codec` is not a kind of text."""
    if codec not in _READABLE:
        return None
    if codec == "mov_text":
        length = int.from_bytes(payload[:2], "big")  # style records follow the text
        return payload[2 : 2 + length].decode("utf-8", errors="replace")
    text = payload.decode("utf-8", errors="replace")
    if codec in ("ass", "ssa"):
        # ReadOrder, Layer, Style, Name, MarginL, MarginR, MarginV, Effect, Text: and Text may hold commas
        text = text.split(",", 8)[-1]
        text = _OVERRIDE.sub("", text).replace("\\N", "\n").replace("\\n", "\n").replace("\\h", " ")
    return _TAG.sub("", text).strip()


def written(codec: str, text: str) -> bytes:
    """One packet of kind `codec`, one of `WRITABLE`, with these words."""
    words = text.encode()
    return len(words).to_bytes(2, "big") + words if codec == "mov_text" else words
