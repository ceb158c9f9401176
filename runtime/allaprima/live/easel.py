"""The painter at work, and the next one warming up beside it.

Starting a style takes half a second or more; a live picture that stands still for so long is a fault. So the next
painter is opened in a thread, while the present one goes on; they change places between two frames.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from ..errors import AllaPrimaError
from ..painting import Painter

__all__ = ["Easel", "Wish"]


@dataclass(frozen=True)
class Wish:
    """What to paint with."""

    style: str
    size: float = 1.0
    """Working size over the frames' own, of each side."""


class Easel:
    """`wish` and `close` from any thread, `painter` from the one that paints."""

    def __init__(
        self,
        open: Callable[[Wish], Painter],
        first: Wish,
        *,
        on_error: Callable[[Wish, AllaPrimaError], None],
    ) -> None:
        """Opens the first painter now, and raises what that raises. A later one that does not open is told to
        `on_error`, in the warming thread, and the present one paints on."""
        self._open = open
        self._on_error = on_error
        self._lock = threading.Lock()
        self._present = open(first)
        self.present = first
        """What paints."""
        self._wanted = first
        self._ready: tuple[Wish, Painter] | None = None
        self._warming: threading.Thread | None = None
        self._bug: BaseException | None = None  # in the warming thread; raised where frames are painted
        self._closed = False

    @property
    def wanted(self) -> Wish:
        """What paints, or will as soon as it is warm."""
        return self._wanted

    def wish(self, *, style: str | None = None, size: float | None = None) -> None:
        """Paint with another style or in another size as soon as that is warm; what is not named stays as it was
        wished before. The last wish counts; returns at once."""
        with self._lock:
            wish = self._wanted
            self._wanted = Wish(wish.style if style is None else style, wish.size if size is None else size)
            if self._warming is None and not self._closed and self._wanted != self._coming:
                self._warming = threading.Thread(target=self._warm, name="warming a style", daemon=True)
                self._warming.start()

    def painter(self) -> tuple[Painter, bool]:
        """Who paints this frame, and whether it is another one than for the last frame."""
        with self._lock:
            if self._bug is not None:
                raise self._bug
            ready, self._ready = self._ready, None
            if ready is None:
                return self._present, False
            old = self._present
            self.present, self._present = ready
        old.close()
        return self._present, True

    def close(self) -> None:
        """Give everything back; the painter must not be in use any more."""
        with self._lock:
            self._closed = True
            warming = self._warming
        if warming is not None:
            warming.join()
        if self._ready is not None:
            self._ready[1].close()
        self._present.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _warm(self) -> None:
        """Open what is wished, until that is what is ready."""
        while True:
            with self._lock:
                wish = self._wanted
                if self._closed or wish == self._coming:
                    self._warming = None
                    return
            try:
                painter = self._open(wish)
            except AllaPrimaError as error:
                with self._lock:
                    self._take_back(wish)
                self._on_error(wish, error)
                continue
            except BaseException as error:
                self._bug = error
                return
            with self._lock:
                replaced, self._ready = self._ready, (wish, painter)
            if replaced is not None:  # warm, but wished away before a frame came for it
                replaced[1].close()

    @property
    def _coming(self) -> Wish:
        """What the next frame will be painted with."""
        return self.present if self._ready is None else self._ready[0]

    def _take_back(self, failed: Wish) -> None:
        """A style that does not start is wished no more, and its size only where it is what did not start."""
        if self._wanted.style == failed.style != self.present.style:
            self._wanted = Wish(self.present.style, self._wanted.size)
        elif self._wanted == failed:
            self._wanted = self.present
