"""A contact sheet: photographs painted in every style, side by side, each under its name."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image as Pictures
from PIL import ImageDraw, ImageFont

from .frame import Image
from .pixels import fit, resize
from .stylizer import Stylizer

__all__ = ["BOX", "contact_sheet", "in_columns"]

BOX = (640, 640)
"""Photographs are shrunk to fit into this (width, height): small enough to compare, large enough to see strokes."""
_GAP, _LABEL, _TEXT = 8, 28, 16  # pixels
_PAPER, _INK = (250, 250, 248), (30, 30, 30)


def contact_sheet(
    photos: Sequence[Image],
    styles: Mapping[str, Path],
    *,
    on_style: Callable[[str], None] = lambda name: None,
) -> Pictures.Image:
    """`photos` (H, W, 3) uint8 RGB in rows, the photograph and its paintings by each of `styles` in columns; one
    photograph and its paintings in as many rows as make the sheet about square. Of a bundle that holds several styles
    each has its own place.

    `on_style` hears which is next. Raises what opening and painting raise.
    """
    small = [resize(photo, *fit(photo.shape[1], photo.shape[0], BOX)) for photo in photos]
    columns: dict[str, list[Image]] = {"photograph": small}
    for name, path in styles.items():
        on_style(name)
        with Stylizer.open(path) as stylizer:
            for label, values in stylizer.bundle.manifest.styles.items():
                stylizer.set(**values)
                columns[f"{name} {label}".strip()] = [stylizer.paint(photo) for photo in small]
    if len(photos) > 1:
        return in_columns(columns)
    names, side = list(columns), math.ceil(math.sqrt(len(columns)))
    rows = [names[first : first + side] for first in range(0, len(names), side)]
    return _stacked([in_columns({name: columns[name] for name in row}) for row in rows])


def _stacked(sheets: Sequence[Pictures.Image]) -> Pictures.Image:
    """One under the other."""
    size = max(sheet.width for sheet in sheets), sum(sheet.height for sheet in sheets)
    whole, top = Pictures.new("RGB", size, _PAPER), 0
    for sheet in sheets:
        whole.paste(sheet, (0, top))
        top += sheet.height
    return whole


def in_columns(columns: Mapping[str, Sequence[Image]]) -> Pictures.Image:
    """One sheet of pictures (H, W, 3) uint8 RGB of any sizes: a column under each name, as many rows in each."""
    rows = range(len(next(iter(columns.values()))))
    widths = [max(picture.shape[1] for picture in column) for column in columns.values()]
    heights = [max(column[row].shape[0] for column in columns.values()) for row in rows]
    sheet = Pictures.new(
        "RGB",
        (sum(widths) + _GAP * (len(widths) + 1), _LABEL + sum(heights) + _GAP * (len(heights) + 1)),
        _PAPER,
    )
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(_TEXT)
    left = _GAP
    for (name, column), width in zip(columns.items(), widths, strict=True):
        pen.text((left, _GAP), name, fill=_INK, font=font)
        top = _LABEL + _GAP
        for picture, height in zip(column, heights, strict=True):
            sheet.paste(Pictures.fromarray(np.ascontiguousarray(picture)), (left, top))
            top += height + _GAP
        left += width + _GAP
    return sheet
