"""Variants for video: those of a bundle once more with YUV planes at their edges, judged and raced like all others.

Judged: the bytes of the planes, against what the trained network in torch makes of the same planes.
Raced: from planes to planes, at 1280x720. A variant of RGB needs a conversion before and one after it for that, by
swscale as the runtime does it; a variant for planes is let through where it is faster than all three.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from allaprima import backends
from allaprima.frame import Image
from allaprima.planes import LIMITED_BT709, Planes, rules
from allaprima.threads import available
from allaprima_train.frame_model import PlanesModel
from allaprima_train.generators import Generator
from allaprima_train.generators.controls import Values, as_tensors

from .gate import Lap, compete, unfaithful
from .parity import TOLERANCES, Painter, judge, within
from .planes import attach_planes, unfit
from .scenes import clouds
from .variants import Made, Material, starting

__all__ = ["PlanesPainter", "PlanesReference", "for_video"]

HEIGHT, WIDTH, ROUNDS = 720, 1280, 9
RACED_ON = ("openvino", "ort")
"""Where the conversions are the processor's, too."""


class PlanesReference:
    """What the trained network makes of planes (BT.709, limited range), in torch, fp32."""

    def __init__(self, generator: nn.Module) -> None:
        self.model = PlanesModel(generator, rules(LIMITED_BT709)).eval()
        self.controls = cast(Generator, generator).controls

    @torch.no_grad()
    def paint(self, planes: Planes, values: Values | None = None) -> Planes:
        parts = (torch.from_numpy(part.copy())[None, ..., None] for part in (planes.y, planes.u, planes.v))
        given = as_tensors(self.controls, values)
        y, u, v = (part[0, ..., 0].numpy() for part in self.model(*parts, torch.ones(1), *given))
        return Planes(y, u, v)


class PlanesPainter(Painter):
    """The `Painter` of a model for planes: pictures become planes, and `Planes.stacked` is what it answers."""

    def paint(self, image: Image, strength: float = 1.0, values: Values | None = None) -> Image:
        """(H, W, 3) uint8 RGB -> (H, W, 3) uint8: Y, U and V of each pixel."""
        answer = self._run(image, fed(Planes.from_rgb(image)), strength, values)
        y, u, v = (answer[f"styled_{name}"][0, ..., 0] for name in ("y", "u", "v"))
        return Planes(y, u, v).stacked()


def for_video(made: Made, material: Material) -> Made | str:
    """`made` with planes at its edges; a string says in words why that cannot be."""
    network = cast(Generator, material.generator)
    if network.scale > 1:
        return "its paintings are larger than its pictures"
    if network.pictures > 1:
        return "it paints several pictures as one"
    why = unfit(made.core, network.period)
    if why:
        return why
    name = f"{made.name}-planes"
    model = attach_planes(
        made.core,
        period=network.period,
        stride=network.stride,
        margin=network.margin,
        veil=network.veil,
    )
    panel = material.panel
    material.on_stage(f"comparing {name} with the reference on {len(panel.pictures)} pictures")
    reference = PlanesReference(material.generator)
    expected = {
        key: reference.paint(Planes.from_rgb(image), panel.turned.get(key)).stacked()
        for key, image in panel.pictures.items()
    }
    backend = made.made_for[0] if made.made_for else "ort"
    painter = PlanesPainter(model.SerializeToString(), backend, made.precision, panel.controls)
    against = "torch fp32, on planes"
    judged = judge(painter, panel.pictures, expected, TOLERANCES[made.precision], panel.turned, against)
    if made.precision == "fp32":
        within(judged, "fp32", name)
    why_not = unfaithful(judged, made.precision)
    laps: list[Lap] = []
    if not why_not:
        here = [one for one in starting(RACED_ON) if not made.made_for or one in made.made_for]
        material.on_stage(f"racing {name} on {', '.join(here) or 'nothing that is here'}")
        laps = [_lap(one, made, model, material) for one in here]
        if laps and not any(laps):
            why_not = "; ".join(lap.line for lap in laps)
    return replace(
        made,
        name=name,
        edges="planes",
        model=model,
        judged=judged,
        why_not=why_not,
        laps=tuple(laps),
        others={},
    )


def _lap(backend: str, made: Made, model: onnx.ModelProto, material: Material) -> Lap:
    """From planes to planes: the variant for planes against that of RGB with its two conversions."""
    kind, device = backends.load(backend)
    possible = kind.precisions(device)
    computed = next(one for one, stored in possible.items() if stored == made.precision)
    planes = Planes.from_rgb(clouds(HEIGHT, WIDTH))
    controls = as_tensors(material.panel.controls)
    turned = {
        control.name: value.numpy() for control, value in zip(material.panel.controls, controls, strict=True)
    }
    turned["strength"] = np.ones(1, np.float32)
    in_planes: dict[str, NDArray[Any]] = {**fed(planes), **turned}
    in_rgb: dict[str, NDArray[Any]] = {"image": planes.rgb()[None], **turned}
    how: dict[str, Any] = {"precision": computed, "device": device, "threads": available()}
    painter = kind(model.SerializeToString(), in_planes, **how)
    other = kind(made.model.SerializeToString(), in_rgb, **how)

    def converted() -> None:
        styled = other.run({**in_rgb, "image": planes.rgb()[None]})["styled"][0]
        Planes.converted(styled, planes.coding)

    ours, theirs = f"{computed}, planes", f"{computed}, with two conversions"
    contenders: dict[str, Callable[[], object]] = {ours: lambda: painter.run(in_planes), theirs: converted}
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, run in contenders.items():
            begun = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - begun)
    painter.close()
    other.close()
    return compete(backend, seconds, ours)


def fed(planes: Planes) -> dict[str, NDArray[Any]]:
    """The inputs of a graph that are its picture."""
    parts = {"y": planes.y, "u": planes.u, "v": planes.v}
    return {name: np.ascontiguousarray(part)[None, ..., None] for name, part in parts.items()}
