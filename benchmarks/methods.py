"""Does a training method show its effect within a few hundred steps? A contact sheet to look at, and what it measures.

    python benchmarks/methods.py cyclegan --out runs/methods
    python benchmarks/methods.py cyclegan --run runs/cyclegan       measures what `allaprima train` left there

Trains the method's recipe on small crops of real pictures, by the loop that users train with, then paints photographs
that it never saw: photograph above, paintings below, a row for each position of the generator's controls. Measured by
VGG-19, as `losses.py` defines them: `structure`, how far the painting is from its photograph (0: the same, 1:
unrelated), and `style`, how far its Grams are from the mean ones of the set that it learned from, beside the same
for the untouched photographs. `pix2pix` needs pairs: its answers are what another network (candy.onnx of the shared
peers, instance norm, 20 times the size) paints. `mixture` needs experts: the style that ships and one of wave.jpg,
trained first for as many steps, unless --set 'mixture.experts=[...]' names others. Its sheet has their paintings
above its own, its `style` is the distance to theirs, and `psnr_db` how near each of its ways to paint comes to them.
"""

from __future__ import annotations

import argparse
import time
import tomllib
from pathlib import Path
from typing import Any

import lines
import numpy as np
import tomlkit
import torch
import trained
from PIL import Image
from torch import Tensor

from allaprima.metrics import psnr
from allaprima_train import losses
from allaprima_train.data import read_picture
from allaprima_train.features import Vgg19, load_features
from allaprima_train.frame_model import FrameModel, from_unit, to_unit
from allaprima_train.generators.controls import as_tensors, positions
from allaprima_train.loop import Step, train
from allaprima_train.objectives import objective_streams
from allaprima_train.recipe import Recipe, load_recipe, parse_recipe
from allaprima_train.run import Run
from allaprima_train.streams import InTurn, Stream
from allaprima_train.teachers import teacher

GRAMS = ("relu1_1", "relu2_1", "relu3_1", "relu3_4")


def main() -> None:
    more = lambda parser: parser.add_argument("--run", type=Path, help="a finished run, instead of training")  # noqa: E731
    args = trained.arguments(__doc__, steps=300, more=more)
    features = load_features()
    run, history = trained_anew(args) if args.run is None else (Run(args.run), {})
    recipe = run.recipe()
    generator, _ = run.generator()
    photos = held_out()
    rows = painted(generator, photos)
    if recipe.method == "mixture":
        rows = {**by_experts(recipe, photos), **rows}
    sheet(photos, rows).save(run.folder / "sheet.png")
    wanted = styles(recipe, features)
    lines.report(
        "methods",
        {
            "what": trained.in_words(args.recipe, recipe),
            "machine": lines.machine(),
            "versions": lines.versions("torch"),
            **history,
            "measured": {
                label: measured(row, photos, features, wanted.get(label, wanted[""]))
                for label, row in rows.items()
            },
            **nearness(recipe, rows),
            "sheet": str(run.folder / "sheet.png"),
        },
        keep=args.keep,
    )


def trained_anew(args: argparse.Namespace) -> tuple[Run, dict[str, Any]]:
    """The run, and how long it took and what its losses were."""
    seen: list[Step] = []
    began = time.perf_counter()
    run = train(shortened(args), Run(args.out / args.recipe), on_step=seen.append)
    seconds = time.perf_counter() - began
    return run, {"seconds": round(seconds, 1), "first": seen[0].terms, "last": seen[-1].terms}


def shortened(args: argparse.Namespace) -> Recipe:
    """The method's recipe for some minutes on two processors."""
    table: dict[str, Any] = tomllib.loads(trained.recipe_file(args.recipe).read_text("utf-8"))
    table["data"] |= {"crop": args.crop, "context": 16, "workers": 1}
    table["train"] |= {"steps": args.steps, "ema": 0.98, "sample_every": args.steps, "save_every": args.steps}
    own = table[table["method"]]
    if "discriminator_width" in own:
        own["discriminator_width"] = 32
    if "discriminator_width" in own and table["method"] != "stargan":
        # a normalised opponent learns fast; so few steps are no time to catch up with it
        table["transfer"] = {"rates": {"discriminator*": 0.4}} | table.get("transfer", {})
    if table["method"] == "pix2pix":
        folders = pairs(args.out / "pairs", 200)
        table["data"]["content"], own["target"] = [str(folders[0])], {"pictures": [str(folders[1])]}
    if table["method"] == "mixture" and not any(one.startswith("mixture.experts") for one in args.overrides):
        own["experts"] = ["starry", str(expert(args.out / "wave", args.steps, args.crop))]
    return parse_recipe(tomlkit.dumps(table), args.recipe, args.overrides)


def pairs(folder: Path, count: int) -> tuple[Path, Path]:
    """`count` photographs and what candy.onnx makes of them, in two folders; made once."""
    import onnxruntime

    given, answers = folder / "photos", folder / "answers"
    if answers.is_dir() and len(list(answers.iterdir())) == count:
        return given, answers
    given.mkdir(parents=True, exist_ok=True)
    answers.mkdir(exist_ok=True)
    session = onnxruntime.InferenceSession(lines.SHARED / "peers" / "candy.onnx")
    name = session.get_inputs()[0].name
    for path in sorted((lines.SHARED / "content" / "photos").glob("*.jpg"))[:count]:
        photo = read_picture(path)
        photo = photo.crop((0, 0, min(288, photo.width) // 8 * 8, min(288, photo.height) // 8 * 8))
        photo.save(given / f"{path.stem}.png")
        (answer,) = session.run(None, {name: np.array(photo, np.float32).transpose(2, 0, 1)[None]})
        pixels = answer[0].transpose(1, 2, 0).clip(0, 255).round().astype(np.uint8)
        Image.fromarray(pixels[: photo.height, : photo.width]).save(answers / f"{path.stem}.png")
    return given, answers


def expert(folder: Path, steps: int, crop: int) -> Path:
    """A run that learned the strokes of wave.jpg; trained once."""
    run = Run(folder)
    if not run.weights_file.is_file():
        chosen = {"data.crop": crop, "train.steps": steps, "train.ema": 0.98, "perceptual.style_size": 512}
        overrides = [f"{key}={value}" for key, value in chosen.items()]
        wave = f"perceptual.style={(lines.SHARED / 'styles' / 'single' / 'wave.jpg').as_posix()!r}"
        train(load_recipe(trained.recipe_file("starry"), [*overrides, wave, "name=wave"]), run)
    return folder


def held_out() -> list[Tensor]:
    """Six Kodak photographs at half size: (1, H, W, 3) uint8."""
    return [torch.from_numpy(np.array(read_picture(path).reduce(2)))[None] for path in trained.held_out()]


@torch.no_grad()
def painted(generator: Any, photos: list[Tensor]) -> dict[str, list[Tensor]]:
    """By position of the controls, the paintings of all photographs."""
    model = FrameModel(generator.folded()).eval()
    return {
        label: [model(photo, torch.ones(1), *as_tensors(generator.controls, values)) for photo in photos]
        for label, values in {"default": {}, **positions(generator.controls)}.items()
    }


def by_experts(recipe: Recipe, photos: list[Tensor]) -> dict[str, list[Tensor]]:
    """`expert=NAME` -> what each of the mixture's experts paints."""
    found = {}
    for name, place in zip(recipe.objective.names, recipe.objective.experts, strict=True):
        teach = teacher(place, 1)
        found[f"expert={name}"] = [
            from_unit(teach(to_unit(photo).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)) for photo in photos
        ]
    return found


def nearness(recipe: Recipe, rows: dict[str, list[Tensor]]) -> dict[str, dict[str, float]]:
    """How near a mixture paints to each of its experts; nothing of other methods."""
    if recipe.method != "mixture":
        return {}
    ways = ["default", *(f"domain={name}" for name in recipe.objective.names[1:])]
    found = {}
    for name, way in zip(recipe.objective.names, ways, strict=True):
        pairs = zip(rows[way], rows[f"expert={name}"], strict=True)
        found[name] = round(float(np.mean([psnr(a[0].numpy(), b[0].numpy()) for a, b in pairs])), 2)
    return {"psnr_db": found}


def sheet(photos: list[Tensor], rows: dict[str, list[Tensor]]) -> Image.Image:
    side = 384
    whole = Image.new("RGB", (side * len(photos), side * (1 + len(rows))), "white")
    for y, row in enumerate([photos, *rows.values()]):
        for x, picture in enumerate(row):
            tile = Image.fromarray(picture[0].numpy())
            tile.thumbnail((side, side))
            whole.paste(tile, (x * side, y * side))
    return whole


def styles(recipe: Recipe, features: Vgg19) -> dict[str, list[Tensor]]:
    """What paintings are compared with: the set that was learned from; of several, each for its own position."""
    streams = objective_streams(recipe)
    if recipe.method == "mixture":
        ways = [f"domain={name}" for name in recipe.objective.names]
        grams = [
            style_grams(Taught(streams["content"], place), features) for place in recipe.objective.experts
        ]
        found = dict(zip(ways, grams, strict=True))
        found |= {way.replace("domain", "expert"): wanted for way, wanted in found.items()}
        return found | {
            "default": grams[0],
            "": [torch.stack(layer).mean(0) for layer in zip(*grams, strict=True)],
        }
    stream = streams["style"] if "style" in streams else streams["target"]
    found = {"": style_grams(stream, features)}
    if isinstance(stream, InTurn):
        names = [f"domain={domain.name}" for domain in recipe.objective.domains]
        found |= {name: style_grams(one, features) for name, one in zip(names, stream.streams, strict=True)}
        found["default"] = found[names[0]]
    return found


class Taught:
    """What a run or bundle paints of the samples of a stream: (3, side, side) uint8."""

    pictures: tuple[Path, ...] = ()

    def __init__(self, stream: Stream, place: str) -> None:
        self.stream, self.teach = stream, teacher(place, 1)

    def __getitem__(self, number: int) -> Tensor:
        return from_unit(self.teach(to_unit(self.stream[number][None])))[0]


@torch.no_grad()
def style_grams(stream: Stream, features: Vgg19, count: int = 64) -> list[Tensor]:
    """Mean Grams of crops."""
    grams = [
        [losses.gram(found[layer]) for layer in GRAMS]
        for found in (features(to_unit(stream[number][None]), GRAMS) for number in range(count))
    ]
    return [torch.stack(layer).mean(0) for layer in zip(*grams, strict=True)]


@torch.no_grad()
def measured(
    row: list[Tensor], photos: list[Tensor], features: Vgg19, wanted: list[Tensor]
) -> dict[str, float]:
    figures: dict[str, list[float]] = {"structure": [], "style": [], "style_untouched": []}
    for picture, photo in zip(row, photos, strict=True):
        ours, theirs = (features(to_unit(x).permute(0, 3, 1, 2), GRAMS) for x in (picture, photo))
        figures["structure"].append(float(losses.structure(ours["relu3_4"], theirs["relu3_4"])))
        for name, found in (("style", ours), ("style_untouched", theirs)):
            grams = [losses.gram(found[layer]) for layer in GRAMS]
            figures[name].append(float(losses.style(grams, wanted)))
    return {name: round(float(np.mean(values)), 3) for name, values in figures.items()}


if __name__ == "__main__":
    main()
