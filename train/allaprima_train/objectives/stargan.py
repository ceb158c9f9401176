"""`stargan`: one generator for many domains, and for what lies between them (Choi 2018; style codes: Choi 2020).

    generator       softplus(-D_t(G(x, t))) + domain_weight * CE(C(G(x, t)), t) + cycle_weight * |G(G(x, t), s) - x|
                    + identity_weight * |G(x, s) - x|
                    [+ code_weight * |E(G(x, t, z)) - z|^2 + diversity_weight * diversity], plus holding it steady
    discriminator   softplus(-D_s(x)) + softplus(D_t(G(x, t))) + domain_weight * CE(C(x), s) + r1_weight * |dD/dx|^2

x is a photograph or a painting, s its domain, t another one; photographs are a domain as well. D_t is the
discriminator's score for the domain t, C its guess of the domain, E its guess of the code. The domain is a control
of the exported graph: K weights of which only the shares count, so a style can be faded into another one while it
runs.

With `code` numbers, each domain can be painted in many ways, and the code is a second control. StarGAN v2 learns
codes from reference pictures by an encoder and a mapping network; here E is a head of the discriminator (as in
InfoGAN, Chen 2016) and the code goes into the generator as it is, which needs neither.

Deviations: an identity term, because all domains share one trunk, and a cycle of swapped colours is as good to it
as none; logistic loss and R1 of v2 in place of WGAN-GP with five steps of the critic; `mobile` conditioned by scale
and shift (domains.py); what the losses see lies inside real context and is held steady (painting.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, cast

import torch
import torch.nn.functional as F
from annotated_types import Ge, MinLen
from torch import Tensor, nn

from ..discriminators import Domains
from ..frame_model import paint
from ..generators import Generator
from ..generators.domains import DomainMobile
from ..losses_gan import diversity, softplus
from ..recipe import PictureSet
from ..streams import InTurn, Labels, Stream, content, style
from .adversarial import Clock, gradient_penalty, still
from .painting import Steadiness, as_seen, inside, require_mobile, steady

if TYPE_CHECKING:
    from ..recipe import Recipe

__all__ = ["FEATURES", "StarGan", "StarGanSettings", "generator", "streams"]

FEATURES = ""

PHOTOGRAPH = "photograph"
"""The last of the domains: what the others are made from, and can be turned back into."""


@dataclass(frozen=True, kw_only=True)
class StarGanSettings(Steadiness):
    domains: Annotated[tuple[PictureSet, ...], MinLen(1)]
    """The styles, each with a `name`; the first is what the exported graph paints until the control is turned."""
    code: Annotated[int, Ge(0)] = 0
    """Numbers of a style code: 0 has one way to paint for each domain, 8 has many."""
    domain_weight: Annotated[float, Ge(0)] = 0.25
    """Raise it when domains look alike; too much, and each is a caricature of its colour."""
    cycle_weight: Annotated[float, Ge(0)] = 20.0
    """Raise it when things change their place or vanish."""
    identity_weight: Annotated[float, Ge(0)] = 10.0
    """Raise it when all domains turn colours the same way: red to blue and back is no loss to the cycle."""
    code_weight: Annotated[float, Ge(0)] = 1.0
    """Raise it when the code changes nothing that can be recognised."""
    diversity_weight: Annotated[float, Ge(0)] = 1.0
    """Raise it when different codes look alike."""
    r1_weight: Annotated[float, Ge(0)] = 1.0
    """Raise it when the discriminator's loss falls to nothing and the generator's soars."""
    r1_every: Annotated[int, Ge(1)] = 8
    """Steps from one gradient penalty to the next."""
    discriminator_width: Annotated[int, Ge(8)] = 48
    """Channels of its first layer: less is faster, and finds less out."""

    def __post_init__(self) -> None:
        names = [domain.name for domain in self.domains]
        if not all(names) or len({*names, PHOTOGRAPH}) <= len(names):
            raise ValueError(f"domains need names of their own, and none may be {PHOTOGRAPH!r}: {names}")


def streams(recipe: Recipe) -> dict[str, Stream]:
    sets = [
        style(recipe, domain, f"[stargan] domains, {domain.name},", lane=place)
        for place, domain in enumerate(recipe.objective.domains, start=1)
    ]
    return {"content": content(recipe), "style": InTurn(sets), "domain": Labels(len(sets))}


def generator(recipe: Recipe) -> DomainMobile:
    """`mobile` with the recipe's domains."""
    require_mobile(recipe, "only mobile can be told a domain")
    labels = [*(domain.name for domain in recipe.objective.domains), PHOTOGRAPH]
    return DomainMobile(recipe.generator.size, labels, recipe.objective.code)


class StarGan:
    def __init__(self, recipe: Recipe, features: None = None) -> None:
        self.settings: StarGanSettings = recipe.objective
        self.context = recipe.data.context
        self.count = len(self.settings.domains) + 1
        painter = generator(recipe)
        discriminator = Domains(self.count, self.settings.code, self.settings.discriminator_width)
        self.networks = nn.ModuleDict(
            {"generator": painter, "discriminator": discriminator, "clock": Clock(recipe.train.accumulate)}
        )
        self.players = {"generator": painter, "discriminator": discriminator}
        chosen = self.settings
        self.weights = {
            "adversarial": 1.0,
            "domain": chosen.domain_weight,
            "cycle": chosen.cycle_weight,
            "identity": chosen.identity_weight,
            "code": chosen.code_weight,
            "diversity": chosen.diversity_weight,
            "discriminator": 1.0,
            "discriminator_domain": chosen.domain_weight,
            "discriminator_code": chosen.code_weight,
            "r1": chosen.r1_weight,
            **chosen.weights,
        }
        self.painted: tuple[Tensor, Tensor, Tensor] | None = None  # of this step: painting, domain, code

    def terms(self, player: str, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        photos, paintings, domain = batch["content"], batch["style"], batch["domain"]
        x = torch.cat([photos, paintings])
        own = torch.cat([torch.full_like(domain, self.count - 1), domain])
        if player == "discriminator":
            return self._found_out(inside(x, self.context), own)
        return self._deceived(x, own, len(photos))

    def _deceived(self, x: Tensor, own: Tensor, photos: int) -> dict[str, Tensor]:
        painter, discriminator = cast(Generator, self.networks["generator"]), self.networks["discriminator"]
        asked = (own + torch.randint(1, self.count, own.shape).to(own.device)) % self.count  # never its own
        code = torch.randn(len(x), self.settings.code).to(x.device)
        turned = self._controls(asked, code)
        raw = paint(painter, x, controls=turned)
        painted = as_seen(raw)
        shown = inside(painted, self.context)
        self.painted = (shown.detach(), asked, code)
        with still(discriminator):
            scores, guess, heard = discriminator(shown, asked)
        back = self._controls(own, torch.zeros_like(code))
        terms = {
            "adversarial": softplus(scores, real=True),
            "domain": F.cross_entropy(guess.float(), asked),
            "cycle": self._distance(paint(painter, painted, controls=back), x),
        }
        if self.settings.identity_weight:
            terms["identity"] = self._distance(paint(painter, x, controls=back), x)
        few = [value[:photos] for value in turned]
        if self.settings.code:
            other = torch.randn(photos, self.settings.code).to(x.device)
            differently = as_seen(paint(painter, x[:photos], controls=[few[0], other]))
            terms["code"] = F.mse_loss(heard.float(), code)
            terms["diversity"] = diversity(
                shown[:photos], inside(differently, self.context), code[:photos], other
            )
        return terms | steady(self.settings, painter, x[:photos], raw[:photos], self.context, few)

    def _found_out(self, real: Tensor, own: Tensor) -> dict[str, Tensor]:
        assert self.painted is not None  # the generator's turn comes first
        painted, asked, code = self.painted
        discriminator = self.networks["discriminator"]
        right, guess, _ = discriminator(real, own)
        wrong, _, heard = discriminator(painted, asked)
        terms = {
            "discriminator": softplus(right, real=True) + softplus(wrong, real=False),
            "discriminator_domain": F.cross_entropy(guess.float(), own),
        }
        if self.settings.code:
            terms["discriminator_code"] = F.mse_loss(heard.float(), code)
        if cast(Clock, self.networks["clock"]).tick() % self.settings.r1_every == 0:
            score = lambda looked_at: discriminator(looked_at, own)[0].mean((1, 2))  # noqa: E731 - one expression
            terms["r1"] = gradient_penalty(score, real, self.settings.r1_every)
        return terms

    def _distance(self, painted: Tensor, given: Tensor) -> Tensor:
        return (inside(as_seen(painted), self.context) - inside(given, self.context)).abs().mean()

    def _controls(self, domain: Tensor, code: Tensor) -> list[Tensor]:
        weights = F.one_hot(domain, self.count).float()
        return [weights, code] if self.settings.code else [weights]
