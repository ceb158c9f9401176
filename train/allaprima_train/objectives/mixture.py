"""`mixture`: several trained styles in one network of the same size, mixed by a control.

    gate       forms_weight * forms + share_weight * shares
    student    pixel_weight * pixels + detail_weight * detail + border_weight * border

The experts are trained already and do not change. For shares m, drawn anew for each picture (one expert alone, or any
mixture of some of them), they are fused into one teacher:

    pixels     sum of m_i E_i(x): the paintings over each other
    weights    the painting of one network with the kernels sum of m_i w_i (deep network interpolation, Wang 2019):
               strokes that lie between. Only for experts that began as one, as two fine-tunings of a run did: between
               others there is mud
    gate       a small network decides for each pixel whose painting is seen (generators/gate.py). It learns to take in
               each place an expert that keeps the photograph's forms there, with areas that follow the shares

The student, `mobile` with a control (generators/domains.py), learns to paint what the teacher paints for the same m
(Hinton 2015, as in `distill`). It begins as the first expert, where that is of its own size: from fresh weights it
painted none of three after 600 steps. It alone ships: as fast as one of the experts, and it fades between them live.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import numpy as np
import torch
from annotated_types import Ge
from torch import Tensor, nn

from allaprima.errors import BundleError, InputError

from .. import losses
from ..frame_model import paint
from ..generators import Generator
from ..generators.domains import DomainMobile
from ..generators.gate import Gate
from ..interpolation import Between, mobile_of
from ..streams import Stream, content
from ..teachers import Teacher, teacher
from .painting import as_seen, border, inside, require_mobile

if TYPE_CHECKING:
    from ..recipe import Recipe

__all__ = ["FEATURES", "Mixture", "MixtureSettings", "generator", "streams"]

log = logging.getLogger(__name__)

FEATURES = ""
LANE = 13  # of the chance that draws shares, apart from that which cuts photographs
GREY = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class MixtureSettings:
    experts: tuple[str, ...]
    """Two or more: folders of runs, bundles, or styles' names. The control's parts are called after them; the first is
    what is painted until the control is turned, and what the student begins as."""
    fuse: Literal["pixels", "weights", "gate"] = "gate"
    """What lies between them: the paintings over each other; one network between theirs, for fine-tunings of one run;
    or each in its place."""
    pixel_weight: Annotated[float, Ge(0)] = 1.0
    detail_weight: Annotated[float, Ge(0)] = 1.0
    """Raise it when strokes are softer than the experts'."""
    border_weight: Annotated[float, Ge(0)] = 0.0
    """Raise it when `allaprima export` measures a band along the border, though the experts have none."""
    forms_weight: Annotated[float, Ge(0)] = 1.0
    """gate: how much it counts who keeps the photograph's forms."""
    share_weight: Annotated[float, Ge(0)] = 1.0
    """gate: how closely areas follow the shares. Raise it when one expert is seen everywhere."""

    def __post_init__(self) -> None:
        if len(self.experts) < 2:
            raise ValueError(f"experts = {list(self.experts)}: name two or more")
        if len(set(self.names)) < len(self.experts):
            raise ValueError(f"experts = {list(self.experts)}: the control could not tell {self.names} apart")

    @property
    def names(self) -> list[str]:
        return [Path(expert).name.removesuffix(".prima") for expert in self.experts]


class Shares:
    """(K,) float32, its sum is 1: of every two samples one has an expert alone, in turn, so that each counts alike,
    and the other a mixture of two or more of them, any shares as likely as any others."""

    pictures: Sequence[Path] = ()

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed = count, seed

    def __getitem__(self, number: int) -> Tensor:
        shares = np.zeros(self.count, np.float32)
        turn, mixed = divmod(number, 2)
        if mixed:
            chance = np.random.default_rng((self.seed, LANE, number))
            some = chance.permutation(self.count)[: chance.integers(2, self.count + 1)]
            shares[some] = chance.dirichlet(np.ones(len(some)))
        else:
            shares[turn % self.count] = 1
        return torch.from_numpy(shares)


def streams(recipe: Recipe) -> dict[str, Stream]:
    count = len(cast(MixtureSettings, recipe.objective).experts)
    return {"content": content(recipe), "shares": Shares(count, recipe.seed)}


def generator(recipe: Recipe) -> DomainMobile:
    """The student. It needs no expert: a finished run is whole without them."""
    require_mobile(recipe, "only mobile can be told whom to paint like")
    return DomainMobile(recipe.generator.size, cast(MixtureSettings, recipe.objective).names)


class Mixture:
    def __init__(self, recipe: Recipe, features: None) -> None:
        self.settings: MixtureSettings = recipe.objective
        student, experts = generator(recipe), self.settings.experts
        self.networks = nn.ModuleDict({"generator": student})
        self.players: dict[str, nn.Module] = {"generator": student}
        self.weights = {
            "pixels": self.settings.pixel_weight,
            "detail": self.settings.detail_weight,
            "border": self.settings.border_weight,
        }
        self.context = recipe.data.context
        self.fused: Tensor | None = None  # of this step, by the gate
        if self.settings.fuse == "weights":
            self.between = Between(experts, self.settings.names, recipe.generator.size)
        else:
            self.experts: list[Teacher] = [teacher(one, student.scale, controls=False) for one in experts]
        begin_as(student, experts[0], recipe.generator.size)
        if self.settings.fuse == "gate":
            self.gate = Gate(len(experts))
            self.networks["gate"] = self.gate
            self.players = {"gate": self.gate, "generator": student}  # so that the student learns from it
            self.weights |= {"forms": self.settings.forms_weight, "shares": self.settings.share_weight}

    def terms(self, player: str, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        photo, shares = batch["content"], batch["shares"]
        if player == "gate":
            return self._gated(photo, shares)
        taught = inside(self.taught(photo, shares), self.context)
        student = cast(Generator, self.networks["generator"])
        painted = as_seen(inside(paint(student, photo, controls=(shares,)), self.context))
        terms = {
            "pixels": losses.charbonnier(painted, taught),
            "detail": losses.charbonnier(losses.laplacian(painted), losses.laplacian(taught)),
        }
        if self.settings.border_weight:
            terms["border"] = border(student, photo, self.context, [shares])
        return terms

    def _gated(self, photo: Tensor, shares: Tensor) -> dict[str, Tensor]:
        areas = self.gate(photo, shares)
        fused = self._over_each_other(photo, areas)
        self.fused = fused.detach()
        seen, given = (_grey(inside(picture, self.context)) for picture in (fused, photo))
        off = (inside(areas, self.context).mean((2, 3)) - shares).mean(0)  # of the batch on the whole
        return {"forms": losses.forms(seen, given), "shares": off.abs().sum()}

    def taught(self, photo: Tensor, shares: Tensor) -> Tensor:
        """What the student is to paint: (N, 3, H, W) fp32 in [0, 1]."""
        if self.settings.fuse == "weights":
            return self.between(photo, shares)
        if self.fused is not None:
            return self.fused
        return self._over_each_other(photo, shares[:, :, None, None])

    def _over_each_other(self, photo: Tensor, areas: Tensor) -> Tensor:
        """sum over i of areas_i E_i(photo), (N, 3, H, W), for areas (N, K, H or 1, W or 1). Whoever has none paints
        nothing."""
        fused = torch.zeros_like(photo, dtype=torch.float32)
        for number, expert in enumerate(self.experts):
            area = areas[:, number, None]
            at = (area.detach().amax((1, 2, 3)) > 0).nonzero().flatten()
            if len(at):
                fused = fused.index_add(0, at, area[at] * expert(photo[at]).float().clamp(0, 1))
        return fused


def begin_as(student: DomainMobile, expert: str, size: str) -> None:
    """Give the student the expert's weights and no difference between domains; nothing where it is of another kind."""
    try:
        network = mobile_of(expert, size)
    except (InputError, BundleError) as error:  # it can be read, as a teacher it was: it is of another kind
        log.info("the student begins afresh, not as %s: %s", expert, error.why)
        return
    student.load_state_dict(network.state_dict(), strict=False)
    nn.init.zeros_(student.domains)


def _grey(x: Tensor) -> Tensor:
    """(N, 3, H, W) -> (N, 1, H, W)."""
    return (x * x.new_tensor(GREY)[:, None, None]).sum(1, keepdim=True)
