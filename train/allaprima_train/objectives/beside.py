"""Losses that go beside any method's: against flicker ([temporal]) and towards a set of works ([culture]).

    temporal_difference   mean of ((p2 - p1) - (x2 - x1))²: what changes in the painting is what changes in the
                          picture (the frame difference of arXiv 2102.05822, in pixels), for a picture x1 and the
                          same moved, a little brighter or darker, and with noise. No optical flow is needed, in
                          training or after.
    temporal_noise        mean of (p(x1 + noise) - p1)² over the noise's own: 1 is a painting as restless as the
                          picture, and the square of what `flicker` measures
    culture_colour, culture_texture, culture_line      culture/losses.py

They join the terms of the player that the generator belongs to. What they look at is painted once more, of half of
the batch, with another setting of the controls at every step:
a method's own painting is its own affair. Deviation from the paper: the frames are synthetic, and the difference is
taken where each picture is, not after warping, so a move counts as change in both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor

from allaprima.errors import UsageError

from ..culture.losses import CultureLoss
from ..data import find_pictures
from ..frame_model import paint
from ..generators import Generator, enlarged
from ..generators.controls import as_tensors, positions
from ..recipe import Recipe
from . import Objective
from .painting import as_seen, inside

__all__ = ["Beside", "with_losses_beside"]

BRIGHTER = 0.05  # standard deviation of the second frame's light, as a share


def with_losses_beside(recipe: Recipe, objective: Objective) -> Objective:
    """The objective with the losses of [temporal] and [culture] where they have a weight, else as it is.

    Raises UsageError E_SETTING where these make no sense, InputError for a reference that cannot be read.
    """
    temporal, culture = recipe.temporal, recipe.culture
    weights = {
        "temporal_difference": temporal.difference_weight,
        "temporal_noise": temporal.noise_weight,
        "culture_colour": culture.colour_weight,
        "culture_texture": culture.texture_weight,
        "culture_line": culture.line_weight,
    }
    wanted = {name: weight for name, weight in weights.items() if weight}
    if not wanted:
        return objective
    if any(name.startswith("culture") for name in wanted) and not culture.reference:
        raise UsageError(
            "E_SETTING",
            "[culture] has weights and no reference",
            next='name the works: reference = ["paintings"]',
        )
    if getattr(objective.networks["generator"], "pictures", 1) != 1:
        raise UsageError(
            "E_SETTING",
            f"[temporal] and [culture] cannot go beside the method {recipe.method}",
            "its generator paints one picture from several",
        )
    return Beside(recipe, objective, wanted)


class Beside:
    def __init__(self, recipe: Recipe, objective: Objective, weights: Mapping[str, float]) -> None:
        self.objective, self.settings = objective, recipe.temporal
        shrinks = getattr(objective, "shrinks", 1)
        self.context = recipe.data.context // shrinks
        """In pixels of the `content`."""
        self.networks, self.players = objective.networks, objective.players
        self.own = dict(weights)
        self.weights = (
            objective.weights
        )  # the same table: what a method changes in it, it changes for the loop
        self.weights |= self.own
        painters = {id(p) for p in self.networks["generator"].parameters()}
        self.painter = next(
            name for name, network in self.players.items() if painters & {id(p) for p in network.parameters()}
        )
        self.culture: CultureLoss | None = None
        if any(name.startswith("culture") for name in weights):
            works = find_pictures(recipe.culture.reference, "[culture] reference")
            crop = recipe.data.crop * cast(Generator, self.networks["generator"]).scale // shrinks
            self.culture = CultureLoss(works, recipe.culture.side, crop, recipe.seed)

    def terms(self, player: str, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        terms = self.objective.terms(player, batch)
        if player == self.painter:
            content = batch["content"]
            terms |= self._beside(content[: max(1, len(content) // 2)])
        return terms

    def _beside(self, given: Tensor) -> dict[str, Tensor]:
        """The terms on (N, 3, H, W) photographs with context."""
        generator = cast(Generator, self.networks["generator"])
        scale, most = generator.scale, min(self.settings.motion, self.context // 2)
        height, width = (side - 2 * most for side in given.shape[-2:])
        seen = (self.context - most) * scale

        def frame(down: int, right: int) -> Tensor:
            return given[..., most + down : most + down + height, most + right : most + right + width]

        # another setting of the controls at each step, so that all domains and codes become steady
        settings = [None, *positions(generator.controls).values()]  # None: the defaults
        chosen = settings[int(torch.randint(len(settings), ()))] if len(settings) > 1 else None
        controls = as_tensors(generator.controls, chosen, given.device)

        def seen_of(pictures: Tensor) -> Tensor:
            return as_seen(inside(paint(generator, pictures, controls=controls), seen))

        first = frame(0, 0)
        painted = seen_of(first)
        found: dict[str, Tensor] = {}
        if "temporal_difference" in self.own:
            down, right = (int(n) for n in torch.randint(-most, most + 1, (2,)))
            light = 1 + BRIGHTER * torch.randn(len(given), 1, 1, 1, device=given.device)
            second = (frame(down, right) * light + self._noise(first)).clamp(0, 1)
            change = seen_of(second) - painted
            found["temporal_difference"] = (
                (change - inside(enlarged(second - first, scale), seen)).square().mean()
            )
        if "temporal_noise" in self.own:
            grainy = (first + self._noise(first)).clamp(0, 1)
            restless = seen_of(grainy) - painted
            own = inside(grainy - first, self.context - most).square().mean().clamp(min=1e-8)
            found["temporal_noise"] = restless.square().mean() / own
        if self.culture is not None:
            of_parts = self.culture.to(painted.device)(painted)
            found |= {f"culture_{part}": loss for part, loss in of_parts.items()}
        return {name: loss for name, loss in found.items() if name in self.own}

    def _noise(self, like: Tensor) -> Tensor:
        return torch.randn_like(like) * (self.settings.noise / 255)
