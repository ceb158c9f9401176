"""A live run: from the camera to everybody who watches, with somebody at the keys.

    source thread -> Latest -> painting thread -> Latest -> the caller's thread: window, keys, figures
                                                                              -> Outputs: a thread each

Both slots hold one frame, the newest; so what is shown is never older than one painting and two frames, and a painter
that stalls leaves a window that still answers. Every setting that a key turns is read between two frames.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import ClassVar

from ..frame import Frame, Image
from ..masks import Weights
from ..meter import Meter, Percentiles
from ..painting import Painting
from ..sinks.outputs import Outputs
from ..sinks.sink import Sink
from ..sinks.window import WindowSink
from ..sources.source import Source
from ..stream import Latest, paced
from ..temporal import Stabiliser, Still
from .easel import Easel
from .pace import LADDER, Pace, Step
from .scaled import Scaled
from .view import View

__all__ = ["Session", "Status"]

_RECENT = 300  # frames behind the percentiles that are shown; ten seconds
_FIGURES_SECONDS = 0.5  # between two looks at the figures
_SAY_SECONDS = 4.0  # that a message stays on the picture
_WAIT_SECONDS = 0.05  # for a frame, before the keys are heard
_SURE_SECONDS = 0.5  # after which the rate of a source is believed as it was measured
_STRENGTH_STEP = 0.1
_RECORDING = "recording"  # its name among the outputs
_LAGGING = 4  # paintings whose sources are kept, for a viewer that is a little behind


@dataclass(frozen=True)
class Status:
    """What a viewer wants to know, now or of a whole run. Also the JSON of `--json`."""

    seconds: float
    style: str
    strength: float | None
    backend: str
    precision: str
    step: str
    """Of the ladder: how large and how often is painted."""
    in_fps: float
    """Frames that the source gives."""
    out_fps: float
    """Frames that are shown."""
    frames: int
    """Shown."""
    dropped: int
    """Captured, and replaced by a newer one before anybody was free for it."""
    painted: int
    """By the network."""
    skipped: int
    """Shown without painting: nothing had moved, or the last painting was moved along."""
    latency_ms: Percentiles | None
    """From capture until it is shown."""
    paint_ms: Percentiles | None
    """Of the last ten seconds, also in the figures of a whole run."""
    load: float
    """Painting time over the time between two frames; above 1 the machine cannot keep up."""
    outputs: list[str]
    recording: str
    """The file that is being written; empty while none is."""
    lost: str
    """Why there is no camera at the moment."""
    warming: str
    """The style that will paint as soon as it is warm."""
    paused: bool

    @property
    def line(self) -> str:
        """For people, in one line."""
        late = f"{self.latency_ms.p50:.0f}/{self.latency_ms.p95:.0f} ms late, " if self.latency_ms else ""
        strength = "" if self.strength in (None, 1.0) else f" {self.strength:.0%}"
        return (
            f"{self.style}{strength}, {self.backend} {self.precision}, "
            f"in {self.in_fps:.1f} out {self.out_fps:.1f} fps, {late}{self.dropped} dropped, {self.step}"
        )


@dataclass(frozen=True)
class _Shown:
    """What leaves the painting thread."""

    painted: Frame
    source: Frame
    """That it was painted from."""
    index: int
    """Of the frame that it is shown for: while paused, the painting is an older one's."""


class Session:
    """One live run. Make it, `run` it, once."""

    def __init__(
        self,
        source: Source,
        easel: Easel,
        *,
        outputs: Outputs,
        styles: Sequence[str] = (),
        record: Callable[[], Sink] | None = None,
        weights: Sequence[Weights] = (),
        stabilise: float = 0.0,
        skip: bool = False,
        adapt: bool = True,
        view: View | None = None,
        tell: Callable[[str], None] = lambda text: None,
        on_status: Callable[[Status], None] | None = None,
    ) -> None:
        """`source` and `outputs` are open, `easel` has its first painter. `styles` are what `n` and `p` go through;
        `record` opens a recording when `r` asks for one. `weights`, `stabilise` and `skip` are those of `Painting`;
        `adapt` allows steps down when the machine is too slow. `tell` gets a line for each event, `on_status` the
        figures once a second."""
        self.window: WindowSink | None = None
        """Made with `on_key=session.press`, for the thread that runs; without one, the outputs are all there is."""
        self.view = view or View()
        self._source, self._easel, self._outputs = source, easel, outputs
        self._styles, self._record = list(styles), record
        self._tell, self._on_status = tell, on_status
        self._painting = Painting(
            easel.painter()[0],
            weights=weights,
            stabiliser=Stabiliser(stabilise) if stabilise > 0 else None,
            still=Still() if skip else None,
        )
        self._about = self._painting.report, self._painting.controls.get("strength")
        self._pace = Pace(float(1 / (source.rate or Fraction(30)))) if adapt else None
        self._step = LADDER[0]  # how it is painted
        self._next_step: Step | None = None  # how it will be, as soon as a painter for it is warm
        self._strength: float | None = None  # asked for by keys
        self._strength_set: float | None = None
        self._paused = False
        self._turn = 0  # counts frames, to paint every second one
        self._over = threading.Event()
        self._keys: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._messages: deque[tuple[float, str]] = deque(maxlen=3)  # (until when, text)
        self._last: _Shown | None = None
        self._latest: deque[_Shown] = deque(maxlen=_LAGGING)
        self._lines: list[str] = []
        self._drawn_at = 0.0
        self._noted = 0
        self._reader: Latest[_Shown] | None = None
        self._began = time.monotonic()
        self._figures = threading.Lock()  # of what follows, which several threads count
        self._recent, self._whole = Meter(kept=_RECENT), Meter()
        self._paint_ms: deque[float] = deque(maxlen=_RECENT)
        self._captured: deque[tuple[float, int]] = deque(maxlen=_RECENT)  # (when, index)
        self._painted = self._followed = 0

    def press(self, key: str) -> None:
        """A key, from any thread; heard within a frame's time. One that means nothing does nothing."""
        self._keys.put(key)

    def run(self, seconds: float | None = None) -> Status:
        """Until the source ends, the viewer has had enough, or so many seconds are over; the figures of the whole run.

        Closes source, painter and outputs, and completes what is written, however it ends. Raises what source and
        painter raise.
        """
        frames = Latest(self._source if self._source.live else paced(self._source, self._over))
        self._reader = reader = Latest(self._paint_all(frames))
        self._outputs.on_shown = None if self.window is not None else self._measure
        self._began = time.monotonic()
        self._whole.start()
        next_figures, next_status = 0.0, self._began + 1
        try:
            while not self._over.is_set() and not reader.ended:
                self._show(reader.take(_WAIT_SECONDS))
                self._hear()
                now = time.monotonic()
                if now > next_figures:
                    next_figures = now + _FIGURES_SECONDS
                    self._tell_notes()
                    self._outputs.tend()
                    self._lines = self._figures_in_words()
                if self._on_status is not None and now > next_status:
                    next_status += 1
                    self._on_status(self.status())
                if seconds is not None and now > self._began + seconds:
                    break
                if self.window is None and not self._outputs.names:
                    break  # nobody watches any more
            whole = self.status(whole=True)
        finally:
            self._close(frames, reader)
        # with the frames that were still on their way into a file
        return replace(whole, frames=self._whole.frames)

    def status(self, *, whole: bool = False) -> Status:
        """The figures of the last seconds, or of the `whole` run."""
        report, strength = self._about
        recording = self._outputs.sink(_RECORDING)
        with self._figures:
            meter = self._whole if whole else self._recent
            captured = list(self._captured)
            paint_ms = Percentiles.of(self._paint_ms)
            latency_ms, frames = meter.latency_ms, self._whole.frames
            out_fps = meter.mean_fps if whole else meter.fps
        span = captured[-1][0] - captured[0][0] if len(captured) > 1 else 0.0
        wanted = self._easel.wanted
        return Status(
            seconds=round(time.monotonic() - self._began, 3),
            style=report.style,
            strength=strength if isinstance(strength, float) else None,
            backend=report.backend,
            precision=report.precision,
            step=self._step.name,
            in_fps=round((captured[-1][1] - captured[0][1]) / span, 2) if span > 0 else 0.0,
            out_fps=round(out_fps, 2),
            frames=frames,
            dropped=self._reader.dropped if self._reader is not None else 0,
            painted=self._painted - self._painting.skipped,
            skipped=self._followed + self._painting.skipped,
            latency_ms=latency_ms,
            paint_ms=paint_ms,
            load=round(self._pace.load, 2) if self._pace is not None else 0.0,
            outputs=[*(["window"] if self.window else []), *self._outputs.names],
            recording=recording.name if recording is not None else "",
            lost=getattr(self._source, "lost", ""),
            warming=wanted.style if wanted.style != self._easel.present.style else "",
            paused=self._paused,
        )

    def seen(self, painted: Frame) -> Image:
        """What somebody without the window sees of one of the latest paintings, from any thread: beside its source,
        behind a wipe, mirrored; without writing, which `words` are. A painting is shown as it is where its source is
        no longer known."""
        for shown in list(self._latest):
            if shown.index == painted.index:
                bare = replace(self.view, help=False)
                seconds = time.monotonic() - self._began
                return bare.draw(painted.image, shown.source.image, [], seconds)
        return painted.image

    def words(self) -> list[str]:
        """Lines for who looks: the figures, what goes on, and for some seconds what has happened. From any thread."""
        return [*self._figures_in_words(), *self._news()]

    # In the painting thread.

    def _paint_all(self, frames: Latest[Frame]) -> Iterator[_Shown]:
        last: _Shown | None = None
        for frame in frames:
            with self._figures:
                self._captured.append((frame.time, frame.index))
            if self._paused and last is not None:
                still = replace(last.painted, index=frame.index, time=frame.time)
                yield _Shown(still, last.source, frame.index)
                continue
            begun = time.perf_counter()
            self._change_painter()
            painted = self._paint(frame)
            seconds = time.perf_counter() - begun
            with self._figures:
                self._paint_ms.append(seconds * 1000)
            self._keep_pace(seconds)
            last = _Shown(painted, frame, frame.index)
            yield last

    def _paint(self, frame: Frame) -> Frame:
        self._turn += 1
        if self._turn % self._step.every:
            followed = self._painting.follow(frame)
            if followed is not None:
                self._followed += 1
                return followed
        self._painted += 1
        return self._painting(frame)

    def _change_painter(self) -> None:
        """What keys and pace have asked for and is ready by now takes its place, between two frames."""
        before = self._easel.present
        painter, changed = self._easel.painter()
        if changed:
            now = self._easel.present
            self._painting.painter = Scaled(painter, now.size)
            self._strength_set = None
            if now.style != before.style:
                self._painting.reset()
                self._say(
                    f"style {painter.report.style}, {painter.report.backend} {painter.report.precision}"
                )
            if self._next_step is not None and self._next_step.size == now.size:
                self._take_step(self._next_step)
        strength = self._strength
        if strength is not None and strength != self._strength_set:
            if "strength" in self._painting.controls:
                self._painting.set(strength=strength)
            self._strength_set = strength
            changed = True
        # Asked here, because the other threads must not touch a painter that may be closed meanwhile; and now and
        # then, because a better backend may have taken over (see `Stylizer`).
        if changed or self._turn % 30 == 0:
            self._about = self._painting.report, self._painting.controls.get("strength")

    def _keep_pace(self, seconds: float) -> None:
        pace = self._pace
        if pace is None:
            return
        if self._next_step is not None:
            if self._easel.wanted.size != self._next_step.size:  # it did not open, which has been told
                self._pace = self._next_step = None
            return
        with self._figures:
            first, last = self._captured[0], self._captured[-1]
        # What the camera really gives: in the dark, many give half of what they say.
        if last[0] - first[0] > _SURE_SECONDS:
            pace.interval = (last[0] - first[0]) / (last[1] - first[1])
        step = pace.frame(time.monotonic(), seconds)
        if step is None:
            return
        why = f"painting takes {pace.load:.0%} of the time between two frames"
        self._say(f"{'down' if step.work < self._step.work else 'up'} to {step.name}: {why}")
        if step.size == self._step.size:
            self._take_step(step)
        else:
            self._next_step = step
            self._easel.wish(size=step.size)

    def _take_step(self, step: Step) -> None:
        self._step, self._next_step = step, None
        if self._pace is not None:
            self._pace.begin()

    # In the caller's thread.

    def _show(self, shown: _Shown | None) -> None:
        if shown is not None:
            self._last = shown
            self._latest.append(shown)
            self._outputs.put(shown.painted)
        if self.window is None:
            return
        last = self._last
        if shown is None and (last is None or time.monotonic() < self._drawn_at + _FIGURES_SECONDS):
            wanted = self.window.look()
        else:  # without a new frame the figures and messages still change
            assert last is not None
            self._drawn_at = time.monotonic()
            wanted = self.window.put(replace(last.painted, picture=self._drawn(last)))
        if shown is not None:
            self._measure(shown.painted)
        if not wanted:
            self._over.set()

    def _drawn(self, shown: _Shown) -> Image:
        lines = [*(self._lines if self.view.figures else []), *self._news()]
        return self.view.draw(shown.painted.image, shown.source.image, lines, time.monotonic() - self._began)

    def _news(self) -> list[str]:
        """What has happened within the last seconds."""
        now = time.monotonic()
        return [text for until, text in list(self._messages) if until > now]

    def _figures_in_words(self) -> list[str]:
        status = self.status()
        lines = [status.line]
        if status.lost:
            lines.append(f"no camera: {status.lost}; trying again")
        if status.warming:
            lines.append(f"{status.warming} is warming up")
        if status.recording:
            lines.append(f"recording {status.recording}")
        if status.paused:
            lines.append("paused")
        return lines

    def _measure(self, frame: Frame) -> None:
        """A frame is shown: how old is it?"""
        latency = (time.monotonic() - frame.time) * 1000
        with self._figures:
            for meter in (self._recent, self._whole):
                meter.frame(paint_ms=0.0, latency_ms=latency)

    def _tell_notes(self) -> None:
        notes = self._source.notes
        while self._noted < len(notes):
            self._say(f"note: {notes[self._noted]}")
            self._noted += 1

    def _say(self, text: str) -> None:
        """To the log, and for a few seconds to the picture."""
        self._messages.append((time.monotonic() + _SAY_SECONDS, text))
        self._tell(text)

    def _hear(self) -> None:
        while True:
            try:
                key = self._keys.get_nowait()
            except queue.Empty:
                return
            action = self._actions.get(key.lower() if key.isalpha() else key)
            if action is not None:
                action(self)

    def _pause(self) -> None:
        self._paused = not self._paused

    def _next(self, by: int) -> None:
        wanted = self._easel.wanted
        if len(self._styles) < 2:
            self._say("there is no other style; name several: --style starry,other")
            return
        at = self._styles.index(wanted.style) if wanted.style in self._styles else -by
        self._easel.wish(style=self._styles[(at + by) % len(self._styles)])

    def _stronger(self, by: float) -> None:
        now = self._strength if self._strength is not None else self._about[1]
        if not isinstance(now, float):
            self._say("this style has no strength")
            return
        self._strength = min(1.0, max(0.0, round(now + by, 2)))
        self._say(f"strength {self._strength:.0%}")

    def _beside(self) -> None:
        self.view.beside, self.view.wipe = not self.view.beside, False

    def _wipe(self) -> None:
        self.view.wipe, self.view.beside = not self.view.wipe, False

    def _mirror(self) -> None:
        self.view.mirror = not self.view.mirror

    def _help(self) -> None:
        self.view.help = not self.view.help

    def _toggle_recording(self) -> None:
        if _RECORDING in self._outputs:
            self._outputs.finish(_RECORDING)
        elif self._record is None:
            self._say("recording is not possible here")
        elif self._outputs.add(_RECORDING, self._record):
            sink = self._outputs.sink(_RECORDING)
            self._say(f"recording {sink.name if sink is not None else ''}")

    def _quit(self) -> None:
        self._over.set()

    _actions: ClassVar[dict[str, Callable[[Session], None]]] = {
        " ": _pause,
        "n": lambda self: self._next(1),
        "p": lambda self: self._next(-1),
        "[": lambda self: self._stronger(-_STRENGTH_STEP),
        "]": lambda self: self._stronger(_STRENGTH_STEP),
        "s": _beside,
        "w": _wipe,
        "m": _mirror,
        "r": _toggle_recording,
        "h": _help,
        "q": _quit,
    }

    def _close(self, frames: Latest[Frame], reader: Latest[_Shown]) -> None:
        self._over.set()
        with ExitStack() as stack:  # each is closed, whatever the others raise
            stack.callback(self._tell_notes)
            stack.callback(self._easel.close)
            if self.window is not None:
                stack.callback(self.window.__exit__, None, None, None)
            stack.callback(self._outputs.close)
            stack.callback(reader.close)
            if not self._source.live:  # a decoder is closed when nobody is in it any more
                stack.callback(self._source.close)
            stack.callback(frames.close)
            if self._source.live:  # first of all: somebody may be waiting for its camera
                stack.callback(self._source.close)
