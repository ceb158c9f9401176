"""A run made smaller until it is fast enough, measured: `allaprima compress RUN --target-ms 8 --at 1280x720`.

    ladder        sizes of mobile between the run's own and the smallest, by multiply-adds
    choose        measure rungs on the backend that it is for, and take the largest that is fast enough
    prune         keep the most important channels and blocks of the run           (allaprima_train.prune)
    fine-tune     some hundred steps towards the whole network's paintings         (method = "distill")
    int8          some more that paint as int8 would, if wanted; alone, without a target  ([distill] int8)
    points        milliseconds against quality of everything on the way, as a Pareto table

Multiply-adds order the ladder and decide nothing: on a processor a network of half as many need not be faster.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import cast

import numpy as np
import onnx
import torch
from torch import nn

from allaprima import settings
from allaprima.backends import load
from allaprima.demo import PHOTOGRAPH
from allaprima.errors import OutputError, QualityError, UsageError
from allaprima.files import write_whole
from allaprima.frame import Image
from allaprima.metrics import compare
from allaprima.sources.pictures import PictureSource
from allaprima.threads import available
from allaprima_train.features import Vgg19, load_features
from allaprima_train.frame_model import FrameModel
from allaprima_train.generators import Generator
from allaprima_train.generators.mobile import SIZES, Mobile, Size
from allaprima_train.judge import style_of
from allaprima_train.loop import train
from allaprima_train.objectives.distill import DistillSettings
from allaprima_train.prune import prune, size_of
from allaprima_train.quality import pixels, see, structure_distance
from allaprima_train.recipe import Recipe
from allaprima_train.run import Run
from allaprima_train.tables import Compress, Culture, Quality, Search, Temporal, Transfer
from allaprima_train.team import require_device

from .calibration import calibration_pictures
from .core import in_bytes, trace
from .edges import attach_edges
from .inside import feed, frames
from .parity import Painter, unseen
from .quantize import quantize
from .scenes import clouds

__all__ = ["Compressed", "Point", "compress", "ladder"]

SMALLEST = Size(8, 16, 1)
SHARES = (1.0, 0.75, 0.5, 0.25)  # of the channels; kept at multiples of 8, which vector units are made for
SIDE = 256  # of the squares that quality is judged on
RUNS = 15
FLOAT, INT8 = "fine-tuned", "trained for int8"


@dataclass(frozen=True)
class Rung:
    """A size that was measured."""

    size: Size
    gmac: float
    ms: float


@dataclass(frozen=True)
class Point:
    """One network in one precision: how fast, and how near to the whole run's painting."""

    name: str
    size: Size
    precision: str
    """What is computed in."""
    ms: float
    psnr_db: float
    """To what the whole run paints in fp32, the mean over unseen pictures."""
    ssim: float
    structure: float
    """Distance of the painting's structure from the photograph's: 0 the same, 1 unrelated (`losses.structure`)."""
    front: bool = True
    """No other point is both faster and nearer."""


@dataclass(frozen=True)
class Compressed:
    run: Run | None
    """What to export; None where only the plan was wanted."""
    chosen: Size
    rungs: list[Rung]
    """What was measured to choose it, largest first."""
    points: list[Point]


def compress(
    run_folder: Path,
    out: Path | None = None,
    wish: Compress | None = None,
    *,
    plan: bool = False,
    features: Path | None = None,
    device: str | None = None,
    overwrite: bool = False,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> Compressed:
    """Make the run at `run_folder` as fast as `wish` (default: its recipe's table [compress]) says, as the run `out`.

    `plan`: measure and choose, train nothing. With `wish.int8` there are two runs: `out`, and `out`-int8 that went on
    from there; without a target only the training for int8, of the same network and under the same name. The table
    of points is `pareto.json` in the last one.

    Raises UsageError E_SETTING for a run without a mobile generator or a wish without a target or int8, OutputError
    E_OUTPUT_EXISTS, DeviceError, QualityError E_COMPRESS_TARGET where the smallest network is not fast enough, and
    what `train` raises.
    """
    run = Run(run_folder)
    recipe = run.recipe()
    wish = wish or recipe.compress
    if not wish.target_ms and (plan or not wish.int8):
        raise UsageError(
            "E_SETTING",
            f"no latency to compress {run_folder} to",
            next="give --target-ms, or [compress] target_ms; or --int8 alone, to train for that only",
        )
    if wish.target_ms:
        out = out or run_folder.with_name(f"{run_folder.name}-{wish.target_ms:g}ms")
        stages = {FLOAT: Run(out), **({INT8: Run(out.with_name(f"{out.name}-int8"))} if wish.int8 else {})}
    else:
        stages = {INT8: Run(out or run_folder.with_name(f"{run_folder.name}-int8"))}
    runs = list(stages.values())
    if run_folder.resolve() in [one.folder.resolve() for one in runs]:
        raise UsageError(
            "E_SETTING",
            f"{run_folder} is what is compressed, and cannot be written over by it",
            next="name another folder with --out",
        )
    taken = [one for one in runs if one.recipe_file.exists()]
    if taken and not overwrite and not plan:
        raise OutputError(
            "E_OUTPUT_EXISTS", f"{taken[0].folder} holds a run already", next="--overwrite, or another --out"
        )
    if device and not plan:
        require_device(device)  # before the minutes of measuring
    whole = cast(Mobile, run.generator()[0])
    studio = Studio(recipe, whole, wish)
    rungs: list[Rung] = []
    chosen = size_of(whole)
    if wish.target_ms:
        chosen = _choose(chosen, studio, rungs, on_stage)
    if plan:
        return Compressed(None, chosen, rungs, [])

    eyes = load_features(features)
    points = studio.points("whole", whole, eyes, on_stage)
    start = whole
    if chosen != size_of(whole):
        on_stage(f"pruning to {chosen}")
        start = prune(whole, chosen, studio.practice[:8]).eval()
        points += studio.points("pruned", start, eyes, on_stage)
    for stage, into in stages.items():
        on_stage(f"{stage}: {wish.steps} steps into {into.folder}")
        begun = run_folder if start is whole else _write_start(into, start)
        train(
            _recipe(recipe, run_folder, into, begun, chosen, wish, int8=stage == INT8),
            into,
            features=features,
            device=device,
        )
        start = cast(Mobile, into.generator()[0])
        points += studio.points(stage, start, eyes, on_stage)
    points = _with_front(points)
    table = {"target_ms": wish.target_ms, "at": wish.at, "on": wish.on, "points": settings.write(points)}
    write_whole(runs[-1].folder / "pareto.json", (json.dumps(table, indent=2) + "\n").encode())
    return Compressed(runs[-1], chosen, rungs, points)


def ladder(whole: Size) -> list[Size]:
    """Sizes no larger than `whole`, most multiply-adds first."""

    def cut(channels: int, share: float, least: int) -> int:
        return min(channels, max(least, round(channels * share / 8) * 8))

    sizes = {
        Size(
            cut(whole.quarter, share, SMALLEST.quarter),
            cut(whole.eighth, share, SMALLEST.eighth),
            blocks,
            whole.half and min(whole.half, max(4, round(whole.half * share))),
        )
        for share in SHARES
        for blocks in range(1, whole.blocks + 1)
    }
    return sorted(sizes | {whole}, key=_gmac, reverse=True)


class Studio:
    """Measures networks as they would ship: exported, on the backend that they are for."""

    def __init__(self, recipe: Recipe, whole: Mobile, wish: Compress) -> None:
        self.wish = wish
        self.width, self.height = (int(side) for side in wish.at.split("x"))
        kind, _ = load(wish.on)
        self.possible = kind.precisions(wish.on.partition(":")[2] or None)
        self.practice = calibration_pictures(recipe, None)[0]
        self.float = next(name for name, stored in self.possible.items() if stored == "fp32")
        self.precision = wish.precision or ("int8" if wish.int8 else self.float)
        if self.precision not in self.possible or self.possible[self.precision] not in ("fp32", "int8"):
            raise UsageError(
                "E_SETTING",
                f"cannot compress for {self.precision} on {wish.on}",
                f"it has {', '.join(name for name, stored in self.possible.items() if stored in ('fp32', 'int8'))}",
                "give another --precision",
            )
        photos, _ = unseen(recipe, None)
        photographs = list(photos.values())[:6] or [next(iter(PictureSource(PHOTOGRAPH))).image]
        self.photos = [_square(photo) for photo in photographs]
        self.wanted = [_paint(whole, photo) for photo in self.photos]

    def ms(self, model: onnx.ModelProto, precision: str) -> float:
        """Median milliseconds for one picture of the wished size."""
        kind, device = load(self.wish.on)
        inputs = feed(model, clouds(self.height, self.width), ())
        runner = kind(
            model.SerializeToString(), inputs, precision=precision, device=device, threads=available()
        )
        found = []
        for _ in range(RUNS):
            began = time.perf_counter()
            runner.run(inputs)
            found.append(time.perf_counter() - began)
        runner.close()
        return median(found) * 1000

    def export(
        self, network: Mobile, precision: str, most: int | None = None, core: onnx.ModelProto | None = None
    ) -> onnx.ModelProto:
        """The whole graph; in int8 calibrated on the training's photographs, `most` of them. `core`: traced before."""
        core = core or trace(in_bytes(network))
        model = _wrap(core, network)
        if self.possible[precision] == "fp32":
            return model
        return _wrap(quantize("nncf", core, frames(model, core, self.practice[:most], ())), network)

    def points(self, name: str, network: Mobile, eyes: Vgg19, on_stage: Callable[[str], None]) -> list[Point]:
        """In the backend's own float precision, and in int8 where that is wished for."""
        found = []
        core = trace(in_bytes(network))
        for precision in dict.fromkeys((self.float, self.precision)):
            on_stage(f"measuring {name} ({size_of(network)}) in {precision}")
            model = self.export(network, precision, core=core)
            painter = Painter(model.SerializeToString(), self.wish.on, precision)
            painted = [painter.paint(photo) for photo in self.photos]
            near = [compare(one, wanted) for one, wanted in zip(painted, self.wanted, strict=True)]
            structure = [
                structure_distance(see(eyes, pixels(one)), see(eyes, pixels(photo)))
                for one, photo in zip(painted, self.photos, strict=True)
            ]
            found.append(
                Point(
                    name=name,
                    size=size_of(network),
                    precision=precision,
                    ms=round(self.ms(model, precision), 3),
                    psnr_db=round(fmean(one.psnr_db for one in near), 2),
                    ssim=round(fmean(one.ssim for one in near), 4),
                    structure=round(fmean(structure), 4),
                )
            )
        return found


def _choose(whole: Size, studio: Studio, rungs: list[Rung], on_stage: Callable[[str], None]) -> Size:
    """The largest rung that is fast enough, by halving the ladder; random weights are as fast as trained ones."""
    sizes = ladder(whole)
    wish, known = studio.wish, {}

    def fast(place: int) -> bool:
        size = sizes[place]
        if place not in known:
            network = Mobile(size).eval()
            ms = studio.ms(studio.export(network, studio.precision, most=4), studio.precision)
            known[place] = ms
            rungs.append(Rung(size, _gmac(size), round(ms, 3)))
            on_stage(f"{size}: {ms:.1f} ms in {studio.precision}")
        return known[place] <= wish.target_ms

    low, high = 0, len(sizes) - 1
    if not fast(high):
        raise QualityError(
            "E_COMPRESS_TARGET",
            f"no network is that fast at {wish.at} on {wish.on}",
            f"the smallest, {sizes[high]}, takes {known[high]:.1f} ms in {studio.precision}; "
            f"the target is {wish.target_ms:g}",
            "raise --target-ms, or paint smaller pictures with --at",
        )
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fast(middle) else (middle + 1, high)
    rungs.sort(key=lambda rung: rung.gmac, reverse=True)
    return sizes[high]


def _recipe(
    recipe: Recipe, teacher: Path, into: Run, begun: Path, size: Size, wish: Compress, *, int8: bool
) -> Recipe:
    """The fine-tune as a recipe: everything of the run's own, but the method."""
    name, card = recipe.name, recipe.card  # with no target it is the same network still
    if wish.target_ms:
        what = f"{size} for {wish.target_ms:g} ms at {wish.at} on {wish.on}"
        notes = f"{card.notes} Compressed from {name} to {what}.".strip()
        name, card = into.folder.name, dataclasses.replace(card, notes=notes)
    rate = wish.learning_rate / 5 if int8 else wish.learning_rate
    return dataclasses.replace(
        recipe,
        name=name,
        method="distill",
        objective=DistillSettings(
            teacher=str(teacher),
            width=None if size == SIZES.get(recipe.generator.size) else size if size.half else size[:3],
            int8=int8,
        ),
        transfer=Transfer(init_from=str(begun)),
        train=dataclasses.replace(
            recipe.train,
            steps=wish.steps,
            optimiser="adam",
            learning_rate=rate,
            warmup=min(20, wish.steps),
            ema=min(recipe.train.ema, 1 - 4 / max(8, wish.steps)),
            sample_every=wish.steps,
        ),
        temporal=Temporal(),
        augment=dataclasses.replace(  # its teacher answers photographs, and there is no discriminator to vary for
            recipe.augment,
            streams=tuple(name for name in recipe.augment.streams if name == "content"),
            discriminator=(),
        ),
        culture=Culture(),
        quality=Quality(style=style_of(recipe) or ()),  # to be measured by; it learns from its teacher
        search=Search(),
        card=card,
    )


def _write_start(run: Run, network: nn.Module) -> Path:
    """What the fine-tune begins with, in its own folder, so that the run can be made again."""
    from safetensors.torch import save

    run.folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    file = run.folder / "start.safetensors"
    write_whole(file, save(weights))
    return file


def _with_front(points: Sequence[Point]) -> list[Point]:
    def beaten(one: Point) -> bool:
        return any(
            other.ms <= one.ms
            and other.psnr_db >= one.psnr_db
            and (other.ms, other.psnr_db) != (one.ms, one.psnr_db)
            for other in points
        )

    return [dataclasses.replace(one, front=not beaten(one)) for one in points]


def _wrap(core: onnx.ModelProto, network: nn.Module) -> onnx.ModelProto:
    made = cast(Generator, network)
    return attach_edges(core, period=made.period, stride=made.stride, margin=made.margin, veil=made.veil)


@torch.no_grad()
def _paint(network: nn.Module, photo: Image) -> Image:
    return np.asarray(FrameModel(network)(torch.from_numpy(photo.copy())[None], torch.ones(1))[0].numpy())


def _square(photo: Image) -> Image:
    """The middle, at most SIDE pixels high and wide, in multiples of 8."""
    side = min(SIDE, min(photo.shape[:2]) // 8 * 8)
    top, left = ((length - side) // 2 for length in photo.shape[:2])
    return np.ascontiguousarray(photo[top : top + side, left : left + side])


def _gmac(size: Size) -> float:
    """Of mobile for a picture of 1280x720, by arithmetic: `core.billion_macs` counts the same, in half a second."""
    packed, ends = 48, 4 * size.half or size.quarter
    near = packed * (size.quarter + 4 * size.half + ends) + 4 * size.quarter * size.half  # stem, head; rise
    far = size.quarter * size.eighth * (1 + 4) + size.blocks * 2 * size.eighth**2  # down and up; at an eighth
    return round(9 * 1280 * 720 * (near / 16 + far / 64) / 1e9, 3)
