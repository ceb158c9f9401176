"""The variants of a bundle: each precision made from one traced core, judged, raced, and let through or dropped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import cast

import numpy as np
import onnx
from torch import nn

from allaprima import backends
from allaprima.errors import DeviceError
from allaprima.frame import Image
from allaprima.manifest import Plan, Variant
from allaprima.pixels import resize
from allaprima_train.generators import Generator
from allaprima_train.recipe import Recipe

from .calibration import calibration_pictures
from .core import OUT
from .edges import attach_edges
from .gate import Lap, compete, race, unfaithful
from .half import half
from .inside import Frame, all_finite, frames
from .int8 import practice_pictures, quantized
from .parity import Judged, Panel, Reference, within
from .quantize import QUANTIZERS, require_quantizer
from .several import beside, pictures_of

__all__ = ["PRECISIONS", "Made", "Material", "Precision", "at_size", "make", "starting", "stretched"]


@dataclass(frozen=True)
class Precision:
    """A row of the table: how a variant is made from the traced core, and for whom."""

    make: Callable[[onnx.ModelProto], onnx.ModelProto] | None
    """None: it takes pictures to measure on, see `int8.py`."""
    computed: tuple[str, ...]
    """What backends compute it in: the keys of the golden pair's tolerances."""
    faster_on: tuple[str, ...] = ()
    """It is for speed on these backends, and let through only if it has it on one of those that start here. Where none
    of them starts nobody can tell, and half the bytes are reason enough. int8's are those of its quantizer."""


PRECISIONS: dict[str, Precision] = {
    "fp32": Precision(lambda core: core, ("fp32", "bf16")),
    "fp16": Precision(half, ("fp16",), ("tensorrt", "ort:cuda")),
    "int8": Precision(None, ("int8",)),
}
"""Best first, as the manifest lists them. All but fp32, which is the measure, pass through the gate (`gate.py`)."""


@dataclass(frozen=True)
class Material:
    """What variants are made of and judged with."""

    core: onnx.ModelProto
    """As traced, fp32."""
    generator: nn.Module
    reference: Reference
    panel: Panel
    """Unseen pictures, with what torch makes of them."""
    recipe: Recipe
    judged_on: Path | None = None
    """Pictures that were given to judge on: never to be calibrated on."""
    known: Plan | None = None
    """From an earlier export of the same network."""
    on_stage: Callable[[str], None] = lambda stage: None

    def wrap(self, core: onnx.ModelProto, size: tuple[int, int] | None = None) -> onnx.ModelProto:
        """With the pixel edges; `size` (height, width) builds it in."""
        network = cast(Generator, self.generator)
        return attach_edges(
            core,
            period=network.period,
            stride=network.stride,
            margin=network.margin,
            veil=network.veil,
            scale=network.scale,
            pictures=network.pictures,
            fixed=size,
        )

    @cached_property
    def plain(self) -> onnx.ModelProto:
        """The fp32 variant: what all others race against."""
        return self.wrap(self.core)

    @cached_property
    def practice(self) -> tuple[list[Image], str]:
        """Pictures that may be looked at, and in words what they are."""
        pictures, source = calibration_pictures(self.recipe, self.judged_on)
        return [beside(one, cast(Generator, self.generator).pictures) for one in pictures], source

    @cached_property
    def frames(self) -> list[Frame]:
        return frames(self.plain, self.core, self.practice[0], self.panel.controls)


@dataclass(frozen=True)
class Made:
    """A variant, let through or not."""

    name: str
    precision: str
    core: onnx.ModelProto
    model: onnx.ModelProto
    judged: Judged
    why_not: str = ""
    """Why it is dropped, in words; empty: it is packed."""
    laps: tuple[Lap, ...] = ()
    made_for: tuple[str, ...] = ()
    plan: Plan | None = None
    fixed: tuple[int, int] | None = None
    edges: str = "rgb"
    profile: str = ""
    others: Mapping[str, Judged] = field(default_factory=dict)
    """By backend, where it was judged on more than one."""

    def promise(self) -> Variant:
        """Its entry in the manifest."""
        suffix = self.name.removeprefix("fp32").strip("-").replace("-", "_")
        return Variant(
            name=self.name,
            file=f"model_{suffix}.onnx" if suffix else "model.onnx",
            precision=self.precision,  # type: ignore[arg-type]
            opset=self.model.opset_import[0].version,
            ir_version=self.model.ir_version,
            parity=self.judged.parity,
            fixed=self.fixed,
            edges=self.edges,  # type: ignore[arg-type]
            profile=self.profile,
            made_for=self.made_for,
            plan=self.plan,
        )


def make(precision: str, material: Material, quantizers: Sequence[str] = ()) -> list[Made]:
    """The variants for any size of that precision: one; of int8 one for each quantizer.

    `quantizers` empty: the first row of QUANTIZERS for each backend that starts here. Raises QualityError E_PARITY
    where fp32 is not what was trained, UsageError E_EXPORT_QUANTIZER.
    """
    if precision == "int8":
        chosen = list(quantizers) or _quantizers_here()
        names = ["int8", *(f"int8-{quantizer}" for quantizer in chosen[1:])]
        return [_int8(name, quantizer, material) for name, quantizer in zip(names, chosen, strict=True)]
    row = PRECISIONS[precision]
    assert row.make is not None  # only int8 has none
    core = row.make(material.core)
    model = material.wrap(core)
    material.on_stage(f"comparing {precision} with the reference on {len(material.panel.pictures)} pictures")
    judged = _judged(model, precision, material.panel)
    made = Made(precision, precision, core, model, judged)
    if precision == "fp32":
        within(judged, precision, precision)
        return [made]
    why_not = unfaithful(judged, precision)
    here = starting(row.faster_on)
    if why_not or not here:
        return [replace(made, why_not=why_not)]
    laps = list(_laps(here, made, material).values())
    slow = "" if any(laps) else "; ".join(lap.line for lap in laps)
    return [replace(made, laps=tuple(laps), why_not=slow)]


def at_size(made: Made, size: tuple[int, int], material: Material) -> Made:
    """The same with (height, width) built in: judged again, on pictures of that size; as fast as it was found."""
    height, width = size
    name = f"{made.name}-{height}x{width}"
    model = material.wrap(made.core, size)
    panel = stretched(material, height, width)
    material.on_stage(f"comparing {name} with the reference on {len(panel.pictures)} pictures")
    backend = made.made_for[0] if made.made_for else "ort"
    judged = _judged(model, made.precision, panel, backend)
    if made.precision == "fp32":
        within(judged, "fp32", name)
    why_not = unfaithful(judged, made.precision)
    return replace(
        made, name=name, model=model, judged=judged, fixed=size, why_not=why_not, laps=(), others={}
    )


@cache
def starting(names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the backends that start here: their packages are there, and the device that they name."""
    found = []
    for name in names:
        try:
            backends.load(name)
        except DeviceError:
            continue
        found.append(name)
    return tuple(found)


def _int8(name: str, quantizer: str, material: Material) -> Made:
    here = starting(require_quantizer(quantizer).targets)
    pictures, source = material.practice
    material.on_stage(f"quantizing with {quantizer} on {source}")
    found = quantized(
        material.core,
        material.wrap,
        quantizer=quantizer,
        backend=here[0] if here else "ort",
        frames=material.frames,
        calibration=source,
        unseen=material.panel,
        practice=lambda: Panel.of(material.reference, practice_pictures(pictures)),
        known=material.known,
        on_stage=material.on_stage,
    )
    model = material.wrap(found.core)
    made = Made(name, "int8", found.core, model, found.judged, found.why_not, plan=found.plan)
    if found.why_not:
        return made
    if not here:
        return replace(made, why_not=f"none of {', '.join(QUANTIZERS[quantizer].targets)} starts here")
    others = {here[0]: found.judged}
    for backend in here[1:]:
        others[backend] = _judged(model, "int8", material.panel, backend)
    laps = _laps(here, made, material)
    wrong = {
        backend: unfaithful(others[backend], "int8") or ("" if laps[backend] else laps[backend].line)
        for backend in here
    }
    made_for = tuple(backend for backend in here if not wrong[backend])
    return replace(
        made,
        judged=min((others[backend] for backend in made_for or here), key=lambda one: one.parity.psnr_db),
        why_not="" if made_for else "; ".join(f"{backend}: {why}" for backend, why in wrong.items()),
        laps=tuple(laps.values()),
        made_for=made_for,
        others=others,
    )


def _quantizers_here() -> list[str]:
    served: set[str] = set()
    chosen = []
    for name, row in QUANTIZERS.items():
        here = set(starting(row.targets)) - served
        if here:
            chosen.append(name)
            served |= here
    return chosen


def _judged(model: onnx.ModelProto, precision: str, panel: Panel, backend: str = "ort") -> Judged:
    judged = panel.judge(model.SerializeToString(), precision, backend)
    return replace(judged, finite=all_finite(model, OUT, panel.pictures.values(), panel.controls))


def _laps(here: Sequence[str], made: Made, material: Material) -> dict[str, Lap]:
    """By backend: `made` against all that the fp32 variant can be computed in there."""
    laps = {}
    for backend in here:
        material.on_stage(f"racing {made.name} on {backend}")
        models = {"fp32": material.plain, made.precision: made.model}
        laps[backend] = compete(backend, race(backend, models, material.panel.controls), made.precision)
    return laps


def stretched(material: Material, height: int, width: int) -> Panel:
    """A few pictures stretched to a built-in size: not pretty, but what is compared sees the same."""
    panel = material.panel
    few = {
        name: np.concatenate([resize(one, width, height) for one in pictures_of(image)], axis=2)
        for name, image in list(panel.pictures.items())[-4:]
    }
    painted = {
        name: material.reference.paint(image, name, values=panel.turned.get(name))
        for name, image in few.items()
    }
    return replace(panel, pictures=few, references=painted)
