"""What does a calm picture cost, at 1280x720?

    python benchmarks/stabilise.py      # 20 s

The stabiliser on a scene that moves and on one that stands; the last painting moved along instead of painting; the test
whether anything has changed; blending by a mask. Beside it the painting itself, in the same process. What they answer
is checked: the moved painting against the painting of the moved picture, the still test both ways.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import islice

import lines
import numpy as np

from allaprima import open_source
from allaprima.blend import blend
from allaprima.frame import Image
from allaprima.metrics import psnr
from allaprima.stylizer import Stylizer
from allaprima.temporal import Stabiliser, Still

WIDTH, HEIGHT = 1280, 720
AMOUNT = 0.8


def main() -> None:
    parser = lines.arguments(__doc__)
    parser.add_argument("--style", default="starry")
    parser.add_argument("--rounds", type=int, default=60)
    args = parser.parse_args()
    images = _panning(8)
    with Stylizer.open(args.style, size=(WIDTH, HEIGHT)) as stylizer:
        painted = [stylizer.paint(image) for image in images]
        stabiliser, follower, standing, still = (
            Stabiliser(AMOUNT),
            Stabiliser(0.0),
            Stabiliser(AMOUNT),
            Still(),
        )
        follower(images[0], painted[0])
        mask = np.broadcast_to(np.linspace(0, 255, WIDTH).astype(np.uint8), (HEIGHT, WIDTH)).copy()
        steps: dict[str, Callable[[int], object]] = {
            "paint": lambda number: stylizer.paint(images[number]),
            "stabilise, moving": lambda number: stabiliser(images[number], painted[number]),
            "stabilise, standing": lambda number: standing(images[0], painted[0]),
            "follow instead of painting": lambda number: follower.follow(images[number]),
            "still": lambda number: still(images[0]),
            "blend by a mask": lambda number: blend(images[number], painted[number], mask),
        }
        found = {name: _timed(step, len(images), args.rounds) for name, step in steps.items()}
    lines.report(
        "stabilise",
        {
            "question": f"what steadying costs at {WIDTH}x{HEIGHT}, {args.style}",
            "milliseconds": {name: lines.milliseconds(times) for name, times in found.items()},
            "checked": _check(images, painted),
            "machine": lines.machine(),
            "versions": lines.versions("openvino", "opencv-python", "pillow", "numpy"),
        },
        keep=args.keep,
    )


def _panning(count: int) -> list[Image]:
    """A view that moves to the right over the demo's bars, 4 pixels a frame, and back."""
    with open_source(f"bars:{WIDTH + 4 * count}x{HEIGHT}@30") as source:
        wide = next(islice(source, 20, None)).image
    rows, columns = np.mgrid[0 : wide.shape[0], 0 : wide.shape[1]]
    waves = (
        30 * np.sin(columns / 17)[..., None] * np.sin(rows / 23)[..., None]
    )  # something to follow everywhere
    wide = np.clip(wide + waves, 0, 255).astype(np.uint8)
    there = [np.ascontiguousarray(wide[:, 4 * number : 4 * number + WIDTH]) for number in range(count)]
    return there + there[-2:0:-1]


def _timed(step: Callable[[int], object], count: int, rounds: int) -> list[float]:
    for number in range(count):
        step(number)
    found = []
    for number in range(rounds):
        begun = time.perf_counter()
        step(number % count)
        found.append(time.perf_counter() - begun)
    return found


def _check(images: list[Image], painted: list[Image]) -> dict[str, float]:
    follower = Stabiliser(0.0)
    follower(images[0], painted[0])
    followed = follower.follow(images[1])
    assert followed is not None
    inner = np.s_[16:-16, 16:-16]
    moved, stale = psnr(followed[inner], painted[1][inner]), psnr(painted[0][inner], painted[1][inner])
    assert moved > stale + 3, (moved, stale)
    still = Still()
    assert not still(images[0])
    assert still(images[0])
    assert not still(images[3])
    return {"followed_psnr_db": round(moved, 2), "stale_psnr_db": round(stale, 2)}


if __name__ == "__main__":
    main()
