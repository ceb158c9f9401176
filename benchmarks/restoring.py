"""Does a restoring or fusing recipe bring pictures nearer to what they were? A sheet to look at, and by how much.

    python benchmarks/restoring.py restore-denoise --steps 600 --set generator.size=nano

Trains a recipe of the methods `restore` or `fuse` on small crops, then spoils six Kodak photographs that nobody
trained on as the recipe says, and compares what comes out with the photograph: PSNR before and after. Before is what
goes in, of several the best, enlarged by repeating pixels where the network enlarges. The sheet has a column for each
photograph: what goes in above what comes out, at its real resolution.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import lines
import numpy as np
import torch
from PIL import Image as Pictures

from allaprima.metrics import compare
from allaprima_train.data import read_picture
from allaprima_train.frame_model import FrameModel
from allaprima_train.loop import train
from allaprima_train.objectives import shown_pictures
from allaprima_train.recipe import Recipe, load_recipe
from allaprima_train.run import Run

RECIPES = Path(__file__).parents[1] / "recipes"
SIDE = 384


def main() -> None:
    parser = lines.arguments(__doc__)
    parser.add_argument("recipe", help="a recipe in recipes/, without .toml")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--crop", type=int, default=64)
    parser.add_argument("--out", type=Path, default=Path("runs/methods"))
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    args = parser.parse_args()
    if not lines.SHARED.is_dir():
        sys.exit(f"cannot train: there are no pictures in {lines.SHARED}")
    recipe = shortened(args)
    began = time.perf_counter()
    run = train(recipe, Run(args.out / args.recipe))
    seconds = time.perf_counter() - began
    generator, _ = run.generator()
    model = FrameModel(generator.folded()).eval()  # type: ignore[operator]
    columns, before, after = [], [], []
    for number, path in enumerate(sorted((lines.SHARED / "content" / "eval").glob("*.png"))[:6]):
        photo = read_picture(path)
        photo.thumbnail((SIDE, SIDE))
        given = shown_pictures(recipe, np.array(photo), number)  # (K, H, W, 3)
        with torch.no_grad():
            made = model(torch.from_numpy(given.copy()), torch.ones(1))[0].numpy()
        scale = made.shape[0] // given.shape[1]
        untouched = [one.repeat(scale, 0).repeat(scale, 1) for one in given]
        wanted = np.array(photo)[: made.shape[0], : made.shape[1]]
        before.append(max(compare(one, wanted).psnr_db for one in untouched))
        after.append(compare(made, wanted).psnr_db)
        columns.append(np.concatenate([*untouched, made]))
    sheet(columns).save(run.folder / "sheet.png")
    lines.report(
        "restoring",
        {
            "what": f"{args.recipe}, {recipe.generator.network}-{recipe.generator.size}, {args.steps} steps of "
            f"{recipe.train.batch} x {recipe.data.crop} px",
            "machine": lines.machine(),
            "versions": lines.versions("torch"),
            "seconds": round(seconds, 1),
            "psnr_db": {"given": round(float(np.mean(before)), 2), "made": round(float(np.mean(after)), 2)},
            "sheet": str(run.folder / "sheet.png"),
        },
        keep=args.keep,
    )


def shortened(args: argparse.Namespace) -> Recipe:
    """The recipe for some minutes on two processors."""
    steps = [f"train.{key}={args.steps}" for key in ("steps", "sample_every", "save_every")]
    short = [f"data.crop={args.crop}", "train.ema=0.98", *steps]
    return load_recipe(RECIPES / f"{args.recipe}.toml", [*short, *args.overrides])


def sheet(columns: list[np.ndarray]) -> Pictures.Image:
    whole = Pictures.new("RGB", (SIDE * len(columns), max(len(one) for one in columns)), "white")
    for number, column in enumerate(columns):
        whole.paste(Pictures.fromarray(column), (SIDE * number, 0))
    return whole


if __name__ == "__main__":
    main()
