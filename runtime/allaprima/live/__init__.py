"""Live painting: a camera in, and a window, a virtual camera, recordings and streams out, at the same time.

    session = Session(source, easel, outputs=outputs)
    session.window = WindowSink(on_key=session.press)
    outputs.add("recording", lambda: VideoSink("a.mp4", like=source))
    print(session.run().line)

docs/live.md has a whole example.
"""

from __future__ import annotations

from .easel import Easel
from .keys import KEYS
from .pace import LADDER, Pace, Step
from .session import Session, Status
from .view import View

__all__ = ["KEYS", "LADDER", "Easel", "Pace", "Session", "Status", "Step", "View"]
