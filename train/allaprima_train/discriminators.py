"""Discriminators: what tells real pictures from painted ones while training. None of them is ever exported.

They look at patches, not at whole pictures (Isola 2017): style is in the strokes, content is another loss's business.
Pictures in are (N, C, H, W) float RGB in [0, 1]; the convolutions see -1 to 1.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .culture.descriptors import MAPS
from .recipe import Recipe

__all__ = ["Domains", "MultiScale", "Patches", "channels"]


def channels(recipe: Recipe) -> int:
    """What a discriminator of single pictures is given: red, green, blue, and with [culture] discriminator the maps of
    culture/descriptors.py, which `make_objective` puts beside them."""
    return 3 + MAPS if recipe.culture.discriminator else 3


class Patches(nn.Module):
    """PatchGAN (Isola 2017): with three layers each score sees 70 x 70 pixels.

    (N, channels, H, W) -> its features (N, width, H/2, W/2), (N, 2 width, H/4, W/4), ..., and last the scores
    (N, 1, about H/8, about W/8). H and W at least `smallest`. Instance norm as in CycleGAN (Zhu 2017), not in
    the first and last layer.
    """

    def __init__(
        self, channels: int = 3, width: int = 64, layers: int = 3, *, normalised: bool = True
    ) -> None:
        super().__init__()
        self.smallest = 3 * 2**layers
        widths = [min(width * 2**layer, width * 8) for layer in range(layers + 1)]
        self.channels = channels
        self.layers = nn.ModuleList()
        before = channels
        for number, after in enumerate(widths):
            stride = 2 if number < layers else 1
            norm = nn.InstanceNorm2d(after) if normalised and number else nn.Identity()
            convolution = nn.Conv2d(before, after, 4, stride, 1)
            self.layers.append(nn.Sequential(convolution, norm, nn.LeakyReLU(0.2)))
            before = after
        self.score = nn.Conv2d(before, 1, 4, 1, 1)
        if not normalised:
            _keep_variance(self.layers)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = 2 * x - 1
        features = []
        for layer in self.layers:
            x = layer(x)
            features.append(x)
        return [*features, self.score(x)]


class MultiScale(nn.Module):
    """Several `Patches`, each looking at pictures half as large as the one before (Wang 2018).

    The same 70 pixels are a stroke for the first and a whole face for the last. -> one list of features for each.
    """

    def __init__(self, scales: int, channels: int = 3, width: int = 64, layers: int = 3) -> None:
        super().__init__()
        self.scales = nn.ModuleList(Patches(channels, width, layers) for _ in range(scales))
        self.smallest = 3 * 2 ** (layers + scales - 1)

    def forward(self, x: Tensor) -> list[list[Tensor]]:
        found = []
        for scale in self.scales:
            found.append(scale(x))
            x = F.avg_pool2d(x, 2)
        return found


class Domains(nn.Module):
    """Is it real, which domain is it of, which code was it painted with? The discriminator of StarGAN (Choi 2018).

    One score for every domain and patch, of which the one asked about counts, as in StarGAN v2 (Choi 2020). No
    normalisation: the gradient penalty is about single pictures.
    """

    def __init__(self, domains: int, code: int = 0, width: int = 48, layers: int = 4) -> None:
        super().__init__()
        widths = [min(width * 2**layer, 256) for layer in range(layers)]
        self.layers = nn.ModuleList(
            nn.Conv2d(before, after, 4, 2, 1) for before, after in zip([3, *widths[:-1]], widths, strict=True)
        )
        _keep_variance(self.layers)
        self.score = nn.Conv2d(widths[-1], domains, 3, 1, 1)
        self.domain = nn.Conv2d(widths[-1], domains, 3, 1, 1)
        self.code = nn.Conv2d(widths[-1], code, 3, 1, 1) if code else None

    def forward(self, x: Tensor, domain: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`domain` (N,) int64: which one is asked about -> scores (N, h, w), domains' logits (N, K), code (N, C)."""
        x = 2 * x - 1
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
        scores = self.score(x)[torch.arange(len(x), device=x.device), domain]
        code = self.code(x).mean((2, 3)) if self.code is not None else x.new_zeros(len(x), 0)
        return scores, self.domain(x).mean((2, 3)), code


def _keep_variance(layers: nn.Module) -> None:
    """Start with He's variance. torch's own shrinks what it passes by half in each layer, and without a norm to undo it
    a discriminator told nothing from nothing for hundreds of steps."""
    for module in layers.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, a=0.2)
