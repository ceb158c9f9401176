"""The trials of a search on a Ray cluster, as many at a time as it has room for.

The study stays in this process, which alone writes its file and holds the folder. Trainings run as Ray's tasks; they
tell their figures to a small actor, `Court`, and ask it whether to go on. So the folder has to be one that all machines
see, as for any training on several machines. A trial that a machine takes down with it, or that takes too long, fails,
and the search goes on.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from allaprima.errors import DeviceError

from .recipe import Recipe
from .search import Trial, finished, propose, run_trial, tell

__all__ = ["search_on_cluster"]

STARTING_S = 60.0  # how long a cluster may take to answer; without a limit Ray waits for ever


class Court:
    """What trainings tell and ask; lives beside them, so that they never wait for the driver."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int, float]] = []
        self.given_up: set[int] = set()

    def hopeless(self, number: int, step: int, value: float) -> bool:
        self.told.append((number, step, value))
        return number in self.given_up

    def news(self) -> list[tuple[int, int, float]]:
        told, self.told = self.told, []
        return told

    def give_up(self, number: int) -> None:
        self.given_up.add(number)


class Hearing:
    """The court as a training asks it."""

    def __init__(self, court: Any) -> None:
        self.court = court

    def hopeless(self, number: int, step: int, value: float) -> bool:
        import ray

        return bool(ray.get(self.court.hopeless.remote(number, step, value), timeout=STARTING_S))


def search_on_cluster(
    recipe: Recipe,
    folder: Path,
    study: Any,
    address: str,
    features: Path | None,
    device: str | None,
    on_trial: Callable[[Trial], None],
) -> None:
    """Train until the study has the recipe's number of trials. `address`: a cluster's, or `local` for this machine.

    Raises DeviceError E_EXTRA_MISSING without Ray, E_CLUSTER where the cluster does not answer.
    """
    ray = _ray(address)
    try:
        resources = ray.cluster_resources()
        # one processor stays free: Ray waits for ever where everything is taken (its issue 44687)
        room = max(1, int(resources.get("GPU", 0)) or int(resources.get("CPU", 1)) - 1)
        wants = {"num_gpus": 1} if resources.get("GPU") else {"num_cpus": 1}
        court = ray.remote(num_cpus=0)(Court).remote()
        task = ray.remote(max_retries=0, **wants)(run_trial)
        training: dict[Any, tuple[Any, dict[str, Any], float]] = {}
        while (done := len(finished(study))) < recipe.search.trials or training:
            while len(training) < room and done + len(training) < recipe.search.trials:
                asked = study.ask()
                settings = {key: propose(asked, key, space) for key, space in recipe.search.space.items()}
                words = (recipe, folder.resolve(), asked.number, settings, Hearing(court), features, device)
                training[task.remote(*words)] = asked, settings, time.monotonic()
            ready, _ = ray.wait(list(training), num_returns=1, timeout=0.5)
            _report(ray, court, {asked.number: asked for asked, _, _ in training.values()})
            for ref in list(training):
                asked, settings, began = training[ref]
                late = recipe.search.minutes and time.monotonic() - began > 60 * recipe.search.minutes
                if ref in ready:
                    on_trial(tell(study, asked, _outcome(ray, ref, asked.number, settings, folder)))
                elif late:
                    ray.cancel(ref, force=True)
                    why = f"it took more than {recipe.search.minutes:g} minutes"
                    on_trial(tell(study, asked, Trial(asked.number, settings, folder, "failed", None, why)))
                else:
                    continue
                del training[ref]
    finally:
        ray.shutdown()


def _report(ray: Any, court: Any, asked: dict[int, Any]) -> None:
    """Figures into the study, and its verdicts back to the court."""
    for number, step, value in ray.get(court.news.remote(), timeout=STARTING_S):
        if number in asked:
            asked[number].report(value, step)
            if asked[number].should_prune():
                court.give_up.remote(number)


def _outcome(ray: Any, ref: Any, number: int, settings: dict[str, Any], folder: Path) -> Trial:
    try:
        outcome: Trial = ray.get(ref, timeout=STARTING_S)
    except ray.exceptions.RayError as error:  # the machine or the process is gone
        return Trial(number, settings, folder, "failed", None, str(error).splitlines()[0])
    return outcome


def _ray(address: str) -> Any:
    """Ray, connected. It reports home by default: not from here."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_gcs_server_request_timeout_seconds", str(int(STARTING_S)))
    try:
        import ray
    except ModuleNotFoundError:
        raise DeviceError(
            "E_EXTRA_MISSING", "a search on a cluster needs Ray", next="pip install 'allaprima[dist]'"
        ) from None
    try:
        if address == "local":
            ray.init(address="local", include_dashboard=False, log_to_driver=False)
        else:
            ray.init(address=address, log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise DeviceError(
            "E_CLUSTER",
            f"the Ray cluster {address} does not answer",
            str(error).splitlines()[0] if str(error) else type(error).__name__,
            "start it (ray start --head), or take --cluster local",
        ) from None
    return ray
