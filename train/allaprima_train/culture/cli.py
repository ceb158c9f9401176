"""`allaprima culture-score PICTURES --reference SET`: how near pictures come to a set of works, and in what not.

A proxy of colour, texture and line (docs/culture.md); it knows nothing of subject, touch or meaning.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .score import Score

HELP = "score pictures against a set of works: colour, texture, line (a proxy)"
EXTRA = "train"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pictures", nargs="+", metavar="PICTURES", help="picture files or folders")
    parser.add_argument(
        "--reference",
        action="append",
        required=True,
        metavar="SET",
        help="a folder of works; may be repeated",
    )
    parser.add_argument("--reasons", action="store_true", help="name what is farthest off in each picture")
    parser.add_argument("--json", action="store_true", help="one JSON object with every part and descriptor")


def run(args: argparse.Namespace) -> int:
    from allaprima.errors import BatchError

    from .descriptors import NAMES, PARTS
    from .score import compare, measure

    works, lost_works = _described(args.reference, "name a folder of works with --reference")
    reference = measure(list(works.values()))
    pictures, lost = _described(args.pictures, "name picture files or a folder of them")
    scores = {path: compare(vector, reference) for path, (vector, _) in pictures.items()}
    if args.json:
        answer = {
            "proxy": "colour, texture and line statistics; nothing of subject, touch or meaning",
            "reference": {
                "works": reference.works,
                "palette": [vars(swatch) for swatch in reference.palette],
                "typical": reference.typical,
                "middle": dict(zip(NAMES, reference.middle.tolist(), strict=True)),
                "spread": dict(zip(NAMES, reference.spread.tolist(), strict=True)),
            },
            "pictures": {str(path): _as_dict(score) for path, score in scores.items()},
            "skipped": {str(path): why for path, why in {**lost_works, **lost}.items()},
        }
        print(json.dumps(answer, indent=2))
    else:
        colours = ", ".join(f"{swatch.colour} {swatch.share:.0%}" for swatch in reference.palette)
        print(f"reference: {reference.works} works; palette {colours}")
        print(f"{'composite':>9} {''.join(f'{part:>9}' for part in PARTS)}  picture")
        for path, score in scores.items():
            _line(score.composite, [score.parts[part] for part in PARTS], str(path))
            for departure in score.farthest if args.reasons else []:
                print(f"{'':>38}{departure.line}")
        if len(scores) > 1:
            means = [sum(score.parts[part] for score in scores.values()) / len(scores) for part in PARTS]
            _line(sum(score.composite for score in scores.values()) / len(scores), means, "mean")
        print(
            "A proxy: statistics of colour, texture and line against the set's own works (1.00 = as typical as they)."
        )
    if lost or lost_works:
        raise BatchError(
            "E_BATCH_FAILED",
            f"{len(lost) + len(lost_works)} pictures could not be read",
            "; ".join(f"{path}: {why}" for path, why in {**lost_works, **lost}.items()),
            "the scores are those of the others",
        )
    return 0


def _line(composite: float, parts: Sequence[float], name: str) -> None:
    print(f"{composite:9.2f} {''.join(f'{part:9.2f}' for part in parts)}  {name}")


def _described(places: Sequence[str], advice: str):  # type: ignore[no-untyped-def]  # numpy and PIL: imported late
    """(path -> descriptors and picture, path -> why it cannot be read)."""
    from allaprima.errors import InputError

    from ..data import find_pictures
    from .score import describe_picture

    try:
        paths = find_pictures(places)
    except InputError as error:
        raise InputError(error.code, error.what.replace("training ", ""), error.why, advice) from None
    found, lost = {}, {}
    for path in paths:
        try:
            found[path] = describe_picture(path)
        except InputError as error:
            lost[path] = error.why
    if not found:
        raise InputError("E_DATA_EMPTY", f"none of {len(paths)} pictures can be read", str(lost), advice)
    return found, lost


def _as_dict(score: Score) -> dict[str, object]:
    return {
        "composite": score.composite,
        "parts": score.parts,
        "distances": score.distances,
        "farthest": [vars(departure) for departure in score.farthest],
    }
