"""The page of `allaprima compare`: figures, sliders over frames, a strip that moves. One file, nothing beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

import numpy as np

from .compare import Figures, Shots, Side, apart, enlarged, figures, more_figures, shown
from .files import Draft
from .frame import Image
from .pixels import fit, resize
from .reports import data_address, loop, page, sliders, table

__all__ = ["write_page"]

ORIGINAL = "original"
QUALITY = 90
LOOP_BYTES, LOOP_WIDTH = 2_000_000, 360
"""The moving strip: at most so large, and each picture in it at first so wide."""


def write_page(draft: Draft, shots: Shots, one: Side, other: Side) -> dict[str, Any]:
    """Measure, and write the page; what it says as a dictionary, for `--json`. Raises OutputError, InputError."""
    sides = (one, other)
    more, notes = more_figures(shots, sides)
    measured = [{**figures(shots, side), **others} for side, others in zip(sides, more, strict=True)]
    between = apart(one, other)
    notes = [*shots.notes, *notes]
    title = f"{one.name} and {other.name} on {shots.name}"
    draft.write(page(title, _body(shots, sides, measured, between, notes)))
    return {
        "output": str(draft.path),
        "on": shots.name,
        "frames": len(shots.images),
        "sides": [
            {"name": side.name, "how": side.how, "figures": one}
            for side, one in zip(sides, measured, strict=True)
        ],
        "between": between,
        "notes": notes,
    }


def _body(
    shots: Shots, sides: Sequence[Side], measured: Sequence[Figures], between: Figures, notes: Sequence[str]
) -> str:
    height, width = shots.images[0].shape[:2]
    count = len(shots.images)
    rows = [[label, *(_number(one.get(label)) for one in measured)] for label in _labels(measured)]
    about = [f"<p><b>{escape(side.name)}</b>: {escape(side.how)}</p>" for side in sides]
    parts = [
        *about,
        f"<p>{count} {'frame' if shots.moving else 'picture'}{'s' if count > 1 else ''}, "
        f"{'the first ' if count > 1 and not shots.moving else ''}{width}x{height}.</p>",
        "<h2>Figures</h2>",
        table(["", *(side.name for side in sides)], rows),
        "<p>Means over all of them. No figure says which is better: the original itself is perfect in most.</p>",
        "<p>Between both paintings: "
        + ", ".join(f"{escape(label)} {_number(value)}" for label, value in between.items())
        + ".</p>",
        "<h2>Pictures</h2>",
        "<p>The lines can be moved, on the picture or below it: left of the first the original, then one painting, "
        "then the other.</p>",
        *(_figure(shots, sides, number) for number in shown(shots)),
    ]
    if shots.moving:
        moving, note = _loop(shots, sides)
        parts += ["<h2>In motion</h2>", moving, f"<p>{escape(note)}</p>"]
    return "\n".join([*parts, *(f"<p>Note: {escape(note)}</p>" for note in notes)])


def _figure(shots: Shots, sides: Sequence[Side], number: int) -> str:
    pictures = {ORIGINAL: shots.images[number], **{side.name: side.paintings[number] for side in sides}}
    largest = max(picture.shape[:2] for picture in pictures.values())
    alike = {name: enlarged(picture, largest[0] // picture.shape[0]) for name, picture in pictures.items()}
    return f"<figure>{sliders(alike, quality=QUALITY)}<figcaption>{escape(shots.labels[number])}</figcaption></figure>"


def _loop(shots: Shots, sides: Sequence[Side]) -> tuple[str, str]:
    """A moving strip, original and paintings beside each other, as an <img>; and what it is."""
    names = ", ".join([ORIGINAL, *(side.name for side in sides)])
    width = LOOP_WIDTH
    while True:
        strips = list(_strips(shots, sides, width))
        moving = loop(strips, shots.rate or 25, quality=70)
        if len(moving) <= LOOP_BYTES or width < 100:
            break
        width = width * 3 // 4
    shown = f'<img class=loop src="{data_address(moving)}" alt="in motion: {escape(names)}">'
    return shown, f"{names}; each shrunk to {strips[0].shape[1] // (len(sides) + 1)} pixels."


def _strips(shots: Shots, sides: Sequence[Side], width: int) -> Iterator[Image]:
    for images in zip(shots.images, *(side.paintings for side in sides), strict=True):
        box = fit(images[0].shape[1], images[0].shape[0], (width, 4 * width))
        yield np.concatenate([resize(image, *box) for image in images], axis=1)


def _labels(measured: Sequence[Figures]) -> list[str]:
    return list(dict.fromkeys(label for one in measured for label in one))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
