"""`cut`: two domains without pairs, one generator: each patch of the painting finds its photograph (Park 2020).

    generator       adversarial_weight * (D(G(x)) - 1)^2 + nce_weight * (PatchNCE(G(x), x) [+ PatchNCE(G(y), y)])
    discriminator   ((D(y) - 1)^2 + D(G(x))^2) / 2

x are photographs, y paintings. PatchNCE compares features of the generator's own first half at the same place of
painting and photograph, through two small layers (`projections`), and asks for them to be more alike than at other
places of the same picture. So what is where stays, without a second generator: half the memory of `cyclegan`.

Two presets: `cut` has PatchNCE on paintings as well, which keeps what already is in the style as it is; `fastcut`
leaves that out, takes ten times the weight, and a third off the time.

Deviations: as in cyclegan.py; no mirroring inside FastCUT, because crops are mirrored anyway.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt
from torch import Tensor, nn

from allaprima.errors import UsageError

from ..discriminators import Patches, channels
from ..frame_model import paint
from ..generators import Generator, make_generator
from ..losses_gan import least_squares, patch_nce
from ..recipe import PictureSet
from ..streams import unpaired
from .adversarial import still
from .painting import Steadiness, as_seen, inside, steady

if TYPE_CHECKING:
    from ..recipe import Recipe

__all__ = ["FEATURES", "Cut", "CutSettings", "streams"]

FEATURES = ""

PRESETS = {"cut": 1.0, "fastcut": 10.0}  # weight of PatchNCE


@dataclass(frozen=True, kw_only=True)
class CutSettings(Steadiness):
    style: PictureSet
    """The paintings. Thirty are enough for a look, hundreds for their subjects."""
    preset: Literal["cut", "fastcut"] = "cut"
    """`cut` keeps more of the photograph's colours where they fit; `fastcut` is faster and bolder."""
    adversarial_weight: Annotated[float, Ge(0)] = 1.0
    """Raise it when the result still looks like a photograph."""
    nce_weight: Annotated[float, Ge(0)] | None = None
    """Raise it when things can no longer be told apart. Left out: 1 for `cut`, 10 for `fastcut`."""
    patches: Annotated[int, Ge(2)] = 256
    """Places compared in each picture: more of them are harder to tell apart."""
    temperature: Annotated[float, Gt(0)] = 0.07
    """Lower looks at the most similar wrong places only."""
    discriminator_width: Annotated[int, Ge(8)] = 64
    """Channels of its first layer: less is faster, and finds less out."""


streams = unpaired


class Cut:
    def __init__(self, recipe: Recipe, features: None = None) -> None:
        self.settings: CutSettings = recipe.objective
        self.context = recipe.data.context
        chosen = recipe.generator
        generator: Any = make_generator(chosen.network, chosen.size)
        if not hasattr(generator, "encoded"):
            raise UsageError(
                "E_SETTING",
                f"[generator] network = {chosen.network!r} does not work with the method 'cut'",
                "its features on the way in cannot be asked for",
                "choose mobile or resnet",
            )
        with torch.no_grad():
            widths = [found.shape[1] for found in self._features(generator, torch.zeros(1, 3, 64, 64))]
        self.networks = nn.ModuleDict(
            {
                "generator": generator,
                "discriminator": Patches(channels(recipe), self.settings.discriminator_width),
                "projections": nn.ModuleList(Projection(width) for width in widths),
            }
        )
        self.players = {
            "generator": nn.ModuleList([generator, self.networks["projections"]]),
            "discriminator": self.networks["discriminator"],
        }
        weight = self.settings.nce_weight
        weight = PRESETS[self.settings.preset] if weight is None else weight
        self.weights = {
            "adversarial": self.settings.adversarial_weight,
            "nce": weight,
            "nce_identity": weight,
            "discriminator": 1.0,
            **self.settings.weights,
        }
        self.painted: Tensor | None = None  # of this step, for the discriminator's turn

    def terms(self, player: str, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        discriminator = self.networks["discriminator"]
        if player == "discriminator":
            assert self.painted is not None  # the generator's turn comes first
            right = least_squares(discriminator(inside(batch["style"], self.context))[-1], real=True)
            wrong = least_squares(discriminator(self.painted)[-1], real=False)
            return {"discriminator": (right + wrong) / 2}
        generator = cast(Generator, self.networks["generator"])
        photo, painting = batch["content"], batch["style"]
        raw = paint(generator, photo)
        painted = as_seen(raw)
        self.painted = inside(painted, self.context).detach()
        with still(discriminator):
            scores = discriminator(inside(painted, self.context))[-1]
        terms = {"adversarial": least_squares(scores, real=True), "nce": self._alike(painted, photo)}
        if self.settings.preset == "cut":
            terms["nce_identity"] = self._alike(as_seen(paint(generator, painting)), painting)
        return terms | steady(self.settings, generator, photo, raw, self.context)

    def _alike(self, painted: Tensor, given: Tensor) -> Tensor:
        """PatchNCE, mean over the layers; the photograph's features stand still."""
        generator = self.networks["generator"]
        queries = self._features(generator, painted)
        with torch.no_grad():
            keys = self._features(generator, given)
        losses = []
        for query, key, project in zip(
            queries, keys, cast(nn.ModuleList, self.networks["projections"]), strict=True
        ):
            cells = inside(query, self.context * query.shape[-1] // given.shape[-1]).flatten(2)
            wanted = inside(key, self.context * key.shape[-1] // given.shape[-1]).flatten(2)
            chosen = torch.randperm(cells.shape[2])[: self.settings.patches].to(cells.device)
            one, other = (project(part[..., chosen].transpose(1, 2)) for part in (cells, wanted))
            losses.append(patch_nce(one, other.detach(), self.settings.temperature))
        return torch.stack(losses).mean()

    @staticmethod
    def _features(generator: Any, x: Tensor) -> list[Tensor]:
        """The pixels, and four depths of the generator."""
        found = generator.encoded(F.pixel_unshuffle(x, generator.period))
        return [x, found[0], found[1], found[len(found) // 2], found[-1]]


class Projection(nn.Module):
    """(N, P, C) features of places -> (N, P, 256), where they are compared."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(channels, 256), nn.Linear(256, 256)

    def forward(self, x: Tensor) -> Tensor:
        projected: Tensor = self.second(F.relu(self.first(x)))
        return projected
