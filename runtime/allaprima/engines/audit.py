"""What each engine in the cache is worth on this machine, and which ones are worth nothing any more."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from ..cuda import Gpu, find_gpu
from ..errors import DeviceError
from ..onnx_floats import REVISION
from .cache import Cache, Entry
from .flavour import FLAVOURS, Vendor, load_flavour

__all__ = ["Audited", "Here", "audit", "prune"]


@dataclass(frozen=True)
class Here:
    """What engines have to fit."""

    vendors: dict[str, Vendor]
    """By module: those that are installed."""
    gpu: Gpu | None

    @classmethod
    def found(cls) -> Here:
        vendors = {}
        for flavour in FLAVOURS.values():
            try:
                vendors[flavour.module] = load_flavour(flavour.word)
            except DeviceError:  # not installed, or damaged: nobody's engines, and doctor says why
                continue
        try:
            return cls(vendors, find_gpu())
        except DeviceError:  # no card, or nothing to reach it with
            return cls(vendors, None)


@dataclass(frozen=True)
class Audited:
    entry: Entry
    state: Literal["ok", "ahead", "stale", "damaged", "refuted"]
    """`ok` is used here; `ahead` is for another card; the others are worth nothing."""
    why: str

    @property
    def worthless(self) -> bool:
        return self.state in ("stale", "damaged", "refuted")


def audit(cache: Cache, here: Here, *, content: bool = True) -> Iterator[Audited]:
    """Every engine. `content`: read it whole and compare its SHA-256; damaged ones are removed by that."""
    for entry in cache:
        if entry.refuted:
            yield Audited(entry, "refuted", entry.refuted)
        elif content and cache.load(entry) is None:
            yield Audited(entry, "damaged", "its bytes are not those that were built; removed")
        elif why := _stale(entry, here):
            yield Audited(entry, "stale", why)
        elif why := _elsewhere(entry, here.gpu):
            yield Audited(entry, "ahead", why)
        else:
            proof = entry.proof
            said = f"{proof.psnr_db:.1f} dB from {proof.against}" if proof else "has not run yet"
            yield Audited(entry, "ok", said)


def prune(
    cache: Cache,
    here: Here,
    *,
    everything: bool = False,
    older_than_days: float | None = None,
    dry: bool = False,
) -> tuple[list[Entry], list[Path]]:
    """Remove what is worth nothing, what is older than so many days, or all; and files that belong to no engine."""
    gone: list[Entry] = []
    for one in audit(cache, here, content=not dry):
        age = datetime.now(UTC) - datetime.fromisoformat(one.entry.built)
        old = older_than_days is not None and age > timedelta(days=older_than_days)
        if everything or one.worthless or old:
            gone.append(one.entry)
            if not dry:
                cache.remove(one.entry.key)
    left = cache.broken()
    if everything:  # whole folders of ONNX Runtime's TensorRT
        left += sorted(cache.folder.glob("ort-*"))
    for file in left if not dry else []:
        if file.is_dir():
            shutil.rmtree(file, ignore_errors=True)
        else:
            file.unlink(missing_ok=True)
    return gone, left


def _stale(entry: Entry, here: Here) -> str:
    """Why no machine with what is installed here can use it any more."""
    key = entry.key
    name = key.flavour.replace("_", "-")
    vendor = here.vendors.get(key.flavour)
    if vendor is None:
        return f"{name} is not installed"
    if vendor.version != key.version:
        return f"{name} is {vendor.version} now"
    if key.edges != REVISION:
        return "an older allaprima prepared its model"
    return ""


def _elsewhere(entry: Entry, gpu: Gpu | None) -> str:
    key = entry.key
    card = key.gpu or f"any card of compute capability {key.sm // 10}.{key.sm % 10}"
    if gpu is None:
        return f"for {card}; there is no card here"
    if (key.gpu and key.gpu != gpu.name) or key.sm != gpu.sm:
        return f"for {card}; here is {gpu.name}"
    if key.driver and key.driver != gpu.driver:
        return "for another driver"
    return ""
