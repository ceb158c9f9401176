"""Two paintings of the same thing, in numbers: what `allaprima compare` shows on its page.

    shots = read("clip.mp4", frames=24)
    a, b = painted_by("A: starry", stylizer, shots), painted_before("B: theirs.mp4", "theirs.mp4", shots)
    figures(shots, a)["SSIM with the original"]

No figure says which is better: a painting left as the photograph is has perfect content and steadiness.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from glob import escape as literally
from importlib.metadata import entry_points
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .errors import InputError
from .frame import Frame, Image
from .metrics import compare, ssim, ssim_structure, static_jitter, steadiness
from .sources import PictureSource, open_source, pictures_in

if TYPE_CHECKING:
    from .stylizer import Stylizer

__all__ = [
    "BOX",
    "Figures",
    "Shots",
    "Side",
    "apart",
    "enlarged",
    "figures",
    "more_figures",
    "painted_before",
    "painted_by",
    "read",
    "shown",
]

BOX = (1280, 720)
"""Frames are shrunk to fit into this (width, height), so that a page of some frames stays a few megabytes."""
SMALLEST = 16
SHOWN = 3
"""Frames of a video that get a slider, evenly taken."""


@dataclass(frozen=True)
class Shots:
    """What both sides paint."""

    name: str
    images: list[Image]
    """(H, W, 3) uint8 RGB; of a video they follow each other and have one size."""
    labels: list[str]
    """Of each: `frame 25` or its file."""
    rate: float | None
    """Frames per second; None: pictures that do not follow each other."""
    first: int = 0
    """The index of the first frame in its video."""
    notes: list[str] = field(default_factory=list)

    @property
    def moving(self) -> bool:
        return self.rate is not None and len(self.images) > 1


@dataclass(frozen=True)
class Side:
    name: str
    paintings: list[Image]
    """One for each shot, of its size or a multiple of it."""
    how: str
    """What painted, for people."""
    ms: float | None = None
    """Per frame, median; None: it was painted before."""
    jitter: float | None = None
    """`static_jitter` of the middle frame; None: as above."""


Figures = dict[str, float | None]
"""Label -> value, None where it cannot be measured."""


def read(
    what: str | Path, *, frames: int = 24, start: float = 1.0, box: tuple[int, int] | None = BOX
) -> Shots:
    """Of a video `frames` from `start` (seconds) on, the last ones where it is shorter; of a folder the first `frames`
    pictures; or the one picture. Raises InputError, UsageError."""
    shots = _folder(Path(what), frames, box) if Path(what).is_dir() else _file(what, frames, start, box)
    for image, label in zip(shots.images, shots.labels, strict=True):
        if min(image.shape[:2]) < SMALLEST:
            raise InputError(
                "E_COMPARE_OTHER",
                f"{label} is too small to compare",
                f"it has {image.shape[1]}x{image.shape[0]} pixels",
                f"each side needs {SMALLEST}",
            )
    return shots


def _file(what: str | Path, frames: int, start: float, box: tuple[int, int] | None) -> Shots:
    with open_source(what, size=box) as source:
        if source.frames == 1:
            return Shots(source.name, [next(iter(source)).image], [source.name], None, notes=source.notes)
        taken: deque[Frame] = deque(maxlen=frames)
        begin: float | None = None
        for frame in source:
            begin = frame.time if begin is None else begin
            taken.append(frame)
            if len(taken) == frames and taken[0].time - begin >= start:
                break
        rate = float(source.rate) if source.rate else 25.0
        labels = [f"frame {frame.index}" for frame in taken]
        images = [frame.image for frame in taken]
        notes = list(source.notes)
        if (there := taken[0].time - (begin or 0)) < start:
            notes.append(
                f"the video has less than {frames} frames from second {start:g} on: these are its last "
                f"{len(taken)}, from second {there:.1f} on"
            )
        return Shots(source.name, images, labels, rate, taken[0].index, notes)


def _folder(folder: Path, most: int, box: tuple[int, int] | None) -> Shots:
    found = pictures_in(folder)
    images: list[Image] = []
    labels: list[str] = []
    notes = [f"skipped {path.relative_to(folder)}: {reason}" for path, reason in found.skipped.items()]
    for path in found.pictures:
        if len(images) == most:
            notes.append(f"the first {most} of {len(found.pictures)} pictures")
            break
        try:
            images.append(next(iter(PictureSource(path, size=box))).image)
            labels.append(str(path.relative_to(folder)))
        except InputError as error:
            notes.append(f"skipped: {error}")
    if not images:
        raise InputError(
            "E_INPUT_EMPTY",
            f"nothing to compare on in {folder}",
            notes[0] if notes else "it is empty",
            "name a folder of pictures, a picture or a video",
        )
    return Shots(folder.resolve().name, images, labels, None, notes=notes)


def painted_by(name: str, stylizer: Stylizer, shots: Shots) -> Side:
    """Paint the shots now, and measure on the way. Raises what painting raises."""

    def paint(image: Image) -> Image:
        return stylizer(Frame(image)).image

    paintings, seconds = [], []
    for number, image in enumerate(shots.images):
        began = time.perf_counter()
        paintings.append(stylizer(Frame(image, index=shots.first + number)).image)
        seconds.append(time.perf_counter() - began)
    again = (
        seconds[1:] if shots.moving else []
    )  # the first pays for what starts late; one alone is no measure
    return Side(
        name=name,
        paintings=paintings,
        how=f"{stylizer.bundle.manifest.title}, by {stylizer.report.line}",
        ms=round(1000 * float(np.median(again)), 2) if again else None,
        jitter=static_jitter(paint, shots.images[len(shots.images) // 2]) if shots.moving else None,
    )


def painted_before(name: str, what: str | Path, shots: Shots, *, box: tuple[int, int] | None = BOX) -> Side:
    """Read what is painted already: a video with the same frames, a folder with the same pictures, or one picture.

    Raises InputError E_COMPARE_OTHER where there is no counterpart for one, or one of another shape.
    """
    if Path(what).is_dir():
        paintings = [_counterpart(Path(what), label, box) for label in shots.labels]
    else:
        with open_source(what, size=box) as source:
            wanted = range(shots.first, shots.first + len(shots.images))
            paintings = [frame.image for frame in islice(source, wanted.start, wanted.stop)]
        if len(paintings) < len(wanted):
            raise _other(
                what, f"it has no frame {wanted.start + len(paintings)}", "paint the whole video first"
            )
    for painting, image, label in zip(paintings, shots.images, shots.labels, strict=True):
        if _scale(painting, image) is None:
            (height, width), (rows, columns) = painting.shape[:2], image.shape[:2]
            raise _other(
                what,
                f"it is {width}x{height} where {label} is {columns}x{rows}",
                "paint it at its own size",
            )
    return Side(name, paintings, "painted before")


def _counterpart(folder: Path, label: str, box: tuple[int, int] | None) -> Image:
    """The painting in `folder` of the picture `label`, as `allaprima run FOLDER` names it, whatever its extension."""
    wanted = folder / label
    found = [wanted, *sorted(wanted.parent.glob(f"{literally(wanted.stem)}.*"))]
    for path in found:
        if path.is_file():
            return next(iter(PictureSource(path, size=box))).image
    raise _other(folder, f"there is no painting of {label} in it", f"allaprima run FOLDER --out {folder}")


def _other(what: str | Path, why: str, next: str) -> InputError:
    return InputError("E_COMPARE_OTHER", f"{what} cannot be compared", why, next)


def _scale(painting: Image, image: Image) -> int | None:
    """How many times as large; None where that is no whole number, the same both ways."""
    scale = painting.shape[0] // image.shape[0]
    return scale if scale and painting.shape[:2] == (scale * image.shape[0], scale * image.shape[1]) else None


def figures(shots: Shots, side: Side) -> Figures:
    """Of one side against the original, in the order of the table."""
    images = as_large(shots.images, side.paintings)
    pairs = list(zip(side.paintings, images, strict=True))
    found: Figures = {
        "SSIM with the original": _mean(ssim(*pair) for pair in pairs),
        "its structure factor": _mean(ssim_structure(*pair) for pair in pairs),
    }
    if shots.moving:
        steady = steadiness(images, side.paintings)
        found |= {
            f"warping error, levels (the original's: {steady.source_warping_error:.2f})": steady.warping_error,
            "change from frame to frame, over the original's": steady.difference_ratio,
            "contrast, levels": steady.contrast,
            "jitter of a still scene, levels": side.jitter,
            "milliseconds for a frame, median": side.ms,
        }
    return found


def more_figures(shots: Shots, sides: Sequence[Side]) -> tuple[list[Figures], list[str]]:
    """What other packages measure, of the frames that are shown, for each side; and why something could not be.

    An entry point of the group `allaprima.figures` names a function (paintings, originals) -> {label: value}, lists of
    (H, W, 3) uint8 of one size; it raises InputError, or ModuleNotFoundError where its extra is not installed.
    """
    found: list[Figures] = [{} for _ in sides]
    notes = []
    places = shown(shots)
    for entry in entry_points(group="allaprima.figures"):
        try:
            measure: Callable[[Sequence[Image], Sequence[Image]], Mapping[str, float]] = entry.load()
            for side, figures_of_it in zip(sides, found, strict=True):
                paintings = [side.paintings[number] for number in places]
                originals = as_large([shots.images[number] for number in places], paintings)
                figures_of_it |= measure(paintings, originals)
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("allaprima"):
                raise
            notes.append(f"{entry.name}: not measured, because {error.name} is not installed")
        except InputError as error:
            notes.append(f"{entry.name}: not measured: {error}")
    return found, notes


def apart(one: Side, other: Side) -> Figures:
    """The two paintings against each other. Raises InputError E_COMPARE_OTHER where one is no multiple of the other."""
    ours, theirs = as_large(one.paintings, other.paintings), as_large(other.paintings, one.paintings)
    for this, that in zip(ours, theirs, strict=True):
        if this.shape != that.shape:
            raise _other(
                one.name, f"it is no multiple of {other.name} in size, nor the other way", "choose others"
            )
    found = [compare(*pair) for pair in zip(ours, theirs, strict=True)]
    return {
        "PSNR in dB": _mean(difference.psnr_db for difference in found),
        "SSIM": _mean(difference.ssim for difference in found),
        "largest difference of a byte": float(max(difference.max_difference for difference in found)),
    }


def as_large(images: Sequence[Image], others: Sequence[Image]) -> list[Image]:
    """Those that are smaller than the others, each pixel repeated."""
    return [
        enlarged(image, max(1, other.shape[0] // image.shape[0]))
        for image, other in zip(images, others, strict=True)
    ]


def enlarged(image: Image, scale: int) -> Image:
    return image if scale == 1 else image.repeat(scale, axis=0).repeat(scale, axis=1)


def shown(shots: Shots) -> list[int]:
    """Which get a slider: all pictures, and of a video some frames, evenly."""
    count = len(shots.images)
    if not shots.moving or count <= SHOWN:
        return list(range(count))
    return [round(number) for number in np.linspace(0, count - 1, SHOWN)]


def _mean(values: Iterator[float]) -> float:
    return float(np.mean(list(values)))
