"""Two styles, or paintings that are there already, side by side on one page: sliders and figures, in one HTML file.

A and B are styles (a name, a bundle) or what was painted before, by whatever program: a video with the same frames, a
folder with the same pictures, a picture. Everything is in the page; it loads nothing from anywhere.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from .job import add_style_arguments, open_stylizer, tell, wanted_size

if TYPE_CHECKING:
    from ..compare import Shots, Side

HELP = "two styles or paintings side by side, with figures, on one page"
BOX = "1280x720"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", metavar="A", help="a style, or what is painted already")
    parser.add_argument("b", metavar="B", help="the other one")
    parser.add_argument(
        "--on", required=True, metavar="SOURCE", help="a video, a picture, or a folder of pictures"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("compare.html"), help="the page (default: compare.html)"
    )
    parser.add_argument(
        "--frames",
        type=int,
        default=24,
        metavar="N",
        help="of a video or a folder, at most 240 (default: 24)",
    )
    parser.add_argument(
        "--start", type=float, default=1.0, metavar="S", help="second of the video to begin at (default: 1)"
    )
    parser.add_argument(
        "--size", default=BOX, metavar="WxH", help=f"frames are shrunk to fit into this (default: {BOX})"
    )
    add_style_arguments(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace a page that exists")
    parser.add_argument("--json", action="store_true", help="the figures as JSON on stdout")


def run(args: argparse.Namespace) -> int:
    from ..compare import read
    from ..compare_page import write_page
    from ..files import Draft

    if not 1 <= args.frames <= 240 or not args.start >= 0:
        raise UsageError(
            "E_USAGE",
            f"cannot compare {args.frames} frames from second {args.start:g} on",
            "--frames goes from 1 to 240, --start from 0",
            "24 frames are usual",
        )
    if args.out.suffix.lower() not in (".html", ".htm"):
        raise UsageError("E_USAGE", f"cannot write {args.out}", "it becomes a page", "name it .html")
    given = [path for path in map(Path, (args.on, args.a, args.b)) if path.is_file()]
    draft = Draft(args.out, inputs=given, overwrite=args.overwrite)
    try:
        shots = read(args.on, frames=args.frames, start=args.start, box=wanted_size(args.size))
        sides = (side(letter, what, shots, args) for letter, what in (("A", args.a), ("B", args.b)))
        summary = write_page(draft, shots, *sides)
    finally:
        draft.discard()
    if args.json:
        print(json.dumps(summary, indent=2))
        return 0
    for note in summary["notes"]:
        tell(f"note: {note}")
    print(f"{args.out}: {len(shots.images)} of {shots.name}, {args.out.stat().st_size / 1e6:.1f} MB")
    return 0


def side(letter: str, what: str, shots: Shots, args: argparse.Namespace) -> Side:
    """Painted now by a style, or before."""
    from ..compare import painted_before, painted_by

    path = Path(what)
    name = f"{letter}: {path.name.removesuffix('.prima')}"
    if not is_style(what):
        return painted_before(name, what, shots, box=wanted_size(args.size))
    height, width = shots.images[0].shape[:2]
    with open_stylizer(what, own_controls(what, args), (width, height)) as stylizer:
        return painted_by(name, stylizer, shots)


def is_style(what: str) -> bool:
    """A name or a bundle, and not what was painted before."""
    from ..bundle import styles

    path = Path(what)
    bundle = path.suffix in (".prima", ".onnx") or (path / "manifest.json").is_file()
    return what in styles() or bundle or not path.exists()


def own_controls(what: str, args: argparse.Namespace) -> argparse.Namespace:
    """The arguments without the controls that this style does not have, where the other side has them."""
    from ..bundle import Bundle, find_style

    def names(style: str) -> set[str]:
        return {control.name for control in Bundle.open(find_style(style)).manifest.controls}

    other = args.b if what == args.a else args.a
    foreign = names(other) - names(what) if args.controls and is_style(other) else set()
    mine = [text for text in args.controls if text.partition("=")[0].strip() not in foreign]
    return argparse.Namespace(**{**vars(args), "controls": mine})
