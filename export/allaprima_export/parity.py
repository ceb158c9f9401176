"""Parity: does an exported model paint what the trained network paints? On pictures neither has seen.

The reference is the slow twin, `allaprima_train.frame_model` in fp32, with the network as it was trained: so
folding, tracing, edges, metadata and the vendor's optimiser are all judged at once.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from allaprima import backends
from allaprima.errors import DeviceError, InputError, QualityError
from allaprima.frame import Image
from allaprima.manifest import Control, Parity, Tolerance
from allaprima.metrics import IDENTICAL_DB, Difference, compare
from allaprima.pixels import fit, from_unit, resize, to_unit
from allaprima.threads import available
from allaprima_train.data import find_pictures, fingerprint, read_picture, split
from allaprima_train.frame_model import FrameModel
from allaprima_train.generators import Generator
from allaprima_train.generators.controls import Values, as_tensors, positions
from allaprima_train.recipe import Recipe

from .artefacts import SMALLEST, grid
from .measures import banding, worst_tile
from .several import picture_names, pictures_of

__all__ = [
    "EQUAL",
    "GOLDEN_TOLERANCES",
    "TOLERANCES",
    "FloatPainter",
    "Judged",
    "Painter",
    "Panel",
    "Reference",
    "at_positions",
    "given_pictures",
    "judge",
    "read_photos",
    "unseen",
    "within",
]

log = logging.getLogger(__name__)

TOLERANCES = {
    # One rounding apart at most, and 99 % of a picture equal: that alone gives 48.1 + 20 dB.
    "fp32": Tolerance(psnr_db=68, ssim=0.999, max_difference=1),
    # 11 bits of mantissa through ten layers; without a limit on the worst byte, because noise has outliers.
    "fp16": Tolerance(psnr_db=45, ssim=0.99),
    # What the eye can just tell from the original beside it, on the worst picture; most are 5 dB better.
    "int8": Tolerance(psnr_db=35, ssim=0.97),
}
EQUAL = {"fp32": 0.999}
"""The least share of equal bytes over all pictures: a tiny picture's one rounding must not count as one in 768."""

GOLDEN_TOLERANCES = {
    # Looser than parity: other processors sum in another order, and OpenVINO may use Winograd's convolution.
    "fp32": Tolerance(psnr_db=60, ssim=0.999, max_difference=2),
    "bf16": Tolerance(psnr_db=32, ssim=0.96),
    "fp16": Tolerance(psnr_db=45, ssim=0.99),
    "int8": Tolerance(psnr_db=32, ssim=0.95),
}

MOST_PICTURES = 12
LARGEST = (960, 960)
"""Photographs are shrunk to fit: parity is about numbers, and torch in fp32 takes seconds for a megapixel."""


class Reference:
    """Paints with torch in fp32. Raises QualityError E_NOT_FINITE where the network answers NaN or infinity."""

    def __init__(self, generator: nn.Module) -> None:
        self.model = FrameModel(generator).eval()
        self.controls = cast(Generator, generator).controls
        self.period = cast(Generator, generator).stride * cast(Generator, generator).scale
        self.finite = True
        generator.register_forward_hook(self._look)

    def _look(self, module: nn.Module, inputs: object, painted: Tensor) -> None:
        self.finite = self.finite and bool(torch.isfinite(painted).all())

    @torch.no_grad()
    def paint(self, image: Image, name: str, strength: float = 1.0, values: Values | None = None) -> Image:
        """(H, W, 3) uint8 RGB in and out; `name` is for the error, `values` are for the network's controls.

        Several pictures come as one array, see several.py.
        """
        self.finite = True
        given = as_tensors(self.controls, values)
        pictures = torch.from_numpy(np.stack(pictures_of(image)))  # (K, H, W, 3)
        styled = self.model(pictures, torch.tensor([strength]), *given)[0].numpy()
        if not self.finite:
            raise QualityError(
                "E_NOT_FINITE",
                f"cannot export: the network's answer to {name} is not finite",
                "NaN and infinity become black and white bytes, and nobody downstream could tell",
                "go back to an earlier checkpoint, or train longer with a lower learning rate",
            )
        return np.asarray(styled)


class Painter:
    """Paints with an exported model on a backend of the runtime; starts it again for each new size.

    `controls`: those that the model has besides strength.
    """

    def __init__(self, model: bytes, backend: str, precision: str, controls: Sequence[Control] = ()) -> None:
        self.model, self.precision, self.controls = model, precision, controls
        self.kind, self.device = backends.load(backend)
        self.runner: Any = None
        self.shape: tuple[int, ...] = ()

    @property
    def description(self) -> str:
        return str(self.runner.description)

    def paint(self, image: Image, strength: float = 1.0, values: Values | None = None) -> Image:
        """(H, W, 3) uint8 RGB in and out; several pictures as one array, see several.py."""
        each = pictures_of(image)
        pictures = {
            name: np.ascontiguousarray(one[None])
            for name, one in zip(picture_names(len(each)), each, strict=True)
        }
        return np.asarray(self._run(image, pictures, strength, values)["styled"][0])

    def _run(
        self, image: Image, pictures: Mapping[str, NDArray[Any]], strength: float, values: Values | None
    ) -> Mapping[str, NDArray[Any]]:
        """What the model answers to `pictures`: `image` as it takes it."""
        given = zip(self.controls, as_tensors(self.controls, values), strict=True)
        inputs: dict[str, NDArray[Any]] = {
            **pictures,
            "strength": np.array([strength], np.float32),
            **{control.name: value.numpy() for control, value in given},
        }
        if image.shape != self.shape:
            self.runner = self.kind(
                self.model, inputs, precision=self.precision, device=self.device, threads=available()
            )
            self.shape = image.shape
        return dict(self.runner.run(inputs))


class FloatPainter(Painter):
    """The same for a model with float edges: converts and rounds as its user has to."""

    def paint(self, image: Image, strength: float = 1.0, values: Values | None = None) -> Image:
        picture = np.ascontiguousarray(to_unit(image).transpose(2, 0, 1)[None])
        styled = self._run(image, {"image": picture}, strength, values)["styled"][0]
        return from_unit(styled.transpose(1, 2, 0))


@dataclass(frozen=True)
class Judged:
    """A model on a backend against the reference."""

    description: str
    """What ran: `ort 1.31.1 (CPU, fp32, 2 threads)`."""
    parity: Parity
    equal: float
    """Share of bytes that are equal, over all pictures."""
    worst: str
    """The picture with the lowest PSNR."""
    worst_tile_db: float
    """The lowest PSNR of any 64x64 tile; see `measures.worst_tile`."""
    banding: float
    """The largest share of smooth slopes that comes in steps; see `measures.banding`."""
    grid_db: float = 0.0
    """What it adds to the painting's energy at the frequencies of the pixel shuffle; see `artefacts.grid`."""
    finite: bool = True
    """False where numbers inside the graph are not; looked for by those who ask (`inside.all_finite`)."""

    @property
    def line(self) -> str:
        figures = self.parity
        return (
            f"PSNR {figures.psnr_db:.1f} dB, SSIM {figures.ssim:.4f}, largest difference "
            f"{figures.max_difference}, {self.equal:.2%} equal, worst tile {self.worst_tile_db:.1f} dB "
            f"(worst picture: {self.worst})"
        )


def judge(
    painter: Painter,
    pictures: Mapping[str, Image],
    references: Mapping[str, Image],
    tolerance: Tolerance,
    turned: Mapping[str, Values] | None = None,
    against: str = "torch fp32",
    period: int = 0,
) -> Judged:
    """Paint every picture and compare. `pictures` and `references` by name, uint8 (H, W, 3), at least 16x16.

    `turned`: of the pictures that are painted with other than the controls' defaults, the values. `against`: what
    painted the references, in words. `period`: of the grid that is looked for in pictures that are large enough.
    """
    differences: dict[str, Difference] = {}
    equal = total = 0
    tile, steps = IDENTICAL_DB, 0.0
    large: list[tuple[Image, Image]] = []
    for name in sorted(pictures, key=lambda name: pictures[name].shape):  # one start for each size
        styled = painter.paint(pictures[name], values=(turned or {}).get(name))
        differences[name] = compare(styled, references[name])
        equal += int((styled == references[name]).sum())
        total += styled.size
        tile = min(tile, worst_tile(styled, references[name]))
        steps = max(steps, banding(styled, references[name]))
        if period and min(styled.shape[:2]) >= SMALLEST:
            large.append((references[name], styled))
    return Judged(
        description=painter.description,
        parity=Parity.of(differences.values(), against=against, tolerance=tolerance),
        equal=equal / total,
        worst=min(differences, key=lambda name: differences[name].psnr_db),
        worst_tile_db=tile,
        banding=steps,
        grid_db=grid(large, period).excess_db if large else 0.0,
    )


@dataclass(frozen=True)
class Panel:
    """Pictures with what torch makes of them: what every variant is judged on."""

    pictures: Mapping[str, Image]
    references: Mapping[str, Image]
    turned: Mapping[str, Values]
    """Of the pictures that are painted with other than the controls' defaults, the values."""
    controls: Sequence[Control]
    period: int = 0
    """In pixels of the painting, of a grid that the network could leave; 0: unknown."""

    @classmethod
    def of(cls, reference: Reference, pictures: Mapping[str, Image]) -> Panel:
        """`reference` paints the pictures, some of them once more for each position of its controls."""
        again, turned = at_positions(pictures, reference.controls)
        whole = {**pictures, **again}
        painted = {
            name: reference.paint(image, name, values=turned.get(name)) for name, image in whole.items()
        }
        return cls(whole, painted, turned, reference.controls, reference.period)

    def judge(self, model: bytes, precision: str, backend: str = "ort") -> Judged:
        """An exported model of that precision on a backend."""
        return self.judge_with(Painter(model, backend, precision, self.controls), precision)

    def judge_with(self, painter: Painter, precision: str) -> Judged:
        return judge(
            painter, self.pictures, self.references, TOLERANCES[precision], self.turned, period=self.period
        )


def judged_elsewhere(
    model: bytes,
    precisions: tuple[str, ...],
    pictures: Mapping[str, Image],
    references: Mapping[str, Image],
    controls: Sequence[Control] = (),
) -> dict[str, Judged | str]:
    """The same on OpenVINO, for information: precision -> figures, or why there are none."""
    found: dict[str, Judged | str] = {}
    for precision in precisions:
        try:
            possible = backends.load("openvino")[0].precisions(None)
            if precision not in possible:
                found[precision] = "this processor has no instructions for it"
                continue
            found[precision] = judge(
                Painter(model, "openvino", precision, controls),
                pictures,
                references,
                GOLDEN_TOLERANCES["bf16"],
            )
        except DeviceError as error:
            found[precision] = error.why
    return found


def at_positions(
    pictures: Mapping[str, Image], controls: Sequence[Control], most: int = 2
) -> tuple[dict[str, Image], dict[str, Values]]:
    """The last `most` pictures once more for each position of the controls, by a name that says it; and the values."""
    again: dict[str, Image] = {}
    turned: dict[str, Values] = {}
    for label, values in positions(controls).items():
        for name in list(pictures)[-most:]:
            again[f"{name} at {label}"], turned[f"{name} at {label}"] = pictures[name], values
    return again, turned


def within(judged: Judged, precision: str, variant: str) -> None:
    """Raises QualityError E_PARITY where a variant is not what was trained."""
    least = EQUAL.get(precision, 0.0)
    if judged.parity and judged.equal >= least:
        return
    limit = judged.parity.tolerance
    wanted = f"PSNR {limit.psnr_db:g} dB, SSIM {limit.ssim:g}"
    wanted += f", largest difference {limit.max_difference}" if limit.max_difference is not None else ""
    wanted += f", {least:.1%} equal" if least else ""
    raise QualityError(
        "E_PARITY",
        f"variant {variant!r} does not paint what it was made from paints: {judged.parity.against}",
        f"{judged.line}; wanted: {wanted}",
        "leave it out with --variants, or train with a lower learning rate: very large weights do not survive",
    )


def unseen(
    recipe: Recipe, folder: Path | None, trained_on: str | None = None
) -> tuple[dict[str, Image], str]:
    """Photographs that were not trained on, and where they come from in words.

    `folder` if given, else what the recipe held out; none where its data is not on this machine, or is not what
    was `trained_on` (a `fingerprint`; older runs have none). What cannot be read is skipped and named.
    Raises InputError E_DATA_EMPTY for a `folder` without pictures.
    """
    if folder is not None:
        photos, source = read_photos(given_pictures(folder)), "pictures given to export"
        if not photos:
            raise InputError(
                "E_DATA_EMPTY", f"no pictures in {folder}", "none of them can be read", _OTHER_PICTURES
            )
        return photos, source
    try:
        trained, files = split(find_pictures(recipe.data.content), recipe.data.held_out, recipe.seed)
    except InputError:
        trained, files = [], []
    if files and trained_on not in (None, fingerprint(trained, files)):
        return (
            {},
            "drawn scenes only: the training photographs have changed since, and with them what is held out",
        )
    photos = read_photos(files)
    if not photos:
        return {}, "drawn scenes only: the training's held-out photographs were not on the machine"
    return photos, "photographs held out from training"


_OTHER_PICTURES = "give --pictures a folder of photographs that were not trained on"


def given_pictures(folder: Path) -> list[Path]:
    """The picture files in a folder that --pictures names. Raises InputError E_DATA_EMPTY."""
    try:
        return find_pictures([str(folder)])
    except InputError as error:  # its next step is about recipes
        raise InputError(error.code, f"no pictures in {folder}", error.why, _OTHER_PICTURES) from None


def read_photos(
    files: Sequence[Path], most: int = MOST_PICTURES, largest: tuple[int, int] = LARGEST
) -> dict[str, Image]:
    """The first `most` pictures that can be read, by name, shrunk to fit into `largest` (width, height)."""
    photos: dict[str, Image] = {}
    for path in files:
        if len(photos) == most:
            break
        try:
            photo = np.array(read_picture(path))
        except InputError as error:
            log.warning("skipped the picture %s: %s", path, error.why)
            continue
        photos[path.name] = resize(photo, *fit(photo.shape[1], photo.shape[0], largest))
    return photos
