"""The styles that can be given by name: those that ship, and your own in ALLAPRIMA_STYLES."""

from __future__ import annotations

import argparse
import json

HELP = "list the styles that can be given by name"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON array")


def run(args: argparse.Namespace) -> int:
    from ..bundle import Bundle, styles
    from ..errors import BundleError

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
    return 0
