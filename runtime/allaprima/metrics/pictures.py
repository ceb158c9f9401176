"""How far apart two pictures are: PSNR, SSIM, largest difference. numpy only, for uint8 pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..frame import Image

__all__ = ["IDENTICAL_DB", "Difference", "compare", "psnr", "ssim", "ssim_structure"]

IDENTICAL_DB = 100.0
"""PSNR of equal pictures, and the most that is ever reported: JSON has no infinity."""


@dataclass(frozen=True, slots=True)
class Difference:
    psnr_db: float
    """0 to 100, higher is nearer."""
    ssim: float
    """-1 to 1, higher is nearer."""
    max_difference: int
    """Of any byte, 0 to 255."""


def compare(image: Image, reference: Image) -> Difference:
    """All three figures of two (H, W, 3) uint8 pictures of one size, at least 11x11."""
    distance = np.abs(image.astype(np.int16) - reference.astype(np.int16))
    return Difference(psnr(image, reference), ssim(image, reference), int(distance.max()))


def psnr(image: Image, reference: Image) -> float:
    """Peak signal-to-noise ratio in dB over all bytes of two uint8 arrays of one shape; at most 100."""
    _same_shape(image, reference)
    squared_error = np.square(image.astype(np.float64) - reference.astype(np.float64)).mean()
    if squared_error == 0:
        return IDENTICAL_DB
    return float(min(IDENTICAL_DB, 10 * np.log10(255**2 / squared_error)))


def ssim(image: Image, reference: Image) -> float:
    """Structural similarity of two (H, W, 3) uint8 RGB pictures, on luma, -1 to 1 (equal).

    Wang, Bovik, Sheikh, Simoncelli: Image quality assessment, 2004: Gaussian window 11x11 with sigma 1.5,
    K1 0.01, K2 0.03, L 255, the mean over the places where the whole window lies inside the picture. The
    paper compares grey pictures; ours become grey by the BT.601 weights, unrounded.
    """
    mean_ours, mean_theirs, variance_ours, variance_theirs, covariance = _moments(image, reference)
    similarity = ((2 * mean_ours * mean_theirs + _C1) * (2 * covariance + _C2)) / (
        (mean_ours**2 + mean_theirs**2 + _C1) * (variance_ours + variance_theirs + _C2)
    )
    return float(similarity.mean())


def ssim_structure(image: Image, reference: Image) -> float:
    """The structure factor of SSIM alone, of the same windows: their mean correlation, -1 to 1.

    s = (covariance + C3) / (deviation * deviation + C3) with C3 = C2 / 2, as in the paper. Brightness and contrast,
    which a painting may change, do not count.
    """
    _, _, variance_ours, variance_theirs, covariance = _moments(image, reference)
    deviations = np.sqrt(np.maximum(variance_ours, 0) * np.maximum(variance_theirs, 0))
    return float(((covariance + _C2 / 2) / (deviations + _C2 / 2)).mean())


_LUMA = np.array([0.299, 0.587, 0.114])
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_WINDOW = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
_WINDOW /= _WINDOW.sum()


def _moments(image: Image, reference: Image) -> tuple[NDArray[np.float64], ...]:
    """Of each window: both means, both variances and the covariance, (H - 10, W - 10) each."""
    _same_shape(image, reference)
    if min(image.shape[:2]) < _WINDOW.size:
        raise ValueError(f"SSIM's window is {_WINDOW.size} pixels wide; the picture is {image.shape[:2]}")
    ours, theirs = image @ _LUMA, reference @ _LUMA  # (H, W) float64
    mean_ours, mean_theirs = _blur(ours), _blur(theirs)
    return (
        mean_ours,
        mean_theirs,
        _blur(ours * ours) - mean_ours**2,
        _blur(theirs * theirs) - mean_theirs**2,
        _blur(ours * theirs) - mean_ours * mean_theirs,
    )


def _blur(grey: NDArray[np.float64]) -> NDArray[np.float64]:
    """(H, W) -> (H - 10, W - 10): the window, one axis after the other: the same, 5 times cheaper."""
    height, width = grey.shape[0] - _WINDOW.size + 1, grey.shape[1] - _WINDOW.size + 1
    rows = np.zeros((height, grey.shape[1]))
    for start, weight in enumerate(_WINDOW):
        rows += weight * grey[start : start + height]
    blurred = np.zeros((height, width))
    for start, weight in enumerate(_WINDOW):
        blurred += weight * rows[:, start : start + width]
    return blurred


def _same_shape(image: Image, reference: Image) -> None:
    if image.shape != reference.shape:
        raise ValueError(f"pictures of two shapes cannot be compared: {image.shape} and {reference.shape}")
