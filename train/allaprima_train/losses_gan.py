"""Pure losses of adversarial and contrastive training: the formula in the docstring, the paper beside it, no state.

Scores are a discriminator's answers, one for each patch or picture, of any shape: large for pictures it takes for real.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["diversity", "feature_matching", "least_squares", "patch_nce", "r1", "softplus"]


def least_squares(scores: Tensor, real: bool) -> Tensor:
    """mean (D - 1)^2 where the scores ought to be those of real pictures, else mean D^2 (Mao 2017).

    Unlike the logistic loss it also pulls at fakes that are taken for real and far from the boundary.
    """
    scores = scores.float()
    return ((scores - 1) if real else scores).square().mean()


def softplus(scores: Tensor, real: bool) -> Tensor:
    """mean log(1 + exp(-D)) where the scores ought to be those of real pictures, else mean log(1 + exp(D)).

    The non-saturating form of Goodfellow 2014: a generator that is found out everywhere still has a gradient.
    """
    scores = scores.float()
    return F.softplus(-scores if real else scores).mean()


def r1(scores: Tensor, pictures: Tensor) -> Tensor:
    """mean over the pictures of |dD/dx|^2 at real ones (Mescheder 2018). `pictures` (N, C, H, W) require grad.

    It flattens the discriminator around the data, without which adversarial training need not converge.
    """
    (gradient,) = torch.autograd.grad(scores.float().sum(), pictures, create_graph=True)
    return gradient.square().sum((1, 2, 3)).mean()


def patch_nce(query: Tensor, keys: Tensor, temperature: float = 0.07) -> Tensor:
    """mean of -log softmax_j(q_i . k_j / t) at j = i: each patch of the painting finds its own place (Park 2020).

    `query`, `keys`: (N, P, C), features at P places of N paintings and of their photographs. The other P - 1
    places of the same picture are what it has to be told from.
    """
    query, keys = F.normalize(query.float(), dim=2), F.normalize(keys.float(), dim=2)
    similar = query @ keys.transpose(1, 2) / temperature  # (N, P, P)
    own = torch.arange(similar.shape[1], device=similar.device).expand(similar.shape[:2])
    return F.cross_entropy(similar.flatten(0, 1), own.flatten())


def feature_matching(painted: Sequence[Sequence[Tensor]], wanted: Sequence[Sequence[Tensor]]) -> Tensor:
    """mean |D_kl(painted) - D_kl(wanted)| over the layers l of the discriminators k, last ones left out (Wang 2018).

    The last feature of each discriminator is its score, which the adversarial loss already sees.
    """
    distances = [
        (ours.float() - theirs.float()).abs().mean()
        for one, other in zip(painted, wanted, strict=True)
        for ours, theirs in zip(one[:-1], other[:-1], strict=True)
    ]
    return torch.stack(distances).mean()


def diversity(one: Tensor, other: Tensor, codes: Tensor, others: Tensor) -> Tensor:
    """-mean of min(|G(x, a) - G(x, b)| / |a - b|, 0.5): other codes have to give other pictures.

    The mode-seeking loss (Mao 2019), as a loss to lower; StarGAN v2 (Choi 2020) has the same without the division.
    `one`, `other`: (N, 3, H, W) painted with `codes` and `others`, (N, K). The limit is ours: black against white
    is not what is looked for.
    """
    apart = (one.float() - other.float()).abs().mean((1, 2, 3)) / (codes - others).abs().mean(1).clamp(
        min=1e-3
    )
    return -apart.clamp(max=0.5).mean()
