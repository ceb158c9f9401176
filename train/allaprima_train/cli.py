"""`allaprima train RECIPE`: from a recipe to a run folder.

torchrun --nproc-per-node 4 -m allaprima train RECIPE      the same on several GPUs or machines
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

HELP = "train a style from a recipe"
EXTRA = "train"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path, metavar="RECIPE.toml")
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="the run folder (default: runs/NAME, NAME from the recipe)"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="change one setting, the value in TOML: --set train.steps=200",
    )
    before = parser.add_mutually_exclusive_group()
    before.add_argument(
        "--resume",
        action="store_true",
        help="go on exactly where the run folder stopped; what --set changes then is recorded in it",
    )
    before.add_argument(
        "--overwrite", action="store_true", help="start again in a run folder, and remove what is in it"
    )
    parser.add_argument(
        "--features",
        type=Path,
        metavar="PATH",
        help="weights of VGG-19 (safetensors); default: $ALLAPRIMA_FEATURES, ../shared/data/features, torchvision's",
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1 (default: cuda where there is one)")
    parser.add_argument("--json", action="store_true", help="one JSON object per logged step on stdout")


def run(args: argparse.Namespace) -> int:
    from allaprima.errors import OutputError, UsageError

    from .loop import train
    from .recipe import bundle_name, load_recipe
    from .run import Run

    recipe = load_recipe(args.recipe, args.overrides)
    here = Run(args.out or Path("runs") / recipe.name)
    if args.resume and args.out is None and args.recipe == Run(args.recipe.parent).recipe_file:
        here = Run(args.recipe.parent)  # the run's own recipe names the run
    needed = {recipe.transfer.init_from, getattr(recipe.objective, "teacher", "")}
    needed |= set(getattr(recipe.objective, "experts", ()))
    paths = [path for one in needed if one and (path := Path(one).expanduser().resolve()).exists()]
    if not args.resume and any(here.folder.resolve() in (path, path.parent) for path in paths):
        raise UsageError(
            "E_SETTING",
            f"{here.folder} is what this training learns from, and cannot be written over by it",
            next="name another folder with --out",
        )
    speaks = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun started, the first
    if speaks and here.recipe_file.exists() and not args.resume and not args.overwrite:
        raise OutputError(
            "E_OUTPUT_EXISTS",
            f"{here.folder} holds a run already",
            next="--resume, --overwrite or another --out",
        )
    with Progress(as_json=args.json, silent=not speaks) as progress:
        train(
            recipe,
            here,
            resume=args.resume,
            may_change=[override.partition("=")[0].strip() for override in args.overrides],
            features=args.features,
            device=args.device,
            on_step=progress.step,
            on_evaluation=progress.evaluation,
        )
    if speaks and not args.json:
        print(f"trained {recipe.name} into {here.folder}; look at {here.samples}")
        print(f"next: allaprima export {here.folder} --out {bundle_name(recipe.name)}.prima")
    return 0


class Progress:
    """Steps on the terminal (rich) or, for programs, as JSON lines."""

    def __init__(self, *, as_json: bool, silent: bool = False) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        self.as_json = as_json
        self.bar = Bar(
            TextColumn("training"),
            BarColumn(bar_width=16),  # all of it in 80 columns; each loss term is in log.jsonl
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=Console(stderr=True),
            disable=as_json or silent,
        )
        self.task = self.bar.add_task("training", total=None, figures="")
        self.begun = False

    def __enter__(self) -> Progress:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def step(self, step) -> None:  # type: ignore[no-untyped-def]  # a loop.Step: its module needs torch
        if self.as_json:
            sys.stdout.write(
                json.dumps({"step": step.step, "steps": step.steps, "loss": step.loss, **step.terms}) + "\n"
            )
            sys.stdout.flush()
            return
        if not self.begun:  # a resumed training does not begin at 0: the time left counts from here
            self.bar.reset(self.task, total=step.steps, completed=step.step)
            self.begun = True
        figures = f"loss {step.loss:.3f}  {step.pictures_per_s:.1f} pictures/s"
        self.bar.update(self.task, completed=step.step, figures=figures)

    def evaluation(self, found) -> None:  # type: ignore[no-untyped-def]  # a loop.Evaluation
        if self.as_json:
            line = {"step": found.step, **found.figures, "shortfall": found.shortfall, "best": found.best}
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()
        else:
            self.bar.console.print(found.line, markup=False, highlight=False)
