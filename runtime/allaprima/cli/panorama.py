"""`allaprima panorama A B ... -o OUT`: pictures that overlap, or exposures of one view, into one."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from .job import add_style_arguments, tell

DEFAULT = "fuse"  # the style that joins, by its name
HELP = "join pictures that overlap, or a stack of exposures, into one"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pictures", nargs="+", type=Path, metavar="PICTURE", help="two or more, in any order")
    parser.add_argument("-o", "--out", required=True, metavar="PATH", help="the joined picture")
    parser.add_argument(
        "--style",
        default=DEFAULT,
        metavar="STYLE",
        help="a bundle of the method fuse, which blends: a name or a path (default: fuse, which is yours to train)",
    )
    parser.add_argument(
        "--stack", action="store_true", help="the pictures are exposures or a focus stack of one view"
    )
    add_style_arguments(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace an output that exists")
    parser.add_argument("--json", action="store_true", help="a summary as JSON on stdout")


def run(args: argparse.Namespace) -> int:
    from ..bundle import styles
    from ..errors import UsageError
    from ..frame import Frame
    from ..panorama import panorama, stack
    from ..sinks.pictures import PictureSink
    from ..sources.pictures import PictureSource
    from ..stylizer import Stylizer

    began = time.perf_counter()
    if args.style == DEFAULT and DEFAULT not in styles():
        raise UsageError(
            "E_STYLE_UNKNOWN",
            "there is nothing to join pictures with",
            "no style that ships does that",
            "train recipes/fuse.toml, export it, and give --style fuse.prima",
        )
    inputs = tuple(args.pictures)
    sink = PictureSink(args.out, inputs=inputs, overwrite=args.overwrite)
    with sink:
        pictures = [next(iter(PictureSource(path))).image for path in inputs]
        with Stylizer.open(
            args.style, backend=args.backend, precision=args.precision, threads=args.threads, tile=args.tile
        ) as stylizer:
            if args.strength is not None:
                stylizer.set(strength=args.strength)
            joined = (
                stack(pictures, stylizer)
                if args.stack
                else panorama(pictures, stylizer, names=[str(path) for path in inputs])
            )
            report = stylizer.report
        sink.put(Frame(joined))
    summary = {
        "sources": [str(path) for path in inputs],
        "output": sink.name,
        "size": [joined.shape[1], joined.shape[0]],
        "style": report.style,
        "backend": report.backend,
        "precision": report.precision,
        "seconds": round(time.perf_counter() - began, 3),
        "notes": [*sink.notes, *report.degraded],
    }
    if args.json:
        print(json.dumps(summary, indent=2))
        return 0
    for note in (*sink.notes, *report.degraded):
        tell(f"note: {note}")
    size = f"{joined.shape[1]}x{joined.shape[0]}"
    print(
        f"{sink.name}: {len(inputs)} pictures joined to {size} in {summary['seconds']:.1f} s by {report.line}"
    )
    return 0
