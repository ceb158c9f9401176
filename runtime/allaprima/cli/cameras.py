"""The cameras of this machine: what to give `allaprima run`, by number, path or name."""

from __future__ import annotations

import argparse
import json

HELP = "list the cameras"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON array")


def run(args: argparse.Namespace) -> int:
    from .. import settings
    from ..sources import list_cameras

    found = list_cameras()
    if args.json:
        print(json.dumps([settings.write(camera) for camera in found], indent=2))
        return 0
    for camera in found:
        print(f"{camera.index:<3} {camera.path:<14} {camera.name}")
    if not found:
        print("no camera found; try one that is made up: allaprima run fake:1280x720@30 --style starry")
    return 0
