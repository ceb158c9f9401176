"""What is exported: the network of a run, or, once more, that of a bundle, which somebody wants in other forms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from allaprima.bundle import Bundle, find_style
from allaprima.errors import InputError, UsageError
from allaprima.manifest import Lineage
from allaprima.post import STAGES
from allaprima_train.objectives import shipped_generator
from allaprima_train.recipe import Recipe, parse_recipe
from allaprima_train.run import Run
from allaprima_train.transfer import begin_with, read_weights

__all__ = ["Source", "open_source"]


@dataclass(frozen=True)
class Source:
    recipe: Recipe
    recipe_text: bytes
    generator: nn.Module
    notes: Mapping[str, str]
    """What was saved with the weights: step, network, size, and more."""
    label: str
    """Where the weights are, for messages."""
    lineage: Run | Lineage
    """The run that tells it, or what the bundle says, word for word."""
    bundle: Path | None = None
    """Where it came from, if not from a run: its int8 plan is taken over."""
    stages: tuple[str, ...] = ()
    """Of post-processing that the bundle's graphs have."""


def open_source(path: Path, direction: str = "") -> Source:
    """The run at `path`, or the bundle there, or the style of that name. `direction`: of a run that has several
    generators.

    Raises UsageError E_SETTING for a direction of a bundle, InputError E_RUN_INVALID, BundleError, and what reading
    weights raises.
    """
    if _is_bundle(path):
        if direction:
            raise UsageError(
                "E_SETTING", f"{path} is a bundle, which has no --direction", next="leave it out"
            )
        return _of_bundle(path)
    run = Run(path)
    recipe = run.recipe()
    generator, notes = run.generator(f"generator_{direction}" if direction else "generator")
    return Source(recipe, run.recipe_file.read_bytes(), generator, notes, str(run.weights_file), run)


def _is_bundle(path: Path) -> bool:
    if path.suffix == ".prima" or (path / "manifest.json").is_file():
        return True
    if path.exists() or len(path.parts) > 1:
        return False
    try:
        find_style(path.name)
    except UsageError:  # nor a style: a run that is not there, which Run says
        return False
    return True


def _of_bundle(path: Path) -> Source:
    """Its folded network, unfolded into one that trains, and folded again when it is traced: the same numbers but for
    rounding."""
    place = path if path.exists() else find_style(str(path))
    bundle = Bundle.open(place)
    lineage = bundle.manifest.lineage
    if not lineage.recipe.endswith("recipe.toml"):
        raise InputError(
            "E_RUN_INVALID",
            f"{path} was not trained here",
            "allaprima import made it, and what is exported is a network that this project knows",
            "give its ONNX file to `allaprima import` once more",
        )
    text = bundle.read(lineage.recipe)
    recipe = parse_recipe(text.decode(), f"{path}: {lineage.recipe}")
    generator = shipped_generator(recipe)
    begin_with(generator, read_weights(str(place.absolute())))  # a bare word would be a style's name
    stages = tuple(control.name for control in bundle.manifest.controls if control.name in STAGES)
    return Source(recipe, text, generator.eval(), {}, str(path), lineage, place, stages)
