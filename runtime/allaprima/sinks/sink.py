"""What every sink is: a place that takes frames, and either completes its output or leaves none."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self

from ..frame import Frame

__all__ = ["Sink"]


class Sink(Protocol):
    """Takes frames in order. Leaving its `with` block normally commits the output; leaving it with an
    exception discards it (or keeps a part under another name, and says so in `notes`).

    Raises OutputError (cannot be written), DeviceError (no display, no virtual camera), RunError (encoder).
    """

    notes: list[str]
    """What was changed or lost on the way out, in sentences; complete after the `with` block."""

    @property
    def name(self) -> str: ...

    @property
    def live(self) -> bool:
        """Somebody is watching: frames are worth something only at their time."""

    @property
    def takes_planes(self) -> bool:
        """Frames of YUV planes are taken as they are; otherwise it would convert them to RGB itself."""

    def put(self, frame: Frame) -> bool:
        """Show or store one frame. False: the viewer wants to stop."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
