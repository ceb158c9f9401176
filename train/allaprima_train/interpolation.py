"""Networks between networks: their kernels, weighed (deep network interpolation, Wang 2019).

Kernels are taken as they ship, folded: what a layer's branches are is another matter in each network.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from allaprima.errors import BundleError, InputError, UsageError

from .frame_model import paint
from .generators.mobile import Mobile
from .transfer import begin_with, read_weights

__all__ = ["Between", "mobile_of"]

ALIKE = 0.5
"""Least correlation of two networks' kernels, layer by layer. A run and its short fine-tuning had 0.92 in their least
alike one (the head), and what lies between them has strokes of both; four styles trained in full from one start 0.74.
Two from the same random start had 0.28: their strokes fade away towards the middle. Strangers have 0."""


class Between:
    """(N, 3, H, W) float in [0, 1], shares (N, K) -> what the network between those of the K experts paints of each
    picture by its own shares: (N, 3, H, W) fp32 in [0, 1].

    Raises UsageError E_SETTING for experts that are no `mobile` of that size, or too different, and what reading their
    weights raises.
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
                parts = [part * kernels[name] for part, kernels in zip(share, self.kernels, strict=True)]
                tensor.copy_(torch.stack(parts).sum(0))
            painted.append(paint(self.network, photo[number : number + 1]))
        return torch.cat(painted).float().clamp(0, 1)

    def _require_alike(self, names: Sequence[str]) -> None:
        for layer in (name for name in self.kernels[0] if name.endswith(".weight")):
            alike = torch.corrcoef(torch.stack([kernels[layer].flatten() for kernels in self.kernels]))
            if alike.min() < ALIKE:
                one, other = sorted(divmod(int(alike.argmin()), len(names)))
                raise UsageError(
                    "E_SETTING",
                    f"cannot interpolate the weights of {names[one]} and {names[other]}",
                    f"their kernels in {layer.removesuffix('.weight')} correlate by {alike.min():.2f}, and below "
                    f"{ALIKE} what lies between is no style: they did not begin as one, or went too far from it",
                    "write fuse = 'gate' or 'pixels', or train one of them with [transfer] init_from the other",
                )


def mobile_of(expert: str, size: str) -> Mobile:
    """The network of a run or bundle. Raises InputError E_WEIGHTS_MISMATCH or BundleError E_BUNDLE_MODEL where it is no
    `mobile` of that size, and what `read_weights` raises."""
    network = Mobile(size)
    begin_with(network, read_weights(expert))
    return network


def _kernels(expert: str, size: str) -> dict[str, Tensor]:
    try:
        return {
            name: tensor.clone() for name, tensor in mobile_of(expert, size).folded().state_dict().items()
        }
    except (InputError, BundleError) as error:
        if error.code not in ("E_WEIGHTS_MISMATCH", "E_BUNDLE_MODEL"):
            raise
        raise UsageError(
            "E_SETTING",
            f"cannot interpolate the weights of {expert}",
            f"it is not mobile-{size}: {error.why}",
            "write fuse = 'gate' or 'pixels', which look at paintings only",
        ) from None
