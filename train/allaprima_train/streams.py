"""Streams: what a method trains on, by name. Batches are one sample of each stream, stacked.

A page in objectives/ says which it needs. `content` are photographs with context around what the losses see;
`style` are crops of another domain, unpaired; `target` is the answer to the `content` of the same number;
`domain` says which of several sets `style` is from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from allaprima.errors import InputError

from .data import Crops, Cut, find_pictures, split

if TYPE_CHECKING:
    from PIL import Image as Pictures

    from .recipe import PictureSet, Recipe

__all__ = [
    "InTurn",
    "Labels",
    "Stream",
    "batches",
    "content",
    "every_picture",
    "pairs",
    "style",
    "unpaired",
    "unreadable",
]


class Stream(Protocol):
    """`stream[n]` is sample number n for any n >= 0: the same tensor whenever and in whatever process it is asked.

    uint8 stands for pictures (they reach the method as float in [0, 1]); everything else arrives as it is.
    """

    @property
    def pictures(self) -> Sequence[Path]:
        """What it reads: a resume is refused where these have changed."""

    def __getitem__(self, number: int) -> Tensor: ...


def content(recipe: Recipe) -> Crops:
    """(3, side, side) uint8, side = crop + 2 context: the photographs that are not held out."""
    trained, _ = split(find_pictures(recipe.data.content), recipe.data.held_out, recipe.seed)
    return Crops(trained, Cut.of_content(recipe.data), recipe.seed)


def style(recipe: Recipe, pictures: PictureSet, setting: str, *, lane: int = 1) -> Crops:
    """(3, side, side) uint8, side = crop + 2 context: of an unpaired set. `setting` names it: `[cut.style] pictures`.

    Raises InputError E_DATA_EMPTY for a place without pictures.
    """
    side = recipe.data.crop + 2 * recipe.data.context
    found = find_pictures(pictures.pictures, setting)
    return Crops(found, Cut.of_set(pictures, side), recipe.seed, lane)


def unpaired(recipe: Recipe) -> dict[str, Stream]:
    """`content` and `style`: photographs and, unrelated to them, the paintings in the method's own table `style`."""
    return {
        "content": content(recipe),
        "style": style(recipe, recipe.objective.style, f"[{recipe.method}.style] pictures"),
    }


def pairs(recipe: Recipe, pictures: PictureSet, setting: str) -> dict[str, Stream]:
    """`content` and `target`, (3, side, side) uint8: the same crop of a photograph and of the answer to it.

    A pair are two files of one name (extensions aside) and one size. Raises InputError E_DATA_PAIRS where a
    photograph has no answer, or two, or one of another size, or one of both is no picture. A pair of which one is cut
    off further down is skipped, both.
    """
    source = content(recipe)
    answers: dict[str, list[Path]] = {}
    for path in find_pictures(pictures.pictures, setting):
        answers.setdefault(path.stem, []).append(path)
    paired = [_answer(photo, answers.get(photo.stem, []), setting) for photo in source.pictures]
    return {
        "content": Crops(source.pictures, source.cut, recipe.seed, beside=paired),
        "target": Crops(paired, source.cut, recipe.seed, beside=source.pictures),
    }


def _answer(photo: Path, answers: Sequence[Path], setting: str) -> Path:
    from PIL import Image as Pictures

    why = f"it has {len(answers)} answers of that name"
    if len(answers) == 1:
        try:
            with Pictures.open(photo) as one, Pictures.open(answers[0]) as other:
                (width, height), (its_width, its_height) = upright_size(one), upright_size(other)
                if (width, height) == (its_width, its_height):
                    return answers[0]
                why = f"it is {width}x{height} and {answers[0]} is {its_width}x{its_height}"
        except OSError as error:
            why = str(error)
    raise InputError(
        "E_DATA_PAIRS",
        f"the photograph {photo} has no pair",
        why,
        f"every picture in [data] content needs one of its name and size in {setting}",
    )


ORIENTATION = 0x0112  # EXIF: from 5 on, rows are columns


def upright_size(picture: Pictures.Image) -> tuple[int, int]:
    """(width, height) as it will be read: a telephone's pictures may lie on their side, with a note that they do."""
    width, height = picture.size
    return (height, width) if picture.getexif().get(ORIENTATION, 1) >= 5 else (width, height)


class InTurn:
    """Several streams as one: sample n is from stream n modulo their number, so that each counts alike."""

    def __init__(self, streams: Sequence[Stream]) -> None:
        self.streams = list(streams)

    @property
    def pictures(self) -> Sequence[Path]:
        return [path for stream in self.streams for path in stream.pictures]

    def __getitem__(self, number: int) -> Tensor:
        turn, which = divmod(number, len(self.streams))
        return self.streams[which][turn]


class Labels:
    """() int64: which stream of an `InTurn` of `count` sample n is from."""

    pictures: Sequence[Path] = ()

    def __init__(self, count: int) -> None:
        self.count = count

    def __getitem__(self, number: int) -> Tensor:
        return torch.tensor(number % self.count)


def every_picture(streams: Mapping[str, Stream]) -> set[Path]:
    """What they read, each once: of `restore`, two streams read the same photographs."""
    return {path for stream in streams.values() for path in stream.pictures}


def unreadable(streams: Mapping[str, Stream]) -> list[Path]:
    """The pictures that could not be read so far, in whatever process that was."""
    found: dict[Path, None] = {}
    waiting: list[object] = list(streams.values())
    while waiting:
        stream = waiting.pop()
        if isinstance(stream, Crops):
            found |= dict.fromkeys(stream.unreadable)
        elif isinstance(stream, InTurn):
            waiting += stream.streams
    return sorted(found)


class _Samples(Dataset[dict[str, Tensor]]):
    def __init__(self, streams: Mapping[str, Stream]) -> None:
        self.streams = dict(streams)

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        return {name: stream[number] for name, stream in self.streams.items()}


def batches(
    streams: Mapping[str, Stream],
    batch: int,
    first_step: int,
    last_step: int,
    workers: int = 0,
    share: tuple[int, int] = (0, 1),
) -> Iterator[dict[str, Tensor]]:
    """The batches of the steps `first_step` ... `last_step` - 1: by stream, (batch, ...) of its samples' type.

    `share` (rank, size): of every batch only this process's part of as many.
    """
    rank, size = share
    part = batch // size
    starts = (step * batch + rank * part for step in range(first_step, last_step))
    numbers = [list(range(start, start + part)) for start in starts]
    yield from DataLoader(
        _Samples(streams),
        batch_sampler=numbers,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        generator=torch.Generator(),  # its own: it would draw from the global one, and a resume would differ
    )
