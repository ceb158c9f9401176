"""How steady a painted video is: warping error, frame differences, jitter of a scene that stands still.

There is no agreed measure of flicker; these three see different things. A picture that does not change at all would be
perfect by each of them, so read them together with how much a style changes the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..frame import Image
from ..motion import FlowField, Motion

__all__ = ["Steadiness", "static_jitter", "steadiness"]


@dataclass(frozen=True, slots=True)
class Steadiness:
    """Of a painted video beside its source. All lower is steadier."""

    warping_error: float
    """How far a painting is from the one before, moved along the *source's* motion: the root of the mean square
    over all pixels that both show, in levels of 255."""
    source_warping_error: float
    """The same of the source itself: noise, light, and what the flow gets wrong. No painter is expected below it."""
    difference_ratio: float
    """Change from frame to frame of the paintings, over that of the source (both root mean square); motion
    included, no flow needed. 1: the painting changes as much as the source."""
    contrast: float
    """Standard deviation of the paintings' luma, in levels: a faint painting has little that could flicker."""
    pairs: int
    """Of neighbouring frames that were compared."""


def steadiness(sources: Iterable[Image], paintings: Iterable[Image]) -> Steadiness:
    """Measure two videos of equal length, at least two frames: (H, W, 3) uint8 each, paintings of the sources' size.

    Warping error as in Lai et al.: Learning Blind Video Temporal Consistency, 2018, with DIS for the flow, and the
    consistency of forward and backward flow for what is occluded (Sundaram, Brox, Keutzer: Dense Point
    Trajectories, 2010). They average squares of 0..1; this is the root in levels, which can be read: 5 is a flicker of
    5 levels. Halving it is quartering theirs.
    """
    motion = Motion("medium")
    squares = {"warped": 0.0, "source": 0.0, "painted change": 0.0, "source change": 0.0}
    pixels, contrast, pairs = 0.0, 0.0, 0
    before: tuple[Image, Image] | None = None
    for source, painted in zip(sources, paintings, strict=True):
        if source.shape != painted.shape:
            raise ValueError(
                f"a painting of {painted.shape} cannot be compared with its source of {source.shape}"
            )
        contrast += float(motion.grey(painted).std())
        if before is not None:
            source_before, painted_before = before
            now, then = motion.grey(source), motion.grey(source_before)
            flow = motion.between(now, then)
            seen = _visible(motion, flow, motion.between(then, now))
            squares["warped"] += _square(painted, motion.moved(painted_before, flow), seen)
            squares["source"] += _square(source, motion.moved(source_before, flow), seen)
            everywhere = np.ones_like(seen)
            squares["painted change"] += _square(painted, painted_before, everywhere) / seen.size
            squares["source change"] += _square(source, source_before, everywhere) / seen.size
            pixels += float(seen.sum())
            pairs += 1
        before = source, painted
    if pairs == 0:
        raise ValueError("steadiness is a matter of two frames or more")
    return Steadiness(
        warping_error=float(np.sqrt(squares["warped"] / max(pixels, 1))),
        source_warping_error=float(np.sqrt(squares["source"] / max(pixels, 1))),
        difference_ratio=float(np.sqrt(squares["painted change"] / max(squares["source change"], 1e-9))),
        contrast=contrast / (pairs + 1),
        pairs=pairs,
    )


def static_jitter(
    paint: Callable[[Image], Image], picture: Image, *, noise: float = 2.0, frames: int = 8, seed: int = 0
) -> float:
    """How much paintings of a still (H, W, 3) uint8 picture change when only a sensor's noise does.

    `noise` is its standard deviation in levels of 255: 2 is a webcam in a lit room, 5 one at night. The root of the
    mean square of the change between neighbouring paintings, in levels; the same of the noisy pictures themselves
    is 1.41 times the noise. The first half of the frames is not counted, so that what remembers can settle.
    """
    random = np.random.default_rng(seed)
    changes: list[float] = []
    before: Image | None = None
    for number in range(frames):
        grain = random.normal(0, noise, picture.shape)
        painted = paint(np.clip(picture + grain + 0.5, 0, 255).astype(np.uint8))
        if before is not None and number > frames // 2:
            changes.append(float(np.square(painted.astype(np.float32) - before).mean()))
        before = painted
    return float(np.sqrt(np.mean(changes)))


def _visible(motion: Motion, flow: FlowField, back: FlowField) -> NDArray[np.float32]:
    """(H, W) of 0 and 1: pixels that were there before, too: following the flow and coming back ends where it began."""
    height, width = flow.shape[:2]
    there = motion.moved(back, flow)
    gap = np.square(flow + there).sum(axis=2)
    length = np.square(flow).sum(axis=2) + np.square(there).sum(axis=2)
    rows, columns = np.indices((height, width), np.float32)
    x, y = columns + flow[..., 0], rows + flow[..., 1]
    inside = (x >= 0) & (y >= 0) & (x <= width - 1) & (y <= height - 1)
    return (inside & (gap <= 0.01 * length + 0.5)).astype(np.float32)


def _square(image: Image, other: Image, seen: NDArray[np.float32]) -> float:
    """The sum over what is seen of the squared difference, the mean of the channels."""
    return float((np.square(image.astype(np.float32) - other).mean(axis=2) * seen).sum())
