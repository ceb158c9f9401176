"""Paint live video with neural styles: the light half, without torch.

    import allaprima
    with allaprima.Stylizer.open("starry") as stylizer:
        painted = stylizer.paint(image)  # (H, W, 3) uint8 RGB in and out

Names are loaded when they are first used, so that `import allaprima` costs next to nothing and
imports neither a vendor runtime nor OpenCV.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# name -> module that has it
_HOME = {
    "AllaPrimaError": "errors",
    "Bundle": "bundle",
    "Frame": "frame",
    "Stylizer": "stylizer",
    "open_source": "sources",
    "open_sink": "sinks",
    "play": "stream",
    "styles": "bundle",
}

__all__ = ["__version__", *sorted(_HOME)]

if TYPE_CHECKING:
    from .bundle import Bundle as Bundle
    from .bundle import styles as styles
    from .errors import AllaPrimaError as AllaPrimaError
    from .frame import Frame as Frame
    from .sinks import open_sink as open_sink
    from .sources import open_source as open_source
    from .stream import play as play
    from .stylizer import Stylizer as Stylizer


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f".{_HOME[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
