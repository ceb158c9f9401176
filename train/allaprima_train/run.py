"""A run folder: what a training leaves behind, and what export and resume start from.

    recipe.toml               the recipe as used, every default written out
    weights.safetensors       the moving average of the generator's weights: what ships; where a method trains
                              several generators, weights_NAME.safetensors are the others
    checkpoint.safetensors    everything to go on with exactly; checkpoint-previous.safetensors is the one before
    changes.jsonl             what was changed on resume, and at which step; not there where nothing was
    log.jsonl                 a line per logged step
    samples/step-001000.png   held-out photographs, painted as the exported graph will paint them
    tensorboard/

Tensors are safetensors, the rest JSON: nothing in a run folder is executed when it is read.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from allaprima.errors import InputError, OutputError, UsageError
from allaprima.files import Lock, write_error, write_whole

from .objectives import shipped_generator
from .recipe import Recipe, differences, load_recipe, to_toml

__all__ = ["Change", "Run"]


@dataclass(frozen=True)
class Change:
    """A setting that was another one before `step`."""

    step: int
    key: str
    """As in `--set`: `train.learning_rate`. Besides: `features`, the weights of the feature network."""
    old: Any
    new: Any

    @property
    def line(self) -> str:
        return f"changed at step {self.step}: {self.key} {json.dumps(self.old)} -> {json.dumps(self.new)}"


@dataclass(frozen=True)
class Run:
    folder: Path

    @property
    def exists(self) -> bool:
        """Whether the folder is one. A bundle has a recipe.toml, too."""
        return self.recipe_file.is_file() and not (self.folder / "manifest.json").exists()

    @property
    def recipe_file(self) -> Path:
        return self.folder / "recipe.toml"

    @property
    def weights_file(self) -> Path:
        return self.folder / "weights.safetensors"

    @property
    def checkpoint_file(self) -> Path:
        return self.folder / "checkpoint.safetensors"

    @property
    def previous_file(self) -> Path:
        return self.folder / "checkpoint-previous.safetensors"

    @property
    def changes_file(self) -> Path:
        return self.folder / "changes.jsonl"

    @property
    def board(self) -> Path:
        return self.folder / "tensorboard"

    @property
    def log_file(self) -> Path:
        return self.folder / "log.jsonl"

    @property
    def samples(self) -> Path:
        return self.folder / "samples"

    def recipe(self) -> Recipe:
        """The recipe that this run used. Raises InputError where the folder is not a run."""
        if not self.recipe_file.is_file():
            raise InputError(
                "E_RUN_INVALID",
                f"{self.folder} is not a training run",
                "it has no recipe.toml",
                "name the folder that `allaprima train` wrote, runs/NAME",
            )
        return load_recipe(self.recipe_file)

    def alone(self) -> AbstractContextManager[None]:
        """Nobody else trains into this folder meanwhile: two would write over each other's checkpoints, and what came
        out would be neither's. Raises OutputError E_OUTPUT_BUSY where somebody does."""
        return alone_in(self.folder, "train", "another training")

    def begin(self, recipe: Recipe) -> None:
        """Make the folder and write the recipe as used. What an earlier run left in it goes: whoever resumes or
        exports before the first save must not find that one's weights."""
        try:
            self.samples.mkdir(parents=True, exist_ok=True)
            weights = self.folder.glob("weights*.safetensors")
            for file in (
                self.checkpoint_file,
                self.previous_file,
                self.changes_file,
                self.log_file,
                *weights,
            ):
                file.unlink(missing_ok=True)
            for sample in self.samples.glob("step-*.png"):
                sample.unlink()
            if self.board.exists():
                shutil.rmtree(self.board)
        except OSError as error:
            raise write_error(self.folder, error) from error
        self._write(recipe)

    def changed_by(self, recipe: Recipe, may_change: Collection[str] = ()) -> dict[str, tuple[Any, Any]]:
        """Where `recipe` differs from this run's own: key -> (old, new). `may_change` names keys or whole tables.

        Raises UsageError E_SETTING where others differ: the recipe as used would no longer be true.
        """
        changes = differences(self.recipe(), recipe)
        given = tuple(f"{key}." for key in may_change)
        wrong = [key for key in changes if not f"{key}.".startswith(given)]
        if wrong:
            listed = "; ".join(
                f"{key} is {json.dumps(changes[key][0])} there and {json.dumps(changes[key][1])} here"
                for key in wrong
            )
            raise UsageError(
                "E_SETTING",
                f"{self.folder} was begun with another recipe",
                listed,
                f"go on as it was: allaprima train {self.recipe_file} --resume; or name what to change with --set",
            )
        return changes

    def change(self, recipe: Recipe, changes: Mapping[str, tuple[Any, Any]], step: int) -> None:
        """Make `recipe` this run's own from `step` on, and keep a record of what it changed."""
        if not changes:
            return
        before = self.changes_file.read_bytes() if self.changes_file.exists() else b""
        lines = [vars(Change(step, key, old, new)) for key, (old, new) in changes.items()]
        write_whole(self.changes_file, before + "".join(json.dumps(line) + "\n" for line in lines).encode())
        self._write(recipe)

    def changes(self) -> list[Change]:
        """What was changed on resume, in order."""
        if not self.changes_file.exists():
            return []
        return [Change(**json.loads(line)) for line in self.changes_file.read_text("utf-8").splitlines()]

    def _write(self, recipe: Recipe) -> None:
        write_whole(self.recipe_file, to_toml(recipe).encode())

    def cut_log(self, step: int) -> None:
        """Leave the lines up to `step` in the log: what a killed training logged after its last save comes again."""
        if not self.log_file.exists():
            return
        kept = []
        for line in self.log_file.read_text("utf-8").splitlines():
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line + "\n")
            except ValueError:  # it was being written
                continue
        write_whole(self.log_file, "".join(kept).encode())

    def weights_of(self, network: str) -> Path:
        """The weights of `generator`, or of `generator_NAME` where a method trains several."""
        return self.weights_file.with_stem(f"weights{network.removeprefix('generator')}")

    def generator(self, network: str = "generator") -> tuple[nn.Module, dict[str, str]]:
        """A trained generator, and the notes saved with its weights (step, network, size).

        Raises InputError E_RUN_INVALID where the run has none of that name, E_WEIGHTS_MISMATCH.
        """
        from safetensors import safe_open

        recipe, weights_file = self.recipe(), self.weights_of(network)
        if not self.weights_file.is_file():
            raise InputError(
                "E_RUN_INVALID",
                f"{self.folder} has no weights.safetensors",
                "the training saved nothing yet",
                f"go on with it: allaprima train {self.recipe_file} --resume",
            )
        if not weights_file.is_file():
            raise InputError(
                "E_RUN_INVALID",
                f"{self.folder} has no {weights_file.name}",
                f"the method {recipe.method} trains no such generator",
                "leave --direction out",
            )
        with safe_open(weights_file, framework="pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            notes = dict(file.metadata() or {})
        generator = shipped_generator(recipe)
        load_strictly(generator, weights, str(weights_file))
        return generator.eval(), notes

    def save_weights(
        self, generator: nn.Module, notes: Mapping[str, str], network: str = "generator"
    ) -> None:
        from safetensors.torch import save

        weights = {name: tensor.contiguous() for name, tensor in generator.state_dict().items()}
        write_whole(self.weights_of(network), save(weights, dict(notes)))

    def save_checkpoint(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Write a new checkpoint; the one before stays until the next."""
        from safetensors.torch import save

        contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
        data = save(contiguous, {"state": json.dumps(state)})
        if self.checkpoint_file.exists():
            os.replace(self.checkpoint_file, self.previous_file)
        write_whole(self.checkpoint_file, data)

    def load_checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The newest checkpoint that can be read: (tensors, state)."""
        from safetensors import SafetensorError, safe_open

        reasons = []
        for file in (self.checkpoint_file, self.previous_file):
            try:
                with safe_open(file, framework="pt") as opened:
                    tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
                    return tensors, json.loads(opened.metadata()["state"])
            except (OSError, SafetensorError) as error:
                reasons.append(f"{file.name}: {error}")
        raise InputError(
            "E_RUN_INVALID",
            f"cannot resume {self.folder}",
            "; ".join(reasons),
            "start again with --overwrite instead of --resume",
        )


@contextmanager
def alone_in(folder: Path, what: str, who: str) -> Iterator[None]:
    """No other job of this kind works in `folder` meanwhile; it is made where it is missing. `what` and `who` are words
    for the OutputError E_OUTPUT_BUSY that is raised where one does: `train`, `another training`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:  # a file of that name among others
        raise write_error(folder, error) from error
    try:
        lock = Lock(folder / ".lock")
    except FileExistsError:
        raise OutputError(
            "E_OUTPUT_BUSY",
            f"cannot {what} in {folder}",
            f"{who} goes on there",
            "wait for it, or name another folder with --out",
        ) from None
    except OSError as error:
        raise write_error(folder, error) from error
    try:
        yield
    finally:
        lock.release()


def load_strictly(network: nn.Module, weights: Mapping[str, Tensor], where: str) -> None:
    """`load_state_dict` that says what differs. Raises InputError E_WEIGHTS_MISMATCH."""
    if differs := what_differs(network.state_dict(), weights):
        raise InputError(
            "E_WEIGHTS_MISMATCH",
            f"{where} holds another network",
            differs,
            "take the recipe that it was trained with",
        )
    network.load_state_dict(dict(weights))


def what_differs(ours: Mapping[str, Tensor], weights: Mapping[str, Tensor], most: int = 3) -> str:
    """In words, the first `most` findings; empty where names and shapes are the same."""
    differs = [f"lacks {name}" for name in ours if name not in weights]
    differs += [f"has {name} too much" for name in weights if name not in ours]
    differs += [
        f"{name} is {tuple(weights[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in ours.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    more = f" and {len(differs) - most} more" if len(differs) > most else ""
    return "; ".join(differs[:most]) + more
