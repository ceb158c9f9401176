"""The flavours of TensorRT: one API, two packages, three sets of rules.

    TensorRT 10.x    Jetson and older drivers; strongly typed where the network is asked to be
    TensorRT 11.x    strongly typed only
    TensorRT-RTX     GeForce and RTX cards; the API of 11; builds for cards that are not here, on any machine

A strongly typed network computes in the types that its ONNX file has, and in no others: precision is chosen by the
variant, not by the builder.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

from ..errors import DeviceError, UsageError
from ..settings import nearest

__all__ = ["FLAVOURS", "Flavour", "Vendor", "load_flavour", "target_of"]


@dataclass(frozen=True)
class Flavour:
    word: str
    """After the colon: `--backend tensorrt:rtx`."""
    module: str
    """What is imported, and the name of its distribution with hyphens."""
    title: str
    extra: str
    """The extra of `allaprima` that installs it."""


FLAVOURS = {  # the one to prefer first: it times its kernels on the card that is there
    "standard": Flavour("standard", "tensorrt", "TensorRT", "gpu"),
    "rtx": Flavour("rtx", "tensorrt_rtx", "TensorRT-RTX", "rtx"),
}

GENERATIONS = {"turing": 75, "ampere": 86, "ada": 89, "blackwell": 120}
"""Compute capability of each generation's GeForce and RTX cards, times ten. Ampere's A100 is sm80."""


class Vendor:
    """One flavour, imported."""

    def __init__(self, flavour: Flavour, module: Any) -> None:
        self.flavour = flavour
        self.trt = module
        self.version = str(module.__version__)
        self.said: deque[str] = deque(maxlen=20)
        """Its last errors: the reasons that its calls do not return."""
        self.logger = _logger(module, self.said)

    @property
    def title(self) -> str:
        return f"{self.flavour.title} {self.version}"

    @property
    def targets(self) -> tuple[int, ...]:
        """Compute capabilities that it builds for without such a card. Empty: only for the card that is here."""
        known = getattr(self.trt, "ComputeCapability", None)
        if known is None or self.flavour.word != "rtx":
            return ()
        return tuple(sorted(int(name[2:]) for name in known.__members__ if name.startswith("SM")))

    def reason(self) -> str:
        """Why the last call failed, in its own words, and forgets them."""
        errors = list(self.said)
        self.said.clear()
        return errors[0] if errors else "it gives no reason"


def load_flavour(word: str | None) -> Vendor:
    """The flavour of that word; None: the first that loads.

    Raises UsageError E_BACKEND_UNKNOWN, DeviceError E_BACKEND_UNAVAILABLE with the pip command.
    """
    if word is not None and word not in FLAVOURS:
        raise UsageError(
            "E_BACKEND_UNKNOWN",
            f"there is no flavour {word!r} of TensorRT{nearest(word, FLAVOURS)}",
            next=f"choose one of {', '.join(FLAVOURS)}",
        )
    reasons, commands = [], []
    for flavour in [FLAVOURS[word]] if word else FLAVOURS.values():
        name = flavour.module.replace("_", "-")
        try:
            return _vendor(flavour)
        except Exception as error:  # vendors raise anything: OSError for a library that is missing, say
            absent = isinstance(error, ModuleNotFoundError) and error.name == flavour.module
            reasons.append(f"{name} is not installed" if absent else f"{name} does not load: {error}")
            commands.append(
                f"pip install 'allaprima[{flavour.extra}]'" if absent else f"install {name} again"
            )
    raise DeviceError(
        "E_BACKEND_UNAVAILABLE", "TensorRT is not here", ", ".join(reasons), " or ".join(commands)
    )


def target_of(word: str, vendor: Vendor) -> int:
    """`ada` or `sm89` -> 89. Raises UsageError E_ENGINE_TARGET for what this flavour does not build for."""
    number = GENERATIONS.get(word.lower())
    if number is None and word.lower().startswith("sm") and word[2:].isdigit():
        number = int(word[2:])
    if number in vendor.targets:
        return number
    if not vendor.targets:
        raise UsageError(
            "E_ENGINE_TARGET",
            f"{vendor.title} cannot build for {word!r}",
            "it builds for the card that is here, and times its kernels on it",
            "leave the card out, or pip install 'allaprima[rtx]', which builds for any RTX card",
        )
    names = [
        *(name for name, sm in GENERATIONS.items() if sm in vendor.targets),
        *(f"sm{sm}" for sm in vendor.targets),
    ]
    raise UsageError(
        "E_ENGINE_TARGET",
        f"{vendor.title} has no target {word!r}{nearest(word, names)}",
        next=f"choose one of {', '.join(names)}",
    )


@cache
def _vendor(flavour: Flavour) -> Vendor:
    """One for each process: TensorRT keeps the first logger that it is given for all that follows."""
    return Vendor(flavour, import_module(flavour.module))


def _logger(trt: Any, said: deque[str]) -> Any:
    class Log(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, text: str) -> None:
            if severity <= trt.ILogger.Severity.ERROR:
                said.append(text.strip())

    return Log()
