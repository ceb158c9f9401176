"""Settings by trial: Optuna proposes, trainings answer, hopeless ones are given up early.

    search(recipe, Path("runs/starry-search"), on_trial=print)

Every trial is a run folder of its own with the recipe as used, so that the best one is exported as it lies there.
What is optimised is the `goal` of [quality] at the trial's best evaluation; a trial whose goal is worse than the
median of the earlier ones at the same step is pruned. The study is a SQLite file in the folder: a call after a crash
goes on, and the settings of a trial that was being trained then are tried again.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import tomlkit
import torch

from allaprima.errors import DeviceError, QualityError, UsageError

from .judge import HIGHER_IS_BETTER, Evaluation
from .loop import train
from .recipe import Recipe, differences, parse_recipe, to_toml
from .run import Run, alone_in
from .tables import Range

__all__ = ["Trial", "search", "setting"]

log = logging.getLogger(__name__)

BROKEN = 1e3  # what a broken bound costs beside any goal: bounds come first, as for the best snapshot


@dataclass(frozen=True)
class Trial:
    """One training of a search."""

    number: int
    settings: dict[str, Any]
    folder: Path
    state: str
    """`done`, `pruned` or `failed`."""
    value: float | None
    """The goal at the best evaluation, and a thousand for each whole bound that is broken; lower is better, and what
    is better when higher counts negative. None where there was no evaluation."""
    why: str = ""

    @property
    def line(self) -> str:
        chosen = ", ".join(f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}"
                           for key, value in self.settings.items())  # fmt: skip
        value = "" if self.value is None else f" {self.value:.4g}"
        return f"trial {self.number} {self.state}{value}: {chosen}{f' ({self.why})' if self.why else ''}"


class Referee(Protocol):
    """What a training on another machine can ask."""

    def hopeless(self, number: int, step: int, value: float) -> bool: ...


class Pruned(Exception):
    """Ends a training that is not worth going on with."""


def search(
    recipe: Recipe,
    folder: Path,
    *,
    features: Path | None = None,
    device: str | None = None,
    cluster: str = "",
    on_trial: Callable[[Trial], None] = lambda trial: None,
) -> Trial:
    """Train until the recipe's number of trials is reached, in `folder`; the best trial, of this and earlier calls.

    `cluster`: the address of a Ray cluster, or `local`, for several trials at a time; empty: one after the other, here.

    Raises UsageError E_SETTING for a space that the recipe does not have, and where the folder's search was another
    one; OutputError E_OUTPUT_BUSY where another call searches there; QualityError E_SEARCH_FAILED where no trial came
    to an end.
    """
    require_space(recipe)
    with alone_in(folder, "search", "another search"):  # `again` takes what is in training for killed
        study = open_study(recipe, folder)
        again(study)
        if cluster:
            from .search_ray import search_on_cluster

            search_on_cluster(recipe, folder, study, cluster, features, device, on_trial)
        while len(finished(study)) < recipe.search.trials:
            asked = study.ask()
            settings = {key: propose(asked, key, space) for key, space in recipe.search.space.items()}
            judge = Counting(study, asked)
            outcome = run_trial(recipe, folder, asked.number, settings, judge, features, device)
            on_trial(tell(study, asked, outcome))
        return best(study, folder)


def run_trial(
    recipe: Recipe,
    folder: Path,
    number: int,
    settings: Mapping[str, Any],
    referee: Referee,
    features: Path | None,
    device: str | None,
) -> Trial:
    """Train one trial. A recipe that cannot be, a loss that is no number, or too little memory for it
    fails the trial, not the search."""
    run = Run(folder / f"trial-{number:04d}")
    seen: list[float] = []

    def on_evaluation(found: Evaluation) -> None:
        seen.append(value_of(found))
        if referee.hopeless(number, found.step, seen[-1]):
            raise Pruned

    state, why = "done", ""
    try:
        made = setting(recipe, settings)
        train(made, run, features=features, device=device, on_evaluation=on_evaluation)
    except Pruned:
        state = "pruned"
    except (QualityError, UsageError, torch.OutOfMemoryError, MemoryError) as error:
        state, why = "failed", str(error)
        log.warning("trial %d failed: %s", number, error)
    return Trial(number, dict(settings), run.folder, state, min(seen) if seen else None, why)


def setting(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """The recipe with some settings changed, by key as in `--set`, read as strictly as any; without its search."""
    overrides = [f"{key}={tomlkit.item(value).as_string()}" for key, value in settings.items()]
    if recipe.search.steps:
        overrides.append(f"train.steps={recipe.search.steps}")
    plain = dataclasses.replace(recipe, search=dataclasses.replace(recipe.search, space={}))
    return parse_recipe(to_toml(plain), recipe.name, overrides)


def require_space(recipe: Recipe) -> None:
    """Raises UsageError E_SETTING where there is nothing to search, or nothing to judge by."""
    if not recipe.search.space:
        raise UsageError(
            "E_SETTING",
            "the recipe says nothing to search",
            "[search.space] is empty",
            'add a line: "train.learning_rate" = { low = 1e-4, high = 3e-3, log = true }',
        )
    if not recipe.quality.every:
        raise UsageError(
            "E_SETTING",
            "a search needs figures to judge by",
            "[quality] every is 0",
            "evaluate several times per trial: --set quality.every=100",
        )
    for key, space in recipe.search.space.items():
        ends = tuple(end for end in (space.low, space.high) if end is not None)
        for value in space.choices or (tuple(map(round, ends)) if space.whole else ends):
            setting(recipe, {key: value})


def open_study(recipe: Recipe, folder: Path) -> Any:
    """The folder's study, a new one or the one of an earlier call."""
    optuna = _optuna()
    folder.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name=recipe.name,
        storage=f"sqlite:///{(folder / 'search.sqlite').resolve()}",
        load_if_exists=True,
        direction="minimize",
        pruner=optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=_first_steps(recipe)),
    )
    # With the same seed at every call, each would begin with the trials that the first one began with
    study.sampler = optuna.samplers.TPESampler(seed=recipe.seed + len(study.trials))
    # The number of trials may grow; everything else would make values that cannot be compared
    asked = to_toml(dataclasses.replace(recipe, search=dataclasses.replace(recipe.search, trials=1)))
    begun = study.user_attrs.get("recipe")
    if begun is None:
        study.set_user_attr("recipe", asked)
    else:
        changed = differences(parse_recipe(begun, str(folder)), parse_recipe(asked, recipe.name))
        if changed:
            raise UsageError(
                "E_SETTING",
                f"{folder} holds the search of another recipe",
                "; ".join(f"{key} was {then} and is {now}" for key, (then, now) in list(changed.items())[:3]),
                "take another --out",
            )
    return study


def again(study: Any) -> None:
    """Settings of trials that were being trained when an earlier call ended come first."""
    states = _optuna().trial.TrialState
    for trial in study.get_trials(deepcopy=False, states=(states.RUNNING,)):
        study.tell(trial.number, state=states.FAIL)
        study.enqueue_trial(trial.params)


def propose(asked: Any, key: str, space: Range) -> Any:
    if space.choices:
        return asked.suggest_categorical(key, list(space.choices))
    assert space.low is not None
    assert space.high is not None
    if space.whole:
        return asked.suggest_int(key, round(space.low), round(space.high), log=space.log)
    return asked.suggest_float(key, space.low, space.high, log=space.log)


class Counting:
    """The referee of trainings in this process."""

    def __init__(self, study: Any, asked: Any) -> None:
        self.study, self.asked = study, asked

    def hopeless(self, number: int, step: int, value: float) -> bool:
        self.asked.report(value, step)
        return bool(self.asked.should_prune())


def tell(study: Any, asked: Any, outcome: Trial) -> Trial:
    """Into the study."""
    states = _optuna().trial.TrialState
    state = {"done": states.COMPLETE, "pruned": states.PRUNED, "failed": states.FAIL}[outcome.state]
    if outcome.why:
        asked.set_user_attr("why", outcome.why)
    study.tell(asked, outcome.value if outcome.state == "done" else None, state=state)
    return outcome


def finished(study: Any) -> list[Any]:
    states = _optuna().trial.TrialState
    found = study.get_trials(deepcopy=False, states=(states.COMPLETE, states.PRUNED, states.FAIL))
    # what was interrupted is tried again under another number, and does not count
    return [trial for trial in found if trial.state != states.FAIL or "why" in trial.user_attrs]


def best(study: Any, folder: Path) -> Trial:
    states = _optuna().trial.TrialState
    complete = study.get_trials(deepcopy=False, states=(states.COMPLETE,))
    if not complete:
        whys = [trial.user_attrs.get("why", "pruned") for trial in finished(study)]
        raise QualityError(
            "E_SEARCH_FAILED",
            f"no trial of {folder} came to an end",
            whys[-1] if whys else "there was none",
            "narrow [search.space]",
        )
    trial = min(complete, key=lambda one: one.value)
    return Trial(trial.number, trial.params, folder / f"trial-{trial.number:04d}", "done", trial.value)


def value_of(found: Evaluation) -> float:
    """An evaluation as one number, lower is better."""
    goal = found.figures[found.goal]
    return BROKEN * found.shortfall + (-goal if found.goal in HIGHER_IS_BETTER else goal)


def _first_steps(recipe: Recipe) -> int:
    return recipe.search.warmup * recipe.quality.every


def _optuna() -> Any:
    try:
        import optuna
    except ModuleNotFoundError:
        raise DeviceError(
            "E_EXTRA_MISSING", "a search needs Optuna", next="pip install 'allaprima[search]'"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
