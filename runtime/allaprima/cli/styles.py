"""The styles that can be given by name: those that ship, and your own in ALLAPRIMA_STYLES.

With --sheet, a contact sheet of all of them: the photograph that ships with the package, or yours (--on), and how
each style paints it, none wider or higher than 640 pixels; of a bundle that holds several styles, each.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

HELP = "list the styles that can be given by name"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON array")
    parser.add_argument(
        "--sheet", metavar="PICTURE", help="write a contact sheet of the styles (.png .jpg .webp)"
    )
    parser.add_argument(
        "--on", metavar="PICTURE", nargs="+", help="photographs for the sheet, instead of ours"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a sheet that exists")


def run(args: argparse.Namespace) -> int:
    from ..bundle import Bundle, styles
    from ..errors import BundleError, UsageError

    if args.on and not args.sheet:
        raise UsageError("E_USAGE", "--on is for --sheet", next="give --sheet styles.png, too")
    rows: list[dict[str, object]] = []
    damaged: BundleError | None = None
    for name, path in styles().items():
        try:
            manifest = Bundle.open(path).manifest
        except BundleError as error:  # one bad bundle must not hide the others
            damaged = error
            rows.append({"name": name, "path": str(path), "error": error.as_dict()})
            continue
        rows.append(
            {
                "name": name,
                "title": manifest.title,
                "variants": [variant.name for variant in manifest.variants],
                "licence": manifest.licence.bundle,
                "path": str(path),
            }
        )
    if args.json:
        print(json.dumps(rows, indent=2))
    else:
        for row in rows:
            print(f"{row['name']:<12} {row.get('title', 'damaged: see below')}")
    if damaged is not None:
        raise damaged
    if args.sheet:
        write_sheet(args.sheet, args.on, overwrite=args.overwrite)
    return 0


def write_sheet(target: str, photographs: list[str] | None, *, overwrite: bool) -> None:
    import numpy as np

    from ..bundle import styles
    from ..demo import PHOTOGRAPH
    from ..frame import Frame
    from ..sheet import contact_sheet
    from ..sinks.pictures import PictureSink
    from ..sources.pictures import PictureSource
    from .job import tell

    paths = [Path(photograph) for photograph in photographs] if photographs else [PHOTOGRAPH]
    with PictureSink(target, inputs=tuple(paths), overwrite=overwrite) as sink:
        photos = []
        for path in paths:
            with PictureSource(path) as source:
                photos += [frame.image for frame in source]
        sheet = contact_sheet(photos, styles(), on_style=lambda name: tell(f"painting {name}"))
        sink.put(Frame(np.asarray(sheet)))
    tell(f"{sink.path}")
