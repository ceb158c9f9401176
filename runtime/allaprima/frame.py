"""A frame: the one thing that travels from source through stylizer to sink."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .planes import Planes

__all__ = ["Frame", "Image"]

Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A picture and when it belongs.

    It knows nothing of models or devices. Steps that change the picture make a new frame with
    `dataclasses.replace(frame, picture=...)`, so that index, time and alpha travel on by themselves.
    """

    picture: Image | Planes
    """(H, W, 3) uint8 RGB, or what a video file holds: there is one picture, in one of two forms."""
    index: int = 0
    """Position in its source, from 0. A live source counts the frames that nobody took, too."""
    time: float = 0.0
    """Seconds. Files: presentation time in the source's clock. Live: `time.monotonic()` at capture."""
    alpha: Image | None = None
    """(H, W) uint8 coverage of a picture that has it; carried along, never painted."""
    _converted: list[Image] = field(default_factory=list, init=False, repr=False)

    @property
    def image(self) -> Image:
        """(H, W, 3) uint8, RGB. Planes are converted (6 ms at 1280x720), once, when somebody asks."""
        if not isinstance(self.picture, Planes):
            return self.picture
        if not self._converted:
            self._converted.append(self.picture.rgb())
        return self._converted[0]

    @property
    def planes(self) -> Planes | None:
        """The picture as YUV 4:2:0, where it has come like that; never a conversion."""
        return self.picture if isinstance(self.picture, Planes) else None

    @property
    def height(self) -> int:
        return self.picture.height if isinstance(self.picture, Planes) else int(self.picture.shape[0])

    @property
    def width(self) -> int:
        return self.picture.width if isinstance(self.picture, Planes) else int(self.picture.shape[1])
