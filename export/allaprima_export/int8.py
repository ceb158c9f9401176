"""The int8 variant: quantize all layers, judge, and where that is not faithful, find the layers to keep in floats."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx

from allaprima.backends import load
from allaprima.frame import Image
from allaprima.manifest import Plan

from .artefacts import SMALLEST, grid
from .core import OUT
from .gate import margin_db, unfaithful
from .inside import Frame, all_finite
from .parity import Judged, Painter, Panel
from .qdq import keep, layers
from .quantize import quantize, quantizer_version
from .scenes import gradient
from .sensitivity import Tried, search

__all__ = ["Quantized", "practice_pictures", "quantized"]

PRACTICE = (224, 224)  # height, width of the pictures that layers are searched on
HEADROOM_DB = (1.0, 3.0, 6.0)
"""By how much practice must be better than it takes: unseen pictures are harder. Each is tried in turn."""


@dataclass(frozen=True)
class Quantized:
    """A core in int8 and how it was judged, faithful or not."""

    core: onnx.ModelProto
    plan: Plan
    judged: Judged
    why_not: str
    """Empty where it is faithful."""


def quantized(
    core: onnx.ModelProto,
    wrap: Callable[[onnx.ModelProto], onnx.ModelProto],
    *,
    quantizer: str,
    backend: str,
    frames: Sequence[Frame],
    calibration: str,
    unseen: Panel,
    practice: Callable[[], Panel],
    known: Plan | None = None,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> Quantized:
    """`core` in int8 with as few layers in floating point as it takes to be faithful on `unseen` pictures.

    `wrap` attaches the edges; `backend` is where it is judged; `frames` are what ranges are measured on and
    `calibration` what they are, in words. `practice` makes the pictures that layers are searched on, if it comes to
    that: were it the unseen ones, they would not judge any more. A `known` plan is tried first.
    """
    whole = quantize(quantizer, core, frames)
    names = layers(whole, core)
    in_floats = wrap(core).SerializeToString()
    its_own = _grid_of_floats(unseen, in_floats, backend)

    def made(kept: Collection[str]) -> Quantized:
        some = keep(whole, core, kept)
        model = wrap(some)
        judged = unseen.judge(model.SerializeToString(), "int8", backend)
        judged = replace(
            judged,
            finite=all_finite(model, OUT, unseen.pictures.values(), unseen.controls),
            grid_db=judged.grid_db - its_own,
        )
        ordered = tuple(name for name in names if name in kept)
        plan = Plan(quantizer=quantizer_version(quantizer), calibration=calibration, keep=ordered)
        return Quantized(some, plan, judged, unfaithful(judged, "int8"))

    found = made(known.keep if known and set(known.keep) <= set(names) else ())
    if not found.why_not:
        return found
    panel = practice()
    practice_own = _grid_of_floats(panel, in_floats, backend)
    seen: dict[frozenset[str], Judged] = {}  # the headrooms ask for many of the same

    def practised(kept: Collection[str]) -> Judged:
        if frozenset(kept) not in seen:
            on_stage(
                f"looking for layers that int8 spoils, attempt {len(seen) + 1} of about {2 * len(names)}"
            )
            model = wrap(keep(whole, core, kept)).SerializeToString()
            judged = panel.judge(model, "int8", backend)
            seen[frozenset(kept)] = replace(judged, grid_db=judged.grid_db - practice_own)
        return seen[frozenset(kept)]

    for headroom in HEADROOM_DB:

        def attempt(kept: Collection[str], headroom: float = headroom) -> Tried:
            judged = practised(kept)
            return Tried(not unfaithful(judged, "int8", headroom), margin_db(judged, "int8"))

        kept = search(names, attempt)
        if kept is None:
            break
        if kept:  # none to keep: practice was too easy
            found = made(kept)
        if not found.why_not:
            break
    return found


def _grid_of_floats(panel: Panel, model: bytes, backend: str) -> float:
    """dB that the backend's own floats, bf16 where there is such, add at the frequencies of the pixel shuffle."""
    kind, device = load(backend)
    precision = next(name for name, stored in kind.precisions(device).items() if stored == "fp32")
    painter = Painter(model, backend, precision, panel.controls)
    large = [
        (panel.references[name], painter.paint(picture, values=panel.turned.get(name)))
        for name, picture in sorted(panel.pictures.items(), key=lambda one: one[1].shape)
        if min(panel.references[name].shape[:2]) >= SMALLEST
    ]
    return max(0.0, grid(large, panel.period).excess_db) if panel.period and large else 0.0


def practice_pictures(pictures: Sequence[Image]) -> Mapping[str, Image]:
    """Cuts of one size from the middle of some calibration pictures, the first and the last ones, by name; then plain
    grey and a slope, on which one level shows: a network that was faithful to photographs left a lattice on grey.

    Of one size, because a backend starts anew for each.
    """
    some = [*pictures[:6], *pictures[6:][-4:]]
    height, width = (min(side, *(one.shape[axis] for one in some)) for axis, side in enumerate(PRACTICE))
    cuts: dict[str, Image] = {}
    for number, picture in enumerate(some):
        top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
        cuts[f"practice {number}"] = picture[top : top + height, left : left + width].copy()
    cuts["practice grey"] = np.full((height, width, 3), 100, np.uint8)
    cuts["practice slope"] = gradient(height, width)[::-1, ::-1].copy()
    return cuts
