"""A code for what a picture's paint is like: numbers that a generator can be told, and that lie near for near styles.

Channel means and deviations of VGG-19's features tell styles apart (Huang 2017), and a network that is given those of a
picture paints like it, and between pictures (Ghiasi 2017). Here nothing of that is learned: the numbers are the set's
own principal directions, the first what its pictures differ in most, each with the same spread. So the codes of the
set's pictures are spread as normal random numbers are, and a code by chance is one that some picture could have.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

__all__ = ["StyleCodes"]


class StyleCodes(nn.Module):
    """Features of pictures -> their codes, (N, code). Buffers only: a resume has the same ones."""

    def __init__(self, code: int, layers: Sequence[str], examples: Iterable[Mapping[str, Tensor]]) -> None:
        """`examples`: features of the set by layer, (N, C, H, W) each, in pieces. One picture is enough to begin."""
        super().__init__()
        self.layers = tuple(layers)
        described = [self._described(one) for one in examples]
        mean = torch.cat([torch.cat(one, dim=1) for one in described]).mean(0)
        found = torch.cat([torch.cat(one, dim=1) for one in described]) - mean
        # a deep layer's features are ten times as large: each over its own spread, so that all layers count alike
        widths = [part.shape[1] for part in described[0]]
        size = torch.cat(
            [
                part.square().mean().sqrt().clamp(min=1e-6).expand(part.shape[1])
                for part in found.split(widths, 1)
            ]
        )
        count = min(code, len(found) - 1)
        _, spread, axes = torch.linalg.svd(found / size, full_matrices=False)
        known = spread[:count] > 1e-5 * spread[0].clamp(min=1e-20)
        scale = len(found) ** 0.5 / spread[:count].clamp(min=1e-20)
        directions = torch.zeros(len(mean), code, device=mean.device)
        directions[:, :count] = (axes[:count] * (scale * known)[:, None] / size).T
        unknown = torch.ones(code, device=mean.device)
        unknown[:count] -= known.float()
        for name, value in (("mean", mean), ("directions", directions), ("unknown", unknown)):
            self.register_buffer(name, value)

    @torch.no_grad()
    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """What a small set cannot tell is drawn anew at each call."""
        unknown = self.get_buffer("unknown")
        described = torch.cat(self._described(features), dim=1) - self.get_buffer("mean")
        chance = torch.randn(len(described), len(unknown)).to(described.device)
        return described @ self.get_buffer("directions") + unknown * chance

    def _described(self, features: Mapping[str, Tensor]) -> list[Tensor]:
        """For each layer (N, 2 C): means and deviations of its channels."""
        flat = (features[layer].float().flatten(2) for layer in self.layers)
        return [torch.cat(torch.std_mean(one, dim=2), dim=1) for one in flat]
