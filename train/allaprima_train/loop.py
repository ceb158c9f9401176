"""The training loop. It knows steps, files and the order of things, and no method.

What a step does is state.py, what is told journal.py, what figures decide judge.py, several processes team.py.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn

from allaprima.errors import UsageError
from allaprima.settings import nearest

from .adapters import adapt, is_adapter
from .augment import Augment
from .data import find_pictures, fingerprint, split
from .features import load_features
from .frame_model import to_unit
from .journal import Journal, Silent, Step, require_tracker
from .judge import Evaluation, Judge, forget, require_terms, rule
from .objectives import Objective, make_objective, objective_features, objective_streams
from .objectives.beside import with_losses_beside
from .recipe import Recipe, Train
from .run import Run
from .sheet import sheet
from .state import State, numbers
from .streams import Stream, batches, every_picture, unreadable
from .team import Alone, Team, team
from .transfer import begin_with, read_weights

__all__ = ["Evaluation", "State", "Step", "train"]

log = logging.getLogger(__name__)


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
    on_evaluation: Callable[[Evaluation], None] = lambda evaluation: None,
) -> Run:
    """Train as the recipe says, into the folder `run`; `stop_at` saves and ends early.

    `resume` goes on from the last save. There `recipe` must be the run's own but for the keys in `may_change`
    (`train.learning_rate`); what they change is recorded in the run. Started by torchrun, this is one process of
    several: team.py.

    Raises UsageError E_SETTING for a recipe that is not the run's, InputError, OutputError (E_OUTPUT_BUSY where another
    training goes on in that folder), and QualityError E_TRAIN_NAN when a loss is no longer a number: the last
    checkpoint stays as it was.
    """
    changes = run.changed_by(recipe, may_change) if resume else {}
    before = run.recipe() if resume else recipe
    require_tracker(recipe.train.tracker)
    together = team(device)
    torch.manual_seed(recipe.seed)
    state, streams, judge, told = prepared(recipe, together, features, afresh=not resume)
    with run.alone() if together.rank == 0 else nullcontext():
        if resume:
            changes |= state.load(run)
            told += [f"the optimiser of {player} begins without its memory" for player in state.afresh]
            forget(before, recipe, state.factors, state.remembered, other_eyes="features" in changes)
            if together.rank == 0:
                run.change(recipe, changes, state.done)
        elif together.rank == 0:
            run.begin(recipe)
        _, held_out = split(find_pictures(recipe.data.content), recipe.data.held_out, recipe.seed)

        first, settings = state.done, recipe.train
        last = min(settings.steps, stop_at or settings.steps)
        samples = batches(
            streams, settings.batch, first, last, recipe.data.workers, share=(together.rank, together.size)
        )
        with (
            Journal(run, first, settings.tracker) if together.rank == 0 else Silent() as journal,
            told_at_the_end(journal, state, streams, together),
        ):
            for text in told:
                journal.event(first, text)
            if recipe.quality.steer and not resume:
                journal.event(first, rule(recipe.quality))
            began = time.perf_counter()
            for step, sampled in enumerate(samples, start=first):
                if judge is not None and judge.exhausted(state.remembered):
                    break  # a resume of what had stopped early
                learning_rate = state.rate
                terms, norms = state.step(to_batch(sampled, together.place))
                done = step + 1
                if done % settings.log_every == 0 or done == last or done == 1:
                    rate = (done - first) * settings.batch / (time.perf_counter() - began)
                    values = numbers(state.shared(terms), done)
                    report = Step(
                        done, settings.steps, state.weighted(values), values, learning_rate, rate, norms
                    )
                    journal.step(report)
                    if together.rank == 0:
                        on_step(report)
                evaluation = None
                if judge is not None and (done % recipe.quality.every == 0 or done == settings.steps):
                    numbers(state.shared(terms), done)
                    measured = judge.measure(state.average.module) if together.rank == 0 else {}
                    evaluation = judge.judge(
                        done, together.from_first(measured), state.factors, state.remembered
                    )
                    journal.evaluation(evaluation, state.factors)
                if evaluation is not None or done % settings.save_every == 0 or done == last:
                    numbers(state.shared(terms), done)
                    newest = judge is None or "best" not in state.remembered
                    state.save(run, weights=newest if evaluation is None else evaluation.best)
                stops = evaluation is not None and evaluation.stop
                if together.rank == 0 and (done % settings.sample_every == 0 or done == last or stops):
                    journal.sample(done, sheet(recipe, state.average.module, held_out))
                if evaluation is not None and together.rank == 0:
                    on_evaluation(evaluation)
                if stops:
                    journal.event(
                        done, f"stopped: {recipe.quality.patience} evaluations without a better snapshot"
                    )
                    break
        return run


@contextmanager
def told_at_the_end(
    journal: Journal | Silent, state: State, streams: Mapping[str, Stream], together: Team
) -> Iterator[None]:
    """Whatever ends the training: which pictures were skipped, by any of the processes; after an error by this one,
    because the others may not come to be asked."""
    asked: Team = Alone()
    try:
        yield
        asked = together
    finally:
        read, lost = sorted(every_picture(streams)), set(unreadable(streams))
        share = torch.tensor([float(path in lost) for path in read], device=asked.place)
        asked.average([share])
        if found := [path for path, skipped in zip(read, share.tolist(), strict=True) if skipped]:
            journal.event(
                state.done,
                f"{len(found)} of {len(read)} pictures could not be read and were skipped: "
                + ", ".join(map(str, found)),
            )


def prepared(
    recipe: Recipe, together: Team, features: Path | None, *, afresh: bool
) -> tuple[State, Mapping[str, Stream], Judge | None, list[str]]:
    """What a training needs before its first step: its state, what it reads, who judges it, and what is to be told of
    how it begins. `afresh`: not on a resume, which has its weights from the checkpoint."""
    streams = objective_streams(recipe)
    trained, held_out = split(find_pictures(recipe.data.content), recipe.data.held_out, recipe.seed)
    origin = {"pictures": fingerprint(trained, held_out)}
    origin |= {
        f"pictures.{name}": fingerprint(stream.pictures, ())
        for name, stream in streams.items()
        if name != "content" and stream.pictures
    }
    looks = bool(objective_features(recipe.method) or recipe.quality.every)
    network = load_features(features).to(together.place) if looks else None
    if network is not None:
        origin["features"] = network.origin
    objective = make_objective(recipe, network)
    require_together(objective, recipe.train, together.size)
    objective = with_losses_beside(recipe, objective)
    require_terms(recipe.quality, objective.weights)
    generator = objective.networks["generator"]
    told: list[str] = []
    if recipe.transfer.init_from and afresh:
        weights = read_weights(recipe.transfer.init_from)
        origin["init_from"] = weights.origin
        taken = begin_with(generator, weights, only_what_fits=recipe.transfer.only_what_fits)
        told.append(f"began with {taken}")
    if recipe.transfer.adapters:
        said = with_adapters(recipe, generator)
        told += [said] if afresh else []
    # not `target` and `pictures`, which are varied as the `content` that they belong to, nor what is no picture
    can_vary = [name for name in ("content", "style") if name in streams]
    if stray := sorted(set(recipe.augment.streams) - set(can_vary)):
        belong = {"target", "pictures"} & set(stray) & streams.keys()
        raise UsageError(
            "E_SETTING",
            f"[augment] streams cannot be {', '.join(stray)}{nearest(stray[0], can_vary)}",
            f"of the method {recipe.method} can be varied: {', '.join(can_vary)}",
            'write streams = ["content"]: what belongs to a photograph is varied as it is' if belong else "",
        )
    if recipe.augment.discriminator and not any("discriminator" in name for name in objective.networks):
        raise UsageError(
            "E_SETTING",
            "[augment] discriminator has nothing to vary for",
            f"the method {recipe.method} has no discriminator",
            "take it out",
        )
    state = State(
        objective,
        recipe.train,
        together.place,
        origin,
        seed=recipe.seed,
        transfer=recipe.transfer,
        team=together,
        prepare=Augment(recipe.augment),
    )
    judge = Judge(recipe, network, held_out) if recipe.quality.every and network is not None else None
    if recipe.train.compile:
        generator.compile()
    return state, streams, judge, told


def require_together(objective: Objective, settings: Train, processes: int) -> None:
    """Raises UsageError E_SETTING where a loss that looks at several pictures of a batch would see fewer."""
    pieces, least = settings.accumulate * processes, min(getattr(objective, "together", 1), settings.batch)
    if settings.batch % pieces == 0 and settings.batch // pieces < least:
        raise UsageError(
            "E_SETTING",
            f"[train] batch = {settings.batch} cannot be computed in {pieces} pieces",
            f"a loss of this method looks at {least} pictures together at least",
            f"take a batch of {least * pieces}, a smaller accumulate or fewer processes",
        )


def with_adapters(recipe: Recipe, generator: nn.Module) -> str:
    """Give the generator its adapters; in words, how much of it they are."""
    before = sum(p.numel() for p in generator.parameters())
    layers = adapt(generator, recipe.transfer.adapters, recipe.transfer.adapt)
    own = sum(p.numel() for name, p in generator.named_parameters() if is_adapter(name))
    what = f"adapters of rank {recipe.transfer.adapters} on {len(layers)} layers"
    return f"{what} train {own / before:.1%} of the generator"


def to_batch(sampled: Mapping[str, Tensor], place: torch.device) -> dict[str, Tensor]:
    """Samples as a method sees them: bytes become float in [0, 1], batches of pictures lie channels last."""
    batch: dict[str, Tensor] = {}
    for name, values in sampled.items():
        moved = values.to(place)
        if moved.dtype == torch.uint8:
            moved = to_unit(moved)
        batch[name] = moved.contiguous(memory_format=torch.channels_last) if moved.ndim == 4 else moved
    return batch
