"""The training loop. It knows steps, rates, precision, averages and files, and no method."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import numpy as np
import torch
from PIL import Image as Pictures
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from allaprima.errors import InputError, QualityError, UsageError

from .data import find_pictures, fingerprint, split
from .features import load_features
from .frame_model import to_unit
from .objectives import Objective, make_objective, objective_features, objective_streams
from .recipe import Recipe, Train
from .run import Run, load_strictly
from .sheet import sheet
from .streams import batches

__all__ = ["Step", "train"]

log = logging.getLogger(__name__)

AFTER_NAN = (
    "the last checkpoint is good: go on from it with --resume --set train.learning_rate=..., a lower one"
)


@dataclass(frozen=True)
class Step:
    """What a step did, for the log and the progress bar."""

    step: int
    steps: int
    loss: float
    """The weighted sum of the terms."""
    terms: dict[str, float]
    learning_rate: float
    pictures_per_s: float
    gradient_norm: dict[str, float] = field(default_factory=dict)


def train(
    recipe: Recipe,
    run: Run,
    *,
    resume: bool = False,
    may_change: Collection[str] = (),
    features: Path | None = None,
    device: str | None = None,
    stop_at: int | None = None,
    on_step: Callable[[Step], None] = lambda step: None,
) -> Run:
    """Train as the recipe says, into the folder `run`; `stop_at` saves and ends early.

    `resume` goes on from the last save. There `recipe` must be the run's own but for the keys in `may_change`
    (`train.learning_rate`); what they change is recorded in the run.

    Raises UsageError E_SETTING for a recipe that is not the run's, InputError, OutputError, and QualityError
    E_TRAIN_NAN when a loss is no longer a number: the last checkpoint stays as it was.
    """
    changes = run.changed_by(recipe, may_change) if resume else {}
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    torch.manual_seed(recipe.seed)
    streams = objective_streams(recipe)
    trained, held_out = split(find_pictures(recipe.data.content), recipe.data.held_out, recipe.seed)
    origin = {"pictures": fingerprint(trained, held_out)}
    origin |= {
        f"pictures.{name}": fingerprint(stream.pictures, ())
        for name, stream in streams.items()
        if name != "content" and stream.pictures
    }
    network = load_features(features).to(place) if objective_features(recipe.method) else None
    if network is not None:
        origin["features"] = network.origin
    state = State(make_objective(recipe, network), recipe.train, place, origin)
    if resume:
        changes |= state.load(run)
        run.change(recipe, changes, state.done)
    else:
        run.begin(recipe)

    first = state.done
    last = min(recipe.train.steps, stop_at or recipe.train.steps)
    samples = batches(streams, recipe.train.batch, first, last, recipe.data.workers)
    with Log(run, first) as journal:
        began = time.perf_counter()
        for step, sampled in enumerate(samples, start=first):
            learning_rate = state.rate
            terms, norms = state.step(to_batch(sampled, place))
            done = step + 1
            if done % recipe.train.log_every == 0 or done == last or done == 1:
                rate = (done - first) * recipe.train.batch / (time.perf_counter() - began)
                values = numbers(terms, done)
                report = Step(
                    done, recipe.train.steps, state.weighted(values), values, learning_rate, rate, norms
                )
                journal.step(report)
                on_step(report)
            if done % recipe.train.save_every == 0 or done == last:
                numbers(terms, done)
                state.save(run)
            if done % recipe.train.sample_every == 0 or done == last:
                journal.sample(done, sheet(recipe, state.average.module, held_out))
    return run


def to_batch(sampled: Mapping[str, Tensor], place: torch.device) -> dict[str, Tensor]:
    """Samples as a method sees them: bytes become float in [0, 1], batches of pictures lie channels last."""
    batch: dict[str, Tensor] = {}
    for name, values in sampled.items():
        moved = values.to(place)
        if moved.dtype == torch.uint8:
            moved = to_unit(moved)
        batch[name] = moved.contiguous(memory_format=torch.channels_last) if moved.ndim == 4 else moved
    return batch


def numbers(terms: Mapping[str, Tensor], step: int) -> dict[str, float]:
    """The terms as floats; raises where one is not finite, before anything is saved from it."""
    values = {name: float(term.detach()) for name, term in terms.items()}
    wrong = [name for name, value in values.items() if not math.isfinite(value)]
    if wrong:
        raise QualityError(
            "E_TRAIN_NAN",
            f"the loss {' and '.join(wrong)} is not a number at step {step}",
            "the weights have diverged",
            AFTER_NAN,
        )
    return values


class State:
    """Everything that a checkpoint holds: networks, averages, optimisers, random numbers, the step."""

    def __init__(
        self,
        objective: Objective,
        settings: Train,
        place: torch.device,
        origin: Mapping[str, str] | None = None,
    ) -> None:
        """`origin`: what else decides about the weights and is in no recipe; kept with them."""
        self.objective, self.settings, self.place = objective, settings, place
        self.origin = dict(origin or {})
        # channels_last *and* bf16: on CPUs each alone gains little, together 5 to 20 times
        objective.networks.to(place, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.averages = {
            name: AveragedModel(
                network,
                multi_avg_fn=lambda average, new, steps: move_average(
                    list(average), list(new), int(steps), settings.ema
                ),
            )
            for name, network in objective.networks.items()
            if name.startswith("generator")
        }
        self.optimisers = {
            name: torch.optim.Adam(player.parameters(), lr=settings.learning_rate, betas=settings.betas)
            for name, player in objective.players.items()
        }
        self.done = 0  # steps; the rate is a function of it, so that the schedule has no state of its own

    @property
    def average(self) -> AveragedModel:
        """Of the generator that ships."""
        return self.averages["generator"]

    @property
    def rate(self) -> float:
        return self.settings.learning_rate * rate_factor(self.done, self.settings)

    def weighted(self, values: Mapping[str, float]) -> float:
        """The one number that goes down."""
        return sum(self.objective.weights[name] * value for name, value in values.items())

    def step(self, batch: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, float]]:
        """One optimiser step of every player; its loss terms, and its gradient's norm before clipping."""
        all_terms: dict[str, Tensor] = {}
        norms: dict[str, float] = {}
        for name, player in self.objective.players.items():
            enabled = self.settings.precision == "bf16"
            with torch.autocast(self.place.type, torch.bfloat16, enabled=enabled):
                terms = self.objective.terms(name, batch)
            loss = torch.stack([self.objective.weights[key] * term for key, term in terms.items()]).sum()
            self.optimisers[name].zero_grad(set_to_none=True)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(player.parameters(), self.settings.gradient_clip)
            norms[name] = float(norm)
            if not math.isfinite(norms[name]):
                numbers(terms, self.done + 1)  # names the term, if a term is to blame
                raise QualityError(
                    "E_TRAIN_NAN",
                    f"the gradient of {name} is not a number",
                    "the weights have diverged",
                    AFTER_NAN,
                )
            for group in self.optimisers[name].param_groups:
                group["lr"] = self.rate
            self.optimisers[name].step()
            all_terms |= {key: term.detach() for key, term in terms.items()}
        for name, average in self.averages.items():
            average.update_parameters(self.objective.networks[name])
        self.done += 1
        return all_terms, norms

    def save(self, run: Run) -> None:
        tensors = {f"network.{name}": t for name, t in self.objective.networks.state_dict().items()}
        for name, average in self.averages.items():
            tensors |= {f"{_average(name)}{key}": t for key, t in average.state_dict().items()}
        tensors["random.cpu"] = torch.get_rng_state()
        if self.place.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(self.place)
        for name, optimiser in self.optimisers.items():
            for index, slots in optimiser.state_dict()["state"].items():
                tensors |= {f"optimiser.{name}.{index}.{slot}": value for slot, value in slots.items()}
        run.save_checkpoint(tensors, {"step": self.done, **self.origin})
        for name, average in self.averages.items():
            run.save_weights(average.module, {"step": str(self.done), **self.origin}, name)

    def load(self, run: Run) -> dict[str, tuple[str, str]]:
        """Take up a checkpoint. Answers what of its origin is another one now: name -> (then, now)."""
        tensors, state = run.load_checkpoint()
        changed = {
            name: (state[name], now)
            for name, now in self.origin.items()
            if state.get(name, now) != now  # older checkpoints do not say
        }
        if "pictures" in changed:
            raise InputError(
                "E_RUN_INVALID",
                f"cannot resume {run.folder}",
                "its photographs have changed: others would be held out, and some of those were trained on",
                "restore [data] content, held_out and seed, or begin a new run",
            )
        if moved := [name.removeprefix("pictures.") for name in changed if name.startswith("pictures.")]:
            raise InputError(
                "E_RUN_INVALID",
                f"cannot resume {run.folder}",
                f"its pictures for {' and '.join(moved)} have changed",
                "restore them, or begin a new run",
            )
        if state["step"] > self.settings.steps:
            raise UsageError(
                "E_SETTING",
                f"cannot resume {run.folder} with [train] steps = {self.settings.steps}",
                f"it has done {state['step']} already",
            )
        load_strictly(self.objective.networks, under(tensors, "network."), str(run.folder))
        for name, average in self.averages.items():
            load_strictly(average, under(tensors, _average(name)), str(run.folder))
        for name, optimiser in self.optimisers.items():
            slots: dict[int, dict[str, Tensor]] = {}
            for key, value in under(tensors, f"optimiser.{name}.").items():
                index, slot = key.split(".", 1)
                slots.setdefault(int(index), {})[slot] = value
            optimiser.load_state_dict({**optimiser.state_dict(), "state": slots})
        torch.set_rng_state(tensors["random.cpu"])
        if "random.cuda" in tensors and self.place.type == "cuda":
            torch.cuda.set_rng_state(tensors["random.cuda"], self.place)
        self.done = int(state["step"])
        return changed


def rate_factor(step: int, settings: Train) -> float:
    """Of the peak rate: a linear rise over `warmup` steps, then as `schedule` says."""
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    progress = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    if settings.schedule == "constant":
        return 1.0
    if settings.schedule == "linear":
        return min(1.0, 2 * (1 - progress))
    return 0.02 + 0.98 * (1 + math.cos(math.pi * min(1.0, progress))) / 2


@torch.no_grad()
def move_average(average: list[Tensor], new: list[Tensor], steps: int, decay: float) -> None:
    """Exponential moving average with a short memory at first, or the first samples show the starting weights."""
    torch._foreach_lerp_(average, new, 1 - min(decay, (1 + steps) / (10 + steps)))


def _average(network: str) -> str:
    """Prefix of its average in a checkpoint: `average.`, of `generator_back` `average_back.`."""
    return f"average{network.removeprefix('generator')}."


def under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


class Log:
    """log.jsonl, TensorBoard and the sample pictures of a run."""

    def __init__(self, run: Run, first: int) -> None:
        """`first`: the steps that are done; what the log has after them is cut off."""
        from torch.utils.tensorboard import SummaryWriter

        self.run = run
        run.cut_log(first)
        self.file: TextIO = open(run.log_file, "a", encoding="utf-8")  # noqa: SIM115
        self.board = SummaryWriter(str(run.board), purge_step=first + 1)

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self.board.close()

    def step(self, report: Step) -> None:
        line = {
            "step": report.step,
            "loss/total": report.loss,
            **{f"loss/{key}": value for key, value in report.terms.items()},
            "learning_rate": report.learning_rate,
            "pictures_per_s": round(report.pictures_per_s, 3),
            **{f"gradient_norm/{key}": value for key, value in report.gradient_norm.items()},
        }
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()
        for key, value in line.items():
            if key != "step":
                self.board.add_scalar(key, value, report.step)

    def sample(self, step: int, picture: Pictures.Image | None) -> None:
        if picture is None:  # no held-out picture can be read, and each was named
            return
        picture.save(self.run.samples / f"step-{step:06d}.png")
        self.board.add_image("samples", np.asarray(picture), step, dataformats="HWC")
