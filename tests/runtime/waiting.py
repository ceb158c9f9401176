"""Waiting for what other threads do: until it is true, and not forever."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["until"]


def until(true: Callable[[], bool], seconds: float = 8.0) -> bool:
    """Whether it came true in time; a quiet machine needs a fraction of it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if true():
            return True
        time.sleep(0.005)
    return False
