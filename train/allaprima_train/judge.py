"""Quality in the loop: held-out photographs are painted and measured, and the figures decide.

    which snapshot ships    the one that breaks its bounds least and, among equals, is best in the goal
    when to stop            after `patience` evaluations without a better one
    how terms are weighted  while a bound is broken, the weight of the term that serves it grows by `steer_by` at each
                            evaluation, to `steer_limit` times the recipe's at most; once a tenth is to spare, it
                            falls again, never below the recipe's

A feedback with three lines rather than a learned one: everybody can follow in log.jsonl why a weight is what it is.
It acts at evaluations only, on figures of the moving average, so noise of single steps does not reach it.

A generator with controls is judged at all their `positions`, not at what it happens to begin with.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image as Pictures
from torch import Tensor, nn

from allaprima.errors import InputError, UsageError
from allaprima.frame import Image
from allaprima.metrics import psnr, ssim

from . import quality
from .data import find_pictures, prepared, read_picture, readable
from .features import Vgg19
from .frame_model import FrameModel
from .generators import Generator
from .generators.controls import as_tensors, positions
from .objectives import shown_pictures
from .recipe import Recipe
from .tables import PictureSet, Quality

__all__ = ["Evaluation", "Judge", "forget", "require_terms", "rule", "style_of", "styles_of"]

log = logging.getLogger(__name__)

HIGHER_IS_BETTER = {"psnr_db", "ssim", "edge_recall"}

SPARE = 0.1  # of a bound; a weight is let down again only with so much room, or it would swing

MOST_STYLE_PICTURES = 8
STEADY_PICTURES = 2  # at least; each is painted six times more


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found, and what followed from it."""

    step: int
    figures: dict[str, float]
    shortfall: float
    """How far the bounds are broken, as shares of them, added up; 0: all are kept."""
    goal: str
    best: bool
    """The best snapshot so far: it ships, unless a later one is better."""
    steered: dict[str, tuple[float, float]]
    """Loss term -> its factor before and from now on; only what changed."""
    stop: bool

    @property
    def line(self) -> str:
        figures = "  ".join(f"{name} {value:.3g}" for name, value in self.figures.items())
        turned = "".join(f"; weight of {term} x{now:.3g}" for term, (_, now) in self.steered.items())
        broken = f"; bounds broken by {self.shortfall:.0%}" if self.shortfall else ""
        return f"step {self.step}: {figures}{broken}{'; best so far' if self.best else ''}{turned}"


ANSWERS = {
    "pix2pix": "its answers are the pictures of [pix2pix.target]",
    "distill": "its answers are its teacher's paintings",
    "mixture": "its answers are its experts' paintings",
}
"""Methods with a right answer that is not the photograph."""


DEFAULTS, ANYWHERE = "", "*"


class Judge:
    """Measures, and remembers the best. `remembered` is all that it has to know after a resume."""

    def __init__(self, recipe: Recipe, features: Vgg19, held_out: Sequence[Path]) -> None:
        """Raises UsageError E_SETTING for a goal that cannot be measured, InputError for pictures that cannot be
        read."""
        self.recipe, self.settings, self.features = recipe, recipe.quality, features
        if (beside := ANSWERS.get(recipe.method)) and (wrong := self._asked() & {"psnr_db", "ssim"}):
            raise UsageError(
                "E_SETTING",
                f"[quality] {' and '.join(sorted(wrong))} cannot be measured with the method {recipe.method}",
                f"it would be against the photograph, and {beside}",
                "take style_distance, with [quality] style, or structure_distance",
            )
        self.photos = list(_photos(held_out, self.settings))
        self.targets = self._targets()

    def measure(self, generator: nn.Module) -> dict[str, float]:
        """The figures of a generator on the held-out photographs, means over them. Draws no random numbers of
        training's.

        Of one with controls, photograph n is painted at the n-th of their positions, around and around: each
        photograph and each position counts, at the price of the larger number and not of the product.
        """
        place = next(generator.parameters()).device
        painter = cast(Generator, generator)
        model = FrameModel(painter.folded().float().eval())
        turns = list({DEFAULTS: {}, **positions(painter.controls)}.items())
        found: dict[str, list[float]] = {}
        grams: dict[str, list[list[Tensor]]] = {}

        for number in range(max(len(self.photos), len(turns))):
            photo, (label, values) = self.photos[number % len(self.photos)], turns[number % len(turns)]
            controls = as_tensors(painter.controls, values, place)

            @torch.no_grad()
            def paint(*images: Image, controls: tuple[Tensor, ...] = controls) -> Image:
                given = torch.from_numpy(np.stack(images)).to(place)
                painted: Image = model(given, torch.ones(1, device=place), *controls)[0].cpu().numpy()
                return painted

            given = shown_pictures(self.recipe, photo, number % len(self.photos))
            painted = paint(*given)
            answer = photo[: painted.shape[0], : painted.shape[1]]  # what is given may be cut to whole pixels
            x, y = quality.pixels(answer, place), quality.pixels(painted, place)
            one = {
                "psnr_db": psnr(painted, answer),
                "ssim": ssim(painted, answer),
                "edge_recall": quality.edge_recall(painted, answer),
            }
            with self._eyes():
                styled, plain = quality.see(self.features, y), quality.see(self.features, x)
            one["structure_distance"] = quality.structure_distance(styled, plain)
            grams.setdefault(label if label in self.targets else ANYWHERE, []).append(styled.grams)
            steady = number < max(STEADY_PICTURES, len(turns))
            if len(given) == 1 and steady and painted.shape == given[0].shape:
                one["flicker"] = quality.flicker(paint, given[0])
                one["drift"] = quality.drift(paint, given[0])
            for name, value in one.items():
                found.setdefault(name, []).append(value)
        figures = {name: float(np.mean(values)) for name, values in found.items()}
        if self.targets:
            figures["style_distance"] = float(
                np.mean(
                    [
                        quality.style_distance(paintings, self.targets[where])
                        for where, paintings in grams.items()
                        if where in self.targets
                    ]
                )
            )
        if missing := self._asked() - figures.keys():
            raise UsageError(
                "E_SETTING",
                f"[quality] {' and '.join(sorted(missing))} cannot be measured with the method {self.recipe.method}",
                next=f"what can: {', '.join(figures)}",
            )
        return figures

    def judge(
        self, step: int, figures: dict[str, float], factors: dict[str, float], remembered: dict[str, Any]
    ) -> Evaluation:
        """Decide, by the rules at the top; `factors` of the loss terms and what is `remembered` are brought up to
        date."""
        chosen = self.settings
        short = shortfall(chosen, figures)
        rank = [short, -figures[chosen.goal] if chosen.goal in HIGHER_IS_BETTER else figures[chosen.goal]]
        best = "best" not in remembered or rank < remembered["best"]
        if best:
            remembered |= {"best": rank, "best_step": step, "without": 0}
        else:
            remembered["without"] += 1
        steered = {}
        for term, measure in chosen.steer.items():
            before = factors.get(term, 1.0)
            spare = room(chosen, measure, figures[measure])
            if spare < 0:
                factors[term] = min(chosen.steer_limit, before * chosen.steer_by)
            elif spare >= SPARE:
                factors[term] = max(1.0, before / chosen.steer_by)
            if factors.get(term, 1.0) != before:
                steered[term] = (before, factors[term])
        return Evaluation(step, figures, short, chosen.goal, best, steered, self.exhausted(remembered))

    def exhausted(self, remembered: Mapping[str, Any]) -> bool:
        """Whether patience is at its end."""
        return bool(self.settings.patience) and remembered.get("without", 0) >= self.settings.patience

    def _asked(self) -> set[str]:
        return {self.settings.goal, *self.settings.least, *self.settings.most}

    def _targets(self) -> dict[str, quality.StyleTarget]:
        """Position of the controls -> what style distance is measured to there; ANYWHERE: at those without their
        own."""
        styles = styles_of(self.recipe)
        if not styles and "style_distance" in self._asked():
            raise UsageError(
                "E_SETTING",
                "[quality] style_distance has no pictures to be measured to",
                f"the method {self.recipe.method} names none by a setting 'style'",
                'name them, [quality] style = ["paintings"]'
                + ("" if self.recipe.method in ANSWERS else "; or take the goal psnr_db to mend photographs"),
            )
        return {where: self._target(works) for where, works in styles.items()}

    def _target(self, works: PictureSet) -> quality.StyleTarget:
        paths = find_pictures(works.pictures, "[quality] style")
        few = min(len(paths), MOST_STYLE_PICTURES)
        chosen = [paths[place * len(paths) // few] for place in range(few)]  # of a set of folders, of each
        found = readable(chosen, "[quality] style")
        with self._eyes():
            return quality.StyleTarget(self.features, [prepared(picture, works) for _, picture in found])

    def _eyes(self) -> torch.autocast:
        """The feature network at the training's precision; what paints is always exact."""
        place = next(self.features.buffers()).device.type
        return torch.autocast(place, torch.bfloat16, enabled=self.recipe.train.precision == "bf16")


def forget(
    before: Recipe, now: Recipe, factors: dict[str, float], remembered: dict[str, Any], *, other_eyes: bool
) -> None:
    """After a resume with other settings: a best snapshot that was measured by other rules, or by `other_eyes` (another
    feature network), is none, and a term that is no longer steered weighs what the recipe says."""
    for term in [term for term in factors if term not in now.quality.steer]:
        del factors[term]
    for term, factor in factors.items():
        factors[term] = min(factor, now.quality.steer_limit)
    then, wanted = (
        (one.goal, one.least, one.most, one.pictures, one.side) for one in (before.quality, now.quality)
    )
    if other_eyes or then != wanted or styles_of(before) != styles_of(now):
        for name in ("best", "best_step", "without"):
            remembered.pop(name, None)


def rule(chosen: Quality) -> str:
    """How loss weights are steered, in words: for the log, beside the changes that it will make."""
    bounds = [
        f"{term} while {measure} is {side} {bound:g}"
        for term, measure in chosen.steer.items()
        for side, bounds in (("under", chosen.least), ("over", chosen.most))
        if (bound := bounds.get(measure)) is not None
    ]
    return (
        f"steering: each evaluation multiplies the weight of {', of '.join(bounds)} by {chosen.steer_by:g}, to "
        f"{chosen.steer_limit:g} times at most, and divides it again once there is a tenth to spare"
    )


def shortfall(chosen: Quality, figures: Mapping[str, float]) -> float:
    """How far the bounds are broken, as shares of each, added up."""
    bounded = dict.fromkeys((*chosen.least, *chosen.most))
    return sum(max(0.0, -room(chosen, measure, figures[measure])) for measure in bounded)


def room(chosen: Quality, measure: str, value: float) -> float:
    """How much is to spare to the measure's bound, as a share of it; below 0 it is broken."""
    spare = []
    if (least := chosen.least.get(measure)) is not None:  # type: ignore[call-overload]
        spare.append((value - least) / max(abs(least), 1e-9))
    if (most := chosen.most.get(measure)) is not None:  # type: ignore[call-overload]
        spare.append((most - value) / max(abs(most), 1e-9))
    return min(spare)


def require_terms(chosen: Quality, weights: Mapping[str, float]) -> None:
    """Raises UsageError E_SETTING where a term is to be steered that the method does not have, or has no weight."""
    for term in chosen.steer:
        if not weights.get(term):
            raise UsageError(
                "E_SETTING",
                f"[quality] steer: there is no loss term {term!r} with a weight",
                next=f"the method's terms are {', '.join(name for name, weight in weights.items() if weight)}",
            )


def style_of(recipe: Recipe) -> PictureSet | None:
    """The pictures that the style is: [quality] style, else what the method's own setting `style` names."""
    named = recipe.quality.style or getattr(recipe.objective, "style", ())
    if isinstance(named, PictureSet):
        return named
    places = [place for place in ((named,) if isinstance(named, str) else named) if isinstance(place, str)]
    return PictureSet(tuple(places)) if places else None


def styles_of(recipe: Recipe) -> dict[str, PictureSet]:
    """Position of the controls -> the pictures that are its style: of `stargan`, each domain's own at the domain, and
    none where it gives the photograph back. ANYWHERE: at every position, of all others. Empty: it has none."""
    works, domains = style_of(recipe), getattr(recipe.objective, "domains", ())
    if works is not None:
        return {ANYWHERE: works}
    own: dict[str, PictureSet] = {f"domain={domain.name}": domain for domain in domains}
    return {DEFAULTS: domains[0], **own} if domains else {}


def _photos(held_out: Sequence[Path], chosen: Quality) -> list[Image]:
    """The first held-out photographs that can be read, at the short side of the evaluation."""
    found: list[Image] = []
    for path in held_out:
        if len(found) == chosen.pictures:
            break
        try:
            photo: Pictures.Image = read_picture(path)
        except InputError as error:
            log.warning("skipped the held-out picture %s: %s", path, error.why)
            continue
        found.append(np.array(quality.shortened(photo, chosen.side)))
    if not found:
        raise InputError(
            "E_DATA_EMPTY",
            "there is no photograph to evaluate on",
            "none of those that are held out can be read",
            "raise [data] held_out, or switch evaluations off: --set quality.every=0",
        )
    return found
