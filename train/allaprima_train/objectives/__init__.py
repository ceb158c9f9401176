"""Training methods, one page each. The loop knows none of them.

An objective owns its networks, says who is optimised in turn (`players`: a perceptual method has one, a GAN
two), and computes the named loss terms of one player on one batch. The loop multiplies each term by its weight,
sums, differentiates and steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor, nn

from allaprima.errors import UsageError
from allaprima.settings import nearest

if TYPE_CHECKING:
    from ..recipe import Recipe

__all__ = ["OBJECTIVES", "Objective", "make_objective", "objective_settings"]


class Objective(Protocol):
    networks: nn.ModuleDict
    """Everything with weights that train; 'generator' is what ships."""
    players: Mapping[str, nn.Module]
    """Who takes an optimiser step in turn, and whose parameters move."""
    weights: dict[str, float]
    """The factor of each loss term."""

    def terms(self, player: str, batch: Tensor) -> dict[str, Tensor]:
        """Named, unweighted losses of `player` on (N, 3, H, W) float RGB in [0, 1]."""


# method: (module, its settings, its objective)
OBJECTIVES = {"perceptual": (".perceptual", "PerceptualSettings", "Perceptual")}


def objective_settings(method: str) -> type[Any]:
    """The dataclass of the method's own settings. Raises UsageError E_SETTING for an unknown method."""
    module, settings, _ = _entry(method)
    kind: type[Any] = getattr(import_module(module, __name__), settings)
    return kind


def make_objective(recipe: Recipe, features: Any) -> Objective:
    module, _, kind = _entry(recipe.method)
    objective: Objective = getattr(import_module(module, __name__), kind)(recipe, features)
    return objective


def _entry(method: str) -> tuple[str, str, str]:
    if method not in OBJECTIVES:
        raise UsageError(
            "E_SETTING",
            f"there is no method {method!r}{nearest(method, OBJECTIVES)}",
            next=f"choose one of {', '.join(OBJECTIVES)}",
        )
    return OBJECTIVES[method]
