"""Generators that paint strongly without any training, and run folders made of them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import torch
import torch.nn.functional as functional
from PIL import Image as Pictures
from torch import Tensor, nn

from allaprima.manifest import Control
from allaprima_export.core import in_bytes, trace
from allaprima_export.edges import attach_edges
from allaprima_train.generators import Generator, make_generator
from allaprima_train.generators.domains import DomainMobile
from allaprima_train.generators.mobile import Mobile
from allaprima_train.generators.modulated import Modulated
from allaprima_train.recipe import parse_recipe
from allaprima_train.run import Run

NETWORKS = [
    ("mobile", "nano"),
    ("mobile", "small"),
    ("resnet", "small"),
    ("restorer", "nano"),
    ("restorer", "nano-x2"),
]
IDS = ["-".join(network) for network in NETWORKS]
SIZES = [(16, 16), (17, 23), (61, 93), (96, 64)]  # height, width


def strong(network: str, size: str, seed: int = 0) -> nn.Module:
    """Random weights with the last convolution turned up: the change is tens of grey levels, not two."""
    torch.manual_seed(seed)
    generator = make_generator(network, size).eval()
    with torch.no_grad():
        for name, parameter in generator.named_parameters():
            if network != "resnet" and name.startswith("head"):
                parameter.mul_(2.5 if network == "mobile" else 8)
            if name.endswith("bias"):
                parameter.add_(torch.randn_like(parameter) * 0.05)
    return generator


def told() -> dict[str, nn.Module]:
    """Generators with what only graphs of controls have: splits into a dozen parts and into halves, sums, codes."""
    torch.manual_seed(3)
    kinds = {
        "domains": DomainMobile("nano-fine", ["one", "two", "three"], code=3),
        "codes": Modulated("nano-fine"),
    }
    return {name: kind.eval() for name, kind in kinds.items()}


class Tinted(Mobile):
    """A generator with controls: a mixture of two tints, and a code that bends the paint."""

    controls = (
        Control(name="tint", shape=(2,), labels=("warm", "cold"), default=0, defaults=(1, 0), help="mixture"),
        Control(name="code", shape=(3,), default=0, minimum=-3, maximum=3, help="what is bent"),
    )

    def forward(self, x: Tensor, *controls: Tensor) -> Tensor:
        packed = functional.pixel_unshuffle(x, self.period)
        paint = functional.pixel_shuffle(self.packed_paint(packed, *controls), self.period)
        return self.veil * x + paint

    def packed_paint(self, packed: Tensor, *controls: Tensor) -> Tensor:
        tint, code = controls
        stem = functional.relu(self.stem(packed) * (1 + tint[0] / tint.sum().clamp(min=1e-6)))
        stem = stem + torch.softmax(code, 0)[1]
        x = self.blocks(functional.relu(self.down(stem)))
        return self.head(functional.relu(functional.pixel_shuffle(self.up(x), 2) + stem))


@cache
def _traced(network: str, size: str) -> bytes:
    generator = told()[network] if size == "told" else strong(network, size)
    return trace(in_bytes(generator)).SerializeToString()


def traced(network: str, size: str) -> onnx.ModelProto:
    """The traced core of `strong(network, size)`, or of `told()[network]` for the size `told`, a new copy of it:
    tracing takes seconds."""
    return onnx.load_from_string(_traced(network, size))


def wrapped(network: str, size: str, core: onnx.ModelProto, **options: Any) -> onnx.ModelProto:
    """A core of that network with the pixel edges around it."""
    generator = cast(Generator, make_generator(network, size))
    return attach_edges(
        core,
        period=generator.period,
        stride=generator.stride,
        margin=generator.margin,
        veil=generator.veil,
        scale=generator.scale,
        **options,
    )


def soft(height: int, width: int, seed: int = 0) -> np.ndarray:
    """(height, width, 3) uint8: a picture with large and small forms, other ones for each seed."""
    rows, columns = np.mgrid[0:height, 0:width]
    chance = np.random.default_rng(seed)
    planes = []
    for _ in range(3):
        waves = [
            chance.uniform(10, 40) * np.sin(rows * chance.uniform(0, 0.9) + columns * chance.uniform(0, 0.9))
            for _ in range(5)
        ]
        planes.append(np.clip(128 + np.sum(waves, axis=0), 0, 255))
    return np.stack(planes, axis=-1).astype(np.uint8)


def make_run(folder: Path, generator: nn.Module, network: str, size: str, name: str = "Small Study") -> Run:
    """A run folder as `allaprima train` leaves it, with photographs of which two are held out."""
    photos = folder / "photos"
    photos.mkdir(parents=True)
    for number in range(4):
        Pictures.fromarray(soft(176, 200, number)).save(photos / f"{number}.png")
    recipe = parse_recipe(
        f"""
name = "{name}"
title = "A small study"
method = "perceptual"
[data]
content = ["{photos}"]
held_out = 2
[generator]
network = "{network}"
size = "{size}"
[perceptual]
style = "style.png"
[card]
style_source = "drawn by arithmetic"
content_terms = "none"
""",
        "test",
    )
    run = Run(folder / "run")
    run.begin(recipe)
    run.save_weights(generator, {"step": "7"})
    return run
