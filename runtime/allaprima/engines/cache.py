"""Where engines lie: one file each, and beside it a JSON sidecar that says what it is right for.

    ~/.cache/allaprima/engines/3f2c....engine    what TensorRT loads
                               3f2c....json      key, size, SHA-256, how it was proven: written last, counts as "there"
                               timing-....cache  times of kernels, for the next build on this card
                               runtime-....cache what TensorRT-RTX compiled for this card

An engine is code that runs on the card, so the folder is the user's own, and nothing is loaded whose sidecar does
not match in every byte.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from .. import settings
from ..errors import OutputError, RunError, UsageError
from ..files import Lock, write_error, write_whole
from .key import Key, Request

__all__ = ["Cache", "Entry", "Proof", "cache_folder"]

WAIT_S = 3600.0  # for another process that builds the same engine
POLL_S = 0.2


@dataclass(frozen=True, kw_only=True)
class Proof:
    """How an engine showed, on this machine, that it paints what it should."""

    against: str
    """`the golden pair`"""
    psnr_db: float
    on: str
    """The card, with its driver."""
    when: str


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A sidecar: what one engine is."""

    key: Key
    what: str
    """`starry fp16`."""
    bytes: int
    sha256: str
    built: str
    """ISO 8601 in UTC."""
    seconds: float
    """How long the build took."""
    proof: Proof | None = None
    """None: it has not run yet, and does not count."""
    refuted: str = ""
    """Why it does not count although it ran; the engine itself is gone, and is not built again by itself."""


class Cache:
    """The engines of one user. Safe for several processes at once."""

    def __init__(self, folder: Path | None = None) -> None:
        """`folder` None: `cache_folder()`. Raises OutputError where it cannot be, or is somebody else's."""
        self.folder = folder or cache_folder()
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise write_error(self.folder, error) from error
        _require_ours(self.folder)

    def find(self, wanted: Key) -> Entry | None:
        """An engine that answers what `wanted` asks: of exactly this size before a range, the harder built first; one
        that was refuted only where there is no other."""
        fitting = [entry for entry in self if entry.key.fits(wanted)]
        if not fitting:
            return None

        def place(one: Entry) -> tuple[bool, bool, bool, int, str]:
            return not one.refuted, one.key == wanted, one.key.fixed, one.key.options.level, one.built

        return max(fitting, key=place)

    def load(self, entry: Entry) -> bytes | None:
        """The engine itself; None where its file is not what the sidecar says: then both are removed."""
        try:
            data = self.engine_file(entry.key).read_bytes()
        except OSError:
            data = b""
        if len(data) == entry.bytes and hashlib.sha256(data).hexdigest() == entry.sha256:
            return data
        self.remove(entry.key)
        return None

    def put(self, request: Request, engine: bytes, seconds: float) -> Entry:
        entry = Entry(
            key=request.key,
            what=request.what,
            bytes=len(engine),
            sha256=hashlib.sha256(engine).hexdigest(),
            built=now(),
            seconds=round(seconds, 2),
        )
        write_whole(self.engine_file(entry.key), engine)
        self._write(entry)
        return entry

    def prove(self, entry: Entry, proof: Proof | None) -> Entry:
        """The engine counts from now on; with None, it has to prove itself again."""
        proven = replace(entry, proof=proof)
        self._write(proven)
        return proven

    def refute(self, entry: Entry, why: str) -> None:
        """The engine gave a wrong answer. What is left says so, until it is pruned or built again on purpose."""
        self.remove(entry.key)
        self._write(replace(entry, refuted=why))

    def remove(self, key: Key) -> None:
        """The sidecar first: an engine without one is not there."""
        for file in (self.sidecar_file(key), self.engine_file(key), self.runtime_file(key)):
            file.unlink(missing_ok=True)

    def __iter__(self) -> Iterator[Entry]:
        """Every engine whose sidecar can be read."""
        for file in sorted(self.folder.glob("*.json")):
            entry = self._read(file)
            if entry is not None:
                yield entry

    def broken(self) -> list[Path]:
        """Files that belong to no engine: damaged sidecars, engines without one, what a killed build has left."""
        known = {entry.key.digest for entry in self}
        shared = {self.timing_file(entry.key).name for entry in self}
        return [
            file
            for file in sorted(self.folder.iterdir())
            if file.is_file() and file.name.split(".")[0] not in known and file.name not in shared
            and not file.name.endswith(".lock") and file.stem.removeprefix("runtime-") not in known
        ]  # fmt: skip

    @contextmanager
    def building(self, key: Key, wait_s: float = WAIT_S) -> Iterator[None]:
        """One process at a time builds one engine. Whoever waited finds it there: look again inside.

        Raises RunError E_ENGINE_BUSY when the other takes longer than `wait_s`.
        """
        until = time.monotonic() + wait_s
        while True:
            try:
                lock = Lock(self.folder / f"{key.digest}.lock")
                break
            except FileExistsError:
                if time.monotonic() > until:
                    raise RunError(
                        "E_ENGINE_BUSY",
                        f"cannot build {key.line}",
                        f"another process has been building it for {wait_s:.0f} s",
                        "wait for it, or end it",
                    ) from None
            except OSError as error:
                raise write_error(self.folder, error) from error
            time.sleep(POLL_S)
        try:
            yield
        finally:
            lock.release()

    def engine_file(self, key: Key) -> Path:
        return self.folder / f"{key.digest}.engine"

    def sidecar_file(self, key: Key) -> Path:
        return self.folder / f"{key.digest}.json"

    def runtime_file(self, key: Key) -> Path:
        """What TensorRT-RTX has compiled for the card that is here."""
        return self.folder / f"runtime-{key.digest}.cache"

    def timing_file(self, key: Key) -> Path:
        """Times are of one card and one TensorRT, whatever the model."""
        card = json.dumps([key.flavour, key.version, key.platform, key.gpu, key.sm, key.driver])
        return self.folder / f"timing-{hashlib.sha256(card.encode()).hexdigest()[:16]}.cache"

    def seconds_expected(self, request: Request) -> float | None:
        """How long such an engine took the last time: of this model, else of any on this card."""
        alike = [one for one in self if replace(one.key, model_sha256="", shapes={}, precision="") ==
                 replace(request.key, model_sha256="", shapes={}, precision="")]  # fmt: skip
        same = [one for one in alike if one.key.model_sha256 == request.key.model_sha256] or alike
        return max(same, key=lambda one: one.built).seconds if same else None

    def _read(self, file: Path) -> Entry | None:
        """None for what is no sidecar of ours, or one of another version: such engines are built again."""
        try:
            entry = settings.read(Entry, json.loads(file.read_text(encoding="utf-8")), str(file))
        except (OSError, ValueError, UsageError):
            return None
        return entry if entry.key.digest == file.stem else None

    def _write(self, entry: Entry) -> None:
        text = json.dumps(settings.write(entry), indent=2) + "\n"
        write_whole(self.sidecar_file(entry.key), text.encode())


def cache_folder() -> Path:
    """`ALLAPRIMA_CACHE`, else the system's folder for what can be made again; `engines` in it."""
    try:
        given = os.environ.get("ALLAPRIMA_CACHE")
        if given:
            return Path(given).expanduser() / "engines"
        if sys.platform == "win32":
            base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
        elif sys.platform == "darwin":
            base = Path.home() / "Library" / "Caches"
        else:
            base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError as error:  # nobody's home: a container that does not know this user id, without HOME
        raise OutputError(
            "E_CACHE_UNSAFE", "cannot keep engines", str(error), "set ALLAPRIMA_CACHE to a folder of your own"
        ) from None
    return base / "allaprima" / "engines"


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _require_ours(folder: Path) -> None:
    """Raises OutputError E_CACHE_UNSAFE where others could put an engine: it would run on this user's card."""
    if sys.platform == "win32":  # a profile's folders are its user's own
        return
    about = folder.stat()
    problem = ""
    if about.st_uid != os.geteuid():
        problem = "it belongs to another user"
    elif about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        problem = "others may write to it"
    if problem:
        raise OutputError(
            "E_CACHE_UNSAFE",
            f"cannot keep engines in {folder}",
            problem,
            f"chmod 700 {folder}, or set ALLAPRIMA_CACHE to a folder of your own",
        )
