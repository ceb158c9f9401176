"""Where the curves go: TensorBoard (tested with resuming), Weights & Biases offline, nowhere."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from allaprima.errors import DeviceError, UsageError
from allaprima_train.loop import train
from allaprima_train.recipe import Recipe
from allaprima_train.run import Run

Recipes = Callable[..., Recipe]


def test_without_a_tracker_the_log_is_complete(recipe: Recipes, features: Path, tmp_path: Path) -> None:
    run = train(recipe("train.steps=2", "train.tracker='none'"), Run(tmp_path / "run"), features=features)
    assert len([json.loads(line) for line in run.log_file.read_text().splitlines()]) == 2
    assert not run.board.exists()


def test_weights_and_biases_writes_its_files_and_stays_offline(
    recipe: Recipes, features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb", reason="the extra wandb is not installed")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))  # it writes its settings there
    run = train(recipe("train.steps=2", "train.tracker='wandb'"), Run(tmp_path / "run"), features=features)
    (session,) = run.folder.glob("wandb/offline-run-*")
    (written,) = session.glob("run-*.wandb")
    deadline = time.monotonic() + 20  # a process of its own writes the file, and ends after us
    while b"loss/style" not in written.read_bytes() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert b"loss/style" in written.read_bytes()
    assert not run.board.exists()


def test_a_tracker_that_is_not_installed_names_the_extra(
    recipe: Recipes, features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train(recipe("train.steps=1"), Run(tmp_path / "run"), features=features)
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(DeviceError, match=r"allaprima\[wandb\]"):
        train(recipe("train.tracker='wandb'"), run, features=features)
    assert run.generator()[1]["step"] == "1"  # before anything of the earlier run is gone


def test_a_tracker_that_does_not_exist_is_refused(recipe: Recipes) -> None:
    with pytest.raises(UsageError, match="'tensorboard', 'wandb' or 'none'"):
        recipe("train.tracker='mlflow'")
