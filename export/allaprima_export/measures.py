"""What PSNR and SSIM of a whole picture do not show: one bad corner, and smooth slopes that come in steps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from allaprima.frame import Image
from allaprima.metrics import IDENTICAL_DB

__all__ = ["banding", "worst_tile"]

TILE = 64
SMOOTH, STEP = 2, 3
"""In byte values between neighbours: at most the first all around, and at least the second at once."""
WINDOW = 9
LEAST_VARIATION = 500
"""In byte values, all slopes together: less is no slope to speak of."""


def worst_tile(image: Image, reference: Image) -> float:
    """The lowest PSNR in dB of any 64x64 tile of two (H, W, 3) uint8 pictures; smaller pictures are one tile."""
    error = np.square(image.astype(np.float64) - reference).mean(axis=-1)  # (H, W)
    rows, columns = (_starts(side) for side in error.shape)
    worst = max(
        float(error[row : row + TILE, column : column + TILE].mean()) for row in rows for column in columns
    )
    return IDENTICAL_DB if worst == 0 else float(min(IDENTICAL_DB, 10 * np.log10(255**2 / worst)))


def _starts(side: int) -> list[int]:
    """Where tiles begin; the last one ends at the border."""
    return [*range(0, max(side - TILE, 1), TILE), max(side - TILE, 0)]


def banding(image: Image, reference: Image) -> float:
    """The share of the smooth slopes of `reference` that `image` climbs in visible steps; 0 none, 1 or more all.

    Smooth is where neighbours differ by at most SMOOTH levels over WINDOW pixels in a row. There, what differs by
    STEP levels or more at once, between flat neighbours, is a contour that nobody painted. Noise has no flat
    neighbours, and a texture is not smooth: neither counts.
    """
    stepped = sloped = 0.0
    for axis in (0, 1):
        ours, theirs = (
            np.abs(np.diff(np.moveaxis(one.astype(np.int16), axis, 0), axis=0)) for one in (image, reference)
        )
        if len(theirs) < WINDOW:
            continue
        inner = np.moveaxis(reference, axis, 0)[1:]
        smooth = (
            (_longest(theirs) <= SMOOTH) & (inner > 5) & (inner < 250)
        )  # what is clipped is flat by itself
        flat = (ours[:-1] == 0) & (ours[1:] == 0)  # two steps in a row, from `i` on
        contour = (ours[2:-2] >= STEP) & flat[:-3] & flat[3:] & smooth[2:-2]
        stepped += float(ours[2:-2][contour].sum())
        sloped += float(theirs[smooth].sum())
    return stepped / sloped if sloped >= LEAST_VARIATION else 0.0


def _longest(steps: NDArray[np.int16]) -> NDArray[np.int16]:
    """The largest of WINDOW steps around each one along the first axis; the border counts as a large one."""
    half = WINDOW // 2
    padded = np.pad(steps, ((half, half), (0, 0), (0, 0)), constant_values=255)
    found = padded[: len(steps)].copy()
    for offset in range(1, WINDOW):
        np.maximum(found, padded[offset : offset + len(steps)], out=found)
    return found
