"""A run folder: what a training leaves behind, and what export and resume start from.

    recipe.toml               the recipe as used, every default written out
    weights.safetensors       the moving average of the generator's weights: what ships
    checkpoint.safetensors    everything to go on with exactly; checkpoint-previous.safetensors is the one before
    log.jsonl                 a line per logged step
    samples/step-001000.png   held-out photographs, painted as the exported graph will paint them
    tensorboard/

Tensors are safetensors, the rest JSON: nothing in a run folder is executed when it is read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit
from torch import Tensor, nn

from allaprima.errors import InputError, OutputError

from .generators import make_generator
from .recipe import Recipe, load_recipe, to_table

__all__ = ["Run"]


@dataclass(frozen=True)
class Run:
    folder: Path

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

    def begin(self, recipe: Recipe) -> None:
        """Make the folder and write the recipe as used."""
        self.samples.mkdir(parents=True, exist_ok=True)
        text = tomlkit.dumps(_without_none(to_table(recipe)))
        write_whole(self.recipe_file, text.encode())

    def generator(self) -> tuple[nn.Module, dict[str, str]]:
        """The trained generator, and the notes saved with its weights (step, network, size)."""
        from safetensors import safe_open

        recipe = self.recipe()
        if not self.weights_file.is_file():
            raise InputError(
                "E_RUN_INVALID",
                f"{self.folder} has no weights.safetensors",
                "the training saved nothing yet",
                f"go on with it: allaprima train {self.recipe_file} --resume",
            )
        with safe_open(self.weights_file, framework="pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            notes = dict(file.metadata() or {})
        generator = make_generator(recipe.generator.network, recipe.generator.size)
        load_strictly(generator, weights, str(self.weights_file))
        return generator.eval(), notes

    def save_weights(self, generator: nn.Module, notes: Mapping[str, str]) -> None:
        from safetensors.torch import save

        weights = {name: tensor.contiguous() for name, tensor in generator.state_dict().items()}
        write_whole(self.weights_file, save(weights, dict(notes)))

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
            "start again without --resume",
        )


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that its name never stands for half of it. Raises OutputError E_OUTPUT_WRITE."""
    part = path.with_name(f".{path.name}.part")
    try:
        with open(part, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OutputError(
            "E_OUTPUT_WRITE",
            f"cannot write {path}",
            str(error),
            "what was saved before is still there; make room and resume",
        ) from None


def load_strictly(network: nn.Module, weights: Mapping[str, Tensor], where: str) -> None:
    """`load_state_dict` that says what differs. Raises InputError E_WEIGHTS_MISMATCH."""
    ours = network.state_dict()
    differs = [f"lacks {name}" for name in ours if name not in weights]
    differs += [f"has {name} too much" for name in weights if name not in ours]
    differs += [
        f"{name} is {tuple(weights[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in ours.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    if differs:
        more = f" and {len(differs) - 3} more" if len(differs) > 3 else ""
        raise InputError(
            "E_WEIGHTS_MISMATCH",
            f"{where} holds another network",
            "; ".join(differs[:3]) + more,
            "take the recipe that it was trained with",
        )
    network.load_state_dict(dict(weights))


def _without_none(value: Any) -> Any:
    """TOML has no null: a setting that is None is left out."""
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return value
