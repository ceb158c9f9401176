"""TensorRT engines: built on the user's machine, kept in the user's cache, never shipped.

    request = engine_request(model, shapes, precision="fp16", vendor=load_flavour(None), gpu=find_gpu())
    entry = Cache().find(request.key) or build_apart(request, Cache())

An engine is right for one model, version of TensorRT, card, precision and picture size; `key.py` lists all of it.
`builder.py` builds, `cache.py` keeps, `job.py` builds in a process of its own, `trial.py` compares a new engine
with the golden pair. docs/tensorrt.md is the same for users, and says what has run on which hardware.
"""

from __future__ import annotations

from .cache import Cache, Entry, Proof, cache_folder
from .flavour import FLAVOURS, Vendor, load_flavour, target_of
from .job import Building, build_apart, build_here
from .key import Key, NotBuilt, Options, Range, Request, engine_request

__all__ = [
    "FLAVOURS",
    "Building",
    "Cache",
    "Entry",
    "Key",
    "NotBuilt",
    "Options",
    "Proof",
    "Range",
    "Request",
    "Vendor",
    "build_apart",
    "build_here",
    "cache_folder",
    "engine_request",
    "load_flavour",
    "target_of",
]
