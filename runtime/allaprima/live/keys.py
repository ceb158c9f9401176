"""The keys of a live view: the same in the window and on the page."""

from __future__ import annotations

__all__ = ["KEYS"]

KEYS = {
    " ": "pause",
    "n": "next style",
    "p": "previous style",
    "[": "weaker",
    "]": "stronger",
    "s": "side by side",
    "w": "wipe",
    "m": "mirror",
    "r": "record",
    "h": "help",
    "q": "quit",
}
"""Key -> what it does. Esc and closing the window are `q`."""
