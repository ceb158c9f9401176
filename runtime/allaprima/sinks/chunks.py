"""What is painted of an unfinished video, in chunks that survive a killed process and a power cut.

    out.mp4.parts/
        journal.jsonl     a line of settings, then a line for each chunk: its frames, packets, state and SHA-256
        00000.packets     encoded pictures, one after the other, as the encoder made them
        00001.packets

A chunk counts when its line is on the disk, and that is written after the chunk itself. The pictures are kept
as packets and not as a video file: of the containers that FFmpeg writes, Matroska rounds times to a millisecond, NUT
moves them when the first is below zero, and MP4 does with an edit list what players then undo in different ways.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import OutputError, UsageError
from ..files import flush, write_error

__all__ = ["Chunk", "Chunks", "Piece", "parts_folder"]

VERSION = 1
_JOURNAL = "journal.jsonl"


def parts_folder(output: Path) -> Path:
    """Where the chunks of an unfinished `output` lie."""
    return output.with_name(f"{output.name}.parts")


@dataclass(frozen=True)
class Piece:
    """An encoded picture: times in ticks of the stream's clock."""

    pts: int
    dts: int
    duration: int
    keyframe: bool
    data: bytes


@dataclass(frozen=True)
class Chunk:
    """A line of the journal."""

    file: str
    frames: int
    """Pictures that were painted for it."""
    state: dict[str, Any]
    """What the sink needs to go on after it."""
    packets: list[list[int]]
    """pts, dts, duration, keyframe (0 or 1) and bytes of each."""
    sha256: str


class Chunks:
    """The chunks of one output. Make one with `begin` or `resume`."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], chunks: list[Chunk]) -> None:
        self.folder = folder
        self.chunks = chunks
        self._settings = dict(settings)
        self._open: list[Piece] = []

    @classmethod
    def begin(cls, output: Path, settings: Mapping[str, Any], *, restart: bool = False) -> Chunks:
        """For an output from its first frame. Nothing is written before the first chunk is full.

        Raises OutputError E_OUTPUT_UNFINISHED where chunks of an earlier run lie, unless `restart` throws them away.
        """
        folder = parts_folder(output)
        if folder.exists():
            if not restart:
                done = _read(folder)[1] if (folder / _JOURNAL).is_file() else []
                raise OutputError(
                    "E_OUTPUT_UNFINISHED",
                    f"cannot write {output}",
                    f"{sum(chunk.frames for chunk in done)} frames of an unfinished run are in {folder.name}",
                    "go on with --resume, or throw them away with --restart",
                )
            shutil.rmtree(folder)
        return cls(folder, settings, [])

    @classmethod
    def resume(cls, output: Path, settings: Mapping[str, Any]) -> Chunks:
        """For an output that may have been begun: after its last good chunk; from the first frame where there is none.

        Raises UsageError E_RESUME_SETTINGS where the chunks were made with other settings, and says which.
        """
        folder = parts_folder(output)
        if not (folder / _JOURNAL).is_file():
            return cls.begin(output, settings, restart=True)
        then, chunks = _read(folder)
        differing = [key for key in {**then, **settings} if then.get(key) != settings.get(key)]
        if differing:
            raise UsageError(
                "E_RESUME_SETTINGS",
                f"cannot go on with {output}",
                "; ".join(
                    f"{key} was {json.dumps(then.get(key))} and is {json.dumps(settings.get(key))}"
                    for key in differing
                ),
                "use the settings of then, or begin anew with --restart",
            )
        made = cls(folder, settings, list(_while_good(folder, chunks)))
        made._write_journal()  # without a line that was being written, and without chunks that are damaged
        return made

    @property
    def frames(self) -> int:
        """Pictures in the chunks that count."""
        return sum(chunk.frames for chunk in self.chunks)

    @property
    def state(self) -> dict[str, Any] | None:
        """What the sink noted after the last chunk; None before the first."""
        return self.chunks[-1].state if self.chunks else None

    def __iter__(self) -> Iterator[Piece]:
        """Every encoded picture so far, in the order in which it was encoded."""
        for chunk in self.chunks:
            data, begin = (self.folder / chunk.file).read_bytes(), 0
            for pts, dts, duration, keyframe, size in chunk.packets:
                yield Piece(pts, dts, duration, bool(keyframe), data[begin : begin + size])
                begin += size

    def add(self, piece: Piece) -> None:
        self._open.append(piece)

    def seal(self, frames: int, state: dict[str, Any]) -> None:
        """Write what was added as a chunk of `frames` pictures. On the disk when this returns. Raises OutputError."""
        data = b"".join(piece.data for piece in self._open)
        chunk = Chunk(
            file=f"{len(self.chunks):05d}.packets",
            frames=frames,
            state=state,
            packets=[
                [piece.pts, piece.dts, piece.duration, int(piece.keyframe), len(piece.data)]
                for piece in self._open
            ],
            sha256=hashlib.sha256(data).hexdigest(),
        )
        try:
            self.folder.mkdir(exist_ok=True)
            _write(self.folder / chunk.file, data)
            if not self.chunks:
                self._write_journal()
            with (self.folder / _JOURNAL).open("ab") as journal:
                journal.write(_line(asdict(chunk)))
            flush(self.folder / _JOURNAL)
            flush(self.folder)
        except OSError as error:
            raise write_error(self.folder, error) from error
        self.chunks.append(chunk)
        self._open = []

    def remove(self) -> None:
        """The output is complete."""
        if self.folder.exists():
            shutil.rmtree(self.folder)

    def _write_journal(self) -> None:
        """Of the chunks that count."""
        lines = [
            _line({"version": VERSION, "settings": self._settings}),
            *(_line(asdict(one)) for one in self.chunks),
        ]
        temporary = self.folder / f"{_JOURNAL}.new"
        _write(temporary, b"".join(lines))
        os.replace(temporary, self.folder / _JOURNAL)


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    flush(path)


def _read(folder: Path) -> tuple[dict[str, Any], list[Chunk]]:
    """Settings and chunks of a journal, up to the first line that is not whole: the process was killed there."""
    settings: dict[str, Any] = {}
    chunks: list[Chunk] = []
    for number, line in enumerate((folder / _JOURNAL).read_bytes().split(b"\n")):
        try:
            table = json.loads(line)
            if number == 0:
                if table["version"] != VERSION:
                    break
                settings = table["settings"]
            else:
                chunks.append(Chunk(**table))
        except (ValueError, TypeError, KeyError):
            break
    return settings, chunks


def _while_good(folder: Path, chunks: list[Chunk]) -> Iterator[Chunk]:
    """The chunks up to the first that is missing or damaged."""
    for number, chunk in enumerate(chunks):
        path = folder / f"{number:05d}.packets"  # never a name that a damaged journal says
        if chunk.file != path.name or not path.is_file():
            return
        if hashlib.sha256(path.read_bytes()).hexdigest() != chunk.sha256:
            return
        yield chunk
