"""The sample pictures of a training: what goes in above what the byte model, which export is judged against, paints."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from PIL import Image as Pictures
from torch import nn

from allaprima.errors import InputError

from .data import read_picture
from .frame_model import FrameModel
from .generators import Generator
from .generators.controls import as_tensors, positions
from .objectives import shown_pictures

if TYPE_CHECKING:
    from .recipe import Recipe

__all__ = ["sheet"]

log = logging.getLogger(__name__)


@torch.no_grad()
def sheet(
    recipe: Recipe, generator: nn.Module, pictures: Iterable[Path], side: int = 320, most: int = 6
) -> Pictures.Image | None:
    """A contact sheet: a column for each picture, what the generator is given of it above what it paints.

    One painting with the generator's controls as they are by default, and one for each of their `positions`. Of the
    first `most` pictures that can be read; the others before them are named. None where there are none. Pictures that
    are given smaller than they come out are shown as large, each pixel repeated.
    """
    folded = cast(Generator, generator).folded().float().eval()
    model = FrameModel(folded)
    place = next(generator.parameters()).device
    controls = cast(Generator, generator).controls
    settings = [as_tensors(controls, values, place) for values in ({}, *positions(controls).values())]
    columns: list[list[Pictures.Image]] = []
    for number, path in enumerate(pictures):
        if len(columns) == most:
            break
        try:
            photo = read_picture(path)
        except InputError as error:
            log.warning("skipped the held-out picture %s: %s", path, error.why)
            continue
        photo.thumbnail((side, side), Pictures.Resampling.LANCZOS)
        given = shown_pictures(recipe, np.array(photo), number)  # (K, H, W, 3)
        full = torch.ones(1, device=place)
        image = torch.from_numpy(given).to(place)
        styled = [Pictures.fromarray(model(image, full, *values)[0].cpu().numpy()) for values in settings]
        columns.append([*(_as_large(one, styled[0]) for one in map(Pictures.fromarray, given)), *styled])
    if not columns:
        return None
    whole = Pictures.new("RGB", (side * len(columns), side * len(columns[0])), "white")
    for column, pictures_in_it in enumerate(columns):
        for row, picture in enumerate(pictures_in_it):
            whole.paste(picture, (column * side, row * side))
    return whole


def _as_large(picture: Pictures.Image, other: Pictures.Image) -> Pictures.Image:
    return picture.resize(other.size, Pictures.Resampling.NEAREST)
