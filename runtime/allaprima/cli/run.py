"""Paint a picture, a folder of pictures, a video file, a camera or a synthetic source.

SOURCE is a file, a folder, a camera (0, /dev/video0, part of its name), bars:1280x720@30 or fake:1280x720@30.
Without --out, files are painted into the current folder as NAME-STYLE, and cameras into a window. Video keeps its
sound, subtitles, chapters and presentation times. --size is a box that frames are shrunk to fit before painting.

While a video is painted, what is done lies in OUT.parts; after a crash, the same command with --resume goes on there.
"""

from __future__ import annotations

import argparse
import json
import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BatchError, InputError, OutputError, RunError, UsageError
from ..files import write_error
from .encoding import add_encoding_arguments, encoding_of, seconds_of
from .job import add_style_arguments, in_words, paint, rehearse, tell, wanted_size
from .painter import add_painting_arguments, open_painting, open_weights

if TYPE_CHECKING:
    from ..painting import Painting
    from ..planes import Coding
    from ..sources import PictureFolder
    from ..stylizer import Profile, Stylizer

HELP = "paint a picture, folder, video file, camera or synthetic source"

# What keeps its extension when no --out is given; the first is for all others.
KEPT_PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")
KEPT_VIDEOS = (".mp4", ".mkv", ".mov", ".m4v")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE")
    parser.add_argument(
        "--style", metavar="STYLE", help="a style's name, or the path of a .prima bundle; or several: --mix"
    )
    target = parser.add_mutually_exclusive_group()
    target.add_argument("--out", metavar="PATH", help="a picture, a video (.mp4 .mkv .mov .webm) or a folder")
    target.add_argument("--window", action="store_true", help="show it; q or Esc closes")
    target.add_argument("--virtual-camera", action="store_true", help="be a camera for other programs")
    add_style_arguments(parser)
    add_painting_arguments(parser)
    parser.add_argument("--size", metavar="WxH", help="shrink frames into this box first, e.g. 1280x720")
    add_encoding_arguments(parser)
    parser.add_argument("--preview", metavar="TIME", help="only the beginning of a video: 5s, 1:30")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="paint two seconds of a video, say how long the whole would take, and write nothing",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an output that exists")
    unfinished = parser.add_mutually_exclusive_group()
    unfinished.add_argument(
        "--resume",
        action="store_true",
        help="go on with a video whose painting was cut short (killed, power cut)",
    )
    unfinished.add_argument(
        "--restart", action="store_true", help="throw the unfinished painting away, begin anew"
    )
    parser.add_argument(
        "--on-corrupt",
        choices=["fail", "skip"],
        default="fail",
        help="at a damaged place in a video: stop (default), or leave those frames out and say so",
    )
    parser.add_argument("--json", action="store_true", help="a summary as JSON on stdout, no progress bar")


def run(args: argparse.Namespace) -> int:
    if (args.style is None) == (args.mix is None):
        raise UsageError(
            "E_USAGE", "it takes a style", "either --style or --mix", "allaprima styles lists them"
        )
    if os.path.isdir(args.source):  # unlike Path.is_dir, false for a name that cannot be
        return run_folder(args)
    from ..sources import VideoSource, open_source

    size = wanted_size(args.size)
    with (
        ExitStack() as stack,
        open_source(args.source, size=size, on_corrupt=args.on_corrupt, hdr=args.hdr) as source,
    ):
        if args.preview or args.dry_run:
            if not isinstance(source, VideoSource):
                raise UsageError(
                    "E_USAGE", f"{source.name} is not a video file", "--preview and --dry-run are for these"
                )
            source.until = seconds_of(args.preview, "--preview") if args.preview else None
        weights = open_weights(args)
        target = target_of(args, live=source.live, picture=source.frames == 1)

        def painter(coding: Coding | None) -> Stylizer | Painting:
            shown = target in ("window:", "virtual-camera:")
            profile: Profile = "file" if isinstance(source, VideoSource) and not shown else "live"
            size = (source.width, source.height)
            return _opened(stack, open_painting(args, size, weights, coding, profile))

        how: dict[str, Any] = {"overwrite": args.overwrite, "encoding": encoding_of(args)}
        if args.dry_run and isinstance(source, VideoSource):
            summary = rehearse(source, painter, target, **how)
        else:
            how["unfinished"] = "resume" if args.resume else "restart" if args.restart else "refuse"
            summary = paint(source, painter, target, quiet=args.json, **how)
    print(json.dumps(summary, indent=2) if args.json else in_words(summary))
    return 0


def target_of(args: argparse.Namespace, *, live: bool, picture: bool) -> str:
    """Where to: as asked, or a window for what is live, or a name made of the source's and the style's."""
    if args.virtual_camera:
        return "virtual-camera:"
    if args.window or (live and args.out is None):
        return "window:"
    if args.out is not None:
        out = Path(args.out)
        return str(out / Path(args.source).name if os.path.isdir(out) else out)
    source = Path(args.source)
    known = KEPT_PICTURES if picture else KEPT_VIDEOS
    suffix = source.suffix.lower() if source.suffix.lower() in known else known[0]
    stem = args.source.partition(":")[0] if args.source.startswith("bars:") else source.stem
    if args.codec == "prores" and not picture:
        suffix = ".mov"
    return f"{stem}-{style_word(args)}{'.preview' if args.preview else ''}{suffix}"


def style_word(args: argparse.Namespace) -> str:
    """`path/to/starry.prima` -> `starry`; `mix` for several."""
    return "mix" if args.mix else Path(args.style).name.removesuffix(".prima").removesuffix(".onnx")


def run_folder(args: argparse.Namespace) -> int:
    """Every picture in a folder, into a folder that mirrors it. One bad picture does not stop the others."""
    from ..sources import PictureSource, pictures_in

    folder = Path(args.source)
    if args.preview or args.dry_run or args.resume or args.restart:
        raise UsageError(
            "E_USAGE",
            f"{folder} is a folder of pictures",
            "--preview, --dry-run, --resume and --restart are for video files",
        )
    if args.window or args.virtual_camera:
        raise UsageError(
            "E_USAGE", f"{folder} is a folder: it is painted into a folder", next="give --out FOLDER"
        )
    if args.stabilise or args.skip_static:
        raise UsageError(
            "E_USAGE",
            "pictures of a folder do not follow each other",
            next="leave out --stabilise and --skip-static",
        )
    weights = open_weights(args)
    out = Path(args.out or f"{folder.resolve().name}-{style_word(args)}")
    found = pictures_in(folder)
    # paintings of an earlier run inside the folder are not painted again
    found.pictures = [path for path in found.pictures if not path.resolve().is_relative_to(out.resolve())]
    if not found.pictures:
        raise InputError(
            "E_INPUT_EMPTY",
            f"nothing to paint in {folder}",
            f"it holds no picture ({len(found.skipped)} other files)",
            "name a folder of pictures, or a video file itself",
        )
    targets = targets_in(out, found)
    try:  # once, and before anything is painted
        out.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise OutputError(
            "E_OUTPUT_FAILED",
            f"cannot write {out}",
            f"{folder} is a folder, and so has to be what is made of it; there is a file of that name",
            "name a folder with --out",
        ) from None
    except OSError as error:
        raise write_error(out, error) from None
    failed = 0
    with ExitStack() as stack:
        opened: list[Stylizer | Painting] = []  # at the first picture; other sizes only restart its backend

        def stylizer(coding: Coding | None) -> Stylizer | Painting:  # None: pictures are RGB
            if not opened:
                opened.append(_opened(stack, open_painting(args, size, weights)))
            return opened[0]

        for path, target in targets.items():
            line: dict[str, Any] = {"source": str(path), "output": str(target)}
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                with PictureSource(path, size=wanted_size(args.size)) as source:
                    size = (source.width, source.height)
                    summary = paint(source, stylizer, target, overwrite=args.overwrite, quiet=True)
                line = {**summary, **line}
            except (InputError, OutputError, RunError) as error:
                failed += 1
                line["error"] = error.as_dict()
                tell(f"error[{error.code}]: {error}")
            if args.json:
                print(json.dumps(line), flush=True)
            elif "error" not in line:
                tell(f"{target}")
    skipped = f", {len(found.skipped)} skipped" if found.skipped else ""
    for path, reason in found.skipped.items():
        tell(f"skipped {path}: {reason}")
    if not args.json:
        print(f"{out}: {len(targets) - failed} of {len(targets)} pictures painted{skipped}")
    if failed:
        raise BatchError(
            "E_BATCH_FAILED",
            f"{failed} of {len(targets)} pictures of {folder} failed",
            "each is named above with its reason",
            "mend or remove them and run again; what is painted already stays (--overwrite paints it anew)",
        )
    return 0


def targets_in(out: Path, found: PictureFolder) -> dict[Path, Path]:
    """Picture -> its painting. Raises UsageError where two would get one name: neither is lost to the other."""
    targets: dict[Path, Path] = {}
    taken: dict[str, Path] = {}
    for path in found.pictures:
        inside = path.relative_to(found.folder)
        if inside.suffix.lower() not in KEPT_PICTURES:
            inside = inside.with_name(f"{inside.name}.png")
        target = out / inside
        other = taken.setdefault(str(target).lower(), path)
        if other != path:
            raise UsageError(
                "E_OUTPUT_COLLISION",
                f"{other} and {path} would both become {target}",
                next="rename one of them",
            )
        targets[path] = target
    return targets


def _opened(stack: ExitStack, painter: Stylizer | Painting) -> Stylizer | Painting:
    stack.callback(painter.close)
    return painter
