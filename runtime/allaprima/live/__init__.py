"""Live painting: a camera in, and a window, a virtual camera, recordings and streams out, at the same time.

with open_source("0", reconnect=True) as source, Outputs(tell=print) as outputs:
    session = Session(source, Easel(open_painter), outputs=outputs, window=...)
    session.run()
"""

from __future__ import annotations

from .easel import Easel
from .keys import KEYS
from .pace import LADDER, Pace, Step
from .session import Session, Status
from .view import View

__all__ = ["KEYS", "LADDER", "Easel", "Pace", "Session", "Status", "Step", "View"]
