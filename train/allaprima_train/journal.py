"""What a training tells while it runs: log.jsonl, curves for TensorBoard or Weights & Biases, sample pictures."""

from __future__ import annotations

import io
import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TextIO, cast

import numpy as np
from PIL import Image as Pictures

from allaprima.errors import DeviceError
from allaprima.files import write_error, write_whole

from .judge import Evaluation
from .run import Run

__all__ = ["Journal", "Silent", "Step", "require_tracker"]

log = logging.getLogger(__name__)


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


class Journal:
    """log.jsonl, a tracker and the sample pictures of a run."""

    def __init__(self, run: Run, first: int, tracker: str) -> None:
        """`first`: the steps that are done; what the log has after them is cut off."""
        self.run = run
        run.cut_log(first)
        self.file: TextIO = open(run.log_file, "a", encoding="utf-8")  # noqa: SIM115
        self.tracker: Tracker = TRACKERS[tracker](run, first)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self.tracker.close()

    def step(self, report: Step) -> None:
        self._line(
            report.step,
            {
                "loss/total": report.loss,
                **{f"loss/{key}": value for key, value in report.terms.items()},
                "learning_rate": report.learning_rate,
                "pictures_per_s": round(report.pictures_per_s, 3),
                **{f"gradient_norm/{key}": value for key, value in report.gradient_norm.items()},
            },
        )

    def evaluation(self, found: Evaluation, factors: Mapping[str, float]) -> None:
        self._line(
            found.step,
            {
                **{f"quality/{key}": value for key, value in found.figures.items()},
                "quality/shortfall": found.shortfall,
                "quality/best": found.best,
                **{f"weight/{term}": factor for term, factor in factors.items()},
            },
        )
        log.info("%s", found.line)

    def event(self, step: int, text: str) -> None:
        """Something to know later that is no number."""
        self._write({"step": step, "event": text})
        log.info("step %d: %s", step, text)

    def sample(self, step: int, picture: Pictures.Image | None) -> None:
        if picture is None:  # no held-out picture can be read, and each was named
            return
        stored = io.BytesIO()
        picture.save(stored, "PNG")
        write_whole(self.run.samples / f"step-{step:06d}.png", stored.getvalue())
        self.tracker.picture(step, picture)

    def _line(self, step: int, numbers: Mapping[str, float]) -> None:
        self._write({"step": step, **numbers})
        self.tracker.numbers(step, numbers)

    def _write(self, line: Mapping[str, object]) -> None:
        try:
            self.file.write(json.dumps(line) + "\n")
            self.file.flush()
        except OSError as error:
            raise write_error(self.run.log_file, error) from None


class Silent:
    """The journal of every process but the first."""

    def __enter__(self) -> Silent:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def step(self, report: Step) -> None:
        pass

    def evaluation(self, found: Evaluation, factors: Mapping[str, float]) -> None:
        pass

    def event(self, step: int, text: str) -> None:
        pass

    def sample(self, step: int, picture: Pictures.Image | None) -> None:
        pass


class Tracker(Protocol):
    def numbers(self, step: int, numbers: Mapping[str, float]) -> None: ...
    def picture(self, step: int, picture: Pictures.Image) -> None: ...
    def close(self) -> None: ...


class TensorBoard:
    def __init__(self, run: Run, first: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        put_first(run.board)
        self.board = SummaryWriter(str(run.board), purge_step=first + 1)

    def numbers(self, step: int, numbers: Mapping[str, float]) -> None:
        for key, value in numbers.items():
            self.board.add_scalar(key, value, step)

    def picture(self, step: int, picture: Pictures.Image) -> None:
        self.board.add_image("samples", np.asarray(picture), step, dataformats="HWC")

    def close(self) -> None:
        self.board.close()


def put_first(board: Path) -> None:
    """Give a resumed run's older files names before the one that is opened next.

    TensorBoard reads them in the order of their names, `events.out.tfevents.SECOND.HOST.PROCESS.COUNT`, and what it
    reads last is what counts after a resume. In one second the tenth file sorts before the ninth, and after a clock
    was set back every new one sorts before the old.
    """
    files = sorted(board.glob("*events.out.tfevents.*"))
    if not files or files[-1].name < f"events.out.tfevents.{int(time.time()):010d}":
        return
    for order, file in enumerate(files):
        file.replace(file.with_name(f"{order:04d}.{file.name[file.name.index('events') :]}"))


class WeightsAndBiases:
    """Files under RUN/wandb; nothing leaves the machine unless WANDB_MODE=online, or `wandb sync` later."""

    def __init__(self, run: Run, first: int) -> None:
        self.wandb = wandb = _wandb()
        self.session: Any = wandb.init(
            project="allaprima",
            name=run.folder.name,
            dir=str(run.folder),
            mode=cast(Any, os.environ.get("WANDB_MODE", "offline")),
            config={"recipe": run.recipe_file.read_text("utf-8"), "first_step": first},
            settings=wandb.Settings(silent=True, disable_git=True, save_code=False, console="off"),
        )

    def numbers(self, step: int, numbers: Mapping[str, float]) -> None:
        self.session.log(dict(numbers), step=step)

    def picture(self, step: int, picture: Pictures.Image) -> None:
        self.session.log({"samples": self.wandb.Image(picture)}, step=step)

    def close(self) -> None:
        self.session.finish()


def _wandb() -> Any:
    # it tells its makers of its own failures by default
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    try:
        import wandb
    except ModuleNotFoundError:
        raise DeviceError(
            "E_EXTRA_MISSING",
            "the tracker wandb needs Weights & Biases",
            next="pip install 'allaprima[wandb]', or --set train.tracker=tensorboard",
        ) from None
    return wandb


def require_tracker(name: str) -> None:
    """Raises DeviceError E_EXTRA_MISSING for a tracker that is not installed: before a folder is written over."""
    if name == "wandb":
        _wandb()


class NoTracker:
    def __init__(self, run: Run, first: int) -> None:
        pass

    def numbers(self, step: int, numbers: Mapping[str, float]) -> None:
        pass

    def picture(self, step: int, picture: Pictures.Image) -> None:
        pass

    def close(self) -> None:
        pass


TRACKERS: dict[str, Callable[[Run, int], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "none": NoTracker,
}
