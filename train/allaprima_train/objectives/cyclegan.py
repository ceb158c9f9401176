"""`cyclegan`: two domains without pairs, two generators, each undoing the other (Zhu 2017).

    generators      adversarial_weight * (D(G(x)) - 1)^2 + cycle_weight * |B(G(x)) - x| + identity_weight * |G(y) - y|
                    and the same from paintings to photographs, plus holding the painting steady
    discriminators  ((D(y) - 1)^2 + D(a painting from the pool)^2) / 2, and the same for photographs

x are photographs, y paintings; G (`generator`) paints and ships, B (`generator_back`) makes photographs of
paintings and is exported by `allaprima export --direction back`.

Deviations: any generator, `mobile` too; what the losses see lies inside real context, is clipped as the runtime
clips, and is held steady (painting.py says why); [0, 1], where the paper has -1 to 1 and so twice the distances.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, cast

from annotated_types import Ge
from torch import Tensor, nn

from ..discriminators import Patches, channels
from ..frame_model import paint
from ..generators import Generator, make_generator
from ..losses_gan import least_squares
from ..recipe import PictureSet
from ..streams import unpaired
from .adversarial import Pool, still
from .painting import Steadiness, as_seen, inside, steady

if TYPE_CHECKING:
    from ..recipe import Recipe

__all__ = ["FEATURES", "CycleGan", "CycleGanSettings", "streams"]

FEATURES = ""


@dataclass(frozen=True, kw_only=True)
class CycleGanSettings(Steadiness):
    style: PictureSet
    """The paintings. Thirty are enough for a look, hundreds for their subjects."""
    adversarial_weight: Annotated[float, Ge(0)] = 1.0
    """Raise it when the result still looks like a photograph."""
    cycle_weight: Annotated[float, Ge(0)] = 10.0
    """Raise it when things change their place or vanish."""
    identity_weight: Annotated[float, Ge(0)] = 5.0
    """Raise it when colours turn without need; 0 where the domains have different colours and are meant to."""
    pool: Annotated[int, Ge(0)] = 50
    """Earlier paintings that the discriminators are shown again."""
    discriminator_width: Annotated[int, Ge(8)] = 64
    """Channels of their first layer: less is faster, and finds less out."""


streams = unpaired


class CycleGan:
    def __init__(self, recipe: Recipe, features: None = None) -> None:
        self.settings: CycleGanSettings = recipe.objective
        self.context = recipe.data.context
        chosen, width = recipe.generator, self.settings.discriminator_width
        networks: dict[str, nn.Module] = {}
        for way in WAYS:
            networks[f"generator{way}"] = make_generator(chosen.network, chosen.size)
            networks[f"discriminator{way}"] = Patches(channels(recipe), width)
            networks[f"pool{way}"] = Pool(self.settings.pool, recipe.data.crop)
        self.networks = nn.ModuleDict(networks)
        self.players = {
            f"{kind}s": nn.ModuleList(networks[f"{kind}{way}"] for way in WAYS)
            for kind in ("generator", "discriminator")
        }
        self.weights = {**self.settings.weights}
        for way in WAYS:
            self.weights[f"adversarial{way}"] = self.settings.adversarial_weight
            self.weights[f"cycle{way}"] = self.settings.cycle_weight
            self.weights[f"identity{way}"] = self.settings.identity_weight
            self.weights[f"discriminator{way}"] = 1.0
        self.painted: dict[str, Tensor] = {}  # of this step, for the discriminators' turn

    def terms(self, player: str, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        domains = (batch["content"], batch["style"])
        if player == "discriminators":
            real = {"": domains[1], "_back": domains[0]}  # what `way` leads to
            return {f"discriminator{way}": self._found_out(way, real[way]) for way in WAYS}
        return self._deceived("", "_back", *domains) | self._deceived("_back", "", *reversed(domains))

    def _deceived(self, way: str, other: str, given: Tensor, wanted: Tensor) -> dict[str, Tensor]:
        """The generators' terms of one way, from the domain of `given` to that of `wanted`."""
        there = cast(Generator, self.networks[f"generator{way}"])
        back = cast(Generator, self.networks[f"generator{other}"])
        discriminator = self.networks[f"discriminator{way}"]
        raw = paint(there, given)
        painted = as_seen(raw)
        self.painted[way] = inside(painted, self.context).detach()
        with still(discriminator):
            scores = discriminator(inside(painted, self.context))[-1]
        terms = {
            f"adversarial{way}": least_squares(scores, real=True),
            f"cycle{way}": self._distance(paint(back, painted), given),
        }
        if self.settings.identity_weight:
            terms[f"identity{way}"] = self._distance(paint(there, wanted), wanted)
        if not way:  # what ships
            terms |= steady(self.settings, there, given, raw, self.context)
        return terms

    def _found_out(self, way: str, real: Tensor) -> Tensor:
        discriminator = self.networks[f"discriminator{way}"]
        fake = cast(Pool, self.networks[f"pool{way}"]).exchange(self.painted.pop(way))
        right = least_squares(discriminator(inside(real, self.context))[-1], real=True)
        return (right + least_squares(discriminator(fake)[-1], real=False)) / 2

    def _distance(self, painted: Tensor, given: Tensor) -> Tensor:
        return (inside(as_seen(painted), self.context) - inside(given, self.context)).abs().mean()


WAYS = ("", "_back")
"""From photographs to paintings, and back: endings of the names of networks and terms."""
