"""How near a picture comes to a set of works, part by part: a proxy for belonging, with its reasons.

    reference = measure(find_pictures(["styles/ukiyoe"]))
    score = compare(describe_picture(path), reference)
    score.parts["line"], score.composite, score.farthest[0].line

For every descriptor, the set has a middle (median) and a spread (standard deviation). A picture's distance, in one
part, is the root mean square of how many spreads it is away from the middle, divided by what is typical for the set's
own works, each measured against the others. A score is 1 / distance, at most 1: 1.0 is as near as a typical work of
the set itself, 0.5 is twice as far. The composite is the geometric mean of the parts: none makes up for another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pictures

from allaprima.errors import InputError

from ..data import read_picture
from ..frame_model import to_unit
from .descriptors import NAMES, PARTS, SIDE, Swatch, describe, palette

__all__ = ["Departure", "Reference", "Score", "compare", "describe_image", "describe_picture", "measure"]

FEWEST = 5  # works; of fewer, a spread says nothing

Vector = NDArray[np.float64]
"""(len(NAMES),): a picture's descriptors."""


@dataclass(frozen=True)
class Reference:
    """What the works of a set have in common."""

    middle: Vector
    spread: Vector
    typical: dict[str, float]
    """By part: the median distance of a work from all others, in spreads."""
    works: int
    palette: list[Swatch]
    """Of all works together."""


@dataclass(frozen=True)
class Departure:
    """One descriptor of a picture beside the set's."""

    name: str
    value: float
    middle: float
    spreads: float
    """How many of the set's spreads above (or, negative, below) its middle."""

    @property
    def line(self) -> str:
        side = "above" if self.spreads > 0 else "below"
        return f"{self.name} {self.value:.3g}, the set's {self.middle:.3g}: {abs(self.spreads):.1f} spreads {side}"


@dataclass(frozen=True)
class Score:
    distances: dict[str, float]
    """By part: 1 is what is typical for the set's own works, 2 is twice as far."""
    farthest: list[Departure]
    """The descriptors that are farthest off, worst first."""

    @property
    def distance(self) -> float:
        """The geometric mean of the parts': what decides between sets. A score of 1 has no further to go, this has."""
        return math.prod(self.distances.values()) ** (1 / len(self.distances))

    @property
    def parts(self) -> dict[str, float]:
        """By part: 0 to 1, 1 is as near as a typical work of the set."""
        return {part: 1 / max(1.0, far) for part, far in self.distances.items()}

    @property
    def composite(self) -> float:
        """0 to 1: the geometric mean of the parts'."""
        return math.prod(self.parts.values()) ** (1 / len(self.distances))


def describe_picture(path: Path) -> tuple[Vector, Pictures.Image]:
    """`describe_image` of a picture file. Raises InputError."""
    return describe_image(read_picture(path))


def describe_image(picture: Pictures.Image) -> tuple[Vector, Pictures.Image]:
    """The descriptors of a picture in RGB at SIDE, and the picture at that size."""
    factor = SIDE / min(picture.size)
    size = (max(SIDE, round(picture.width * factor)), max(SIDE, round(picture.height * factor)))
    picture = picture.resize(size, Pictures.Resampling.LANCZOS)
    x = to_unit(torch.from_numpy(np.array(picture))).permute(2, 0, 1)[None]
    with torch.inference_mode():
        return describe(x)[0].double().numpy(), picture


def measure(works: Sequence[tuple[Vector, Pictures.Image]]) -> Reference:
    """A set's reference from its works as `describe_picture` gives them. Raises InputError E_DATA_FEW."""
    if len(works) < FEWEST:
        raise InputError(
            "E_DATA_FEW",
            f"{len(works)} works are too few for a reference",
            f"what they have in common shows from {FEWEST} on",
            "name a folder with more works of one kind",
        )
    vectors = np.stack([vector for vector, _ in works])
    middle, spread = _middle(vectors)
    apart = [
        _distances(vector, *_middle(np.delete(vectors, number, 0))) for number, vector in enumerate(vectors)
    ]
    typical = {part: float(np.median([one[part] for one in apart])) for part in PARTS}
    small = [np.asarray(picture.resize((64, 64))) for _, picture in works]
    return Reference(middle, spread, typical, len(works), palette(np.concatenate(small)))


def compare(vector: Vector, reference: Reference, worst: int = 5) -> Score:
    """The score of a picture's descriptors; `worst`: how many departures are listed."""
    found = _distances(vector, reference.middle, reference.spread)
    away = (vector - reference.middle) / reference.spread
    order = np.argsort(-np.abs(away))[:worst]
    return Score(
        {part: found[part] / reference.typical[part] for part in PARTS},
        [Departure(NAMES[n], float(vector[n]), float(reference.middle[n]), float(away[n])) for n in order],
    )


def _middle(vectors: NDArray[np.float64]) -> tuple[Vector, Vector]:
    return np.median(vectors, 0), np.maximum(vectors.std(0, ddof=1), LEAST)


def _distances(vector: Vector, middle: Vector, spread: Vector) -> dict[str, float]:
    squared = ((vector - middle) / spread) ** 2
    return {part: float(np.sqrt(squared[OF_PART[part]].mean())) for part in PARTS}


OF_PART = {part: np.array([name.startswith(f"{part}.") for name in NAMES]) for part in PARTS}

# The least spread that counts, so that a set of greyed scans is not infinitely far from a tinge of colour: one unit of
# Lab, and about what differs between two scans of one print.
LEAST = np.array(
    [1.0 if name.startswith("colour.") else 0.1 if ".energy_" in name else 0.01 for name in NAMES]
)
