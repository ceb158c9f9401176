"""What every source is: an iterable of frames that knows its size, its rate and what it had to change."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from types import TracebackType
from typing import Protocol, Self

from ..frame import Frame

__all__ = ["Source"]


class Source(Protocol):
    """Frames in presentation order, once. Open until closed; used with `with`.

    Opening a source decodes its first frame, so that what cannot be painted is known before anything
    is loaded or written. Raises InputError (files) or DeviceError (cameras) from opening and from iterating.
    """

    notes: list[str]
    """What was changed or lost on the way in, in sentences; grows while frames are read."""

    @property
    def name(self) -> str:
        """What a person calls it: the file's name, the camera's name."""

    @property
    def width(self) -> int:
        """Of the frames that will come, after rotation and `size`. A camera may change it later."""

    @property
    def height(self) -> int: ...

    @property
    def rate(self) -> Fraction | None:
        """Frames per second where they are even or nearly so; None for a picture or where nobody knows."""

    @property
    def duration(self) -> float | None:
        """Seconds, as far as known. For showing progress, never for deciding when to stop."""

    @property
    def frames(self) -> int | None:
        """How many frames will come, only where that is certain."""

    @property
    def live(self) -> bool:
        """Frames come when they come: take the newest, and count those that were missed."""

    def __iter__(self) -> Iterator[Frame]: ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
