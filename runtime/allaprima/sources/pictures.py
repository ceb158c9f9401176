"""Pictures, through Pillow: decoded strictly, upright, in sRGB, alpha kept beside."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from PIL import Image as Pictures
from PIL import ImageCms, ImageOps, UnidentifiedImageError

from ..errors import InputError
from ..frame import Frame, Image
from ..pixels import fit, resize
from .sniff import is_picture, readable

__all__ = ["PictureFolder", "PictureSource", "pictures_in"]

_MOST_PIXELS = 100_000_000  # a file of 100 kB can declare a picture that fills the memory
_WITH_ALPHA = ("RGBA", "LA", "PA", "La", "RGBa")
_SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N", "I")


class PictureSource:
    """One picture as a `Source` of one frame. `size` is a (width, height) box that it is shrunk to fit.

    Grey and palette pictures become RGB; 16 bits become 8, and CMYK and wide-gamut colours sRGB, with a note.
    """

    live = False
    rate = None
    duration = None
    frames = 1

    def __init__(self, path: str | Path, *, size: tuple[int, int] | None = None) -> None:
        self.path = readable(Path(path))
        self.name = self.path.name
        self.notes: list[str] = []
        try:
            image, alpha = self._read()
        # Pillow's many readers each have their own way of stumbling over damaged data
        except (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error) as error:
            raise InputError(
                "E_INPUT_CORRUPT",
                f"cannot read {path}",
                f"the picture is damaged or cut off ({error})",
                "copy or download it again",
            ) from error
        if size:
            width, height = fit(image.shape[1], image.shape[0], size)
            image = resize(image, width, height)
            alpha = None if alpha is None else resize(alpha, width, height)
        self._frame = Frame(image, alpha=alpha)
        self.height, self.width = image.shape[:2]

    def __iter__(self) -> Iterator[Frame]:
        yield self._frame

    def close(self) -> None:
        pass  # the file was closed when it was read

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self) -> tuple[Image, Image | None]:
        """(H, W, 3) uint8 sRGB, upright, and (H, W) uint8 coverage or None."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Pictures.DecompressionBombWarning)  # the limit is ours, below
            try:
                opened = Pictures.open(self.path)
            except Pictures.DecompressionBombError as error:
                raise self._too_large("more than 178") from error
            except UnidentifiedImageError as error:
                raise InputError(
                    "E_INPUT_NOT_PICTURE",
                    f"cannot read {self.path}",
                    "it begins like a picture, but is damaged or of a kind that is not known here",
                    "convert it to PNG or JPEG",
                ) from error
        with opened as picture:
            if picture.width * picture.height > _MOST_PIXELS:
                raise self._too_large(f"{picture.width * picture.height / 1e6:.0f}")
            count = getattr(picture, "n_frames", 1)
            if count > 1:
                self.notes.append(f"the picture has {count} frames; only the first is painted")
            self._note_depth(picture)
            picture.load()
            upright = ImageOps.exif_transpose(picture)
            assert upright is not None
        if "transparency" in upright.info and upright.mode not in _WITH_ALPHA:
            upright = upright.convert("RGBA")
        alpha = None
        if upright.mode in _WITH_ALPHA:
            upright = upright.convert("RGBA")
            alpha = np.array(upright.getchannel("A"))
        return np.array(self._rgb(upright)), alpha

    def _rgb(self, picture: Pictures.Image) -> Pictures.Image:
        if picture.mode in _SIXTEEN_BITS:
            high = np.asarray(picture).astype(np.float64) / 257
            return Pictures.fromarray(np.clip(high + 0.5, 0, 255).astype(np.uint8)).convert("RGB")
        if picture.mode == "F":
            raise InputError(
                "E_INPUT_DEPTH",
                f"cannot read {self.path}",
                "its pixels are floating-point numbers, whose range only its maker knows",
                "convert it to 8 or 16 bits per colour",
            )
        profiled = self._through_profile(picture)
        if profiled is not None:
            return profiled
        if picture.mode == "CMYK":
            self.notes.append(
                "CMYK without a usable colour profile; converted plainly, so colours are approximate"
            )
        return picture.convert("RGB")

    def _through_profile(self, picture: Pictures.Image) -> Pictures.Image | None:
        """The picture in sRGB by its embedded ICC profile; None where there is none that is needed and works."""
        embedded = picture.info.get("icc_profile")
        if not embedded or picture.mode not in ("RGB", "RGBA", "CMYK"):
            return None
        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(embedded))
            name = ImageCms.getProfileDescription(profile).strip()
            if "srgb" in name.lower():
                return None
            flat = picture.convert("RGB") if picture.mode == "RGBA" else picture
            converted = ImageCms.profileToProfile(
                flat, profile, ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
        except (ImageCms.PyCMSError, OSError) as error:
            self.notes.append(f"the embedded colour profile does not work and is ignored ({error})")
            return None
        self.notes.append(f"colours were converted from {name!r} to sRGB")
        return converted

    def _note_depth(self, picture: Pictures.Image) -> None:
        """Pillow hands out 8 bits for most deep pictures without a word."""
        deep = picture.mode in _SIXTEEN_BITS
        if picture.format == "PNG":
            with self.path.open("rb") as file:
                deep = file.read(25)[24:] == b"\x10"
        elif picture.format == "TIFF":
            bits = picture.tag_v2.get(258, (8,))  # type: ignore[attr-defined]
            deep = max(bits if isinstance(bits, tuple) else (bits,)) > 8
        if deep:
            self.notes.append("the picture has 16 bits per colour; it is painted with 8")

    def _too_large(self, megapixels: str) -> InputError:
        return InputError(
            "E_INPUT_TOO_LARGE",
            f"cannot read {self.path}",
            f"it declares {megapixels} million pixels; the limit is {_MOST_PIXELS / 1e6:.0f}",
            "make it smaller first",
        )


@dataclass
class PictureFolder:
    """What `pictures_in` found. Paths begin with the folder; `path.relative_to(folder)` mirrors the tree."""

    folder: Path
    pictures: list[Path] = field(default_factory=list)
    skipped: dict[Path, str] = field(default_factory=dict)
    """File -> why it is no picture to paint."""


def pictures_in(folder: str | Path) -> PictureFolder:
    """All pictures in a folder and its subfolders, sorted; by their bytes, not their names. Links to folders are
    not followed. Raises InputError where the folder cannot be read."""
    folder = Path(folder)
    found = PictureFolder(folder)
    try:
        os.listdir(folder)
    except OSError as error:
        raise InputError(
            "E_INPUT_MISSING", f"cannot read {folder}", error.strerror or str(error), "check the path"
        ) from error
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(place, name)
            if name.startswith("._"):
                found.skipped[path] = "a companion file of macOS"
            elif name.startswith("."):
                found.skipped[path] = "hidden"
            elif not path.is_file():
                found.skipped[path] = "not a regular file"
            elif path.stat().st_size == 0:
                found.skipped[path] = "empty"
            elif is_picture(path):
                found.pictures.append(path)
            else:
                found.skipped[path] = "not a picture"
    return found
