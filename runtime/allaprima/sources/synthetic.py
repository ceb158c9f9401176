"""Sources that need no device and no file: `bars:` (a moving test picture), `fake:` (a camera that can misbehave)."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl

import numpy as np

from ..errors import DeviceError, UsageError
from ..frame import Frame, Image
from ..pixels import fit, resize
from ..settings import nearest
from .live import Capture, EndOfCapture, LiveSource

__all__ = ["BarsSource", "FakeCapture", "FakeSettings", "Plug", "bars", "fake_camera"]

_LARGEST = 1_000_000_000  # of any setting; 30 years of seconds

# white, yellow, cyan, green, magenta, red, blue at 75 %, as television has had them since 1978
_BARS = np.array(
    [(191, 191, 191), (191, 191, 0), (0, 191, 191), (0, 191, 0), (191, 0, 191), (191, 0, 0), (0, 0, 191)],
    np.uint8,
)


def bars(spec: str, *, size: tuple[int, int] | None = None) -> BarsSource:
    """From `bars:1280x720@30?seconds=10`; every part may be left out. `size` (width, height) is a box that frames
    are shrunk to fit."""
    width, height, rate, options = _parse(spec, {"seconds": float})
    return BarsSource(width, height, rate, size=size, **options)


def fake_camera(spec: str, *, size: tuple[int, int] | None = None, reconnect: bool = False) -> LiveSource:
    """From `fake:1280x720@30?unplug_after=90&mode=freeze`: see `FakeSettings`. `size` is a box as for `bars`."""
    kinds = {field.name: field.type for field in fields(FakeSettings)}
    readers = {name: _READERS[str(kind)] for name, kind in kinds.items()}
    width, height, rate, options = _parse(spec, readers)
    settings = FakeSettings(**options)
    if settings.mode not in ("false", "freeze", "block"):
        raise UsageError(
            "E_SOURCE_SPEC",
            f"{spec}: mode={settings.mode}",
            "there is no such mode",
            "use false, freeze or block",
        )

    plug = Plug(width, height, rate, settings)
    # it has a sensor's noise: a picture that stands still is its driver hanging
    return LiveSource(plug.open, "fake camera", size=size, freeze="end", reconnect=reconnect)


class BarsSource:
    """Colour bars, a line that sweeps across, a square that steps each second: each frame follows from its index."""

    live = False

    def __init__(
        self,
        width: int,
        height: int,
        rate: Fraction,
        seconds: float = 10.0,
        *,
        size: tuple[int, int] | None = None,
    ) -> None:
        self._drawn = width, height
        self.width, self.height = fit(width, height, size) if size else (width, height)
        self.rate = rate
        self.name = f"bars:{width}x{height}@{float(rate):g}"
        self.frames = max(1, round(seconds * rate))
        self.duration = float(self.frames / rate)
        self.notes: list[str] = []
        if (self.width, self.height) != self._drawn:
            self.notes.append(
                f"frames are shrunk from {width}x{height} to {self.width}x{self.height}, as asked"
            )

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self.frames):
            time = index / self.rate
            picture = test_picture(*self._drawn, float(time))
            yield Frame(resize(picture, self.width, self.height), index, float(time))

    def close(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def test_picture(width: int, height: int, seconds: float) -> Image:
    """(H, W, 3) uint8 RGB: bars above, a grey ramp below, a white line that crosses in four seconds."""
    columns = _BARS[np.arange(width) * len(_BARS) // width]
    image = np.broadcast_to(columns, (height, width, 3)).copy()
    ramp = (np.arange(width) * 255 // max(1, width - 1)).astype(np.uint8)
    image[height * 3 // 4 :] = ramp[:, None]
    line = int(seconds / 4 % 1 * width)
    image[:, line : line + max(1, width // 160)] = 255
    side = max(1, height // 8)
    left = int(seconds) % max(1, width // side) * side
    image[height - side :, left : left + side] = (230, 120, 20)
    return image


test_picture.__test__ = False  # type: ignore[attr-defined]  # not a test, whatever pytest thinks of its name


@dataclass(frozen=True)
class FakeSettings:
    """What a `fake:` camera does wrong, and when. Written as `?name=value&name=value`."""

    unplug_after: int | None = None
    """Pull the plug after so many pictures."""
    mode: str = "false"
    """How the driver takes that: `false` (nothing comes), `freeze` (the last picture again), `block` (no return)."""
    back_after: float | None = None
    """Put the plug in again after so many seconds, for good; otherwise never."""
    jitter: tuple[float, float] | None = None
    """Milliseconds between pictures, at random between the two, as in `8-40`. Otherwise even."""
    resize_at: int | None = None
    """Turn to portrait after so many pictures, as a telephone does."""
    seconds: float | None = None
    """End after so long; otherwise never."""
    black: int = 0
    """Begin with so many black pictures."""
    open_seconds: float = 0.0
    """Take so long to open."""
    seed: int = 0


class FakeCapture:
    """A camera made of arithmetic, in real time, with a sensor's noise."""

    name = "fake camera"
    about = ""

    def __init__(
        self, width: int, height: int, rate: Fraction, settings: FakeSettings = FakeSettings()
    ) -> None:
        self.width, self.height, self.rate = width, height, rate
        self.notes: list[str] = []
        self._settings = settings
        self._random = random.Random(settings.seed)
        self._noise = np.random.default_rng(settings.seed).integers(0, 6, (64,), np.uint8)
        self._closed = threading.Event()
        self.count = 0
        """Pictures taken so far."""
        self._started = self._due = time.monotonic()
        self.unplugged_at: float | None = None
        self._last: Image | None = None

    def read(self) -> Image | None:
        settings = self._settings
        if settings.jitter:
            self._due += self._random.uniform(*settings.jitter) / 1000
        else:
            self._due += float(1 / self.rate)
        self._closed.wait(max(0.0, self._due - time.monotonic()))
        elapsed = time.monotonic() - self._started
        if settings.seconds is not None and elapsed > settings.seconds:
            raise EndOfCapture
        if settings.unplug_after is not None and self.count >= settings.unplug_after:
            self.unplugged_at = self.unplugged_at or time.monotonic()
            if settings.mode == "block":
                self._closed.wait()
            return self._last if settings.mode == "freeze" else None
        self.count += 1
        self._last = self._picture(elapsed)
        return self._last

    def close(self) -> None:
        self._closed.set()

    def _picture(self, seconds: float) -> Image:
        width, height = self.width, self.height
        if self._settings.resize_at is not None and self.count > self._settings.resize_at:
            width, height = height, width
        if self.count <= self._settings.black:
            return np.zeros((height, width, 3), np.uint8)
        image = test_picture(width, height, seconds)
        noise = np.resize(np.roll(self._noise, self.count), width)
        image[: height // 16 + 1] += noise[:, None]  # bars are at most 191: no overflow but in the white line
        return image


class Plug:
    """A fake camera's plug: who opens it again finds it pulled, until it is put in."""

    def __init__(self, width: int, height: int, rate: Fraction, settings: FakeSettings) -> None:
        self._made = lambda settings: FakeCapture(width, height, rate, settings)
        self._settings = settings
        self._first: FakeCapture | None = None

    def open(self) -> Capture:
        settings = self._settings
        time.sleep(settings.open_seconds)
        if self._first is None:
            self._first = self._made(settings)
            return self._first
        pulled_at, back_after = self._first.unplugged_at, settings.back_after
        if pulled_at is not None and (back_after is None or time.monotonic() < pulled_at + back_after):
            raise DeviceError("E_CAMERA_NOT_FOUND", "there is no fake camera", "its plug is pulled")
        return self._made(replace(settings, unplug_after=None))


def _range(text: str) -> tuple[float, float]:
    low, _, high = text.partition("-")
    return float(low), float(high or low)


# the annotations of FakeSettings, as text -> how a value is read
_READERS: dict[str, Any] = {
    "int | None": int,
    "int": int,
    "float | None": float,
    "float": float,
    "str": str,
    "tuple[float, float] | None": _range,
}


def _parse(spec: str, readers: dict[str, Any]) -> tuple[int, int, Fraction, dict[str, Any]]:
    """`kind:WIDTHxHEIGHT@RATE?name=value&...` -> width, height, rate, options. UsageError in the user's words."""
    kind, _, rest = spec.partition(":")
    shape, _, query = rest.partition("?")
    size, _, rate_text = shape.partition("@")
    example = f"write it like {kind}:1280x720@30?seconds=5"
    try:
        width, height = (int(side) for side in (size or "1280x720").lower().split("x"))
        rate = Fraction(rate_text or "30")
    except (ValueError, ZeroDivisionError):
        raise UsageError("E_SOURCE_SPEC", f"{spec} is not understood", "size or rate", example) from None
    if not (1 <= width <= 16_384 and 1 <= height <= 16_384 and 0 < rate <= 1000):
        raise UsageError("E_SOURCE_SPEC", f"{spec} is not understood", "size or rate out of range", example)
    options: dict[str, Any] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in readers:
            raise UsageError(
                "E_SOURCE_SPEC",
                f"{spec}: {kind} has no setting {name!r}{nearest(name, readers)}",
                next=f"it has {', '.join(readers)}",
            )
        try:
            options[name] = readers[name](value)
        except ValueError:
            raise UsageError("E_SOURCE_SPEC", f"{spec}: {name}={value}", "is not a number", example) from None
        if not _in_range(name, options[name]):
            raise UsageError("E_SOURCE_SPEC", f"{spec}: {name}={value}", "is out of range", example)
    return width, height, rate, options


def _in_range(name: str, value: Any) -> bool:
    """No number is negative, infinite or none; and a source of no seconds at all shows nothing."""
    numbers = value if isinstance(value, tuple) else (value,)
    if name == "seconds" and value == 0:
        return False
    return all(isinstance(number, str) or 0 <= number <= _LARGEST for number in numbers)
