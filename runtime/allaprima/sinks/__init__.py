"""Where frames go: pictures, video files, a window, a virtual camera, nowhere.

with open_source("clip.mp4") as source, open_sink("painted.mp4", like=source) as sink:
    for frame in source:
        sink.put(stylizer(frame))
"""

from __future__ import annotations

from pathlib import Path

from ..errors import OutputError
from ..sources.pictures import PictureSource
from ..sources.source import Source
from ..sources.video import VideoSource
from . import pictures, video
from .encoders import Encoding
from .null import NullSink
from .pictures import PictureSink
from .sink import Sink
from .video import USUAL, VideoSink
from .virtual_camera import VirtualCameraSink
from .window import WindowSink

__all__ = [
    "Encoding",
    "NullSink",
    "PictureSink",
    "Sink",
    "VideoSink",
    "VirtualCameraSink",
    "WindowSink",
    "open_sink",
]


def open_sink(
    target: str | Path,
    *,
    like: Source | None = None,
    overwrite: bool = False,
    encoding: Encoding = USUAL,
) -> Sink:
    """`target` as a `Sink`: a file by its extension, `window:`, `virtual-camera:` or `null:`.

    `like` is the source that will be painted: a video takes over its clock, sound and subtitles. `encoding` is how a
    video is written: codec, quality, hardware. Files are checked
    now - the folder, overwriting, an output that is the input - and written when frames come.
    Raises OutputError, DeviceError or RunError.
    """
    text = str(target)
    if text == "window:":
        if like is None:
            return WindowSink()
        return WindowSink(f"Alla Prima: {like.name}", hold=like.frames == 1)
    if text == "virtual-camera:":
        return VirtualCameraSink(
            like.rate if like is not None else None, other_than=str(getattr(like, "path", ""))
        )
    if text == "null:":
        return NullSink()
    suffix = Path(text).suffix.lower()
    if suffix in pictures.FORMATS:
        if like is not None and like.frames != 1:
            raise OutputError(
                "E_OUTPUT_FORMAT",
                f"cannot write {text}",
                f"{like.name} has many frames and {suffix} holds one",
                f"use one of {' '.join(video.FORMATS)}",
            )
        inputs = (like.path,) if isinstance(like, PictureSource | VideoSource) else ()
        return PictureSink(text, inputs=inputs, overwrite=overwrite)
    if suffix in video.FORMATS:
        if isinstance(like, PictureSource):
            raise OutputError(
                "E_OUTPUT_FORMAT",
                f"cannot write {text}",
                f"{like.name} is a picture and {suffix} is for video",
                f"use one of {' '.join(pictures.FORMATS)}",
            )
        return VideoSink(text, like=like, overwrite=overwrite, encoding=encoding)
    raise OutputError(
        "E_OUTPUT_FORMAT",
        f"cannot write {text}",
        f"{suffix} is no format known here" if suffix else "its name has no extension",
        f"pictures: {' '.join(pictures.FORMATS)}; video: {' '.join(video.FORMATS)}",
    )
