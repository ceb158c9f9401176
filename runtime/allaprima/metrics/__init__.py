"""How far apart two pictures are, and how steady a painted video is.

The exporter's parity, the golden check, training and the benchmarks all measure with these.
"""

from __future__ import annotations

from .pictures import IDENTICAL_DB, Difference, compare, psnr, ssim, ssim_structure
from .video import Steadiness, static_jitter, steadiness

__all__ = [
    "IDENTICAL_DB",
    "Difference",
    "Steadiness",
    "compare",
    "psnr",
    "ssim",
    "ssim_structure",
    "static_jitter",
    "steadiness",
]
