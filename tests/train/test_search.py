"""A search: real trainings of four steps, resumed, pruned, failed, and refused."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from allaprima.errors import DeviceError, OutputError, QualityError, UsageError
from allaprima_train.judge import Evaluation, Judge
from allaprima_train.recipe import Recipe
from allaprima_train.run import Run
from allaprima_train.tables import Range

pytest.importorskip("optuna")

from allaprima_train import search as searching
from allaprima_train.search import Trial, search, setting, value_of

Recipes = Callable[..., Recipe]

SPACE = (
    "quality.every=1",
    "quality.side=96",
    "quality.goal='psnr_db'",
    "search.trials=3",
    "search.steps=2",
    "search.warmup=0",
    'search.space={"train.learning_rate" = {low=1e-5, high=1e-2, log=true}, "train.batch" = {choices=[1, 2]}}',
)


@pytest.fixture
def seen() -> list[Trial]:
    return []


@pytest.fixture
def by_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """A goal that is the learning rate itself, in thousandths: the search has an answer that is known."""
    monkeypatch.setattr(
        Judge, "measure", lambda self, net: {"psnr_db": 1e3 * self.recipe.train.learning_rate, "ssim": 1.0}
    )


def test_every_trial_is_a_run_and_the_best_is_told(
    recipe: Recipes, features: Path, tmp_path: Path, seen: list[Trial], by_rate: None
) -> None:
    found = search(recipe(*SPACE), tmp_path / "search", features=features, on_trial=seen.append)
    assert [trial.number for trial in seen] == [0, 1, 2]
    rates = {trial.number: trial.settings["train.learning_rate"] for trial in seen if trial.state == "done"}
    assert found.number == max(rates, key=lambda number: rates[number])
    made = Run(found.folder).recipe()
    assert made.train.learning_rate == found.settings["train.learning_rate"]
    assert made.train.batch == found.settings["train.batch"]
    assert made.train.steps == 2
    assert Run(found.folder).generator()[1]["step"] in "12"
    assert found.value == pytest.approx(-1e3 * made.train.learning_rate)


class Killed(BaseException):
    """As Ctrl-C or a signal."""


def test_a_search_that_was_killed_tries_the_same_settings_again_and_no_trial_twice(
    recipe: Recipes,
    features: Path,
    tmp_path: Path,
    seen: list[Trial],
    by_rate: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, asked = searching.train, []

    def dies_in_the_second(made: Recipe, run: Run, **rest: Any) -> Run:
        asked.append(made.train.learning_rate)
        if len(asked) == 2:
            raise Killed
        return real(made, run, **rest)

    monkeypatch.setattr(searching, "train", dies_in_the_second)
    with pytest.raises(Killed):
        search(recipe(*SPACE), tmp_path / "search", features=features, on_trial=seen.append)
    search(recipe(*SPACE), tmp_path / "search", features=features, on_trial=seen.append)
    assert asked[2] == asked[1]
    assert len(asked) == 4  # one done, one killed and tried again, one more
    assert [trial.state for trial in seen].count("failed") == 0
    before = len(asked)
    search(recipe(*SPACE), tmp_path / "search", features=features)
    assert len(asked) == before  # all are done
    search(recipe(*SPACE, "search.trials=4"), tmp_path / "search", features=features)
    assert len(asked) == before + 1
    assert len(set(asked)) == len(asked) - 1  # nothing but the killed one is tried twice


def test_a_second_search_in_the_folder_is_refused_and_the_first_loses_nothing(
    recipe: Recipes,
    features: Path,
    tmp_path: Path,
    seen: list[Trial],
    by_rate: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, refused = searching.train, []
    made = recipe(*SPACE, "search.trials=1")

    def twice(one: Recipe, run: Run, **rest: Any) -> Run:
        """The same command, in another window, while this trial trains."""
        monkeypatch.setattr(searching, "train", real)
        with pytest.raises(OutputError, match=r"cannot search in .*another search goes on there") as caught:
            search(made, tmp_path / "search", features=features)
        refused.append(caught.value.code)
        return real(one, run, **rest)

    monkeypatch.setattr(searching, "train", twice)
    search(made, tmp_path / "search", features=features, on_trial=seen.append)
    assert refused == ["E_OUTPUT_BUSY"]
    assert [(trial.number, trial.state) for trial in seen] == [(0, "done")]


def test_a_hopeless_trial_is_given_up(
    recipe: Recipes, features: Path, tmp_path: Path, seen: list[Trial], monkeypatch: pytest.MonkeyPatch
) -> None:
    worse = iter(range(100))
    monkeypatch.setattr(Judge, "measure", lambda self, net: {"psnr_db": -float(next(worse)), "ssim": 1.0})
    made = recipe(*SPACE, "search.trials=4")
    search(made, tmp_path / "search", features=features, on_trial=seen.append)
    assert [trial.state for trial in seen] == ["done", "done", "done", "pruned"]
    lines = [json.loads(line) for line in Run(seen[3].folder).log_file.read_text().splitlines()]
    assert max(line["step"] for line in lines) == 1


def test_a_trial_that_diverges_fails_and_the_search_goes_on(
    recipe: Recipes, features: Path, tmp_path: Path, seen: list[Trial], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "propose", lambda asked, key, space: (1e30, 1e-3)[asked.number])
    made = recipe(*SPACE, "train.gradient_clip=1e30", "search.trials=2", "search.steps=3")
    made = replace(
        made, search=replace(made.search, space={"train.learning_rate": Range(low=1e-3, high=1e30)})
    )
    found = search(made, tmp_path / "search", features=features, on_trial=seen.append)
    assert [trial.state for trial in seen] == ["failed", "done"]
    assert "not numbers" in seen[0].line
    assert found.number == 1


def test_a_trial_too_large_for_the_memory_fails_alone(
    recipe: Recipes, features: Path, tmp_path: Path, seen: list[Trial], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = searching.train

    def train(made: Recipe, run: Run, **others: object) -> Run:
        if run.folder.name == "trial-0000":
            raise torch.OutOfMemoryError("out of memory: tried to allocate 80 GiB")
        return plain(made, run, **others)  # type: ignore[arg-type]

    monkeypatch.setattr(searching, "train", train)
    search(
        recipe(*SPACE, "search.trials=2", "search.steps=2"),
        tmp_path / "search",
        features=features,
        on_trial=seen.append,
    )
    assert [(trial.number, trial.state) for trial in seen] == [(0, "failed"), (1, "done")]


def test_bounds_come_before_the_goal() -> None:
    kept = Evaluation(1, {"psnr_db": 10.0}, 0.0, "psnr_db", True, {}, False)
    broken = Evaluation(1, {"psnr_db": 60.0}, 0.1, "psnr_db", True, {}, False)
    assert value_of(kept) < value_of(broken)
    style = Evaluation(1, {"style_distance": 0.2}, 0.0, "style_distance", True, {}, False)
    assert value_of(style) == 0.2


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (("search.space={}",), r"\[search\.space\] is empty"),
        (("quality.every=0",), r"\[quality\] every is 0"),
        (('search.space={"train.learning_rat" = {low=1, high=2}}',), "did you mean 'learning_rate'"),
        (('search.space={"train.batch" = {low=0, high=2, whole=true}}',), "batch = 0"),
        (('search.space={"train.batch" = {high=2}}',), "needs low and high, or choices"),
    ],
)
def test_a_space_that_the_recipe_does_not_have_is_refused_at_once(
    recipe: Recipes, tmp_path: Path, settings: tuple[str, ...], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        search(recipe(*SPACE, *settings), tmp_path / "search")
    assert not (tmp_path / "search").exists()


def test_another_recipe_does_not_go_on_with_a_search(
    recipe: Recipes, features: Path, tmp_path: Path, by_rate: None
) -> None:
    search(recipe(*SPACE, "search.trials=1"), tmp_path / "search", features=features)
    with pytest.raises(UsageError, match=r"data\.crop was 64 and is 72"):
        search(recipe(*SPACE, "data.crop=72"), tmp_path / "search", features=features)


def test_a_search_without_one_finished_trial_says_why(
    recipe: Recipes, features: Path, tmp_path: Path
) -> None:
    space = 'search.space={"train.learning_rate" = {choices=[1e30, 1e29]}}'
    made = recipe(*SPACE[:-1], space, "train.gradient_clip=1e30", "search.trials=1", "search.steps=4")
    with pytest.raises(QualityError, match="not numbers") as caught:
        search(made, tmp_path / "search", features=features)
    assert caught.value.code == "E_SEARCH_FAILED"


def test_settings_of_every_type_reach_the_recipe(recipe: Recipes) -> None:
    made = setting(
        recipe(*SPACE), {"generator.size": "small", "data.flip": False, "train.ema": 0.5, "train.batch": 4}
    )
    assert (made.generator.size, made.data.flip, made.train.ema, made.train.batch) == ("small", False, 0.5, 4)
    assert made.search.space == {}


def test_a_cluster_trains_the_trials_and_gives_up_the_hopeless(
    recipe: Recipes, features: Path, tmp_path: Path, seen: list[Trial]
) -> None:
    """On this machine, with real processes; a limit on the whole, because Ray waits for ever when it waits."""
    pytest.importorskip("ray", reason="the extra dist is not installed")
    made = recipe(*SPACE, "search.trials=2", "search.minutes=2")
    found = search(made, tmp_path / "search", features=features, cluster="local", on_trial=seen.append)
    assert sorted(trial.number for trial in seen) == [0, 1]
    assert [trial.state for trial in seen] == ["done", "done"]
    assert Run(found.folder).generator()[1]["step"] in "12"
    assert found.value == min(trial.value for trial in seen if trial.value is not None)


def test_a_cluster_that_is_not_there_says_so(
    recipe: Recipes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(DeviceError, match=r"allaprima\[dist\]"):
        search(recipe(*SPACE), tmp_path / "search", cluster="local")
