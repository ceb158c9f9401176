"""What `allaprima compare` says of content where the extra `train` is installed (group `allaprima.figures`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from allaprima.frame import Image

from .features import find_features, load_features
from .quality import edge_recall, gradient_correlation, pixels, see, structure_distance

__all__ = ["content"]


def content(paintings: Sequence[Image], originals: Sequence[Image]) -> dict[str, float]:
    """Means over (H, W, 3) uint8 pictures, each pair of one size. The structure distance only where VGG-19's weights
    are on this machine: a comparison fetches nothing. Raises InputError E_FEATURES_MISSING, E_FEATURES_INVALID."""
    pairs = list(zip(paintings, originals, strict=True))
    found = {
        "edges of the original that are kept": float(np.mean([edge_recall(*pair) for pair in pairs])),
        "correlation of gradients": float(np.mean([gradient_correlation(*pair) for pair in pairs])),
    }
    if find_features() is not None:
        eyes = load_features()
        distances = [structure_distance(*(see(eyes, pixels(one)) for one in pair)) for pair in pairs]
        found["structure distance, 0 the same to 1 unrelated"] = float(np.mean(distances))
    return found
