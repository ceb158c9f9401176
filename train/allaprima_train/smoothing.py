"""Pictures with less in them: flat regions, soft edges. Pure functions of (N, C, H, W) float pictures."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["flattened", "softened_edges"]


def flattened(x: Tensor, radius: int = 3, times: int = 4) -> Tensor:
    """Flat regions between edges that stay where they are: `times` passes of a side-window box filter (Yin 2019).

    Each pixel takes the mean of that of eight windows which it is at the border of, four sides and four corners, that
    is nearest to what it is now. A window across an edge is never nearest; so nothing bleeds over edges, as it does
    in a Gaussian or, at corners, in a guided filter. It stands for the L0 smoothing of AnimeGANv3, which needs an
    equation solved for each picture.
    """
    height, width = x.shape[-2:]
    near, far = slice(0, None), slice(radius, None)
    for _ in range(times):
        padded = F.pad(x, (radius,) * 4, mode="replicate")
        windows = []
        for size, rows, columns in (
            ((radius + 1, 2 * radius + 1), (near, far), (near,)),
            ((2 * radius + 1, radius + 1), (near,), (near, far)),
            ((radius + 1, radius + 1), (near, far), (near, far)),
        ):
            means = F.avg_pool2d(padded, size, stride=1)
            windows += [means[..., row, column][..., :height, :width] for row in rows for column in columns]
        candidates = torch.stack(windows)  # (8, N, C, H, W)
        nearest = (candidates - x).abs().sum(2, keepdim=True).argmin(0, keepdim=True)
        x = candidates.gather(0, nearest.expand(1, *x.shape))[0]
    return x


def softened_edges(x: Tensor, threshold: float = 0.12) -> Tensor:
    """The picture with its edges blurred and all else as it was (CartoonGAN, Chen 2018).

    Shown to a discriminator as a fake, it teaches that clear edges are part of the style: without it, colours alone
    would do. `threshold`: how strong an edge is, in steps of luminance from 0 to 1.
    """
    from kornia.color import rgb_to_grayscale
    from kornia.filters import gaussian_blur2d, sobel

    edges = (sobel(rgb_to_grayscale(x), normalized=True) > threshold).float()
    around = F.max_pool2d(edges, 5, stride=1, padding=2)
    return x + around * (gaussian_blur2d(x, (5, 5), (1.5, 1.5)) - x)
