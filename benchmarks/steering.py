"""Does steering the loss weights hold content where it is asked to stay, and what does it cost in style?

    python benchmarks/steering.py [--keep] [--steps 200] [--out FOLDER]      needs ../shared/data; some 3 minutes

One recipe twice, with the same seed, photographs and steps: a style weight so high that photographs are painted over,
once as it is, once with `structure` steered by a ceiling on the structure distance. Both choose their best snapshot by
the same rule. Told: the figures at every evaluation, the weights, and what would ship; the two sheets of samples are
there to be looked at.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from lines import SHARED, arguments, machine, report, versions

from allaprima_train.loop import train
from allaprima_train.recipe import parse_recipe
from allaprima_train.run import Run

CEILING = 0.24

RECIPE = """
name = "steering"
method = "perceptual"
seed = 7
[data]
content = ["{photos}"]
crop = 96
context = 48
held_out = 12
[generator]
size = "nano"
[perceptual]
style = "{style}"
style_size = 384
style_weight = 20.0
shift_weight = 10.0
[train]
steps = {steps}
batch = 2
log_every = 10
sample_every = {steps}
save_every = {steps}
tracker = "none"
[quality]
every = {every}
pictures = 3
side = 192
most = {{ structure_distance = {ceiling} }}
"""

STEER = ('quality.steer={structure = "structure_distance"}', "quality.steer_by=1.5")


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--out", type=Path, help="keep the two runs here")
    args = parser.parse_args()
    if not SHARED.is_dir():
        sys.exit("needs the pictures in ../shared/data")
    text = RECIPE.format(
        photos=SHARED / "content" / "photos",
        style=SHARED / "styles" / "single" / "starry_night.jpg",
        steps=args.steps,
        every=max(2, args.steps // 8),
        ceiling=CEILING,
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.out or Path(temporary)
        found = {
            name: series(train(parse_recipe(text, "steering", overrides), Run(folder / name)))
            for name, overrides in {"plain": (), "steered": STEER}.items()
        }
    for name, rows in found.items():
        print(f"\n{name}: {'step':>6} {'structure':>10} {'style':>8} {'edges':>7} {'weight':>7}")
        for row in rows:
            print(
                f"{'*' if row['best'] else '':>{len(name) + 2}}{row['step']:6d} {row['structure_distance']:10.3f} "
                f"{row['style_distance']:8.3f} {row['edge_recall']:7.3f} {row['weight']:7.2f}"
            )
    shipped = {name: [row for row in rows if row["best"]][-1] for name, rows in found.items()}
    line = {
        "machine": machine(),
        "versions": versions("torch"),
        "steps": args.steps,
        "ceiling": CEILING,
        "last": {name: rows[-1] for name, rows in found.items()},
        "ships": shipped,
    }
    report("steering", line, keep=args.keep)
    return 0


def series(run: Run) -> list[dict[str, Any]]:
    """The evaluations in a run's log, in order."""
    lines = [json.loads(line) for line in run.log_file.read_text("utf-8").splitlines()]
    return [
        {
            "step": line["step"],
            "best": line["quality/best"],
            "weight": line.get("weight/structure", 1.0),
            **{
                name: round(line[f"quality/{name}"], 4)
                for name in ("structure_distance", "style_distance", "edge_recall", "drift", "flicker")
            },
        }
        for line in lines
        if "quality/best" in line
    ]


if __name__ == "__main__":
    sys.exit(main())
