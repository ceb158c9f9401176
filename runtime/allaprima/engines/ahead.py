"""Requests for engines of a bundle before anything is painted: for some sizes or a range of them, for some cards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..bundle import Bundle
from ..cuda import Gpu
from ..manifest import Variant, resolve_shape
from ..placement import place
from .flavour import Vendor
from .key import DEFAULTS, Options, Range, Request, engine_request

__all__ = ["requests", "sample_for"]

PRECISIONS = {"fp16": "fp16", "fp32": "fp32", "int8": "int8"}
"""What an engine computes in, the one to prefer first -> the precision of the variant that it is built from."""

Size = tuple[int, int]  # height, width


def requests(
    bundle: Bundle,
    vendor: Vendor,
    *,
    sizes: Sequence[Size] = (),
    span: tuple[Size, Size, Size] | None = None,
    precision: str | None = None,
    cards: Sequence[int | Gpu],
    options: Options = DEFAULTS,
) -> list[Request]:
    """One request for each (height, width) in `sizes`, or for the `span` (least, best, most), on each card: a compute
    capability times ten, or one that is here.

    Raises UsageError E_STYLE_PRECISION, E_ENGINE_TARGET; ValueError for a span that is none.
    """
    from ..backends import choose

    found = []
    for least, best, most in [span] if span else [(size, size, size) for size in sizes]:
        tensors = [place(size, bundle.manifest).tensor for size in (least, best, most)]
        picture = {"picture": np.broadcast_to(np.uint8(0), (1, *tensors[1], 3))}
        chosen, variant = choose(bundle, picture, "tensorrt", PRECISIONS, precision, "rgb")
        shapes: dict[str, tuple[int, ...] | Range] = {}
        for name, (shape, _) in bundle.manifest.takes(variant).items():
            low, middle, high = (resolve_shape(shape, *tensor) for tensor in tensors)
            shapes[name] = Range(least=low, best=middle, most=high)
        model = bundle.read(variant.file)
        for card in cards:
            found.append(
                engine_request(
                    model,
                    shapes,
                    precision=chosen,
                    vendor=vendor,
                    gpu=card if isinstance(card, Gpu) else None,
                    sm=card if isinstance(card, int) else None,
                    options=options,
                    what=f"{bundle.manifest.name} {variant.name}",
                )
            )
    return found


def sample_for(bundle: Bundle, variant: Variant, size: Size) -> dict[str, NDArray[Any]]:
    """Inputs of these shapes: a picture of many values, controls as they are at first, empty memory."""
    initial = {control.name: control.initial for control in bundle.manifest.controls}
    made: dict[str, NDArray[Any]] = {}
    for name, (shape, dtype) in bundle.manifest.takes(variant).items():
        numbers = resolve_shape(shape, *size)
        if name in initial:
            made[name] = np.reshape(np.array(initial[name], dtype), numbers)
        elif dtype == "uint8":
            made[name] = (np.arange(np.prod(numbers)) % 251).astype(np.uint8).reshape(numbers)
        else:
            made[name] = np.zeros(numbers, dtype)
    return made
