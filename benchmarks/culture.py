"""Does the culture score tell sets of works apart, on works that it has not seen?

    python benchmarks/culture.py [--keep]      some minutes; needs ../shared/data

Every set is divided into five parts; four are its reference, the fifth is scored against every set's reference, and
belongs to the set that it is nearest to. Nothing is trained, no label is seen. Printed: the confusion matrix as
docs/culture.md shows it, the same for each part alone, and where the Kodak photographs stand.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from lines import SHARED, arguments, machine, report, versions
from numpy.typing import NDArray

from allaprima_train.culture.descriptors import PARTS
from allaprima_train.culture.score import Reference, Score, compare, describe_picture, measure
from allaprima_train.data import find_pictures

SETS = ("chinese_ink_landscape", "chinese_blue_green", "tarot_rws_1909", "ukiyoe", "vangogh", "impressionism")
FOLDS = 5


def main() -> int:
    args = arguments(__doc__).parse_args()
    if not SHARED.is_dir():
        sys.exit("needs the pictures in ../shared/data")
    works = {name: described(SHARED / "styles" / name) for name in SETS}
    photographs = described(SHARED / "content" / "eval")
    whole = {name: measure(found) for name, found in works.items()}

    judged: dict[str, list[dict[str, Score]]] = {
        name: [] for name in SETS
    }  # by set: a work's score in every set
    order = np.random.default_rng(0)
    for name, found in works.items():
        fold = order.permutation(len(found)) % FOLDS
        for held in range(FOLDS):
            own = measure([work for work, part in zip(found, fold, strict=True) if part != held])
            references: dict[str, Reference] = {**whole, name: own}
            for work, part in zip(found, fold, strict=True):
                if part == held:
                    judged[name].append({other: compare(work[0], ref) for other, ref in references.items()})

    matrix = confusion(judged, lambda score: score.distance)
    print(table(matrix))
    right = {"composite": share(matrix)}
    for part in PARTS:
        right[part] = share(confusion(judged, lambda score, part=part: score.distances[part]))
    print("\nright, as the mean over the sets (by chance 0.17):", right)
    own_score = {name: mean([scores[name] for scores in judged[name]]) for name in SETS}
    photo_score = {name: mean([compare(vector, whole[name]) for vector, _ in photographs]) for name in SETS}
    print("mean composite of held-out works in their own set:", own_score)
    print("mean composite of the Kodak photographs:", photo_score)
    line = {
        "machine": machine(),
        "versions": versions("torch", "kornia"),
        "works": {name: len(found) for name, found in works.items()},
        "confusion": {name: row.tolist() for name, row in zip(SETS, matrix, strict=True)},
        "right": right,
        "own_score": own_score,
        "photograph_score": photo_score,
    }
    report("culture", line, keep=args.keep)
    return 0


def described(folder: Path):  # type: ignore[no-untyped-def]  # (descriptors, picture) of every file
    return [describe_picture(path) for path in find_pictures([str(folder)])]


def confusion(judged, distance) -> NDArray[np.int64]:  # type: ignore[no-untyped-def]
    matrix = np.zeros((len(SETS), len(SETS)), int)
    for row, name in enumerate(SETS):
        for scores in judged[name]:
            matrix[row, int(np.argmin([distance(scores[other]) for other in SETS]))] += 1
    return matrix


def share(matrix: NDArray[np.int64]) -> float:
    """Of works that are told right, the mean over the sets: the large ones do not outvote the small."""
    return round(float((matrix.diagonal() / matrix.sum(1)).mean()), 3)


def mean(scores: list[Score]) -> float:
    return round(float(np.mean([score.composite for score in scores])), 3)


def table(matrix: NDArray[np.int64]) -> str:
    rows = [f"| held-out works of | {' | '.join(SETS)} | right |", "|---|" + "---|" * (len(SETS) + 1)]
    for name, row in zip(SETS, matrix, strict=True):
        cells = [
            f"**{count}**" if other == name else str(count) for other, count in zip(SETS, row, strict=True)
        ]
        rows.append(f"| {name} | {' | '.join(cells)} | {row[SETS.index(name)] / row.sum():.0%} |")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
