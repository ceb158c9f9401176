"""Does `[train] compile` pay here: how long the first step takes, and the others.

    python benchmarks/compiled.py wave --steps 80 --crop 224 [--keep]      needs ../shared/data; some 5 minutes

Trains a recipe twice from the same start, plain and compiled, and compares the medians of the steps after the first
ten. The answer is checked: the losses of the last step have to agree.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import trained
from lines import machine, milliseconds, report, versions

from allaprima_train.loop import Step, train
from allaprima_train.recipe import Recipe, load_recipe
from allaprima_train.run import Run

AGREE = 0.05
"""Share of the loss: rounding differs, and SOAP's steps carry it on."""


def main() -> int:
    args = trained.arguments(__doc__, steps=80)
    overrides = [
        f"data.crop={args.crop}",
        f"train.steps={args.steps}",
        "train.log_every=1",
        "train.tracker=none",
        "train.sample_every=1000000",
        "transfer.init_from=",
        *args.overrides,
    ]
    recipe = load_recipe(trained.recipe_file(args.recipe), overrides)
    found = {name: timed(recipe, compiled) for name, compiled in (("plain", False), ("compiled", True))}
    last = [one.pop("last_loss") for one in found.values()]
    if abs(last[1] - last[0]) > AGREE * abs(last[0]):
        sys.exit(f"the losses of the last step differ: {last[0]:.4f} plain, {last[1]:.4f} compiled")
    line = {
        "what": trained.in_words(args.recipe, recipe),
        "precision": recipe.train.precision,
        "machine": machine(),
        "versions": versions("torch"),
        **found,
        "times_as_fast": round(found["plain"]["step_ms"]["p50"] / found["compiled"]["step_ms"]["p50"], 3),
    }
    report("compiled", line, keep=args.keep)
    return 0


def timed(recipe: Recipe, compiled: bool) -> dict[str, Any]:
    """One training: seconds to the end of its first step, milliseconds of those after the tenth."""
    marks, losses = [time.perf_counter()], [0.0]

    def seen(step: Step) -> None:
        marks.append(time.perf_counter())
        losses.append(step.loss)

    with tempfile.TemporaryDirectory() as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(folder) / "cache")  # as on a fresh machine
        train(
            replace(recipe, train=replace(recipe.train, compile=compiled)),
            Run(Path(folder) / "run"),
            on_step=seen,
        )
    each = [after - before for before, after in pairwise(marks[10:])]
    return {
        "first_step_s": round(marks[1] - marks[0], 1),
        "step_ms": milliseconds(each),
        "last_loss": losses[-1],
    }


if __name__ == "__main__":
    sys.exit(main())
