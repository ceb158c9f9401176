"""Pictures made by arithmetic."""

import numpy as np


def picture(number: int, height: int = 96, width: int = 112) -> np.ndarray:
    """A soft scene that differs by number: (height, width, 3) uint8."""
    y, x = np.mgrid[0:height, 0:width] / 16
    waves = [np.sin(x * (1 + number % 3) + c) + np.cos(y * (1 + number % 4) - c * number) for c in range(3)]
    return ((np.stack(waves, axis=2) + 2) * 63).astype(np.uint8)
