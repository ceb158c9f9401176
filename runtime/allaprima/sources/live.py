"""Cameras of every kind as a `Source`: read in their own thread, watched, never waited for in vain.

Drivers answer a pulled plug in three ways: they fail, they never return, or they give the last picture again and again.
The first two become DeviceError E_CAMERA_LOST here, within seconds. The third looks like a capture device whose input
stands still - a slide over HDMI, a paused game - and is a note, unless the source was opened with `freeze="end"`.

With `reconnect`, a lost camera is no error: it is opened again and again until it is back, and frames go on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from types import TracebackType
from typing import Literal, Protocol, Self

import numpy as np

from ..errors import AllaPrimaError, DeviceError
from ..frame import Frame, Image
from ..pixels import fit, resize

__all__ = ["Capture", "EndOfCapture", "LiveSource"]

_BLACK = 12  # of 255; a covered lens has some noise
_BACK_OFF = (
    0.5,
    1.0,
    2.0,
    4.0,
)  # seconds before each attempt to open a lost camera again; the last one from then on


class EndOfCapture(Exception):
    """The capture ended as it was asked to; no fault."""


class Capture(Protocol):
    """A device that is open. The seam at which tests and the `fake:` camera come in."""

    notes: list[str]

    @property
    def name(self) -> str: ...

    @property
    def width(self) -> int: ...

    @property
    def height(self) -> int: ...

    @property
    def rate(self) -> Fraction | None: ...

    @property
    def about(self) -> str:
        """What was asked of the device and what it gives, for people; may be empty."""

    def read(self) -> Image | None:
        """The next picture, (H, W, 3) uint8 RGB; None when the device gave nothing. May block. One thread calls it."""

    def close(self) -> None:
        """Let go of the device. Called once, perhaps while another thread is in `read`, which then returns soon."""


class LiveSource:
    """A `Capture` as a live `Source`. The newest picture waits in one slot; a reader who is late misses the others.

    `open` is called in a thread and may take `open_seconds`; it raises DeviceError itself or returns the capture.
    No picture for `stall_seconds` (the first may take `first_seconds`): E_CAMERA_LOST. Exactly the same picture for
    `freeze_seconds`: a note, once, or E_CAMERA_LOST too with `freeze="end"`, for what has a sensor, whose noise makes
    no two pictures equal. Black pictures at the start are skipped for `black_seconds`. Larger pictures than the box
    `size` (width, height) are shrunk to fit.

    With `reconnect`, iterating waits for a lost camera instead of raising; `lost` says so meanwhile, and `notes` when
    it went and when it came back. Only the first opening can fail then.
    """

    live = True
    duration = None
    frames = None

    def __init__(
        self,
        open: Callable[[], Capture],
        name: str,
        *,
        path: str = "",
        size: tuple[int, int] | None = None,
        freeze: Literal["note", "end"] = "note",
        reconnect: bool = False,
        open_seconds: float = 15.0,
        first_seconds: float = 8.0,
        stall_seconds: float = 2.0,
        freeze_seconds: float = 3.0,
        black_seconds: float = 3.0,
        back_off: tuple[float, ...] = _BACK_OFF,
    ) -> None:
        self.name = name
        self.path = path
        """`/dev/video0`, where the camera has such a thing."""
        self.lost = ""
        """Why there is no camera at the moment; empty while there is one."""
        self._open = open
        self._open_seconds = open_seconds
        self._first_seconds = self._patience = first_seconds
        self._stall_seconds = stall_seconds
        self._freeze = freeze
        self._freeze_seconds = freeze_seconds
        self._black_seconds = black_seconds
        self._reconnect = reconnect
        self._back_off = back_off
        self._capture = _open_in_time(open, name, open_seconds)
        self.name = self._capture.name
        self.rate = self._capture.rate
        self.about = self._capture.about
        self.notes = list(self._capture.notes)
        self._box = size
        self._given = self._capture.width, self._capture.height  # before shrinking
        self.width, self.height = self._given
        self._shrink()
        self._changed = threading.Condition()
        self._newest: Frame | None = None
        self._index = 0
        self._came_at = time.monotonic()  # the last picture of any kind
        self._error: BaseException | None = None
        self._ended = False
        self._closing = threading.Event()
        self._connection = 0  # counts them; a thread whose connection is over has nothing to say any more
        self._thread = self._start(self._capture)

    def __iter__(self) -> Iterator[Frame]:
        """Frames as they come; `index` counts those that were missed, too, and `time` is `time.monotonic()`."""
        while not self._closing.is_set():
            with self._changed:
                self._changed.wait_for(lambda: self._newest is not None or self._ended, timeout=0.1)
                frame, self._newest = self._newest, None
                ended, connection = self._ended, self._connection
            if frame is not None:
                yield self._fitted(frame)
            elif ended and self._error is not None:
                raise self._error
            elif ended:
                return
            else:
                try:  # here, because the camera's own thread may be stuck in its driver
                    self._check_silence()
                except DeviceError as error:
                    self._fail(connection, error)

    def close(self) -> None:
        """Let go of the camera, and end whoever iterates. Its thread is gone afterwards, unless the driver itself
        never returns."""
        with self._changed:
            if self._closing.is_set():
                return
            self._closing.set()
            self._changed.notify_all()
            open = not self.lost  # otherwise it was let go of when it was lost
        self._thread.join(timeout=1.0)  # first: some drivers do not bear to be let go of while somebody reads
        if open:
            self._capture.close()
            self._thread.join(timeout=1.0)  # one that hung in the read

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self, capture: Capture | None) -> threading.Thread:
        """A thread for a new connection, which reads `capture` or, without one, opens the camera first."""
        self._connection += 1
        thread = threading.Thread(
            target=self._read, args=(capture, self._connection), name=f"camera {self.name}", daemon=True
        )
        thread.start()
        return thread

    def _read(self, capture: Capture | None, connection: int) -> None:
        """The camera's thread, for as long as the connection lasts."""
        try:
            capture = capture or self._found_again(connection)
            if capture is not None:
                self._read_until_closed(capture, connection)
        except EndOfCapture:
            self._end(connection, None)
        except (DeviceError, OSError) as error:
            self._fail(connection, error)
        except Exception as error:  # whatever it is, it belongs to the person in the for loop
            self._end(connection, error)
        else:
            self._end(connection, None)

    def _fail(self, connection: int, error: Exception) -> None:
        """The camera is gone: the end, or the beginning of another connection."""
        if not self._reconnect:
            self._end(connection, error)
            return
        with self._changed:
            if connection != self._connection or self._closing.is_set():
                return
            self.lost = getattr(error, "why", "") or str(error)
            self.notes.append(f"lost the camera: {self.lost}")
            gone = self._capture
            self._thread = self._start(None)
        gone.close()  # a thread that is stuck in the driver returns by this, or never

    def _end(self, connection: int, error: BaseException | None) -> None:
        with self._changed:
            if connection == self._connection:
                self._error, self._ended = error, True
                self._changed.notify_all()

    def _found_again(self, connection: int) -> Capture | None:
        """The camera, opened again however long that takes; None when nobody wants it any more."""
        lost_at, attempt = self._came_at, 0
        while not self._closing.wait(self._back_off[min(attempt, len(self._back_off) - 1)]):
            attempt += 1
            try:
                capture = _open_in_time(self._open, self.name, self._open_seconds)
            except (DeviceError, OSError):
                continue  # not yet
            with self._changed:
                wanted = not self._closing.is_set()
                if wanted:
                    self._capture = capture
                    self._came_at, self._patience = time.monotonic(), self._first_seconds
                    self.lost = ""
                    self.notes.append(f"the camera is back after {time.monotonic() - lost_at:.1f} s")
            if wanted:
                return capture
            capture.close()
        return None

    def _read_until_closed(self, capture: Capture, connection: int) -> None:
        started = time.monotonic()
        seen_light = frozen = False
        changed_at = started
        last: Image | None = None
        while not self._closing.is_set():
            image = capture.read()
            now = time.monotonic()
            if self._closing.is_set() or connection != self._connection:
                return
            if image is None:
                self._check_silence()
                time.sleep(0.005)  # a pulled camera answers at once, again and again
                continue
            self._came_at, self._patience = now, self._stall_seconds
            if not seen_light:
                if _is_black(image) and now - started < self._black_seconds:
                    changed_at = now
                    continue
                seen_light = not _is_black(image)
                if not seen_light and self._index == 0:
                    self.notes.append(
                        "the camera gives black pictures: is the lens covered, or another program using it?"
                    )
            if last is None or not _same(image, last) or not seen_light:
                changed_at = now
            elif not frozen and now - changed_at > self._freeze_seconds:
                if self._freeze == "end":
                    raise self._gone(f"its picture has been frozen for {self._freeze_seconds:g} s")
                frozen = True
                self.notes.append(
                    f"the camera gave exactly the same picture for {self._freeze_seconds:g} s: "
                    "its input stands still, or it hangs"
                )
            last = image
            self._note_size(image)
            with self._changed:
                self._newest = Frame(image, self._index, now)
                self._index += 1
                self._changed.notify_all()

    def _check_silence(self) -> None:
        if not self.lost and time.monotonic() - self._came_at > self._patience:
            raise self._gone(f"it has given no picture for {self._patience:g} s")

    def _note_size(self, image: Image) -> None:
        given = image.shape[1], image.shape[0]
        if given != self._given:
            self.notes.append(f"the camera changed its size from {_by(self._given)} to {_by(given)}")
            self._given = given
            self._shrink()

    def _shrink(self) -> None:
        """Find the size of the frames that will come."""
        self.width, self.height = fit(*self._given, self._box) if self._box else self._given
        if (self.width, self.height) != self._given:
            self.notes.append(
                f"frames are shrunk from {_by(self._given)} to {self.width}x{self.height}, as asked"
            )

    def _fitted(self, frame: Frame) -> Frame:
        """`frame` inside the box; by its own size, because the camera may have changed its size since."""
        if self._box is None:
            return frame
        return replace(frame, picture=resize(frame.image, *fit(frame.width, frame.height, self._box)))

    def _gone(self, why: str) -> DeviceError:
        return DeviceError(
            "E_CAMERA_LOST", f"lost the camera {self.name!r}", why, "check its plug, then start again"
        )


def _open_in_time(open: Callable[[], Capture], name: str, seconds: float) -> Capture:
    """Open in a thread, because some drivers never return while another program holds the camera."""
    result: list[Capture] = []
    errors: list[BaseException] = []
    lock = threading.Lock()
    too_late = False

    def work() -> None:
        try:
            capture = open()
        except BaseException as error:
            errors.append(error)
            return
        with lock:
            if not too_late:
                result.append(capture)
                return
        capture.close()

    thread = threading.Thread(target=work, name=f"opening {name}", daemon=True)
    thread.start()
    thread.join(seconds)
    with lock:
        too_late = True
    if result:
        return result[0]
    if errors:
        if isinstance(errors[0], AllaPrimaError):
            raise errors[0]
        raise DeviceError(
            "E_CAMERA_FAILED",
            f"cannot open the camera {name!r}",
            str(errors[0]),
            "try another one: allaprima cameras",
        ) from errors[0]
    raise DeviceError(
        "E_CAMERA_BUSY",
        f"cannot open the camera {name!r}",
        f"it has not answered for {seconds:g} s; another program may be using it",
        "close that program and try again",
    )


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _is_black(image: Image) -> bool:
    return int(image[::8, ::8].max(initial=0)) <= _BLACK


def _same(image: Image, last: Image) -> bool:
    """Exactly equal; the sample saves the full comparison for the usual case that they are not."""
    return (
        image.shape == last.shape
        and np.array_equal(image[::16, ::16], last[::16, ::16])
        and np.array_equal(image, last)
    )
