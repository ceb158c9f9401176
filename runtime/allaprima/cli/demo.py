"""Paint a short scene: no camera, GPU, network or file is needed.

The scene - a pan over NASA's portrait of the astronaut Eileen Collins, with synthesised sound - is rendered into a
video file first, and then painted as any other video would be. Writes demo.mp4 and demo.png (before | after).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from .job import add_style_arguments, in_words, open_stylizer, paint, tell

HELP = "paint a short scene that comes with the package"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--style", default="starry", metavar="STYLE", help="default: starry")
    parser.add_argument("--out", default=".", metavar="FOLDER", help="where to write (default: here)")
    parser.add_argument("--overwrite", action="store_true", help="replace demo.mp4 and demo.png of before")
    add_style_arguments(parser)
    parser.add_argument("--json", action="store_true", help="a summary as JSON on stdout, no progress bar")


def run(args: argparse.Namespace) -> int:
    from ..demo import HEIGHT, WIDTH, render
    from ..sources import open_source

    folder = Path(args.out)
    with tempfile.TemporaryDirectory(prefix="allaprima-demo-") as scratch:
        scene = Path(scratch, "scene.mp4")
        render(scene)
        with (
            open_stylizer(args.style, args, (WIDTH, HEIGHT)) as stylizer,
            open_source(scene) as source,
        ):
            if not args.json:
                tell(f"{stylizer.bundle.manifest.name} by {stylizer.report.line}")
            written = before_after(scene, stylizer, folder / "demo.png", overwrite=args.overwrite)
            summary = paint(source, stylizer, folder / "demo.mp4", overwrite=args.overwrite, quiet=args.json)
    summary["picture"] = written
    print(json.dumps(summary, indent=2) if args.json else f"{in_words(summary)}, and {written}")
    return 0


def before_after(scene: Path, stylizer: Any, target: Path, *, overwrite: bool) -> str:
    """A frame from near the scene's end, with the face, and its painting beside it; the picture's name."""
    import numpy as np

    from ..frame import Frame
    from ..sinks import open_sink
    from ..sources import open_source

    with open_source(scene) as source:
        late = 0.9 * (source.duration or 0)
        frame = next(frame for frame in source if frame.time >= late)
    both = np.concatenate([frame.image, stylizer.paint(frame.image)], axis=1)
    with open_sink(target, overwrite=overwrite) as sink:
        sink.put(Frame(both))
        return sink.name
