"""What the benchmarks share that train a recipe for some minutes: argument line, photographs to paint, words."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import lines

from allaprima_train.recipe import Recipe

RECIPES = Path(__file__).parents[1] / "recipes"


def arguments(
    description: str | None,
    *,
    steps: int,
    more: Callable[[argparse.ArgumentParser], object] = lambda parser: None,
) -> argparse.Namespace:
    """The command's arguments, `more` of its own; ends it where there are no pictures to train on."""
    parser = lines.arguments(description)
    more(parser)
    parser.add_argument("recipe", help="one in recipes/, without .toml")
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--crop", type=int, default=64)
    parser.add_argument("--out", type=Path, default=Path("runs/methods"))
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    args = parser.parse_args()
    if not lines.SHARED.is_dir():
        sys.exit(f"cannot train: there are no pictures in {lines.SHARED}")
    return args


def recipe_file(name: str) -> Path:
    """Of a recipe in recipes/. Ends the command where there is none of that name."""
    path = RECIPES / f"{name}.toml"
    if not path.is_file():
        sys.exit(f"cannot train: there is no {path}")
    return path


def held_out() -> list[Path]:
    """Six Kodak photographs that nothing is trained on."""
    return sorted((lines.SHARED / "content" / "eval").glob("*.png"))[:6]


def in_words(name: str, recipe: Recipe) -> str:
    network, batch = recipe.generator, f"{recipe.train.batch} x {recipe.data.crop} px"
    return f"{name}, {network.network}-{network.size}, {recipe.train.steps} steps of {batch}"
