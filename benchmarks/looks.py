"""Every way in which the styles of a benchmark paint: one that holds several is measured as several."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from painters import Painter, opened

from allaprima.bundle import styles
from allaprima_train.judge import style_of
from allaprima_train.objectives.mixture import MixtureSettings
from allaprima_train.recipe import PictureSet, Recipe
from allaprima_train.run import Run

__all__ = ["Look", "add_styles", "every_look", "looks"]


@dataclass(frozen=True)
class Look:
    """One way in which a style paints, and what it is compared with."""

    label: str
    """Empty where there is one way only."""
    controls: tuple[str, ...]
    """As `allaprima run --control` takes them."""
    pictures: PictureSet | None
    """The style's; None: there is none, or nobody said which."""


def add_styles(parser: argparse.ArgumentParser) -> None:
    """What is measured, in what precision, and where it can be looked at."""
    parser.add_argument(
        "styles",
        nargs="*",
        metavar="STYLE",
        help="names, bundles, run folders, a peer's .onnx (default: all that ship)",
    )
    parser.add_argument("--precision", default="fp32", help="of bundles (default: fp32)")
    parser.add_argument("--sheet", type=Path, metavar="FILE", help="photographs and paintings side by side")


def every_look(
    wanted: Sequence[str],
    precision: str,
    *,
    named: Sequence[str] | None = None,
    controls: Sequence[str] = (),
    threads: int = 1,
) -> Iterator[tuple[str, Painter, PictureSet | None]]:
    """Name, painter and pictures of each, the painter open until the next; of all that ship where none is `wanted`.

    A second one of a name, as a run beside the bundle of its recipe, goes by what it was asked for as.
    """
    names: set[str] = set()
    for what in wanted or list(styles()):
        for look in looks(recipe_of(what), named):
            turned = [*look.controls, *controls]
            with opened(what, controls=turned, precision=precision, threads=threads) as painter:
                own, asked = (f"{name} {look.label}".strip() for name in (painter.name, what))
                name = asked if own in names else own
                names.add(name)
                yield name, painter, look.pictures


def looks(recipe: Recipe | None, named: Sequence[str] | None) -> Iterator[Look]:
    """Of a network with several domains each of them, of any other the one; `named` pictures come before its own."""
    domains = {} if recipe is None or named else domains_of(recipe)
    for name, pictures in domains.items():
        yield Look(name, (f"domain={name}",), pictures)
    if not domains:
        yield Look("", (), PictureSet(tuple(named)) if named else styled(recipe))


def domains_of(recipe: Recipe) -> dict[str, PictureSet | None]:
    """Each domain with its own set; of a mixture each expert with that of its own recipe, where that can be found."""
    if isinstance(recipe.objective, MixtureSettings):
        names = zip(recipe.objective.names, recipe.objective.experts, strict=True)
        return {name: styled(recipe_of(expert)) for name, expert in names}
    return {domain.name: domain for domain in getattr(recipe.objective, "domains", ())}


def recipe_of(what: str) -> Recipe | None:
    """None for what is neither a run nor a style here (any more)."""
    if not Run(Path(what)).exists and what not in styles() and not Path(what).exists():
        return None
    with opened(what) as painter:
        return painter.recipe


def styled(recipe: Recipe | None) -> PictureSet | None:
    return None if recipe is None else style_of(recipe)
