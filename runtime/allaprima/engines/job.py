"""Building an engine, here or in a process of its own: progress, time left, and an end when it is asked for.

A process of its own, because a build holds a processor for seconds or minutes, cannot be stopped from within, and
takes the whole program with it should TensorRT crash. It is no `multiprocessing`: that would run the main file of
whoever embeds us once more.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from .. import settings
from ..errors import AllaPrimaError, DeviceError, OutputError, RunError
from ..files import write_whole
from .builder import build
from .cache import Cache, Entry
from .flavour import FLAVOURS, Vendor, load_flavour
from .key import Key, Request

__all__ = ["Building", "build_apart", "build_here"]

TAIL_BYTES = 4096


@dataclass(frozen=True)
class Building:
    """How far a build is."""

    what: str
    done: float
    """0..1"""
    phase: str
    seconds: float
    """Since it began."""
    left: float | None
    """Seconds that it may still take: by the last engine of this kind, else by what is done; None: unknown."""

    @property
    def line(self) -> str:
        """`building the engine of starry fp16: 42 %, 0:12, about 0:17 left`"""
        left = "" if self.left is None else f", about {_clock(self.left)} left"
        return f"building the engine of {self.what}: {self.done:.0%}, {_clock(self.seconds)}{left}"


Heard = Callable[[Building], None]


def build_here(
    request: Request, cache: Cache, vendor: Vendor, on_progress: Heard = lambda now: None
) -> Entry:
    """Build in this process, unless it is there already, or another process builds it: then that one's.

    Raises DeviceError E_ENGINE_REFUSED, E_ENGINE_BUILD; RunError E_ENGINE_BUSY; OutputError.
    """
    with cache.building(request.key):
        found = next((entry for entry in cache if entry.key == request.key), None)
        if found is not None and not found.refuted and cache.load(found) is not None:
            return found
        began, expected = time.monotonic(), cache.seconds_expected(request)
        file = cache.timing_file(request.key)
        made = build(
            vendor,
            request.model,
            request.key,
            what=request.what,
            timings=file.read_bytes() if file.is_file() else None,
            on_progress=lambda done, phase: on_progress(
                _progress(request.what, done, phase, began, expected)
            ),
        )
        if made.timings is not None:
            with contextlib.suppress(OutputError):  # another build is writing its own: ours cost time only
                write_whole(file, made.timings)
        return cache.put(request, made.engine, time.monotonic() - began)


def build_apart(
    request: Request,
    cache: Cache,
    on_progress: Heard = lambda now: None,
    cancelled: threading.Event | None = None,
) -> Entry:
    """The same in a process of its own. Setting `cancelled` ends it within a fraction of a second. A program that has
    Python built in, and no interpreter to start, builds here.

    Raises what `build_here` raises; RunError E_ENGINE_CANCELLED, and E_ENGINE_CRASHED with the last words of a
    process that ended otherwise.
    """
    if not sys.executable or getattr(sys, "frozen", False):
        return build_here(request, cache, load_flavour(_word(request.key)), on_progress)
    # What we import, and not what happens to lie in the folder where the user is: -P.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(place for place in sys.path if place)}
    with tempfile.TemporaryFile() as last_words:  # a pipe that nobody reads would stop the process
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__.rpartition(".")[0] + ".worker"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=last_words,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        watch = threading.Thread(
            target=_end_when, args=(process, cancelled), name="building an engine", daemon=True
        )
        if cancelled is not None:
            watch.start()
        try:
            with contextlib.suppress(BrokenPipeError):  # it ended at once; its last words say why
                _send(process.stdin, request, cache)
            answer = _listen(process.stdout, on_progress)
            status = process.wait()
        finally:
            process.kill()  # after an error of ours, Ctrl-C among them; nothing to do for one that has ended
            process.wait()
            process.stdout.close()
            if cancelled is not None:
                watch.join()
        if cancelled is not None and cancelled.is_set() and "entry" not in answer:
            raise RunError(
                "E_ENGINE_CANCELLED", f"the build of {request.what} was cancelled", next="start it again"
            )
        if "entry" in answer:
            return settings.read(Entry, answer["entry"], "the builder's answer")
        if "error" in answer:
            raise _error(answer["error"])
        raise RunError(
            "E_ENGINE_CRASHED",
            f"the process that built the engine of {request.what} ended with status {status}",
            _tail(last_words),
            "try another precision or size, and report this with the output of allaprima doctor --json",
        )


def work(stdin: IO[bytes], stdout: IO[bytes]) -> None:
    """The other end, in the process of its own: see `worker.py`."""
    head = json.loads(stdin.readline())
    key = settings.read(Key, head["key"], "the request")
    request = Request(key, stdin.read(head["bytes"]), head["what"])
    told = 0.0

    def say(message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # nobody listens any more; the engine is wanted all the same
            stdout.write(json.dumps(message).encode() + b"\n")
            stdout.flush()

    def progress(now: Building) -> None:
        nonlocal told
        if time.monotonic() - told > 0.1:
            told = time.monotonic()
            say({"building": settings.write(now)})

    try:
        entry = build_here(request, Cache(Path(head["folder"])), load_flavour(_word(key)), progress)
    except AllaPrimaError as error:
        say({"error": {"kind": type(error).__name__, **error.as_dict()}})
    else:
        say({"entry": settings.write(entry)})


def _send(stdin: IO[bytes], request: Request, cache: Cache) -> None:
    head = {
        "key": settings.write(request.key),
        "what": request.what,
        "bytes": len(request.model),
        "folder": str(cache.folder),
    }
    with stdin:
        stdin.write(json.dumps(head).encode() + b"\n" + request.model)


def _listen(stdout: IO[bytes], on_progress: Heard) -> dict[str, Any]:
    """The process's last message: an entry or an error; empty if there was none."""
    for line in stdout:
        try:
            message: dict[str, Any] = json.loads(line)
        except ValueError:
            continue  # a library's own words on stdout
        if "building" in message:
            on_progress(Building(**message["building"]))
        else:
            return message
    return {}


def _word(key: Key) -> str:
    return next(flavour.word for flavour in FLAVOURS.values() if flavour.module == key.flavour)


def _end_when(process: subprocess.Popen[bytes], cancelled: threading.Event) -> None:
    while process.poll() is None:
        if cancelled.wait(0.05):
            process.kill()
            return


def _error(table: dict[str, Any]) -> AllaPrimaError:
    """The error that was raised over there."""
    kinds = {kind.__name__: kind for kind in (DeviceError, RunError, OutputError)}
    kind = kinds.get(table["kind"], DeviceError)
    return kind(table["code"], table["what"], table["why"], table["next"])


def _progress(what: str, done: float, phase: str, began: float, expected: float | None) -> Building:
    seconds = time.monotonic() - began
    left = None
    if expected is not None:
        left = max(0.0, expected - seconds)
    elif done > 0.05:
        left = seconds * (1 - done) / done
    return Building(what, done, phase, seconds, left)


def _tail(file: IO[bytes]) -> str:
    size = file.seek(0, 2)
    file.seek(max(0, size - TAIL_BYTES))
    lines = file.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it left no words"


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
