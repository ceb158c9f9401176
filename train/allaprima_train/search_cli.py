"""`allaprima search RECIPE`: train it with other settings again and again, and keep the best."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .search import Trial

HELP = "search for a recipe's best settings"
EXTRA = "search"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path, metavar="RECIPE.toml", help="with [quality] and [search]")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="where the trials lie (default: runs/NAME-search); a search that is there goes on",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="change one setting, the value in TOML: --set search.trials=40",
    )
    parser.add_argument("--features", type=Path, metavar="PATH", help="as for `allaprima train`")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 (default: cuda where there is one)")
    parser.add_argument(
        "--cluster",
        default="",
        metavar="ADDRESS",
        help="train several trials at a time on a Ray cluster: its address, auto, or local for this machine",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object per trial, and last the best")


def run(args: argparse.Namespace) -> int:
    from .recipe import load_recipe
    from .search import search

    recipe = load_recipe(args.recipe, args.overrides)
    folder = args.out or Path("runs") / f"{recipe.name.removesuffix('-search')}-search"

    def on_trial(trial: Trial) -> None:
        tell(trial, as_json=args.json)

    found = search(
        recipe, folder, features=args.features, device=args.device, cluster=args.cluster, on_trial=on_trial
    )
    if args.json:
        print(json.dumps({"best": as_dict(found)}))
    else:
        print(f"best: {found.line}")
        print(f"next: look at {found.folder / 'samples'}, then: allaprima export {found.folder}")
    return 0


def tell(trial: Trial, *, as_json: bool) -> None:
    print(json.dumps(as_dict(trial)) if as_json else trial.line, flush=True)


def as_dict(trial: Trial) -> dict[str, object]:
    return {**asdict(trial), "folder": str(trial.folder)}
