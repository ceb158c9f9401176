"""`mixture`: several trained styles in one network of the same size, mixed by a control.

    gate       forms_weight * forms + share_weight * shares
    student    pixel_weight * pixels + detail_weight * detail

The experts are trained already and do not change. For shares m, drawn anew for each picture (one expert alone, or any
mixture of some of them), they are fused into one teacher:

    pixels     sum of m_i E_i(x): the paintings over each other
    weights    the painting of one network with the kernels sum of m_i w_i (deep network interpolation, Wang 2019):
               strokes that lie between. Only for experts that began as one, as two fine-tunings of a run did: between
               others there is mud
    gate       a small network decides for each pixel whose painting is seen (generators/gate.py). It learns to take in
               each place an expert that keeps the photograph's forms there, with areas that follow the shares

The student, `mobile` with a control (generators/domains.py), learns to paint what the teacher paints for the same m
(Hinton 2015, as in `distill`). It alone ships: as fast as one of the experts, and it fades between them live.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import numpy as np
import torch
from annotated_types import Ge
from torch import Tensor, nn

from allaprima.errors import InputError, UsageError

from .. import losses
from ..frame_model import paint
from ..generators import Generator
from ..generators.domains import DomainMobile
from ..generators.gate import Gate
from ..generators.mobile import Mobile
from ..streams import Stream, content
from ..teachers import Teacher, teacher
from ..transfer import begin_with, read_weights
from .painting import as_seen, inside, require_mobile

if TYPE_CHECKING:
    from ..recipe import Recipe

__all__ = ["FEATURES", "Mixture", "MixtureSettings", "generator", "streams"]

FEATURES = ""
LANE = 13  # of the chance that draws shares, apart from that which cuts photographs
ALIKE = 0.5
"""Least cosine between the kernels of two experts that may be interpolated."""
GREY = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class MixtureSettings:
    experts: tuple[str, ...]
    """Two or more: folders of runs, bundles, or styles' names. The control's parts are called after them; the first is
    what is painted until the control is turned."""
    fuse: Literal["pixels", "weights", "gate"] = "gate"
    """What lies between them: the paintings over each other; one network between theirs, for fine-tunings of one run;
    or each in its place."""
    pixel_weight: Annotated[float, Ge(0)] = 1.0
    detail_weight: Annotated[float, Ge(0)] = 1.0
    """Raise it when strokes are softer than the experts'."""
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
        self.weights = {"pixels": self.settings.pixel_weight, "detail": self.settings.detail_weight}
        self.context = recipe.data.context
        if self.settings.fuse == "weights":
            self.between = Between(experts, self.settings.names, recipe.generator.size)
            return
        self.experts: list[Teacher] = [teacher(expert, student.scale, controls=False) for expert in experts]
        if self.settings.fuse == "gate":
            self.gate = Gate(len(experts))
            self.networks["gate"] = self.gate
            self.players = {"gate": self.gate, "generator": student}  # so that the student learns from it
            self.weights |= {"forms": self.settings.forms_weight, "shares": self.settings.share_weight}
        self.fused: Tensor | None = None  # of this step, by the gate

    def terms(self, player: str, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        photo, shares = batch["content"], batch["shares"]
        if player == "gate":
            return self._gated(photo, shares)
        taught = inside(self.taught(photo, shares), self.context)
        student = cast(Generator, self.networks["generator"])
        painted = as_seen(inside(paint(student, photo, controls=(shares,)), self.context))
        return {
            "pixels": losses.charbonnier(painted, taught),
            "detail": losses.charbonnier(losses.laplacian(painted), losses.laplacian(taught)),
        }

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


class Between:
    """(N, 3, H, W), shares (N, K) -> the painting of each picture by its own network between the experts'.

    Kernels are interpolated as they ship, folded: what their branches are is another matter in each.

    Raises UsageError E_SETTING where experts are too different, and what reading their weights raises.
    """

    def __init__(self, experts: Sequence[str], names: Sequence[str], size: str) -> None:
        self.network = Mobile(size).folded().eval().requires_grad_(False)
        self.kernels = [_kernels(expert, size) for expert in experts]
        self._require_alike(names)

    @torch.no_grad()
    def __call__(self, photo: Tensor, shares: Tensor) -> Tensor:
        self.network.to(photo.device)
        painted = []
        for number, share in enumerate(shares.tolist()):
            for name, tensor in self.network.state_dict().items():
                parts = (part * kernels[name] for part, kernels in zip(share, self.kernels, strict=True))
                tensor.copy_(torch.stack(list(parts)).sum(0))
            painted.append(paint(self.network, photo[number : number + 1]))
        return torch.cat(painted).float().clamp(0, 1)

    def _require_alike(self, names: Sequence[str]) -> None:
        flat = torch.stack([torch.cat([t.flatten() for t in kernels.values()]) for kernels in self.kernels])
        cosines = torch.corrcoef(flat)
        lowest = cosines.min()
        if lowest < ALIKE:
            one, other = divmod(int(cosines.argmin()), len(names))
            raise UsageError(
                "E_SETTING",
                f"[mixture] fuse = 'weights' cannot interpolate {names[one]} and {names[other]}",
                f"their kernels correlate by {lowest:.2f}, and below {ALIKE} what lies between is mud: they did not "
                "begin as one",
                "write fuse = 'gate' or 'pixels', or train one of them with [transfer] init_from the other",
            )


def _kernels(expert: str, size: str) -> dict[str, Tensor]:
    """The folded weights of an expert. Raises UsageError E_SETTING where it is no mobile of that size."""
    network, weights = Mobile(size), read_weights(expert)
    try:
        begin_with(network, weights)
    except InputError as error:
        raise UsageError(
            "E_SETTING",
            f"[mixture] fuse = 'weights' cannot interpolate {expert}",
            f"it is not mobile-{size}: {error.why}",
            "write fuse = 'gate' or 'pixels', which look at paintings only",
        ) from None
    return {name: tensor.clone() for name, tensor in network.folded().state_dict().items()}


def _grey(x: Tensor) -> Tensor:
    """(N, 3, H, W) -> (N, 1, H, W)."""
    return (x * x.new_tensor(GREY)[:, None, None]).sum(1, keepdim=True)
