"""What a file is by its first bytes and its outline, whatever its name says.

FFmpeg answers "invalid data" to an empty file, a text and a film cut in half alike; here they are told apart.
"""

from __future__ import annotations

import os
import stat
import struct
import warnings
from pathlib import Path
from typing import BinaryIO

from ..errors import InputError

__all__ = ["cut_off", "is_picture", "kind_of", "readable"]

_PICTURES: tuple[tuple[int, bytes, str], ...] = (  # offset, magic, name
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"GIF87a", "GIF"),
    (0, b"GIF89a", "GIF"),
    (8, b"WEBP", "WebP"),
    (0, b"BM", "BMP"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (4, b"ftypavif", "AVIF"),
    (4, b"ftypavis", "AVIF"),
    (4, b"ftypheic", "HEIC"),
    (4, b"ftypheix", "HEIC"),
    (4, b"ftypmif1", "HEIC"),
    *((0, b"P%d" % n + space, "PNM") for n in range(1, 7) for space in (b"\n", b" ", b"\r", b"\t")),
)


def readable(path: Path) -> Path:
    """`path` made absolute, once it is sure to be a regular, non-empty file that can be read. Else InputError."""
    what = f"cannot read {path}"
    try:
        status = path.stat()
    except FileNotFoundError:
        raise InputError(
            "E_INPUT_MISSING", what, "there is no such file", f"check the name{_near(path)}"
        ) from None
    except OSError as error:  # a name too long, a parent that is a file, no permission on the way
        raise InputError("E_INPUT_MISSING", what, error.strerror or str(error), "check the path") from error
    if stat.S_ISDIR(status.st_mode):
        raise InputError("E_INPUT_FOLDER", what, "it is a folder", "name a file in it")
    if not stat.S_ISREG(status.st_mode):
        raise InputError("E_INPUT_KIND", what, "it is not a regular file", "copy its content to a file first")
    if status.st_size == 0:
        raise InputError("E_INPUT_EMPTY", what, "the file is empty (0 bytes)", "copy or download it again")
    if not os.access(path, os.R_OK):
        raise InputError("E_INPUT_PERMISSION", what, "permission denied", f"try: chmod u+r {path.name!r}")
    return path.resolve()


def kind_of(path: Path) -> str:
    """`"picture"`, `"moving picture"` (an animation that PyAV can play), `"text"` or `"other"` (perhaps a video)."""
    head = _head(path)
    name = _picture_name(head)
    if name:
        return "moving picture" if name in ("GIF", "PNG") and _moves(path) else "picture"
    return "text" if _is_text(head) else "other"


def is_picture(path: str | Path) -> bool:
    """Whether the bytes of this file begin like a picture's. Its extension has no say. Raises nothing."""
    try:
        return _picture_name(_head(Path(path))) is not None
    except OSError:
        return False


def cut_off(path: Path) -> str | None:
    """Why this video file cannot be complete, in words, or None. Knows MP4/MOV and Matroska/WebM by their outline.

    A film with its index in front plays up to where it was cut and then just ends; only the outline shows it.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
            return _mp4_cut_off(file, size)
        if head[:4] == b"\x1a\x45\xdf\xa3":
            return _matroska_cut_off(file, size)
    return None


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4096)


def _picture_name(head: bytes) -> str | None:
    for offset, magic, name in _PICTURES:
        if head[offset : offset + len(magic)] == magic:
            return name
    return None


def _moves(path: Path) -> bool:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # nothing is decoded here
            with Image.open(path) as picture:
                return getattr(picture, "n_frames", 1) > 1
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False  # damaged or far too large: reading it as a picture will say how


def _is_text(head: bytes) -> bool:
    if b"\0" in head:
        return False
    try:
        # the last character may be cut in two by the end of the head
        text = head.decode("utf-8") if len(head) < 4096 else head[:-4].decode("utf-8", errors="strict")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 8:
            return False
        text = head[: error.start].decode("utf-8")
    return all(char.isprintable() or char.isspace() for char in text)


def _mp4_cut_off(file: BinaryIO, size: int) -> str | None:
    found: set[bytes] = set()
    position = 0
    while position + 8 <= size:
        file.seek(position)
        length, kind = struct.unpack(">I4s", file.read(8))
        if length == 1:  # a 64-bit length follows
            longer = file.read(8)
            if len(longer) < 8:
                return "it ends inside a header"
            (length,) = struct.unpack(">Q", longer)
        elif length == 0:  # to the end of the file
            length = size - position
        if length < 8:
            return f"its outline is damaged at byte {position:,}"
        found.add(kind)
        if position + length > size:
            missing = position + length - size
            if b"moov" not in found:
                return f"its index (the 'moov' box) is missing and {missing:,} bytes are cut off at the end"
            return f"{missing:,} of {position + length:,} bytes are missing at the end"
        position += length
    if b"moov" not in found:
        return "its index (the 'moov' box) is missing; the recording or download was not finished"
    if b"mdat" not in found and b"moof" not in found:
        return "it has an index but no pictures (no 'mdat' box); the download was not finished"
    return None


def _matroska_cut_off(file: BinaryIO, size: int) -> str | None:
    file.seek(4)
    length = _ebml_length(file)
    if length is None:
        return None
    file.seek(length, os.SEEK_CUR)
    if file.read(4) != b"\x18\x53\x80\x67":  # the Segment, which holds everything else
        return None if file.tell() <= size else "it ends inside its header"
    length = _ebml_length(file)
    if length is None:  # written to a pipe: unknown until the end, and allowed
        return None
    missing = file.tell() + length - size
    return f"{missing:,} of {size + missing:,} bytes are missing at the end" if missing > 0 else None


def _ebml_length(file: BinaryIO) -> int | None:
    """The variable-length number at this place; None for the reserved value that means unknown."""
    first = file.read(1)
    if not first or first[0] == 0:
        return None
    extra = 8 - first[0].bit_length()
    value = int.from_bytes(bytes([first[0] & ((1 << (7 - extra)) - 1)]) + file.read(extra), "big")
    return None if value == (1 << (7 * (extra + 1))) - 1 else value


def _near(path: Path) -> str:
    """`; did you mean 'clip.mp4'?`, from the same folder."""
    from ..settings import nearest

    try:
        return nearest(path.name, [entry.name for entry in path.parent.iterdir()])
    except OSError:
        return ""
