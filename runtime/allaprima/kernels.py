"""Kernels in fewer bits, so that a plain sky stays plain.

A shuffle lays the answers of several kernels beside each other. In plain areas those answers are sums of taps times one
value, and a trained network has them agree; rounded tap by tap they do not any more, and every sky gets a lattice with
the shuffle's period. It is some 0.3 levels of 255 and no one's painting is ruined by it, but it adds 5 to 13 dB at
frequencies where photographs have next to nothing (docs/quality.md), and it costs nothing not to have it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["rounded", "to_bf16", "to_fp16"]

Rounding = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def rounded(kernels: NDArray[np.float32], to: Rounding) -> NDArray[np.float64]:
    """Kernels (..., h, w), each tap rounded by `to`, each kernel adding up to what it did.

    The smallest tap, which floats tell most finely, takes what rounding the others left. What `to` makes infinite is no
    longer a number here, either.
    """
    taps = kernels.reshape(*kernels.shape[:-2], -1).astype(np.float64)
    found = to(taps)
    smallest = np.abs(found).argmin(-1)[..., None]
    left = (taps - found).sum(-1, keepdims=True)
    np.put_along_axis(found, smallest, to(np.take_along_axis(found, smallest, -1) + left), -1)
    return found.reshape(kernels.shape)


def to_fp16(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values.astype(np.float16).astype(np.float64)


def to_bf16(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The nearest numbers of 8 bits of mantissa, the even one of two: numpy has no bfloat16."""
    bits = values.astype(np.float32).view(np.uint32)
    even = (bits >> 16) & 1
    return ((bits + 0x7FFF + even) & 0xFFFF0000).view(np.float32).astype(np.float64)
