"""What was measured to be fastest here, remembered: `allaprima bench STYLE --size 1280x720 --remember`.

One small JSON file for each style, size, edges and number of threads, in the user's cache. Its name holds everything
that can make it wrong: the bundle, the machine, the versions of the runtimes. So what is out of date is never found,
and the normal order counts again.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

from . import settings
from .bundle import Bundle
from .engines.cache import cache_folder
from .errors import OutputError, UsageError
from .files import write_error, write_whole
from .machine import fingerprint
from .threads import available

__all__ = ["Winner", "forget", "narrowed", "recall", "remember", "remembered"]


@dataclass(frozen=True, kw_only=True)
class Winner:
    """Who painted fastest, of all that kept the bundle's promise."""

    style: str
    size: tuple[int, int]
    """(width, height) of the pictures."""
    edges: str
    threads: int
    backend: str
    precision: str
    variant: str
    p50_ms: float
    measured: str
    """The day, `YYYY-MM-DD`."""
    machine: str
    """`machine.fingerprint()`, for `doctor` to tell what is out of date."""

    @property
    def words(self) -> str:
        return f"chosen by measurement on {self.measured}"


def remember(bundle: Bundle, winner: Winner) -> Path:
    """Keep it; where. Raises OutputError."""
    path = _file(bundle, winner.size, winner.edges, winner.threads)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(path.parent, error) from error
    write_whole(path, (json.dumps(settings.write(winner), indent=2) + "\n").encode())
    return path


def recall(bundle: Bundle, size: tuple[int, int], edges: str, threads: int | None) -> Winner | None:
    """The winner for pictures of (width, height); None where nothing was measured, or nothing that still holds."""
    try:
        if not folder().is_dir():
            return None  # most machines: nothing has to be found out
    except OutputError:  # nobody's home: then nobody has measured either
        return None
    return _read(_file(bundle, size, edges, threads or available()))


def remembered() -> list[Winner]:
    """All that is kept, also what is out of date."""
    try:
        found = [_read(path) for path in sorted(folder().glob("*.json"))]
    except OutputError:
        return []
    return [winner for winner in found if winner is not None]


def forget() -> int:
    """Remove all; how many there were."""
    files = list(folder().glob("*.json"))
    for path in files:
        path.unlink(missing_ok=True)
    return len(files)


def narrowed(bundle: Bundle, variant: str) -> Bundle:
    """The bundle as if it had this variant only (and, for planes, the ones for RGB, which every bundle has)."""
    chosen = bundle.variant(variant)
    others = () if chosen.edges == "rgb" else bundle.manifest.for_pictures
    return replace(bundle, manifest=replace(bundle.manifest, variants=(chosen, *others)))


def folder() -> Path:
    return cache_folder().with_name("winners")


def _file(bundle: Bundle, size: tuple[int, int], edges: str, threads: int) -> Path:
    key = json.dumps(
        [hashlib.sha256(bundle.manifest.to_json()).hexdigest(), fingerprint(), size, edges, threads]
    )
    return folder() / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"


def _read(path: Path) -> Winner | None:
    try:
        return settings.read(Winner, json.loads(path.read_bytes()), str(path))
    except (
        OSError,
        ValueError,
        UsageError,
    ):  # not there, damaged, or of another version: measured again when asked
        return None
