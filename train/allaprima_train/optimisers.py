"""How gradients become steps, and what a checkpoint has to know of it.

adam   AdamW (Loshchilov 2019) of torch
soap   SOAP (Vyas 2024) of pytorch-optimizer: Adam in the eigenbasis of Shampoo's statistics of each kernel. A step
       costs more - products and a QR decomposition of matrices of the kernels' sides, whatever the crops' size - and
       a small network without norm needs far fewer of them: docs/quality.md
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .recipe import Train

__all__ = ["make_optimiser", "put_together", "taken_apart"]

SIDE = 512  # of a kernel: a statistic of longer ones would cost more than it gives
FORGET = 10  # steps between two looks for the eigenbasis, as published


def make_optimiser(settings: Train, groups: Mapping[float, Sequence[nn.Parameter]]) -> Optimizer:
    """For `groups`: share of the rate -> parameters."""
    parameters = [{"params": list(group), "share": share} for share, group in groups.items()]
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimiser == "adam":
        return torch.optim.AdamW(parameters, lr=rate, betas=settings.betas, weight_decay=decay)
    from pytorch_optimizer import SOAP  # two seconds, for those who take it

    made: Optimizer = SOAP(
        parameters,
        lr=rate,
        betas=settings.betas,
        weight_decay=decay,
        precondition_frequency=FORGET,
        max_precondition_dim=SIDE,
    )
    return made


def taken_apart(optimiser: Optimizer, prefix: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Its state as named tensors, and the rest as what JSON can say: for `put_together`."""
    tensors: dict[str, Tensor] = {}
    state = optimiser.state_dict()
    slots = {str(index): _apart(slot, f"{prefix}{index}", tensors) for index, slot in state["state"].items()}
    return tensors, {"slots": slots, "steps": [group.get("step") for group in state["param_groups"]]}


def put_together(
    optimiser: Optimizer, tensors: Mapping[str, Tensor], rest: Mapping[str, Any], places: Sequence[int]
) -> None:
    """Take up a state; rates and other settings stay those of now. The n-th parameter's memory is that of the
    `places[n]`-th there: groups may have been others."""
    state, slots = optimiser.state_dict(), rest["slots"]
    state["state"] = {
        index: _together(slots[str(place)], tensors)
        for index, place in enumerate(places)
        if str(place) in slots
    }
    steps = [step for step in rest["steps"] if step is not None]  # all groups step together
    for group in state["param_groups"] if steps else ():
        group["step"] = max(steps)
    optimiser.load_state_dict(state)


def _apart(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        tensors[name] = value
        return {"tensor": name, "strides": value.stride()}
    if isinstance(value, dict):
        return {"of": {key: _apart(part, f"{name}.{key}", tensors) for key, part in value.items()}}
    if isinstance(value, list):
        return [_apart(part, f"{name}.{number}", tensors) for number, part in enumerate(value)]
    return value


def _together(said: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(said, list):
        return [_together(part, tensors) for part in said]
    if not isinstance(said, dict):
        return said
    if "tensor" in said:
        kept = tensors[said["tensor"]]
        # in the order of memory that it had, or products of matrices round otherwise
        return torch.empty_strided(kept.shape, said["strides"], dtype=kept.dtype).copy_(kept)
    return {key: _together(part, tensors) for key, part in said["of"].items()}
