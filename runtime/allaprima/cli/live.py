"""Paint a camera live: into a window, a virtual camera, a recording, a web page and streams, all at once.

SOURCE is a camera (0, /dev/video0, part of its name; default 0), fake:1280x720@30, or a video file, which plays at its
own speed. Keys, in the window and on the page: space pause, n/p style, [ ] strength, s side by side, w wipe, m mirror,
r record, h help, q quit. When the machine is too slow, pictures become smaller, then fewer; never later.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import AllaPrimaError, BatchError, DeviceError, UsageError
from .job import add_style_arguments, tell, wanted_size
from .painter import add_painting_arguments, open_painter, open_weights

if TYPE_CHECKING:
    from ..live import Session, Status
    from ..live.easel import Wish
    from ..painting import Painter
    from ..sinks import VideoSink
    from ..sinks.network import NetworkSink
    from ..sinks.outputs import Outputs
    from ..sinks.page import PageSink
    from ..sources import Source

HELP = "paint a camera live: window, virtual camera, recording, web page, streams"

_NOT_ON_PAGE = "qh"  # who looks on from elsewhere does not end the run, and sees what keys there are


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", nargs="?", default="0")
    parser.add_argument(
        "--style",
        metavar="STYLE[,STYLE]",
        help="what to begin with, and what n and p go through (default: starry, then all others)",
    )
    outputs = parser.add_argument_group("outputs (any number at once; a window unless told otherwise)")
    outputs.add_argument("--no-window", action="store_true", help="only the others")
    outputs.add_argument("--virtual-camera", action="store_true", help="be a camera for other programs")
    outputs.add_argument(
        "--record", metavar="FILE", nargs="?", const="", help="record from the start, as r does later"
    )
    outputs.add_argument(
        "--page", type=int, metavar="PORT", nargs="?", const=-1, help="a page for browsers on this machine"
    )
    outputs.add_argument(
        "--host", metavar="ADDRESS", help="open the page to a network, e.g. 0.0.0.0; it asks for a token then"
    )
    outputs.add_argument(
        "--to",
        metavar="URL",
        action="append",
        default=[],
        help="rtmp:// rtsp:// srt:// tcp:// udp://; repeatable",
    )
    picture = parser.add_argument_group("the picture")
    picture.add_argument("--size", metavar="WxH", help="asked of the camera; more is shrunk to fit")
    picture.add_argument("--fps", type=float, metavar="RATE", help="asked of the camera (default: 30)")
    picture.add_argument("--mirror", action="store_true", help="show it mirrored, as m does")
    picture.add_argument("--no-figures", action="store_true", help="no figures on the picture")
    add_painting_arguments(parser)
    add_style_arguments(parser)
    run = parser.add_argument_group("the run")
    run.add_argument("--no-adapt", action="store_true", help="full size, every frame, however slow that is")
    run.add_argument("--no-reconnect", action="store_true", help="end when the camera is unplugged")
    run.add_argument("--seconds", type=float, metavar="N", help="end after so long")
    run.add_argument("--overwrite", action="store_true", help="replace a recording that exists")
    run.add_argument(
        "--json", action="store_true", help="figures once a second, then a summary: a JSON line each"
    )


def run(args: argparse.Namespace) -> int:
    from ..live import Easel, Session, View
    from ..live.easel import Wish
    from ..sinks.outputs import Outputs
    from ..sources import LiveSource, open_source

    _check(args)
    styles = styles_of(args)
    with ExitStack() as stack:
        size = wanted_size(args.size)
        source = stack.enter_context(
            open_source(args.source, size=size, rate=args.fps, reconnect=not args.no_reconnect)
        )
        if source.frames == 1:
            raise UsageError("E_USAGE", f"{source.name} is a picture", next="paint it with allaprima run")
        if isinstance(source, LiveSource) and source.about:
            tell(source.about)
        weights = open_weights(args)
        outputs = stack.enter_context(Outputs(tell=tell))
        recordings = Recordings(args.record or "", source, overwrite=args.overwrite)
        session = Session(
            source,
            stack.enter_context(Easel(opener(args, source), Wish(styles[0]), on_error=_tell_failure)),
            outputs=outputs,
            styles=styles,
            record=recordings,
            weights=weights,
            stabilise=args.stabilise or 0.0,
            skip=args.skip_static,
            adapt=_may_adapt(args),
            view=View(mirror=args.mirror, figures=not args.no_figures),
            tell=tell,
            on_status=_print_status if args.json else None,
        )
        open_outputs(args, session, source, outputs, recordings)
        summary = session.run(args.seconds)
    return report(args, summary, source, outputs)


def styles_of(args: argparse.Namespace) -> list[str]:
    """What n and p go through, the first one first: the mixture, the styles named, or all that are there."""
    from ..bundle import styles

    if args.style is not None:
        named = [name.strip() for name in args.style.split(",") if name.strip()]
        if not named:
            raise UsageError("E_USAGE", "--style names no style", next="see allaprima styles")
    else:
        named = sorted(styles(), key=lambda name: (name != "starry", name))
    return [args.mix, *named] if args.mix is not None else named


def opener(args: argparse.Namespace, source: Source) -> Callable[[Wish], Painter]:
    """Opens a style for the size that the source's frames have by then."""
    from ..live.scaled import scaled_size

    def open(wish: Wish) -> Painter:
        return open_painter(wish.style, args, scaled_size(source.width, source.height, wish.size))

    return open


def open_outputs(
    args: argparse.Namespace, session: Session, source: Source, outputs: Outputs, recordings: Recordings
) -> None:
    """All that were asked for. What cannot be opened is told, as long as something else can be watched."""
    from ..sinks import VirtualCameraSink, WindowSink
    from ..sinks.network import without_secrets

    if args.virtual_camera:
        path = getattr(source, "path", "")
        outputs.add("virtual camera", lambda: VirtualCameraSink(source.rate, other_than=str(path)))
    if args.record is not None:
        outputs.add("recording", recordings)
    if args.page is not None:
        outputs.add("page", lambda: _page(args, session))
    for url in args.to:
        outputs.add(_free(without_secrets(url), outputs), partial(_stream, url, source))
    if not args.no_window:
        try:
            session.window = WindowSink(f"Alla Prima: {source.name}", on_key=session.press)
        except DeviceError as error:
            if not (outputs.names or outputs.failed):
                raise
            tell(f"note: there is no window: {error.why}")
    if session.window is None and not outputs.names:
        raise next(iter(outputs.failed.values()))


def _free(name: str, outputs: Outputs) -> str:
    """`name`, numbered where there is one already: of two streams to one server all but the key is the same."""
    taken = {*outputs.names, *outputs.failed}
    return next(one for one in chain([name], (f"{name} ({n})" for n in count(2))) if one not in taken)


def report(args: argparse.Namespace, summary: Status, source: Source, outputs: Outputs) -> int:
    """Say what happened. Raises BatchError where one of the outputs did not last."""
    from .. import settings

    failed = {name: error.as_dict() for name, error in outputs.failed.items()}
    if args.json:
        line = {**settings.write(summary), "notes": [*source.notes, *outputs.notes], "failed": failed}
        print(json.dumps({"summary": line}), flush=True)
    else:
        print(f"{summary.frames} frames in {summary.seconds:.1f} s: {summary.line}")
    if failed:
        raise BatchError(
            "E_OUTPUT_LOST",
            f"{len(failed)} of the outputs did not last: {', '.join(failed)}",
            "each is named above with its reason; the others went on",
            "mend it and start again",
        )
    return 0


class Recordings:
    """Opens one recording after the other, each under a name of its own."""

    def __init__(self, path: str, source: Source, *, overwrite: bool) -> None:
        """`path` is the first one's; the next are numbered. Without one, the time of day is the name."""
        self._path, self._source, self._overwrite = path, source, overwrite
        self._count = 0

    def __call__(self) -> VideoSink:
        from ..sinks import VideoSink

        source = self._source
        # A file that plays live has the clock of the wall; its own clock and sound would not fit.
        like = source if source.live else None
        sink = VideoSink(self._next_path(), like=like, rate=source.rate, overwrite=self._overwrite)
        self._count += 1
        return sink

    def _next_path(self) -> Path:
        if not self._path:
            return Path(f"live-{datetime.now():%Y%m%d-%H%M%S}.mp4")
        path = Path(self._path)
        return path.with_stem(f"{path.stem}-{self._count + 1}") if self._count else path


def _page(args: argparse.Namespace, session: Session) -> PageSink:
    from ..live import KEYS
    from ..sinks.page import PORT, PageSink

    page = PageSink(
        host=args.host or "127.0.0.1",
        port=PORT if args.page < 0 else args.page,
        view=session.seen,
        status=lambda: "\n".join(session.words()),
        keys={key: help for key, help in KEYS.items() if key not in _NOT_ON_PAGE},
        on_key=session.press,
    )
    tell(f"page: {page.address}")
    if not page.private:
        tell(
            "warning: the page is open to the network, unencrypted: whoever has this address sees the painting and "
            "may press its keys"
        )
    return page


def _stream(url: str, source: Source) -> NetworkSink:
    from ..sinks.network import NetworkSink

    sink = NetworkSink(url, rate=source.rate)
    tell(f"sending to {sink.name}")
    return sink


def _check(args: argparse.Namespace) -> None:
    from ..sinks.network import NetworkSink

    for url in args.to:
        NetworkSink(url)  # connects with its first frame only; what is no address is known now
    if args.host is not None and args.page is None:
        raise UsageError("E_USAGE", "--host is the page's", "there is no --page", "give both")
    if args.fps is not None and not 0 < args.fps <= 1000:
        raise UsageError("E_USAGE", f"no camera gives {args.fps:g} pictures a second", next="give --fps 30")
    if args.seconds is not None and not args.seconds > 0:
        raise UsageError("E_USAGE", f"cannot run for {args.seconds:g} seconds", next="give --seconds 60")
    if args.no_window and not (
        args.virtual_camera or args.to or args.record is not None or args.page is not None
    ):
        raise UsageError(
            "E_USAGE",
            "--no-window leaves nothing to watch",
            next="give --page, --record, --to or --virtual-camera",
        )


def _may_adapt(args: argparse.Namespace) -> bool:
    """Painting smaller and moving paintings along need OpenCV."""
    from ..opencv import import_cv2

    if args.no_adapt:
        return False
    try:
        import_cv2("paint in a smaller size")
    except DeviceError as error:
        tell(f"note: when the machine is too slow, frames are dropped and nothing else is done: {error.why}")
        return False
    return True


def _print_status(status: Status) -> None:
    from .. import settings

    print(json.dumps({"status": settings.write(status)}), flush=True)


def _tell_failure(wish: Wish, error: AllaPrimaError) -> None:
    tell(f"warning[{error.code}]: {wish.style} does not start: {error}")
