"""What an engine is right for: everything that makes another one wrong, and what it was asked to be built like."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated

from annotated_types import Ge, Le

from .. import settings
from ..cuda import Gpu
from ..errors import DeviceError, UsageError
from ..onnx_floats import REVISION
from .flavour import Vendor

__all__ = ["Key", "NotBuilt", "Options", "Range", "Request", "engine_request"]

MAX_SIDE = 8192


@dataclass(frozen=True, kw_only=True)
class Options:
    """How hard to try. An engine is as right with any of them."""

    level: Annotated[int, Ge(0), Le(5)] = 3
    """TensorRT's builder level: 5 tries the most kernels and takes several times as long, 0 takes the first that
    runs. TensorRT-RTX, which chooses its kernels on the user's card, makes no use of it."""
    workspace_mib: Annotated[int, Ge(0)] = 0
    """Scratch memory on the card that kernels may ask for. 0: all that there is."""
    timing_cache: bool = True
    """Keep the times of kernels for the next engine on this card: it builds in a fraction of the time. Kernels that
    another program slowed down once are then avoided for good; without, every engine measures anew."""


DEFAULTS = Options()


@dataclass(frozen=True, kw_only=True)
class Range:
    """The shapes of one input that an engine takes; all three alike where the size is built in."""

    least: tuple[int, ...]
    best: tuple[int, ...]
    """The shape that it is fastest for."""
    most: tuple[int, ...]

    def __post_init__(self) -> None:
        if not len(self.least) == len(self.best) == len(self.most):
            raise ValueError("shapes of different lengths")
        if not all(a <= b <= c for a, b, c in zip(self.least, self.best, self.most, strict=True)):
            raise ValueError("the best shape does not lie between the least and the most")

    @property
    def fixed(self) -> bool:
        return self.least == self.most

    def holds(self, shape: tuple[int, ...]) -> bool:
        return len(shape) == len(self.least) and all(
            a <= b <= c for a, b, c in zip(self.least, shape, self.most, strict=True)
        )


@dataclass(frozen=True, kw_only=True)
class Key:
    """Two engines with equal keys are one. Every field but `shapes` and `options` makes another engine wrong."""

    model_sha256: str
    """Of the whole ONNX file: two styles of one network are two models."""
    edges: int
    """The revision of `onnx_floats`, which the model went through."""
    flavour: str
    version: str
    """TensorRT's, in full: engines are not for the next one."""
    platform: str
    """`linux-x86_64`: system and processor."""
    gpu: str
    """The card's name for TensorRT, which times its kernels on it; empty for TensorRT-RTX, whose engines fit every
    card of a compute capability."""
    sm: int
    """Compute capability, times ten."""
    driver: int
    """The version of CUDA that the driver has (13000 is 13.0); 0 for TensorRT-RTX, which compiles for the driver
    when an engine is loaded."""
    precision: str
    tf32: bool
    """Whether fp32 may be multiplied with 10 bits of mantissa. Never so far."""
    shapes: dict[str, Range]
    options: Options

    @property
    def digest(self) -> str:
        """The name of the engine's files."""
        return hashlib.sha256(json.dumps(settings.write(self), sort_keys=True).encode()).hexdigest()[:32]

    def fits(self, wanted: Key) -> bool:
        """Whether an engine of this key answers what one of `wanted` was to answer, however it was built."""
        alike = replace(self, shapes=wanted.shapes, options=wanted.options)
        return (
            alike == wanted
            and self.shapes.keys() == wanted.shapes.keys()
            and all(
                self.shapes[name].holds(one.least) and self.shapes[name].holds(one.most)
                for name, one in wanted.shapes.items()
            )
        )

    @property
    def fixed(self) -> bool:
        return all(one.fixed for one in self.shapes.values())

    @property
    def line(self) -> str:
        """For people: `fp16 1280x720, sm89, TensorRT-RTX 1.7.1.116`."""
        card = self.gpu or f"sm{self.sm}"
        return f"{self.precision} {self.size}, {card}, {self.flavour.replace('_', '-')} {self.version}"

    @property
    def size(self) -> str:
        """`1280x720`, or `64x64..1280x720..1920x1080`: of the first input that is a picture."""
        for one in self.shapes.values():
            if len(one.best) == 4:
                shapes = [one.best] if one.fixed else [one.least, one.best, one.most]
                return "..".join(f"{shape[2]}x{shape[1]}" for shape in shapes)
        return "any size"


@dataclass(frozen=True)
class Request:
    """An engine to be built."""

    key: Key
    model: bytes
    """The ONNX file as the bundle has it."""
    what: str
    """For people: `starry fp16`."""


class NotBuilt(DeviceError):
    """A backend that would run here if its engine were built, E_ENGINE_MISSING."""

    def __init__(self, request: Request, why: str = "it has not been built yet") -> None:
        self.request = request
        super().__init__(
            "E_ENGINE_MISSING",
            f"there is no engine for {request.what} at {request.key.size}",
            why,
            "build it: allaprima engines build",
        )


def engine_request(
    model: bytes,
    shapes: Mapping[str, tuple[int, ...] | Range],
    *,
    precision: str,
    vendor: Vendor,
    gpu: Gpu | None,
    sm: int | None = None,
    options: Options = DEFAULTS,
    what: str = "a model",
) -> Request:
    """The request for `model` and inputs of these shapes, or ranges of them, on `gpu` or any card of `sm`.

    Raises UsageError E_ENGINE_TARGET where neither is given and the flavour cannot build without a card.
    """
    of_rtx = vendor.flavour.word == "rtx"
    if gpu is None and not (of_rtx and sm):
        raise UsageError(
            "E_ENGINE_TARGET",
            f"cannot build for {vendor.title}",
            "it needs the card that the engine is for, and there is none here",
            "build on that machine, or pip install 'allaprima[rtx]', which builds for any RTX card: --for ada",
        )
    ranges = {
        name: one if isinstance(one, Range) else Range(least=tuple(one), best=tuple(one), most=tuple(one))
        for name, one in shapes.items()
    }
    key = Key(
        model_sha256=hashlib.sha256(model).hexdigest(),
        edges=REVISION,
        flavour=vendor.flavour.module,
        version=vendor.version,
        platform=f"{sys.platform}-{platform.machine()}",
        gpu="" if of_rtx or gpu is None else gpu.name,
        sm=sm or (gpu.sm if gpu else 0),
        driver=0 if of_rtx or gpu is None else gpu.driver,
        precision=precision,
        tf32=False,
        shapes=ranges,
        options=options,
    )
    return Request(key, model, what)
