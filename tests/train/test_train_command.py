"""`allaprima train` as it is typed: run folders, resuming, and what the terminal shows."""

import argparse
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import tomlkit
from rich.console import Console

from allaprima.errors import OutputError, UsageError
from allaprima_train import cli
from allaprima_train.loop import Step
from allaprima_train.recipe import Recipe, to_table
from allaprima_train.run import Run


@pytest.fixture
def command(
    recipe: Callable[..., Recipe], features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., int]:
    """`command("--resume")`: trains small.toml in an empty working folder; another first word is another recipe."""
    monkeypatch.chdir(tmp_path)
    made = recipe("train.steps=4", "train.save_every=2")
    Path("small.toml").write_text(tomlkit.dumps(to_table(made)))

    def run(*words: str, of: str = "small.toml") -> int:
        parser = argparse.ArgumentParser()
        cli.add_arguments(parser)
        return cli.run(parser.parse_args([of, "--features", str(features), "--json", *words]))

    return run


def test_a_run_is_called_after_the_recipe_and_is_not_overwritten_unasked(command: Callable[..., int]) -> None:
    assert command("--set", "train.steps=2") == 0
    before = Path("runs/small/weights.safetensors").read_bytes()
    with pytest.raises(OutputError, match="--resume, --overwrite or another --out"):
        command()
    assert Path("runs/small/weights.safetensors").read_bytes() == before
    assert command("--overwrite", "--set", "train.steps=3") == 0
    run = Run(Path("runs/small"))
    assert run.load_checkpoint()[1]["step"] == 3
    steps = [json.loads(line)["step"] for line in run.log_file.read_text().splitlines()]
    assert sorted(set(steps)) == steps, "lines of the run before"


def test_what_a_training_begins_with_is_not_written_over(command: Callable[..., int]) -> None:
    """A recipe of the name that its start has, too: it would take the place of what it reads."""
    assert command("--set", "train.steps=2") == 0
    before = Path("runs/small/weights.safetensors").read_bytes()
    again = ("--set", "transfer.init_from='runs/small'")
    its_file = ("--set", "transfer.init_from='runs/small/weights.safetensors'")
    for way in (again, (*again, "--overwrite"), (*its_file, "--overwrite")):
        with pytest.raises(UsageError, match="runs/small is what this training learns from"):
            command(*way)
    assert Path("runs/small/weights.safetensors").read_bytes() == before
    assert command(*again, "--out", "runs/other", "--set", "train.steps=1") == 0


def test_resume_takes_the_runs_own_recipe_and_set_changes_it(
    command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    command("--set", "train.steps=2")
    with pytest.raises(UsageError, match="train.steps is 2 there and 4 here"):
        command("--resume")
    assert command("--resume", of="runs/small/recipe.toml") == 0  # where it was: nothing left to do
    capsys.readouterr()
    assert command("--resume", "--set", "train.steps=4", "--set", "train.learning_rate=5e-4") == 0
    assert [json.loads(line)["step"] for line in capsys.readouterr().out.splitlines()] == [3, 4]
    run = Run(Path("runs/small"))
    assert run.recipe().train.learning_rate == 5e-4
    assert {change.key: (change.old, change.new) for change in run.changes()} == {
        "train.steps": (2, 4),
        "train.learning_rate": (1e-3, 5e-4),
    }


def test_the_progress_line_fits_in_80_columns() -> None:
    terms = dict.fromkeys(("structure", "style", "variation", "shift", "grid", "border"), 0.5)
    with cli.Progress(as_json=False) as progress:
        progress.step(Step(11990, 12000, 123.456, terms, 1e-3, 123.4))
        screen = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
        screen.print(progress.bar.get_renderable())
    line = screen.file.getvalue().rstrip("\n")  # type: ignore[attr-defined]
    assert len(line.splitlines()) == 1
    for part in (
        "training",
        "\u2501\u2501\u2501\u2501",
        "11990/12000",
        "loss 123.456",
        "123.4 pictures/s",
        "left",
    ):
        assert part in line


def test_the_time_left_of_a_resumed_training_counts_from_where_it_went_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1000.0]
    monkeypatch.setattr("rich.console.monotonic", lambda: now[0])
    with cli.Progress(as_json=False) as progress:
        now[0] += 60  # loading
        for step in (5010, 5020, 5030):
            progress.step(Step(step, 6000, 1.0, {}, 1e-3, 1.0))
            now[0] += 10
        assert progress.bar.tasks[0].time_remaining == pytest.approx(970, rel=0.05)
