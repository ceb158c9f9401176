"""Does a restoring or fusing recipe bring pictures nearer to what they were? A sheet to look at, and by how much.

    python benchmarks/restoring.py restore-denoise --steps 600 --set generator.size=nano
    python benchmarks/restoring.py restore-colourise --steps 500 --crop 128 --film clip.webm

Trains a recipe of the methods `restore` or `fuse` on small crops, then spoils six Kodak photographs that nobody
trained on as the recipe says, and compares what comes out with the photograph: PSNR before and after. Before is what
goes in, of several the best; where the network enlarges, it is enlarged by repeating pixels, and beside it bicubically,
which is what every viewer does. The sheet has a column for each
photograph: what goes in above what comes out, at its real resolution.

With --film, one frame in `EVERY` of a video is what is trained on, and six that lie half way between two of these are
what is measured: what somebody gets who colours, or mends, some frames of a film by hand.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import lines
import numpy as np
import torch
import trained
from PIL import Image as Pictures

from allaprima.metrics import compare
from allaprima.sources import VideoSource
from allaprima_train.data import read_picture
from allaprima_train.frame_model import FrameModel
from allaprima_train.loop import train
from allaprima_train.objectives import shown_pictures
from allaprima_train.recipe import Recipe, load_recipe
from allaprima_train.run import Run

SIDE = 384
EVERY = 36  # frames: one and a half seconds of a film
FILM_WIDTH = 640


def main() -> None:
    args = trained.arguments(
        __doc__, steps=600, more=lambda parser: parser.add_argument("--film", type=Path, metavar="VIDEO")
    )
    held_out = trained.held_out()
    if args.film:
        keys, held_out = frames(args.film, args.out / f"{args.film.stem}-frames")
        args.overrides += [f"data.content={[str(keys)]}", "data.held_out=1"]
    recipe = shortened(args)
    began = time.perf_counter()
    run = train(recipe, Run(args.out / args.recipe))
    seconds = time.perf_counter() - began
    generator, _ = run.generator()
    model = FrameModel(generator.folded()).eval()  # type: ignore[operator]
    columns = []
    psnr_db: dict[str, list[float]] = {"given": [], "made": []}
    for number, path in enumerate(held_out):
        photo = read_picture(path)
        photo.thumbnail((SIDE, SIDE))
        given = shown_pictures(recipe, np.array(photo), number)  # (K, H, W, 3)
        with torch.no_grad():
            made = model(torch.from_numpy(given.copy()), torch.ones(1))[0].numpy()
        scale = made.shape[0] // given.shape[1]
        untouched = [one.repeat(scale, 0).repeat(scale, 1) for one in given]
        wanted = np.array(photo)[: made.shape[0], : made.shape[1]]
        psnr_db["given"].append(max(compare(one, wanted).psnr_db for one in untouched))
        psnr_db["made"].append(compare(made, wanted).psnr_db)
        if scale > 1:
            enlarged = Pictures.fromarray(given[0]).resize(wanted.shape[1::-1], Pictures.Resampling.BICUBIC)
            psnr_db.setdefault("bicubic", []).append(compare(np.array(enlarged), wanted).psnr_db)
        columns.append(np.concatenate([*untouched, made]))
    sheet(columns).save(run.folder / "sheet.png")
    lines.report(
        "restoring",
        {
            "what": trained.in_words(args.recipe, recipe)
            + (f", one frame in {EVERY} of {args.film.name}" if args.film else ""),
            "machine": lines.machine(),
            "versions": lines.versions("torch"),
            "seconds": round(seconds, 1),
            "psnr_db": {name: round(float(np.mean(values)), 2) for name, values in psnr_db.items()},
            "sheet": str(run.folder / "sheet.png"),
        },
        keep=args.keep,
    )


def shortened(args: argparse.Namespace) -> Recipe:
    """The recipe for some minutes on two processors."""
    steps = [f"train.{key}={args.steps}" for key in ("steps", "sample_every", "save_every")]
    short = [f"data.crop={args.crop}", "train.ema=0.98", *steps]
    return load_recipe(trained.recipe_file(args.recipe), [*short, *args.overrides])


def frames(film: Path, folder: Path) -> tuple[Path, list[Path]]:
    """One frame in EVERY, in a folder to train on; and six from between them, evenly over the film."""
    keys, between = folder / "keys", folder / "between"
    for one in (keys, between):
        one.mkdir(parents=True, exist_ok=True)
    with VideoSource(film) as source:
        for frame in source:
            image = Pictures.fromarray(frame.image)
            image.thumbnail((FILM_WIDTH, FILM_WIDTH))
            if frame.index % EVERY == 0:
                image.save(keys / f"{frame.index:06d}.png")
            elif frame.index % EVERY == EVERY // 2:
                image.save(between / f"{frame.index:06d}.png")
    found = sorted(between.iterdir())
    if not found:
        sys.exit(f"cannot train: {film} has not {EVERY} frames")
    return keys, [found[place * len(found) // 6] for place in range(6)]


def sheet(columns: list[np.ndarray]) -> Pictures.Image:
    whole = Pictures.new("RGB", (SIDE * len(columns), max(len(one) for one in columns)), "white")
    for number, column in enumerate(columns):
        whole.paste(Pictures.fromarray(column), (SIDE * number, 0))
    return whole


if __name__ == "__main__":
    main()
