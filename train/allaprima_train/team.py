"""Several processes that train one network: torchrun starts them, Lightning Fabric connects them.

    torchrun --nproc-per-node 4 -m allaprima train recipe.toml

Each takes its share of every batch, gradients are averaged before the step, so every process holds the same weights,
and the first one writes the files. The batch of the recipe is the whole one: with more processes the same training
is done faster. Gradients are averaged here rather than by DDP's hooks, because a method computes its losses as it
likes, not in one `forward`; a player's gradients go in one piece, which for networks of this size is what matters.
"""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Iterable, Mapping
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from allaprima.errors import DeviceError, UsageError

__all__ = ["Alone", "Team", "require_device", "team"]

T = TypeVar("T")


class Team(Protocol):
    rank: int
    """0 writes."""
    size: int
    place: torch.device

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace each by its mean over all processes."""

    def from_first(self, value: T) -> T:
        """The first process's value, for all."""


class Alone:
    """One process."""

    rank, size = 0, 1

    def __init__(self, place: torch.device | str = "cpu") -> None:
        self.place = torch.device(place)

    def average(self, tensors: Iterable[Tensor]) -> None:
        pass

    def from_first(self, value: T) -> T:
        return value


class Several:
    """Those that torchrun started: gloo between CPUs, NCCL between GPUs."""

    def __init__(self, device: str | None, environment: Mapping[str, str]) -> None:
        try:
            from lightning_fabric import Fabric
        except ModuleNotFoundError:
            raise DeviceError(
                "E_EXTRA_MISSING",
                "training on several processes needs Lightning Fabric",
                next="pip install 'allaprima[scale]'",
            ) from None
        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it greets on every process
        name = device or _usual()
        require_device(name)
        kind = name.split(":")[0]
        if kind not in ("cpu", "cuda"):
            raise DeviceError(
                "E_DEVICE",
                f"cannot train on several devices {name}",
                "processes that torchrun started compute on processors, or each on a GPU of its own by CUDA",
                "take --device cpu or --device cuda, or leave torchrun away",
            )
        here = int(environment.get("LOCAL_WORLD_SIZE", environment["WORLD_SIZE"]))
        self.fabric: Any = Fabric(
            accelerator=kind,
            devices=here,
            num_nodes=int(environment["WORLD_SIZE"]) // here,
            strategy="ddp",
        )
        self.fabric.launch()
        atexit.register(_part)
        self.rank, self.size = int(self.fabric.global_rank), int(self.fabric.world_size)
        self.place: torch.device = self.fabric.device

    def average(self, tensors: Iterable[Tensor]) -> None:
        parts = list(tensors)
        if not parts:
            return
        mean = self.fabric.all_reduce(
            torch.cat([part.detach().float().reshape(-1) for part in parts]), reduce_op="mean"
        )
        for part, piece in zip(parts, mean.split([part.numel() for part in parts]), strict=True):
            part.copy_(piece.view(part.shape))

    def from_first(self, value: T) -> T:
        sent: T = self.fabric.broadcast(value, src=0)
        return sent


def team(device: str | None = None, environment: Mapping[str, str] | None = None) -> Team:
    """The processes that torchrun started, or this one alone on `device` (default: a GPU where there is one).

    Raises DeviceError E_DEVICE as `require_device` does, and for several that are neither processors nor CUDA's.
    """
    around = os.environ if environment is None else environment
    if int(around.get("WORLD_SIZE", "1")) > 1:
        return Several(device, around)
    name = device or _usual()
    require_device(name)
    return Alone(name)


def require_device(name: str) -> None:
    """Raises DeviceError E_DEVICE for one that PyTorch does not know, or does not have here."""
    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError) as error:  # the latter is what a build for processors only says
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        here = ["--device cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
        raise DeviceError(
            "E_DEVICE", f"cannot train on the device {name}", why, f"take {' or '.join(here)}"
        ) from None


def _part() -> None:
    """Fabric does so for NCCL only. Gloo's threads that outlive the interpreter end the process with "terminate called
    without an active exception", now and then, after its work is done (PyTorch's issue 190489)."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _usual() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def require_divisible(batch: int, parts: int, what: str) -> None:
    """Raises UsageError E_SETTING where a batch cannot be shared evenly: the mean of means would be another mean."""
    if batch % parts:
        raise UsageError(
            "E_SETTING",
            f"[train] batch = {batch} cannot be divided into {parts}",
            what,
            f"take a batch of {-(-batch // parts) * parts}",
        )
