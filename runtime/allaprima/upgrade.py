"""From a backend that paints now to the better one whose engine is still being built, without a pause in between.

    upgrade = Upgrade(better, start)          # a thread, and in it a process that builds
    while painting:
        if upgrade.ready:
            started = upgrade.exchange(started)   # at once; the old one is closed over there
    upgrade.close()

Starting the new backend, its warm-up and its trial with the golden pair happen in the thread; what is exchanged has
painted before. The thread ends with the exchange, with an error, or with `close`, which ends the build.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from .backends import Better, Started
from .engines import Building, Cache, build_apart
from .errors import AllaPrimaError

__all__ = ["Upgrade"]


class Upgrade:
    """One better backend on its way. Used by one thread; another one works for it."""

    def __init__(self, better: Better, start: Callable[[str], Started]) -> None:
        """`start(name)` starts the backend once its engine is there; it is called in the other thread."""
        self._better = better
        self._start = start
        self._over = threading.Event()
        self._exchanged = threading.Event()
        self._lock = threading.Lock()
        self._new: Started | None = None
        self._old: Started | None = None
        self._building: Building | None = None
        self._problem = ""
        self._thread = threading.Thread(target=self._work, name="upgrading the backend", daemon=True)
        self._thread.start()

    @property
    def name(self) -> str:
        return self._better.name

    @property
    def ready(self) -> bool:
        """Whether the better backend has started. Never waits."""
        return self._new is not None

    @property
    def line(self) -> str:
        """How far it is, or why it will not come: for people."""
        if self._problem:
            return self._problem
        building = self._building
        return building.line if building else "its engine is about to be built"

    @property
    def failed(self) -> bool:
        return bool(self._problem)

    def exchange(self, old: Started) -> Started:
        """The better backend for the old one, which is closed in the other thread: that can take a while."""
        with self._lock:
            assert self._new is not None, "look at `ready` first"
            new, self._new, self._old = self._new, None, old
        self._exchanged.set()
        return new

    def close(self) -> None:
        """End the build or the wait. What was started and not taken is closed, too."""
        self._over.set()
        self._exchanged.set()
        self._thread.join()

    def _work(self) -> None:
        try:
            build_apart(self._better.request, Cache(), self._hear, self._over)
            if self._over.is_set():
                return
            self._new = self._start(self._better.name)
        except AllaPrimaError as error:
            self._problem = error.why or error.what
            return
        except Exception as error:  # vendors raise anything; what paints goes on, and the report says this
            self._problem = f"{type(error).__name__}: {error}"
            return
        self._exchanged.wait()
        with self._lock:
            left = [one for one in (self._new, self._old) if one is not None]
            self._new = self._old = None
        for one in left:
            one.backend.close()

    def _hear(self, now: Building) -> None:
        self._building = now
