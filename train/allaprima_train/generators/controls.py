"""Controls of a generator: numbers that are given with each picture and become inputs of the exported graph.

A generator names them (`controls`) and takes a float32 tensor for each after the picture, in that order: of the
control's own shape, the same for the whole batch, or with a batch axis in front.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from allaprima.manifest import Control

__all__ = ["Values", "as_tensors", "positions"]

Values = Mapping[str, Sequence[float]]
"""Values of some controls by name, numbers in the order of memory; the others have their default."""


def as_tensors(
    controls: Sequence[Control], values: Values | None = None, place: torch.device | str = "cpu"
) -> tuple[Tensor, ...]:
    """What a generator takes after the picture."""
    chosen = values or {}
    return tuple(
        torch.tensor(chosen.get(control.name, control.initial), dtype=torch.float32, device=place).reshape(
            control.shape
        )
        for control in controls
    )


def positions(controls: Sequence[Control]) -> dict[str, Values]:
    """Label -> values: settings of the controls that samples show and parity is judged at, defaults left out.

    A mixture: each of its parts alone, but for the default's own, and all alike. A single number: its two ends.
    Several numbers without names, a code: two that are drawn, always the same ones.
    """
    found: dict[str, Values] = {}
    for control in controls:
        count = len(control.initial)
        low, high = control.minimum, control.maximum
        if control.labels:
            tried = {
                label: tuple(high if i == place else low for i in range(count))
                for place, label in enumerate(control.labels)
            }
            tried["all"] = (high,) * count
        elif count == 1:
            tried = {f"{end:g}": (end,) for end in (low, high)}
        else:
            chance = np.random.default_rng(count)
            tried = {
                f"{number}": tuple(chance.standard_normal(count).clip(low, high).tolist())
                for number in (1, 2)
            }
        found |= {
            f"{control.name}={label}": {control.name: value}
            for label, value in tried.items()
            if value != control.initial
        }
    return found
