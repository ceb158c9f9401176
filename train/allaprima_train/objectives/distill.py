"""`distill`: a small generator learns what a large one paints (Hinton 2015, for pictures).

    loss = pixel_weight * pixels + detail_weight * detail + look_weight * look

The teacher is the run of any method, or any bundle: also one of somebody else's network (`allaprima import`), which may
be a hundred times slower. There is no adversary and no style picture: the teacher's painting is the target. `pixels` is
Charbonnier's distance, `detail` the same on a Laplacian, `look` the distance of VGG features relative to their own
size, which holds the texture together where the small network cannot have every stroke in its place.

With `int8 = true` the student paints as its int8 variant will (fake_int8.py): with `[transfer] init_from` the
finished run, some hundred steps at a low rate are quantisation-aware fine-tuning.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, cast

import torch
from annotated_types import Ge
from torch import Tensor, nn

from allaprima.errors import UsageError

from .. import losses
from ..fake_int8 import Ranges, rounded
from ..features import VGG19, Vgg19
from ..frame_model import paint
from ..generators import Generator, make_generator
from ..generators.mobile import Mobile, Size
from ..streams import Stream, content
from ..teachers import teacher
from .painting import as_seen, inside

if TYPE_CHECKING:
    from ..recipe import Recipe

__all__ = ["FEATURES", "Distill", "DistillSettings", "generator", "streams"]

FEATURES = VGG19
LAYERS = ("relu1_1", "relu2_1", "relu3_1")


@dataclass(frozen=True)
class DistillSettings:
    teacher: str
    """A run's folder, a bundle, or a style's name."""
    width: tuple[int, ...] | None = None
    """The student as mobile with (channels at a quarter of the resolution, at an eighth, residual blocks) and, as a
    -fine size, channels at half; for what lies between the sizes of [generator]: multiples of 8 channels are fastest.
    `allaprima compress` chooses it."""
    pixel_weight: Annotated[float, Ge(0)] = 1.0
    detail_weight: Annotated[float, Ge(0)] = 1.0
    """Raise it when strokes stay soft."""
    look_weight: Annotated[float, Ge(0)] = 0.1
    """Raise it when the texture is not the teacher's, lower it when things wander. At 0 nothing looks at features, and
    a step takes a fraction of the time: for a student that only has to begin as its teacher does."""
    int8: bool = False
    """Paint as int8 would while training, so that the int8 variant loses less."""

    def __post_init__(self) -> None:
        if self.width is not None and (
            len(self.width) not in (3, 4) or min(self.width[:3]) < 1 or min(self.width) < 0
        ):
            raise ValueError(
                f"width = {list(self.width)}: three numbers, each at least 1, and a fourth or none"
            )


def streams(recipe: Recipe) -> dict[str, Stream]:
    return {"content": content(recipe)}


def generator(recipe: Recipe) -> nn.Module:
    """The student."""
    settings: DistillSettings = recipe.objective
    if settings.width is None:
        return make_generator(recipe.generator.network, recipe.generator.size)
    if recipe.generator.network != "mobile":
        raise UsageError(
            "E_SETTING",
            f"[distill] width is for mobile, and [generator] network is {recipe.generator.network!r}",
        )
    return Mobile(Size(*settings.width))


class Distill:
    def __init__(self, recipe: Recipe, features: Vgg19) -> None:
        self.settings: DistillSettings = recipe.objective
        student = generator(recipe)
        self.networks = nn.ModuleDict({"generator": student})
        if self.settings.int8:
            self.networks["ranges"] = Ranges(student)
        self.players = {"generator": student}
        self.features = features
        self.context = recipe.data.context
        self.teach = teacher(self.settings.teacher, cast(Generator, student).scale)
        self.weights = {
            "pixels": self.settings.pixel_weight,
            "detail": self.settings.detail_weight,
            "look": self.settings.look_weight,
        }

    def terms(self, player: str, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        student, photo = cast(Generator, self.networks["generator"]), batch["content"]
        as_int8 = (
            rounded(self.networks["generator"], cast(Ranges, self.networks["ranges"]))
            if self.settings.int8
            else nullcontext()
        )
        with torch.no_grad():
            wanted = inside(self.teach(photo), student.scale * self.context).float().clamp(0, 1)
        with as_int8:
            painted = as_seen(inside(paint(student, photo), student.scale * self.context))
        terms = {
            "pixels": losses.charbonnier(painted, wanted),
            "detail": losses.charbonnier(losses.laplacian(painted), losses.laplacian(wanted)),
        }
        if self.weights["look"]:
            terms["look"] = self._look(painted, wanted)
        return terms

    def _look(self, painted: Tensor, wanted: Tensor) -> Tensor:
        with torch.no_grad():
            theirs = self.features(wanted, LAYERS)
        ours = self.features(painted, LAYERS)
        apart = [
            (ours[one] - theirs[one]).float().abs().mean() / theirs[one].float().abs().mean()
            for one in LAYERS
        ]
        return torch.stack(apart).mean()
