"""How good is a style, in numbers whose definitions are fixed, beside those of networks twenty times the size?

    python benchmarks/quality.py                        # every style that ships
    python benchmarks/quality.py runs/wave starry my.prima --sheet sheet.png
    python benchmarks/quality.py ../shared/data/peers/wave.onnx --style ../shared/data/styles/single/wave.jpg

On 12 Kodak photographs that no training saw:

    structure   content: mean of (n(f(x)) - n(f(y)))² / 2 at relu3_4 of VGG-19, n: minus each channel's mean, by its
                deviation; 0 the same, 1 unrelated
    style       mean of |G - G*|² / |G*|² over eight Grams (relu1_1, 2_1, 3_1, 3_4; full and half size), to the style's
                pictures at their best short side of 256, 384, 512, 768; beside it the untouched photographs'
    gradients   correlation of gradient magnitudes at sigma 2; edges: share of edges kept; ssim: its structure factor
    grid        at the period of the pixel shuffle, over the photographs' own spectrum: at most 1 dB
    border      the outer 16 pixels against the same painted inside a larger picture: within 10 %
    sky         rows and columns of a drawn plain sky against the same painted inside a larger one: at most 8 levels
    zero        strength 0 gives every byte back
    flicker     on a clip (allaprima.metrics): warping error, and how much more than the source; jitter of a still scene
    drift       a photograph and the same moved by (3, 5) pixels, painted: their difference in levels

Of a set of five works or more also, both beside the untouched photographs':

    kid         kernel distance in VGG-19's relu3_4 (sets.py has the definition; no figure of others compares with it)
    culture     composite culture score (docs/culture.md), a proxy

A style of the method `restore` gets photographs spoiled as its recipe says, and PSNR and SSIM before and after.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import flicker
import lines
import numpy as np
import sets
import torch
from looks import add_styles, every_look
from painters import Painter
from PIL import Image as Pictures
from torch import Tensor

from allaprima.errors import AllaPrimaError
from allaprima.frame import Image
from allaprima.metrics import compare, ssim_structure
from allaprima.sheet import in_columns
from allaprima_export.artefacts import BORDER_LIMIT, GRID_LIMIT_DB, SKY_LEVELS, border, grid
from allaprima_train import quality
from allaprima_train.culture import score
from allaprima_train.data import read_picture
from allaprima_train.features import load_features
from allaprima_train.objectives import shown_pictures
from allaprima_train.recipe import PictureSet, Recipe

GOAL_GMAC = 9.4  # a fifteenth of the peers' 142
PEERS = {"wave": (0.317, 0.032), "the_scream": (0.264, 0.057)}
"""Style picture -> (structure, style) of the peer that learned from it (fast neural style, 1.68 M parameters)."""
EYES = torch.autocast("cpu", torch.bfloat16)
"""The feature network's precision: half the time, and figures that differ by less than a thousandth."""
STEADY = 2  # photographs that drift is measured on
MOST = 8  # works, evenly taken, whose Grams are averaged: each is looked at in four sizes


def main() -> None:
    args = _arguments()
    torch.set_num_threads(args.threads)
    panel = Panel(args)
    rows: list[dict[str, Any]] = []
    columns: dict[str, Sequence[Image]] = {"photograph": panel.photos}
    for name, painter, pictures in every_look(
        args.styles, args.precision, named=args.style, controls=args.control, threads=args.threads
    ):
        measured, columns[name] = measure(painter, pictures, panel)
        rows.append({"name": name, "precision": args.precision, **measured})
        lines.report("quality", rows[-1], keep=args.keep)
    print(table(rows))
    if args.sheet:
        in_columns(columns).save(args.sheet)


def _arguments() -> argparse.Namespace:
    parser = lines.arguments(__doc__)
    add_styles(parser)
    parser.add_argument("--style", nargs="+", metavar="PICTURES", help="compare with these, not the recipe's")
    parser.add_argument("--control", action="append", default=[], metavar="NAME=VALUE", help="as in run")
    parser.add_argument("--pictures", type=int, default=12, help="photographs (default: 12)")
    parser.add_argument("--clip", default="bikes_640x272_25", help="in video/clips, without extension")
    parser.add_argument("--frames", type=int, default=10, help="of the clip; 0: none (default: 10)")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


class Panel:
    """What everything is measured on, and what is known of it once and for all."""

    def __init__(self, args: argparse.Namespace) -> None:
        files = sorted((lines.SHARED / "content" / "eval").glob("*.png"))[: args.pictures]
        if not files:
            sys.exit(f"cannot measure: there are no photographs in {lines.SHARED / 'content' / 'eval'}")
        self.photos: list[Image] = [np.array(read_picture(file)) for file in files]
        self.features = load_features()
        self.seen = self.see(self.photos)
        self.clip: str = args.clip
        self.frames = flicker.frames_of(flicker.CLIPS / args.clip, args.frames) if args.frames else []

    @cached_property
    def untouched(self) -> Tensor:
        return sets.pooled([Pictures.fromarray(photo) for photo in self.photos], self.features)

    def see(self, images: Iterable[Image]) -> list[quality.Seen]:
        with EYES:
            return [quality.see(self.features, quality.pixels(image)) for image in images]


def measure(
    painter: Painter, pictures: PictureSet | None, panel: Panel
) -> tuple[dict[str, Any], list[Image]]:
    """All figures, and the paintings of the photographs."""
    recipe = painter.recipe
    figures: dict[str, Any] = {
        "network": painter.network,
        "parameters": painter.parameters,
        "gmac_720p": round(painter.gmac_720p, 2),
        "photographs": len(panel.photos),
    }
    if recipe is not None and recipe.method == "restore":
        paintings, restored = restoring(painter, recipe, panel)
        figures |= restored
    else:
        paintings = [painter.paint(photo) for photo in panel.photos]
        seen = panel.see(paintings)
        figures |= content(paintings, seen, panel)
        if pictures is not None:
            figures |= style(paintings, seen, pictures, panel)
    figures |= faults(painter, paintings, panel)
    figures |= steadiness(painter, panel)
    return {**figures, "goals": goals(figures, pictures)}, paintings


def content(paintings: Sequence[Image], seen: Sequence[quality.Seen], panel: Panel) -> dict[str, float]:
    pairs = list(zip(paintings, panel.photos, strict=True))
    return {
        "structure": mean(map(quality.structure_distance, seen, panel.seen)),
        "gradients": mean(quality.gradient_correlation(*pair) for pair in pairs),
        "edges": mean(quality.edge_recall(*pair) for pair in pairs),
        "ssim_structure": mean(ssim_structure(*pair) for pair in pairs),
    }


def style(
    paintings: Sequence[Image], seen: Sequence[quality.Seen], pictures: PictureSet, panel: Panel
) -> dict[str, Any]:
    every = sets.works(pictures)
    some = every[:: math.ceil(len(every) / MOST)]
    with EYES:
        target = quality.StyleTarget(panel.features, some)
    figures: dict[str, Any] = {
        "works": len(every),
        "style": round(quality.style_distance([one.grams for one in seen], target), 4),
        "style_untouched": round(quality.style_distance([one.grams for one in panel.seen], target), 4),
    }
    if len(every) < score.FEWEST:
        return figures
    return figures | {
        "kid": sets.kid(every, paintings, panel.untouched, panel.features),
        "culture": sets.culture(every, paintings, panel.photos),
    }


def restoring(
    painter: Painter, recipe: Recipe, panel: Panel
) -> tuple[list[Image], dict[str, dict[str, float]]]:
    given = [shown_pictures(recipe, photo, number)[0] for number, photo in enumerate(panel.photos)]
    made = [painter.paint(spoiled) for spoiled in given]
    wanted = [photo[: one.shape[0], : one.shape[1]] for photo, one in zip(panel.photos, made, strict=True)]
    scale = made[0].shape[0] // given[0].shape[0]
    before = [
        compare(one.repeat(scale, 0).repeat(scale, 1), photo)
        for one, photo in zip(given, wanted, strict=True)
    ]
    after = [compare(one, photo) for one, photo in zip(made, wanted, strict=True)]
    return made, {
        name: {"psnr_db": mean(one.psnr_db for one in found), "ssim": mean(one.ssim for one in found)}
        for name, found in (("spoiled", before), ("restored", after))
    }


def faults(painter: Painter, paintings: Sequence[Image], panel: Panel) -> dict[str, Any]:
    """What no eye forgives, whatever the other figures say."""
    lattice = grid(zip(panel.photos, paintings, strict=True), painter.stride)
    edge = border(painter.paint, panel.photos)
    unpainted = painter.unpainted
    return {
        "grid": {**asdict(lattice), "within": bool(lattice)},
        "border": {**asdict(edge), "within": bool(edge)},
        "zero_exact": unpainted and all(np.array_equal(unpainted(photo), photo) for photo in panel.photos),
    }


def steadiness(painter: Painter, panel: Panel) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "drift": mean(quality.drift(painter.paint, photo) for photo in panel.photos[:STEADY])
    }
    if panel.frames:
        paintings = [painter.paint(frame) for frame in panel.frames]
        found = flicker.figures_of(panel.frames, paintings, painter.paint)
        figures["flicker"] = {"clip": panel.clip, "frames": len(paintings), **found}
    return figures


def goals(figures: dict[str, Any], pictures: PictureSet | None) -> dict[str, bool]:
    reached = {
        f"at most {GOAL_GMAC} GMAC": figures["gmac_720p"] <= GOAL_GMAC,
        f"grid at most {GRID_LIMIT_DB:+.0f} dB": figures["grid"]["within"],
        f"border within {BORDER_LIMIT:.0%}, sky within {SKY_LEVELS:g} levels": figures["border"]["within"],
        "strength 0 exact": bool(figures["zero_exact"]),
    }
    only = pictures.pictures if pictures is not None and len(pictures.pictures) == 1 else ("",)
    if (peer := PEERS.get(Path(only[0]).stem)) is not None and "style" in figures:
        reached |= {
            f"structure at most the peer's {peer[0]}": figures["structure"] <= peer[0],
            f"style at most the peer's {peer[1]}": figures["style"] <= peer[1],
        }
    return reached


def table(rows: Sequence[dict[str, Any]]) -> str:
    """For docs/quality.md; in brackets the untouched photographs' figures, of warping the source's."""
    found = [
        {
            "name": row["name"],
            "GMAC": f"{row['gmac_720p']:.1f}",
            "structure": figure(row, "structure"),
            "style distance": figure(row, "style") + besides(row, "style_untouched"),
            "gradients": figure(row, "gradients"),
            "edges": figure(row, "edges"),
            "ssim": figure(row, "ssim_structure"),
            "KID": figure(row, "kid.kid") + besides(row, "kid.kid_untouched"),
            "culture": figure(row, "culture.composite") + besides(row, "culture.composite_untouched"),
            "PSNR dB": figure(row, "restored.psnr_db") + besides(row, "spoiled.psnr_db"),
            "grid dB": figure(row, "grid.excess_db", "+.2f"),
            "border": f"{farthest(row['border']) - 1:+.1%}",
            "sky": figure(row, "border.sky_levels", ".1f"),
            "zero": {True: "exact", False: "**no**", None: "-"}[row["zero_exact"]],
            "warping": figure(row, "flicker.warping_error", ".2f")
            + besides(row, "flicker.source_warping_error"),
            "jitter": figure(row, "flicker.static_jitter", ".2f"),
            "drift": figure(row, "drift", ".1f"),
        }
        for row in rows
    ]
    shown = [name for name in found[0] if any(row[name] != "-" for row in found)]
    printed = [f"| {' | '.join(shown)} |", f"|{'---|' * len(shown)}"]
    return "\n".join([*printed, *(f"| {' | '.join(row[name] for name in shown)} |" for row in found)])


def figure(row: dict[str, Any], path: str, form: str = ".3f") -> str:
    found: Any = row
    for key in path.split("."):
        found = found.get(key, {})
    return format(found, form) if found != {} else "-"


def besides(row: dict[str, Any], path: str) -> str:
    found = figure(row, path, ".2f")
    return "" if found == "-" else f" ({found})"


def farthest(ratios: dict[str, Any]) -> float:
    return max(
        (ratios[key] for key in ("brightness", "contrast", "detail")), key=lambda ratio: abs(ratio - 1)
    )


def mean(values: Iterable[float]) -> float:
    return round(float(np.mean(list(values))), 4)


if __name__ == "__main__":
    try:
        main()
    except AllaPrimaError as error:
        sys.exit(f"cannot measure: {error}")
