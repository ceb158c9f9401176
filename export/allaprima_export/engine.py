"""TensorRT engines of a new bundle, built before it is put in place: what TensorRT refuses is an error of the export.

The engines go into the user's cache, where the runtime finds them; they are no part of the bundle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from allaprima.bundle import Bundle
from allaprima.cuda import Gpu, find_gpu
from allaprima.engines import Cache, Entry, Vendor, build_here, load_flavour, target_of
from allaprima.engines.ahead import PRECISIONS, requests
from allaprima.errors import UsageError

__all__ = ["Cards", "build_engines", "wanted_cards"]

Cards = tuple[Vendor, list[int | Gpu]]
"""What builds, and for which cards: compute capabilities times ten, or one that is here."""


def wanted_cards(words: Sequence[str], sizes: Sequence[tuple[int, int]]) -> Cards | None:
    """`ada`, `sm86`, ... for TensorRT-RTX, or `here` for the card of this machine; None for no words.

    Asked before anything is exported. Raises UsageError E_ENGINE_TARGET, E_EXPORT_SIZE without a size to build for;
    DeviceError E_BACKEND_UNAVAILABLE where TensorRT, or the card, is not here.
    """
    if not words:
        return None
    if not sizes:
        raise UsageError(
            "E_EXPORT_SIZE",
            "cannot build engines for every size at once",
            "an engine is for one size",
            "give --at 1280x720, or build ranges later: allaprima engines build --range",
        )
    if "here" not in words:
        vendor = load_flavour("rtx")
        return vendor, [target_of(word, vendor) for word in words]
    vendor = load_flavour(None)
    return vendor, [find_gpu() if word == "here" else target_of(word, vendor) for word in words]


def build_engines(
    bundle: Path, cards: Cards, sizes: Sequence[tuple[int, int]], on_stage: Callable[[str], None]
) -> list[Entry]:
    """One engine for each variant of the bundle that TensorRT runs, (width, height) in `sizes`, and card.

    Raises DeviceError E_ENGINE_REFUSED with the node and a remedy, E_ENGINE_BUILD.
    """
    opened, (vendor, targets) = Bundle.open(bundle), cards
    stored = {one.precision for one in opened.manifest.for_pictures if one.serves("tensorrt")}
    found = []
    for precision in (one for one, made_of in PRECISIONS.items() if made_of in stored):
        for request in requests(
            opened,
            vendor,
            sizes=[(height, width) for width, height in sizes],
            precision=precision,
            cards=targets,
        ):
            on_stage(f"building the engine of {request.what}, {request.key.line}")
            found.append(build_here(request, Cache(), vendor))
    return found
