"""One painting job for the terminal: open everything, paint with a progress bar, say what happened."""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .. import settings
from ..errors import UsageError
from .controls import control_values

if TYPE_CHECKING:
    from ..engines import Building
    from ..frame import Frame
    from ..meter import Meter
    from ..painting import Painting
    from ..planes import Coding
    from ..sinks import Sink
    from ..sinks.encoders import Encoding
    from ..sources import VideoSource
    from ..sources.source import Source
    from ..stylizer import Profile, Stylizer

__all__ = [
    "add_style_arguments",
    "build_told",
    "in_words",
    "open_stylizer",
    "paint",
    "rehearse",
    "tell",
    "wanted_size",
]


def add_style_arguments(parser: argparse.ArgumentParser) -> None:
    """How to paint: the same for every command that paints."""
    parser.add_argument(
        "--strength", type=float, metavar="0..1", help="0 gives the picture back, 1 paints fully"
    )
    parser.add_argument(
        "--control",
        action="append",
        default=[],
        dest="controls",
        metavar="NAME=VALUE",
        help="a style's own control: truncation=0.5, domain=ink:0.3,outline:0.7; `info` lists them; may be repeated",
    )
    parser.add_argument(
        "--backend", metavar="NAME", help="tensorrt, ort:cuda, openvino, ort ...: this one, or an error"
    )
    parser.add_argument("--precision", metavar="NAME", help="fp32, bf16, fp16 or int8: this one, or an error")
    parser.add_argument(
        "--threads", type=int, metavar="N", help="processors to use (default: all that are ours)"
    )
    parser.add_argument(
        "--tile",
        type=int,
        metavar="SIDE",
        help="paint in tiles of at most this side; 0: never (default: what is larger than 4K or than the free memory)",
    )
    after = parser.add_argument_group("after painting, each from 0 to 1")
    for stage, words in STAGES.items():
        after.add_argument(
            f"--{stage.replace('_', '-')}", type=float, default=0.0, metavar="AMOUNT", help=words
        )


STAGES = {
    "denoise": "against single odd pixels",
    "match_luminance": "the source's light and dark, in the painting's colours",
    "match_palette": "the source's colours, in the painting's light and dark",
    "sharpen": "crisper",
    "grain": "film grain",
}


def wanted_size(text: str | None, option: str = "--size") -> tuple[int, int] | None:
    """`1280x720` -> (1280, 720); `option` is what a user wrote it after."""
    if text is None:
        return None
    width, sign, height = text.lower().partition("x")
    if not (sign and width.isdigit() and height.isdigit() and int(width) >= 16 and int(height) >= 16):
        raise UsageError(
            "E_USAGE",
            f"cannot read {option} {text}",
            "it is a width and a height from 16 on",
            f"write {option} 1280x720",
        )
    return int(width), int(height)


def open_stylizer(
    style: str,
    args: argparse.Namespace,
    size: tuple[int, int],
    coding: Coding | None = None,
    profile: Profile = "live",
) -> Stylizer:
    """The style, warm for frames of `size` (width, height) and, if they are planes, of this `coding`; with the controls
    that the arguments turn.

    Says on stderr which backend paints and why no better one does, unless the summary will (`--json`).
    """
    from ..post import Post
    from ..stylizer import Stylizer
    from ..tiles import SMALLEST_SIDE

    if args.threads is not None and args.threads < 1:
        raise UsageError("E_USAGE", f"cannot use {args.threads} threads", next="give --threads 1 or more")
    if args.tile is not None and args.tile != 0 and args.tile < SMALLEST_SIDE:
        raise UsageError(
            "E_USAGE",
            f"cannot paint in tiles of {args.tile} pixels",
            "most of each would be overlap",
            f"give --tile {SMALLEST_SIDE} or more, or 0 for none",
        )
    stylizer = Stylizer.open(
        style,
        backend=args.backend,
        precision=args.precision,
        threads=args.threads,
        size=size,
        coding=coding,
        profile=profile,
        on_build=None if args.json else build_told(),
        tile=args.tile,
    )
    stylizer.finish(Post(**{stage: getattr(args, stage) for stage in STAGES}))
    if args.strength is not None:
        stylizer.set(strength=args.strength)
    stylizer.set(**control_values(stylizer.bundle.manifest.controls, args.controls))
    if not args.json:
        report = stylizer.report
        edges = ", on YUV planes: no conversion of colours" if report.edges == "planes" else ""
        tell(f"{stylizer.bundle.manifest.name} by {report.line}{edges}")
    return stylizer


def build_told(every_s: float = 2.0) -> Callable[[Building], None]:
    """What tells how far the build of an engine is: a line on stderr every few seconds, and nothing of short ones."""
    told = time.monotonic()

    def hear(now: Building) -> None:
        nonlocal told
        if time.monotonic() - told >= every_s:
            told = time.monotonic()
            tell(now.line)

    return hear


def paint(
    source: Source,
    stylizer: Callable[[Coding | None], Stylizer | Painting],
    target: str | Path,
    *,
    overwrite: bool = False,
    encoding: Encoding | None = None,
    quiet: bool = False,
    unfinished: Literal["refuse", "resume", "restart"] | None = None,
) -> dict[str, Any]:
    """Paint a source to its end into `target`; a summary for `--json`.

    `unfinished`: keep what is painted of a video in chunks until it is complete, and what to do with those of an
    earlier run; None keeps none.

    The output is opened before `stylizer` is called: what forbids it is known before a backend starts. It is called
    with what the planes of the frames mean, where source and output agree on planes. What was changed or lost on the
    way is told as notes, even when it ends badly.
    """
    from ..sinks import Encoding, open_sink
    from ..stream import play

    sink = open_sink(target, like=source, overwrite=overwrite, encoding=encoding or Encoding())
    try:
        with sink:
            painter = _agreed(source, sink, stylizer)
            done = keep_chunks(source, painter, sink, unfinished) if unfinished else 0
            if done:
                tell(f"going on after frame {done}")
            with progress(source, sink, quiet=quiet) as advance:
                played = play(source, painter, sink, skip=done, on_frame=advance)
    finally:
        notes = [*source.notes, *sink.notes]
        for note in notes:
            tell(f"note: {note}")
    report = painter.report
    for note in report.degraded:
        tell(f"note: {note}")
    return {
        "source": source.name,
        "output": sink.name,
        "size": list(report.size),
        "style": report.style,
        "backend": report.backend,
        "precision": report.precision,
        "variant": report.variant,
        "edges": report.edges,
        "passed_over": report.passed_over,
        "resumed_after": done,
        **settings.write(played),
        "skipped": getattr(painter, "skipped", 0),
        "notes": [*notes, *report.degraded],
    }


def keep_chunks(
    source: Source,
    painter: Stylizer | Painting,
    sink: Sink,
    unfinished: Literal["refuse", "resume", "restart"],
) -> int:
    """Have the sink keep chunks, where the same frames would be painted again; how many it has already."""
    from .. import __version__
    from ..files import fingerprint
    from ..sinks import VideoSink
    from ..sources import VideoSource
    from ..stylizer import Stylizer

    if not isinstance(source, VideoSource) or not isinstance(sink, VideoSink):
        return 0
    if not isinstance(painter, Stylizer) or painter.bundle.manifest.states:
        if unfinished == "resume":
            raise UsageError(
                "E_RESUME_STATES",
                f"cannot resume with style {painter.report.style!r}"
                + ("" if isinstance(painter, Stylizer) else " and what is around it"),
                "it remembers earlier frames, and a file does not hold what it remembered",
                "paint it anew, without --resume",
            )
        return 0
    report = painter.report
    return sink.keep_chunks(
        {
            "allaprima": __version__,
            "source": fingerprint(source.path),
            "size": list(report.size),
            "style": report.style,
            "bundle": hashlib.sha256(painter.bundle.manifest.to_json()).hexdigest()[:16],
            "backend": report.backend,
            "precision": report.precision,
            "edges": report.edges,
            "controls": painter.controls,
            "after": painter.post.amounts,
            # chunks may hold more than a shorter preview has, and then its sound ends before its pictures
            **({} if source.until is None else {"preview": source.until}),
        },
        unfinished=unfinished,
    )


def rehearse(
    source: VideoSource,
    stylizer: Callable[[Coding | None], Stylizer | Painting],
    target: str | Path,
    *,
    overwrite: bool = False,
    encoding: Encoding | None = None,
    seconds: float = 2.0,
) -> dict[str, Any]:
    """What painting a video into `target` would do, without doing it: the first `seconds` of it are painted into a
    file that is thrown away. The summary of that, with what it lets expect of the whole."""
    from ..sinks import Encoding, open_sink

    whole = source.duration
    with open_sink(target, like=source, overwrite=overwrite, encoding=encoding or Encoding()):
        pass  # left without a frame it writes nothing; what forbids it is known now
    source.until = min(seconds, source.until or seconds)
    with tempfile.TemporaryDirectory(prefix="allaprima-") as folder:
        trial = Path(folder) / Path(target).name
        summary = paint(source, stylizer, trial, encoding=encoding, quiet=True)
        share = whole / min(whole, source.until) if whole else None
        size = trial.stat().st_size
    return {
        **summary,
        "output": str(target),
        "dry_run": True,
        "expected_seconds": round(summary["seconds"] * share, 1) if share else None,
        "expected_megabytes": round(size * share / 1e6, 1) if share else None,
    }


def _agreed(
    source: Source, sink: Sink, stylizer: Callable[[Coding | None], Stylizer | Painting]
) -> Stylizer | Painting:
    """The stylizer, and source and sink set to the form of frames that all three have: planes, or else RGB."""
    from ..sources import VideoSource

    if not isinstance(source, VideoSource):
        return stylizer(None)
    source.planes = sink.takes_planes
    painter = stylizer(source.coding)
    # what has to be RGB becomes so in the reader's thread, not in the painter's
    source.planes = painter.report.edges == "planes"
    return painter


def in_words(summary: dict[str, Any]) -> str:
    """The summary of a job as one line for people."""
    frames = summary["frames"]
    if summary.get("dry_run"):
        begin = (
            f"{summary['output']}: {summary['fps']:.1f} fps on {summary['backend']}, edges {summary['edges']}"
        )
        if summary["expected_seconds"] is None:
            return f"{begin}; nothing is written (how long the source is, it does not say)"
        took = f"about {summary['expected_seconds']:.1f} s and {summary['expected_megabytes']:.1f} MB"
        return f"{begin}; {took}; nothing is written"
    text = f"{summary['output']}: {frames} frame{'s' if frames != 1 else ''} in {summary['seconds']:.1f} s"
    if frames > 1:
        text += f" ({summary['fps']:.1f} fps; painting took {summary['paint_ms']['p50']:.1f} ms a frame)"
    if summary["latency_ms"]:
        late = summary["latency_ms"]
        text += f", capture to output p50 {late['p50']:.0f} ms, p95 {late['p95']:.0f} ms, {summary['dropped']} dropped"
    return text


@contextmanager
def progress(source: Source, sink: Sink, *, quiet: bool) -> Iterator[Any]:
    """A bar with frames per second, time left, for files their size so far and for live sources latency; a callback to
    feed it."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
    from rich.progress import TimeRemainingColumn as Remaining

    end = source.duration
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        *([TextColumn("left"), Remaining()] if end and not source.live else []),
        console=Console(stderr=True),
        disable=quiet or source.frames == 1,
    ) as bar:
        task = bar.add_task("painting", total=end, rate="")
        first: float | None = None

        def advance(frame: Frame, meter: Meter) -> None:
            nonlocal first
            first = frame.time if first is None else first
            bar.update(task, completed=frame.time - first)
            if meter.frames % 10 == 0:  # percentiles are worth their sorting now and then only
                late = meter.latency_ms if source.live else None
                delay = f", {late.p50:.0f} ms late" if late else ""
                written = getattr(sink, "bytes_written", 0)  # only a video grows for minutes
                size = f", {written / 1e6:.1f} MB" if written else ""
                bar.update(task, rate=f"{meter.fps:.1f} fps{delay}{size}")

        yield advance
        if end:
            bar.update(task, completed=end)


def tell(text: str) -> None:
    """A line for people, on stderr; what the terminal cannot show is escaped, never an error."""
    encoding = sys.stderr.encoding or "ascii"
    print(text.encode(encoding, "backslashreplace").decode(encoding), file=sys.stderr)
