"""Paint a short scene: no camera, GPU, network or file is needed.

The scene - a pan over NASA's portrait of the astronaut Eileen Collins, with synthesised sound - is rendered into a
video file first, and then painted as any other video would be. Writes demo.mp4 and demo.png (before | after).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from .job import add_style_arguments, in_words, open_stylizer, paint

if TYPE_CHECKING:
    from ..frame import Image
    from ..planes import Coding
    from ..stylizer import Stylizer

HELP = "paint a short scene that comes with the package"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--style", default="starry", metavar="STYLE", help="default: starry")
    parser.add_argument("--out", default=".", metavar="FOLDER", help="where to write (default: here)")
    parser.add_argument("--overwrite", action="store_true", help="replace demo.mp4 and demo.png of before")
    add_style_arguments(parser)
    parser.add_argument("--json", action="store_true", help="a summary as JSON on stdout, no progress bar")


def run(args: argparse.Namespace) -> int:
    import numpy as np

    from ..demo import HEIGHT, WIDTH, render
    from ..frame import Frame
    from ..sinks import open_sink
    from ..sources import open_source

    folder = Path(args.out)
    with ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="allaprima-demo-"))
        picture = stack.enter_context(open_sink(folder / "demo.png", overwrite=args.overwrite))
        scene = Path(scratch, "scene.mp4")
        render(scene)
        opened: list[Stylizer] = []

        def stylizer(coding: Coding | None) -> Stylizer:
            opened.append(stack.enter_context(open_stylizer(args.style, args, (WIDTH, HEIGHT), coding)))
            return opened[0]

        with open_source(scene) as source:
            summary = paint(source, stylizer, folder / "demo.mp4", overwrite=args.overwrite, quiet=args.json)
        before = frame_of(scene)
        picture.put(Frame(np.concatenate([before, opened[0].paint(before)], axis=1)))
    summary["picture"] = picture.name
    print(json.dumps(summary, indent=2) if args.json else f"{in_words(summary)}, and {picture.name}")
    return 0


def frame_of(scene: Path) -> Image:
    """(H, W, 3) uint8: a frame from near the scene's end, with the face."""
    from ..sources import open_source

    with open_source(scene) as source:
        late = 0.9 * (source.duration or 0)
        return next(frame.image for frame in source if frame.time >= late)
