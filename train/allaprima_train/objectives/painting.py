"""What every page does with a painting: look at its inside, as it will be clipped, and hold it steady."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor

from allaprima.errors import UsageError

from .. import losses
from ..frame_model import paint
from ..generators import Generator

if TYPE_CHECKING:
    from ..recipe import Recipe

__all__ = [
    "REACH",
    "Steadiness",
    "as_seen",
    "border",
    "inside",
    "require_mobile",
    "steady",
    "without_details",
]

REACH = 96  # pixels: from farther away, mobile's convolutions cannot see where a picture ends
VARIANCE = 0.03  # of a painting for which the weights of `Steadiness` count as they are; Kodak: 0.027


@dataclass(frozen=True)
class Steadiness:
    """Against what networks with strides do, whatever else they learn: a table of a method's own."""

    shift_weight: Annotated[float, Ge(0)] = 10.0
    """Raise it against a woven pattern, and against flicker where things move; strokes become larger and softer."""
    grid_weight: Annotated[float, Ge(0)] = 20.0
    """Raise it when `allaprima export` measures a grid."""
    border_weight: Annotated[float, Ge(0)] = 10.0
    """Raise it when `allaprima export` measures a band along the border."""

    @property
    def weights(self) -> dict[str, float]:
        """Factors of the terms of `steady`."""
        return {"shift": self.shift_weight, "grid": self.grid_weight, "border": self.border_weight}


def require_mobile(recipe: Recipe, why: str) -> None:
    """Raises UsageError E_SETTING, with `why`, where the recipe names another network than mobile."""
    if recipe.generator.network != "mobile":
        raise UsageError(
            "E_SETTING",
            f"the method {recipe.method!r} cannot train the generator {recipe.generator.network!r}",
            why,
            'write [generator] network = "mobile"',
        )


def inside(x: Tensor, context: int) -> Tensor:
    """(N, C, H, W) without `context` pixels around: what losses may look at."""
    return x[..., context:-context, context:-context] if context else x


def as_seen(painted: Tensor) -> Tensor:
    """A painting clipped to [0, 1], as the runtime clips, fp32; its gradient passes the clip on the way in.

    With none out there, a pixel once out of range would never learn its way back. With all of it, a discriminator that
    wants it brighter than white drives it farther and farther: `cut` reached 10^7 within six steps.
    """
    clipped: Tensor = _Clip.apply(painted.float())
    return clipped


class _Clip(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, raw: Tensor) -> Tensor:
        context.save_for_backward(raw)
        return raw.clamp(0, 1)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        (raw,) = context.saved_tensors
        outwards = ((raw < 0) & (gradient > 0)) | (
            (raw > 1) & (gradient < 0)
        )  # a step goes against the gradient
        return gradient.masked_fill(outwards, 0)


def steady(
    chosen: Steadiness,
    generator: Generator,
    given: Tensor,
    painted: Tensor,
    context: int,
    controls: Sequence[Tensor] | None = None,
) -> dict[str, Tensor]:
    """The terms of `Steadiness.weights` that have a weight: mean squares; shift and border times VARIANCE over the
    painting's own variance.

    `painted` is what the generator made of `given`, (N, 3, H, W) both, context included, with these `controls`.
    """
    terms: dict[str, Tensor] = {}
    photo = inside(given, context)
    # as plain squares they are the smaller the paler it paints, and it did; no more than three times, for a start that
    # has painted nothing yet
    variance = inside(painted, context).float().var((2, 3), correction=0).mean()
    share = (VARIANCE / (variance + 1e-3)).clamp(max=3)
    if chosen.grid_weight and generator.period > 1:
        terms["grid"] = losses.grid(inside(painted, context).float() - photo, generator.stride)
    if chosen.shift_weight:
        down, right = (int(n) for n in torch.randint(1, generator.stride, (2,)))
        moved = paint(generator, given[..., down:, right:], controls=controls)
        terms["shift"] = share * F.mse_loss(
            inside(painted[..., down:, right:], context).float(), inside(moved, context).float()
        )
    if chosen.border_weight:
        terms["border"] = share * border(generator, given, context, controls)
    return terms


def border(
    generator: Generator, given: Tensor, context: int, controls: Sequence[Tensor] | None = None
) -> Tensor:
    """Mean squared difference between painting what lies inside `given` alone and painting it with its surroundings.

    Of the photographs, and of the same `without_details`: a band that busy things hide is seen at once in a sky, and
    few photographs have one along their border. Where `context` is less than REACH, the edge is repeated beyond.
    """
    some = given[: max(1, len(given) // 2)]  # half the batch is enough
    both = torch.cat([some, without_details(some)])
    values = (
        None
        if controls is None
        else [torch.cat([one[: len(some)]] * 2) if one.ndim > 1 else one for one in controls]
    )
    # cells have to lie alike: what is cut off before they are compared is a multiple of the stride
    margin = REACH - context if context < REACH else -context % generator.stride
    with torch.no_grad():
        known = paint(generator, both, margin=margin, controls=values)
    alone = paint(generator, inside(both, context), controls=values)
    return F.mse_loss(alone.float(), inside(known, context).float())


def without_details(photo: Tensor) -> Tensor:
    """(N, 3, H, W) in [0, 1] -> the same where only 2 to 6 areas each way are left, flowing into each other."""
    areas = int(torch.randint(2, 7, ()))
    few = F.interpolate(photo.float(), size=(areas, areas), mode="area")
    return F.interpolate(few, size=photo.shape[-2:], mode="bicubic").clamp(0, 1).to(photo)
