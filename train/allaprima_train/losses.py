"""Pure losses: the formula in the docstring, the paper beside it, no state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .culture.descriptors import lab

__all__ = [
    "charbonnier",
    "colour",
    "forms",
    "gram",
    "grid",
    "halo",
    "laplacian",
    "lightness",
    "normalised",
    "relative",
    "structure",
    "style",
    "tints",
    "total_variation",
]


def normalised(features: Tensor) -> Tensor:
    """n(f) = (f - mean) / (std + 1e-3) over the picture, channel by channel: (N, C, H, W) -> same, fp32."""
    features = features.float()
    std, mean = torch.std_mean(features, dim=(2, 3), keepdim=True, correction=0)
    return (features - mean) / (std + 1e-3)


def structure(painted: Tensor, photo: Tensor) -> Tensor:
    """Content: mean of (n(f(x)) - n(f(y)))^2 / 2 over features (N, C, H, W).

    That is one minus the mean correlation of the feature maps, 0 for the same picture, 1 for unrelated ones. Unlike
    the plain distance of Gatys 2016 it does not count a change of contrast or colour as lost content, and, which
    matters more, it does count strokes that are the same everywhere: a network can paint every picture over
    with one texture and stay cheap under the plain distance, because the features of any strong texture have
    about the right energy.
    """
    return (normalised(painted) - normalised(photo)).square().mean() / 2


def gram(features: Tensor) -> Tensor:
    """G = F^T F / (h w c): (N, C, H, W) -> (N, C, C), fp32 whatever the precision is around it (Gatys 2016).

    In bf16 every entry would be rounded to 8 bits, 0.24 % of the whole Gram.
    """
    count, channels, height, width = features.shape
    flat = features.permute(0, 2, 3, 1).reshape(count, height * width, channels)  # as channels last lies
    with torch.autocast(features.device.type, enabled=False):
        products: Tensor = _Products.apply(flat)
        return products / (height * width * channels)


class _Products(torch.autograd.Function):
    """(N, P, C) of any precision -> F^T F, (N, C, C) fp32; the gradient is of the precision of F.

    autograd on its own takes two products for the gradient where F (G' + G'^T) is one. With this one in bf16, where the
    features are, a Gram with an exact value takes half the time of one that is bf16 throughout.
    """

    @staticmethod
    def forward(context: Any, flat: Tensor) -> Tensor:
        context.save_for_backward(flat)
        exact = flat.float()
        return exact.transpose(1, 2) @ exact

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        (flat,) = context.saved_tensors
        back: Tensor = flat @ (gradient + gradient.transpose(1, 2)).to(flat.dtype)
        return back


def style(painted: Sequence[Tensor], target: Sequence[Tensor], *, reduce: bool = True) -> Tensor:
    """Mean over the Grams, and over the batch, of |G - G*| / |G*|.

    `painted`: Grams (N, C, C); `target`: Grams (1 or N, C, C). Divided by the target's own norm, every layer and scale
    counts alike, and the number can be compared between styles. Not squared: squares let the one picture
    of a batch that is farthest off decide where everything moves. Without `reduce`, one number for each picture, (N,).
    """
    distances = [
        (g - t).square().sum((1, 2)).add(1e-20).sqrt() / t.square().sum((1, 2)).sqrt()
        for g, t in zip(painted, target, strict=True)
    ]
    together = torch.stack(distances)
    return together.mean() if reduce else together.mean(0)


def total_variation(x: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring pixels, (N, C, H, W) -> scalar: keeps noise out of flat areas."""
    return (x[..., 1:, :] - x[..., :-1, :]).abs().mean() + (x[..., :, 1:] - x[..., :, :-1]).abs().mean()


def grid(change: Tensor, period: int, window: int | None = 4) -> Tensor:
    """Energy of `change` (N, C, H, W) at the frequencies of a grid with `period`: scalar, 0 without any grid.

    The picture is averaged over windows of `window` x `window` periods, phase by phase; what still differs
    between the phases repeats with the period. None: over everything, all the pictures, too, which leaves of the
    pictures' own least, and of a grid only what stands in all of them alike.
    """
    phases = F.pixel_unshuffle(change.float(), period).unflatten(1, (change.shape[1], period**2))
    if window is None:
        means = phases.mean((0, 3, 4))  # (C, period^2)
        return (means - means.mean(1, keepdim=True)).square().mean()
    count, channels, kinds, height, width = phases.shape
    phases = F.avg_pool2d(phases.reshape(count, channels * kinds, height, width), window)
    phases = phases.unflatten(1, (channels, kinds))
    return (phases - phases.mean(2, keepdim=True)).square().mean()


def halo(painted: Tensor, photo: Tensor, area: int = 16) -> Tensor:
    """How much of what changes in the painting changes where the photograph does not: (N, 3, H, W) in [0, 1] -> scalar.

    Sum of w |x - x'|^2 over the sum of |x - x'|^2 (+ 0.001 a pair), of pairs of areas of `area` x `area` pixels, 1, 2
    or 4 areas apart; w = exp(-|y - y'|^2 / 0.005), the affinity of bilateral filters (Tomasi 1998), is next to 0 where
    the photograph changes by 30 levels. A sky that is darker beside a mast than far from it costs, and no less when it
    is paler.
    """
    x, y = (F.avg_pool2d(picture.float(), area) for picture in (painted, photo))
    plain, all_of_it = x.new_zeros(()), x.new_zeros(())
    for way in (2, 3):
        for step in (step for step in (1, 2, 4) if step < x.shape[way]):
            rest = x.shape[way] - step
            painted_by, real = (
                (z.narrow(way, step, rest) - z.narrow(way, 0, rest)).square().sum(1) for z in (x, y)
            )
            plain = plain + ((-real / 0.005).exp() * painted_by).sum()
            all_of_it = all_of_it + (painted_by + 1e-3).sum()
    return plain / all_of_it


def charbonnier(found: Tensor, wanted: Tensor, epsilon: float = 1e-3) -> Tensor:
    """Mean of sqrt((x - y)^2 + epsilon^2) - epsilon, fp32 (Lai 2017): |x - y| with a gradient at 0."""
    return ((found.float() - wanted.float()).square() + epsilon**2).sqrt().mean() - epsilon


def laplacian(x: Tensor) -> Tensor:
    """x minus the mean of its 3x3 neighbourhood, (N, C, H, W) -> same but for the outermost pixels."""
    return x[..., 1:-1, 1:-1] - F.avg_pool2d(x, 3, stride=1)


def relative(found: Tensor, wanted: Tensor) -> Tensor:
    """|f - f*| / |f*| by mean absolute values, fp32: distances of features of any layer on one scale."""
    return (found.float() - wanted.float()).abs().mean() / wanted.float().abs().mean().clamp_min(1e-6)


def forms(x: Tensor, y: Tensor, window: int = 9) -> Tensor:
    """1 - mean over windows of (cov(x, y) + c) / sqrt((var(x) + c) (var(y) + c)), c = 0.0005, fp32.

    (N, C, H, W) in [0, 1] -> scalar. The structure term of SSIM (Wang 2004) on its own: one minus the local
    correlation. Blind to brightness and contrast, which are free; where both are flat, c makes them alike.
    """
    x, y, c = x.float(), y.float(), 5e-4
    mean_x, mean_y = F.avg_pool2d(x, window, 1), F.avg_pool2d(y, window, 1)
    covariance = F.avg_pool2d(x * y, window, 1) - mean_x * mean_y
    variance_x = (F.avg_pool2d(x * x, window, 1) - mean_x**2).clamp_min(0)
    variance_y = (F.avg_pool2d(y * y, window, 1) - mean_y**2).clamp_min(0)
    return 1 - ((covariance + c) / ((variance_x + c) * (variance_y + c)).sqrt()).mean()


def colour(x: Tensor, y: Tensor, area: int = 8) -> Tensor:
    """Mean distance in CIE Lab, over 100, of means over `area` x `area` pixels: (N, 3, H, W) RGB in [0, 1] -> scalar.

    What an eye sees of colour from farther away; strokes within the area are free (AnimeGANv3, Chen 2023, has it pixel
    by pixel).
    """
    with torch.autocast(x.device.type, enabled=False):
        one, other = (lab(F.avg_pool2d(picture.float(), area)) for picture in (x, y))
    return ((one - other).square().sum(1) + 1e-6).sqrt().mean() / 100


def lightness(x: Tensor, y: Tensor, area: int = 16) -> Tensor:
    """Mean of (n(L(x)) - n(L(y)))^2 / 2, L the CIE lightness of areas of `area` x `area` pixels, n minus the mean, over
    the standard deviation (+ 2) of the whole batch: (N, 3, H, W) RGB in [0, 1] -> scalar.

    One minus the correlation: 0 where what is darker in one is darker in the other, however pale or dark all of it is.
    """
    with torch.autocast(x.device.type, enabled=False):
        tones = [lab(F.avg_pool2d(picture.float(), area))[:, 0] for picture in (x, y)]
    one, other = ((tone - tone.mean()) / (tone.std(correction=0) + 2) for tone in tones)
    return (one - other).square().mean() / 2


def tints(x: Tensor, y: Tensor, area: int = 4) -> Tensor:
    """Distance of colours without their lightness, the rarer the dearer: (N, 3, H, W) RGB in [0, 1] -> scalar.

    Mean over areas of `area` x `area` pixels of w |ab(x) - ab(y)| / 100 in CIE Lab, w = 0.15 + chroma(y) / 15. Most of
    a photograph is nearly grey, so of all that a thing may have been a plain distance takes brown. The rebalancing of
    Colorful Image Colorization (Zhang 2016) is 1 / (p / 2 + 1 / 2Q), p the share of a colour among Q classes; of 300
    photographs that is 0.28, 0.71, 1.33, 2.28, 3.2, 4.1 for each ten of chroma, and this line needs no table.
    """
    with torch.autocast(x.device.type, enabled=False):
        one, other = (lab(F.avg_pool2d(picture.float(), area))[:, 1:] for picture in (x, y))
    weight = 0.15 + other.square().sum(1).sqrt() / 15
    return (weight * ((one - other).square().sum(1) + 1e-6).sqrt()).mean() / 100
