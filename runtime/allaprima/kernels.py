"""Kernels in fewer bits, so that a plain sky stays plain.

A shuffle lays the answers of several kernels beside each other. In plain areas those answers are sums of taps times one
value, and a trained network has them agree; rounded tap by tap they do not any more, and every sky gets a lattice with
the shuffle's period: in bf16 some 0.3 levels of 255, 5 to 13 dB at frequencies where photographs have next to nothing,
and in int8 what one sees (docs/quality.md). So each kernel keeps its sum.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["in_steps", "rounded", "to_bf16", "to_fp16"]

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


def in_steps(kernels: NDArray[np.float32], step: NDArray[np.float32]) -> NDArray[np.int8]:
    """Kernels (out, in, h, w) in whole steps from -127 to 127, `step` (out,) or (1,) long; each kernel adds up to what
    it did, but for half a step.

    Each tap goes to one of its two neighbours: where the nearest ones add up to too much or too little, those taps that
    lie nearest to the middle go to the other one.
    """
    exact = kernels.astype(np.float64) / step.reshape(-1, 1, 1, 1)
    exact = exact.reshape(*kernels.shape[:2], -1)
    found = np.rint(exact)
    left = exact - found
    many = np.rint(left.sum(-1, keepdims=True))
    order = np.argsort(-left * np.sign(many), axis=-1, kind="stable")
    place = np.argsort(order, axis=-1, kind="stable")  # 0: the first to go
    found += np.sign(many) * (place < np.abs(many))
    return np.clip(found, -127, 127).astype(np.int8).reshape(kernels.shape)


def to_fp16(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values.astype(np.float16).astype(np.float64)


def to_bf16(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The nearest numbers of 8 bits of mantissa, the even one of two: numpy has no bfloat16."""
    bits = values.astype(np.float32).view(np.uint32)
    even = (bits >> 16) & 1
    return ((bits + 0x7FFF + even) & 0xFFFF0000).view(np.float32).astype(np.float64)
