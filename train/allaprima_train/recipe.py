"""A recipe: one TOML file that says everything about a training. Read whole, and strictly, before anything starts.

    name = "starry"                 # of the run folder and of the bundle
    method = "perceptual"           # a page in objectives/; its own settings are the table of that name
    [data]  [generator]  [train]  [perceptual]  [card]
    [transfer]  [augment]  [temporal]  [culture]  [quality]  [search]  [compress]   where wanted: tables.py

Paths are relative to the folder in which `allaprima train` runs. docs/training.md walks through a recipe.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt

from allaprima import settings
from allaprima.errors import InputError, UsageError

from .tables import Augment, Compress, Culture, PictureSet, Quality, Search, Temporal, Transfer

__all__ = [
    "Card",
    "Data",
    "GeneratorChoice",
    "PictureSet",
    "Recipe",
    "Train",
    "bundle_name",
    "differences",
    "load_recipe",
    "parse_recipe",
]


Beta = Annotated[float, Ge(0), Lt(1)]


@dataclass(frozen=True)
class Data:
    content: tuple[str, ...]
    """Folders (searched deeply) or files of photographs. Their subjects are what the style will be good at."""
    crop: Annotated[int, Ge(32)] = 192
    """Side of the square that the losses see, in pixels; a multiple of 8. Larger sees larger strokes and costs
    more."""
    context: Annotated[int, Ge(0)] = 64
    """Pixels of the photograph around the crop that the generator sees and the losses do not; a multiple of 8. Less
    than the generator's reach (some 80 pixels) and it learns where the border is, and hides style there."""
    zoom: tuple[float, float] = (0.8, 1.4)
    """Crops are taken at a scale drawn between these; above 1 enlarges, as full HD frames show things larger."""
    flip: bool = True
    """Mirror every second crop; switch off where left and right differ (writing)."""
    held_out: Annotated[int, Ge(1)] = 12
    """Photographs never trained on: sample pictures and the parity of the export are made from them."""
    workers: Annotated[int, Ge(0)] = 1
    """Processes that read pictures; 0 reads in the training process."""


@dataclass(frozen=True)
class GeneratorChoice:
    network: str = "mobile"
    """`mobile` ships and is fast; `resnet` is the slow reference, `coarse-to-fine` the one for large pictures."""
    size: str = "small"
    """mobile: nano, small or base, each also -fine; resnet: small, base, six or nine; coarse-to-fine: small or base."""


@dataclass(frozen=True)
class Train:
    steps: Annotated[int, Ge(1)] = 4000
    """Optimiser steps. A thousand show whether it works; the last quarter, at a falling rate, polishes."""
    batch: Annotated[int, Ge(1)] = 4
    learning_rate: Annotated[float, Gt(0)] = 1e-3
    """Peak of the optimiser's rate: reached after `warmup` steps, then falling by the `schedule`."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """`cosine`: half a cosine down to 2 %. `linear`: the peak for half of the steps, then a straight line to 0, as
    the adversarial methods were published with. `constant`: the peak to the end."""
    optimiser: Literal["adam", "soap"] = "adam"
    """`soap`: steps that cost more and lead farther; with betas = [0.9, 0.95] and three times adam's rate. For small
    networks without an adversary."""
    betas: tuple[Beta, Beta] = (0.9, 0.99)
    """Memory of the two averages. Adversarial methods take [0.5, 0.99]: the opponent changes, forget sooner.
    The 0.999 they were published with lets one odd gradient move a weight up to 16 times the rate."""
    warmup: Annotated[int, Ge(0)] = 50
    gradient_clip: Annotated[float, Gt(0)] = 1.0
    """Largest norm of the gradient; one odd picture cannot throw the weights far."""
    ema: Annotated[float, Ge(0), Le(0.99999)] = 0.998
    """Decay per step of the moving average of the weights. The average is what ships."""
    precision: str = "bf16"
    """`bf16` (autocast; weights and sums stay fp32) or `fp32`. On CPUs without bf16 instructions take fp32."""
    weight_decay: Annotated[float, Ge(0)] = 0.0
    """Share of every weight that is forgotten per step and unit of the rate (AdamW): 0.01 against overfitting to few
    pictures."""
    accumulate: Annotated[int, Ge(1)] = 1
    """Pieces in which a batch is computed before the step: 4 needs a quarter of the memory and does the same, but for
    losses that look at several pictures at once (`gram_of`, `lightness_weight`, restore's `grid_weight`): these see a
    piece."""
    compile: bool = False
    """Let torch compile the generator, some minutes at first. benchmarks/compiled.py tells whether it pays; on two
    processors it does not."""
    tracker: Literal["tensorboard", "wandb", "none"] = "tensorboard"
    """Where the curves are drawn. `wandb` works offline unless WANDB_MODE says otherwise; log.jsonl is always
    written."""
    log_every: Annotated[int, Ge(1)] = 10
    sample_every: Annotated[int, Ge(1)] = 500
    save_every: Annotated[int, Ge(1)] = 250


@dataclass(frozen=True)
class Card:
    """What the bundle's card, manifest and licence say about where this style comes from."""

    style_source: str = ""
    """The painting: artist, title, year, where the picture is from."""
    style_terms: str = ""
    content_source: str = ""
    """The training photographs."""
    content_terms: str = ""
    licence: str = "Apache-2.0"
    """SPDX identifier of the bundle's own files."""
    notes: str = ""


@dataclass(frozen=True)
class Recipe:
    name: str
    method: str
    data: Data
    title: str = ""
    seed: Annotated[int, Ge(0)] = 1
    generator: GeneratorChoice = field(default_factory=GeneratorChoice)
    train: Train = field(default_factory=Train)
    transfer: Transfer = field(default_factory=Transfer)
    augment: Augment = field(default_factory=Augment)
    temporal: Temporal = field(default_factory=Temporal)
    culture: Culture = field(default_factory=Culture)
    quality: Quality = field(default_factory=Quality)
    search: Search = field(default_factory=Search)
    compress: Compress = field(default_factory=Compress)
    card: Card = field(default_factory=Card)
    objective: Any = None
    """The method's own settings; in TOML, the table named like the method."""


def load_recipe(path: Path, overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe; `overrides` are `train.steps=200`, the value in TOML.

    Raises InputError E_INPUT_MISSING or E_RECIPE_SYNTAX, UsageError E_SETTING for keys or values that do not fit.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            "E_INPUT_MISSING", f"cannot read the recipe {path}", str(error), "recipes/ has examples"
        ) from None
    return parse_recipe(text, str(path), overrides)


def parse_recipe(text: str, where: str, overrides: Iterable[str] = ()) -> Recipe:
    """`load_recipe` of a text; `where` names it in messages."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(
            "E_RECIPE_SYNTAX", f"cannot read the recipe {where}", str(error), "correct the file and try again"
        ) from None
    for override in overrides:
        _override(table, override)
    return _from_table(table, where)


def to_table(recipe: Recipe) -> dict[str, Any]:
    """The recipe as used, every default written out, in the shape that `parse_recipe` reads."""
    table: dict[str, Any] = settings.write(recipe)
    table[recipe.method] = table.pop("objective")
    return table


def to_toml(recipe: Recipe) -> str:
    """The recipe as used, as the text that `parse_recipe` reads. TOML has no null: a setting that is None is left
    out."""
    import tomlkit

    def without_none(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: without_none(item) for key, item in value.items() if item is not None}
        return value

    return tomlkit.dumps(without_none(to_table(recipe)))


def bundle_name(name: str) -> str:
    """A recipe's name as a bundle's: `My Style_2` -> `my-style-2`; empty where it has no letters a to z or digits."""
    letters = "".join(letter if letter.isascii() and letter.isalnum() else " " for letter in name.lower())
    return "-".join(letters.split())


def differences(one: Recipe, other: Recipe) -> dict[str, tuple[Any, Any]]:
    """What differs, by key as in `--set`: {'train.steps': (4000, 200)}; None where one has no such key."""
    left, right = _flat(to_table(one)), _flat(to_table(other))
    keys = [*left, *(key for key in right if key not in left)]
    return {key: (left.get(key), right.get(key)) for key in keys if left.get(key) != right.get(key)}


def _flat(table: dict[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in table.items():
        found |= _flat(value, f"{before}{key}.") if isinstance(value, dict) else {f"{before}{key}": value}
    return found


def _from_table(table: dict[str, Any], where: str) -> Recipe:
    from .objectives import objective_settings

    method = table.get("method")
    if not isinstance(method, str):
        raise UsageError(
            "E_SETTING", f"{where}: the top level needs a setting 'method'", next="see docs/training.md"
        )
    kind = objective_settings(method)
    own = table.pop(method, {})
    if "objective" in table:
        raise UsageError("E_SETTING", f"{where}: the method's settings belong into a table [{method}]")
    recipe = settings.read(Recipe, table, where)
    objective = settings.read(kind, own, where, inside=method)
    for name in ("crop", "context"):
        if getattr(recipe.data, name) % 8:
            value = getattr(recipe.data, name)
            raise UsageError("E_SETTING", f"{where}: [data] {name} = {value}: must be a multiple of 8")
    if recipe.train.precision not in ("bf16", "fp32"):
        raise UsageError("E_SETTING", f"{where}: [train] precision must be 'bf16' or 'fp32'")
    low, high = recipe.data.zoom
    if not 0 < low <= high:
        raise UsageError(
            "E_SETTING", f"{where}: [data] zoom = [{low}, {high}]: must be 0 < lowest <= highest"
        )
    if not bundle_name(recipe.name) or set(recipe.name) & set("/\\\0"):
        raise UsageError(
            "E_SETTING",
            f"{where}: the top level name = {recipe.name!r}: a folder and a bundle are called after it",
            "it needs letters a to z or digits, and has no slashes",
            "`title` may be in any script",
        )
    return dataclasses.replace(recipe, objective=objective)


def _override(table: dict[str, Any], override: str) -> None:
    key, sign, value = override.partition("=")
    if not sign:
        raise UsageError(
            "E_SETTING", f"cannot read --set {override}", "it has no '='", "write --set train.steps=200"
        )
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value  # an unquoted word is meant as a string
    *tables, name = key.strip().split(".")
    for part in tables:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise UsageError("E_SETTING", f"cannot read --set {override}", f"{part!r} is not a table")
    table[name] = parsed
