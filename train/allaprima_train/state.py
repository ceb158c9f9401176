"""What a checkpoint holds, and the one step that changes it: networks, averages, optimisers, the number of steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from allaprima.errors import InputError, QualityError, UsageError

from .adapters import is_adapter, merged
from .objectives import Objective
from .optimisers import make_optimiser, put_together, taken_apart
from .recipe import Train
from .run import Run, load_strictly
from .tables import Transfer
from .team import Alone, Team, require_divisible
from .transfer import fitting

__all__ = ["State", "numbers"]

AFTER_NAN = (
    "the last checkpoint is good: go on from it with --resume --set train.learning_rate=..., a lower one"
)


class State:
    def __init__(
        self,
        objective: Objective,
        settings: Train,
        place: torch.device,
        origin: Mapping[str, str] | None = None,
        *,
        seed: int = 0,
        transfer: Transfer | None = None,
        team: Team | None = None,
        prepare: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]] = lambda batch: batch,
    ) -> None:
        """`origin`: what else decides about the weights and is in no recipe; kept with them. `prepare`: done to every
        batch, with the step's own random numbers."""
        self.objective, self.settings, self.place = objective, settings, place
        self.origin = dict(origin or {})
        self.seed, self.prepare = seed, prepare
        self.transfer, self.team = transfer or Transfer(), team or Alone(place)
        parts = self.team.size * settings.accumulate
        require_divisible(settings.batch, parts, f"{self.team.size} processes x [train] accumulate")
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
        self.names = self._names()
        self.moving = self._what_moves()
        self.optimisers = {player: make_optimiser(settings, groups) for player, groups in self.moving.items()}
        self.done = 0  # steps; the rate is a function of it, so that the schedule has no state of its own
        self.factors: dict[str, float] = {}
        """Of loss terms whose weight is steered; the others' is 1."""
        self.remembered: dict[str, Any] = {}
        """What the judge of quality has to know after a resume; numbers and words."""
        self.afresh: list[str] = []
        """Players whose optimiser had to begin without its memory at a resume."""

    @property
    def average(self) -> AveragedModel:
        """Of the generator that ships."""
        return self.averages["generator"]

    @property
    def rate(self) -> float:
        return self.settings.learning_rate * rate_factor(self.done, self.settings)

    def weight(self, term: str) -> float:
        return self.objective.weights[term] * self.factors.get(term, 1.0)

    def weighted(self, values: Mapping[str, float]) -> float:
        """The one number that goes down."""
        return sum(self.weight(name) * value for name, value in values.items())

    def step(self, batch: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, float]]:
        """One optimiser step of every player; its loss terms, and its gradient's norm before clipping.

        `batch` is this process's share. It is computed in `accumulate` pieces; every player steps, in turn, when the
        last piece has been its. Random numbers are a function of seed, step and process, so that a resume needs to
        know nothing of them.
        """
        chance = np.random.SeedSequence((self.seed, self.done, self.team.rank))
        torch.manual_seed(int(chance.generate_state(1)[0]))
        batch = self.prepare(batch)
        pieces = self.settings.accumulate
        sums: dict[str, Tensor] = {}
        norms: dict[str, float] = {}
        for optimiser in self.optimisers.values():
            optimiser.zero_grad(set_to_none=True)
        for number in range(pieces):
            piece = {name: values.chunk(pieces)[number] for name, values in batch.items()}
            for player in self.objective.players:
                terms = self._differentiate(player, piece)
                sums |= {name: sums.get(name, 0) + term / pieces for name, term in terms.items()}
                if number == pieces - 1:
                    norms[player] = self._move(player, sums)
        for name, average in self.averages.items():
            average.update_parameters(self.objective.networks[name])
        self.done += 1
        return sums, norms

    def shared(self, terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Loss terms as means over all processes."""
        means = {name: term.detach().clone() for name, term in terms.items()}
        self.team.average(means.values())
        return means

    def save(self, run: Run, *, weights: bool = True) -> None:
        """A checkpoint, and the weights that ship unless an earlier snapshot's are better. Only the first process
        writes.

        Weights first: between the two, the folder has a checkpoint that leads to these weights again.
        """
        if self.team.rank:
            return
        if weights:
            for name, average in self.averages.items():
                run.save_weights(merged(average.module), {"step": str(self.done), **self.origin}, name)
        tensors = {f"network.{name}": t for name, t in self.objective.networks.state_dict().items()}
        for name, average in self.averages.items():
            tensors |= {f"{_average(name)}{key}": t for key, t in average.state_dict().items()}
        state = {"step": self.done, "factors": self.factors, "remembered": self.remembered}
        for name, optimiser in self.optimisers.items():
            found, kept = taken_apart(optimiser, f"optimiser.{name}.")
            state[f"optimiser.{name}"] = {**kept, "kind": self.settings.optimiser, "of": self._order(name)}
            tensors |= found
        run.save_checkpoint(tensors, {**state, **self.origin})

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
            self._remember(name, optimiser, tensors, state[f"optimiser.{name}"])
        self.done = int(state["step"])
        if "init_from" in state:
            self.origin["init_from"] = state["init_from"]
        self.factors, self.remembered = dict(state["factors"]), dict(state["remembered"])
        return changed

    def _remember(
        self, player: str, optimiser: Optimizer, tensors: Mapping[str, Tensor], kept: Mapping[str, Any]
    ) -> None:
        """Give an optimiser its memory back, to each parameter its own. Another kind of optimiser, or parameters that
        did not move before, begin without."""
        now = self._order(player)
        # older checkpoints do not say
        then = kept.get("of", now if len(kept["slots"]) == len(now) else [])
        if kept.get("kind", self.settings.optimiser) == self.settings.optimiser and set(now) <= set(then):
            put_together(optimiser, tensors, kept, [then.index(name) for name in now])
        else:
            self.afresh.append(player)

    def _order(self, player: str) -> list[str]:
        """Names of what moves, as the optimiser counts them."""
        return [self.names[id(p)] for group in self.moving[player].values() for p in group]

    def _names(self) -> dict[int, str]:
        """Of every parameter that may move, by its id."""
        names = {id(p): name for name, p in self.objective.networks.named_parameters()}
        for player, network in self.objective.players.items():  # not in a network, yet somebody's
            names |= {
                id(p): f"{player}.{name}" for name, p in network.named_parameters() if id(p) not in names
            }
        return names

    def _what_moves(self) -> dict[str, dict[float, list[nn.Parameter]]]:
        """Player -> share of the learning rate -> parameters. What is frozen is in none."""
        names, chosen, every = self.names, self.transfer, list(self.names.values())
        frozen = fitting(chosen.freeze, every, "freeze")
        share = {name: chosen.rates[at] for name, at in fitting(list(chosen.rates), every, "rates").items()}
        moving: dict[str, dict[float, list[nn.Parameter]]] = {}
        for player, network in self.objective.players.items():
            groups: dict[float, list[nn.Parameter]] = {}
            for parameter in network.parameters():
                name = names[id(parameter)]
                beside = chosen.adapters and name.startswith("generator.") and not is_adapter(name)
                if not (beside or name in frozen or share.get(name) == 0):
                    groups.setdefault(share.get(name, 1.0), []).append(parameter)
            if not groups:
                raise UsageError(
                    "E_SETTING",
                    f"[transfer] freeze and rates leave nothing of {player} to train",
                    next="freeze less",
                )
            moving[player] = groups
        return moving

    def _differentiate(self, player: str, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Add the gradients of a piece to those of what this player moves, and of nothing else."""
        enabled = self.settings.precision == "bf16"
        with torch.autocast(self.place.type, torch.bfloat16, enabled=enabled):
            terms = self.objective.terms(player, batch)
        loss = torch.stack([self.weight(name) * term for name, term in terms.items()]).sum()
        parameters = [p for group in self.moving[player].values() for p in group]
        (loss / self.settings.accumulate).backward(inputs=parameters)
        return {name: term.detach() for name, term in terms.items()}

    def _move(self, player: str, terms: Mapping[str, Tensor]) -> float:
        """The optimiser step of a player whose gradients are complete; their norm before clipping."""
        parameters = [p for group in self.moving[player].values() for p in group]
        self.team.average(p.grad for p in parameters if p.grad is not None)
        norm = float(nn.utils.clip_grad_norm_(parameters, self.settings.gradient_clip))
        if not math.isfinite(norm):
            numbers(self.shared(terms), self.done + 1)  # names the term, if a term is to blame
            raise QualityError(
                "E_TRAIN_NAN",
                f"the gradient of {player} is not a number",
                "the weights have diverged",
                AFTER_NAN,
            )
        for group in self.optimisers[player].param_groups:
            group["lr"] = self.rate * group["share"]
        self.optimisers[player].step()
        return norm


def numbers(terms: Mapping[str, Tensor], step: int) -> dict[str, float]:
    """The terms as floats; raises where one is not finite, before anything is saved from it."""
    values = {name: float(term.detach()) for name, term in terms.items()}
    wrong = [name for name, value in values.items() if not math.isfinite(value)]
    if wrong:
        *others, last = wrong
        which = (
            f"losses {', '.join(others)} and {last} are not numbers"
            if others
            else f"loss {last} is not a number"
        )
        raise QualityError(
            "E_TRAIN_NAN",
            f"the {which} at step {step}",
            "the weights have diverged",
            AFTER_NAN,
        )
    return values


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
