"""Pictures as files, through Pillow."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

from PIL import Image as Pictures

from ..errors import OutputError
from ..files import Draft, write_error
from ..frame import Frame
from ..pixels import resize

__all__ = ["FORMATS", "PictureSink"]

# extension -> Pillow's format, whether it keeps alpha, and how it is written
FORMATS: dict[str, tuple[str, bool, dict[str, Any]]] = {
    ".png": ("PNG", True, {"compress_level": 4}),
    ".jpg": ("JPEG", False, {"quality": 95, "subsampling": 0}),
    ".jpeg": ("JPEG", False, {"quality": 95, "subsampling": 0}),
    ".webp": ("WEBP", True, {"quality": 92, "method": 4}),
    ".tif": ("TIFF", True, {"compression": "tiff_adobe_deflate"}),
    ".tiff": ("TIFF", True, {"compression": "tiff_adobe_deflate"}),
    ".bmp": ("BMP", False, {}),
}


class PictureSink:
    """One picture. Alpha is put back where the format has it; pixels are upright, so no orientation is written."""

    live = False
    takes_planes = False

    def __init__(self, path: str | Path, *, inputs: tuple[Path, ...] = (), overwrite: bool = False) -> None:
        self.notes: list[str] = []
        suffix = Path(path).suffix.lower()
        if suffix not in FORMATS:
            raise OutputError(
                "E_OUTPUT_FORMAT",
                f"cannot write {path}",
                f"{suffix or 'a name without extension'} is no picture format known here",
                f"use one of {' '.join(FORMATS)}",
            )
        self._format, self._keeps_alpha, self._options = FORMATS[suffix]
        self._draft = Draft(path, inputs=inputs, overwrite=overwrite)
        self.path = self._draft.path
        self.name = self.path.name
        self._written = False

    def put(self, frame: Frame) -> bool:
        if self._written:
            raise OutputError(
                "E_OUTPUT_FORMAT",
                f"cannot write {self.path}",
                "a picture holds one frame, and a second one came",
                "use .mp4 or .mkv",
            )
        picture = Pictures.fromarray(frame.image)
        if frame.alpha is not None:
            if self._keeps_alpha:
                picture.putalpha(Pictures.fromarray(resize(frame.alpha, frame.width, frame.height)))
            else:
                self.notes.append(
                    f"{self._format} has no transparency; it is left out (use .png or .webp to keep it)"
                )
        try:
            picture.save(self._draft.temp, self._format, **self._options)
        except OSError as error:
            raise write_error(self.path, error) from error
        except ValueError as error:  # WebP ends at 16,383 pixels, JPEG at 65,535
            raise OutputError(
                "E_OUTPUT_FORMAT", f"cannot write {self.path}", str(error), "use .png"
            ) from error
        self._written = True
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._written:
            self._draft.commit()
        else:
            self._draft.discard()
