"""The one place that writes files: complete under their name, or not there at all.

A job writes to a temporary file beside the output and renames it when it is complete, so that a half file is never
taken for a finished one, and a finished one never lost to a failed second try.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import sys
from collections.abc import Iterable
from glob import escape
from itertools import chain, count
from pathlib import Path

from .errors import OutputError

__all__ = ["Draft", "Lock", "fingerprint", "flush", "write_error", "write_whole"]


class Draft:
    """A file in the making: write to `.temp`, then `commit()`, `discard()` or `keep_part()`.

    Made before the work starts, so that whatever forbids the output is known before anything is spent on it.
    Raises OutputError: the output exists (without `overwrite`), is one of `inputs`, its folder is missing or
    not writable, or another job is writing it.
    """

    def __init__(
        self, path: str | Path, *, inputs: Iterable[str | Path] = (), overwrite: bool = False
    ) -> None:
        given = Path(path)
        self._what = f"cannot write {given}"
        self._overwrite = overwrite
        try:
            self.path = given.resolve()  # through links: the file that is meant, not the link, is replaced
            self._check(inputs)
        except RuntimeError as error:  # pathlib's word for links that lead in a circle
            raise write_error(given, OSError(errno.ELOOP, os.strerror(errno.ELOOP))) from error
        except OSError as error:  # a name too long, among others
            raise write_error(given, error) from error
        name = hashlib.sha256(os.fsencode(self.path.name)).hexdigest()[:16]
        try:
            self._lock = Lock(self.path.with_name(f".allaprima-{name}.lock"))
        except FileExistsError:
            raise OutputError(
                "E_OUTPUT_BUSY",
                self._what,
                "another job is writing it",
                "wait for it, or choose another name",
            ) from None
        except OSError as error:
            raise write_error(given, error) from error
        # short, because a name may have 255 bytes and this one adds some; with the extension, which chooses the format
        ours = f".{self.path.stem[:40]}.{name}."
        self.temp = self.path.with_name(f"{ours}{secrets.token_hex(4)}.part{self.path.suffix}")
        try:
            if self._lock.held:  # nobody else writes this output: what lies there is of a job that was killed
                for left in self.path.parent.glob(f"{escape(ours)}*.part{escape(self.path.suffix)}"):
                    left.unlink(missing_ok=True)
            os.close(os.open(self.temp, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except OSError as error:
            self._lock.release()
            raise write_error(given, error) from error
        self._open = True

    def write(self, data: bytes) -> None:
        """The whole content at once, and `commit`. Raises OutputError."""
        try:
            self.temp.write_bytes(data)
        except OSError as error:
            raise write_error(self.path, error) from error
        self.commit()

    def commit(self) -> None:
        """Give the finished file its name. Durable when this returns.

        A file that has taken the name meanwhile keeps it; the finished one is kept beside it, and the error says where.
        """
        if not self._overwrite and self.path.exists():
            part = self.keep_part()
            raise OutputError(
                "E_OUTPUT_EXISTS",
                self._what,
                "a file of that name has appeared meanwhile",
                f"what was made is complete in {part}; rename it",
            )
        try:
            flush(self.temp)
            os.replace(self.temp, self.path)
            if os.name != "nt":  # Windows opens no folders, and writes renames to its journal by itself
                flush(self.path.parent)
        except OSError as error:
            raise write_error(self.path, error) from error
        finally:
            self.discard()

    def keep_part(self) -> Path:
        """Keep what is there as `NAME.partial.EXT`, or `NAME.partial-2.EXT` where there is one already: it may be what
        is being read. The output's own name is not taken. Returns where."""
        stem, suffix = self.path.stem, self.path.suffix
        names = chain([f"{stem}.partial{suffix}"], (f"{stem}.partial-{n}{suffix}" for n in count(2)))
        part = next(one for one in map(self.path.with_name, names) if not os.path.lexists(one))
        try:
            os.replace(self.temp, part)
        except OSError as error:
            raise write_error(part, error) from error
        finally:
            self.discard()
        return part

    def discard(self) -> None:
        """Leave nothing behind. May be called twice."""
        if self._open:
            self._open = False
            self.temp.unlink(missing_ok=True)
            self._lock.release()

    def _check(self, inputs: Iterable[str | Path]) -> None:
        path = self.path
        for source in inputs:
            if path.exists() and Path(source).exists() and path.samefile(source):
                raise OutputError(
                    "E_OUTPUT_IS_INPUT", self._what, "it is the file that is read", "choose another name"
                )
        if path.is_dir():
            raise OutputError("E_OUTPUT_FOLDER", self._what, "it is a folder", "name a file in it")
        if path.exists() and not path.is_file():
            raise OutputError("E_OUTPUT_KIND", self._what, "it is not a regular file", "name a file")
        if not path.parent.is_dir():
            raise OutputError(
                "E_OUTPUT_NO_FOLDER",
                self._what,
                f"there is no folder {path.parent}",
                "make it, or choose another",
            )
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise OutputError(
                "E_OUTPUT_PERMISSION",
                self._what,
                f"the folder {path.parent} may not be written to",
                "choose another folder",
            )
        if path.exists() and not self._overwrite:
            raise OutputError(
                "E_OUTPUT_EXISTS", self._what, "the file exists", "use --overwrite, or choose another name"
            )


def write_whole(path: Path, data: bytes) -> None:
    """`data` as the file `path`, complete or not at all; a file that is there is replaced. Raises OutputError."""
    draft = Draft(path, overwrite=True)
    try:
        draft.write(data)
    finally:
        draft.discard()


def write_error(path: str | Path, error: OSError) -> OutputError:
    """The OutputError for what the system said while `path` was written."""
    what = f"cannot write {path}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = ""
        with contextlib.suppress(OSError):
            free = f" ({shutil.disk_usage(Path(path).resolve().parent).free / 1e6:,.0f} MB left)"
        return OutputError(
            "E_OUTPUT_FULL", what, f"the disk is full{free}", "make room, or choose another disk"
        )
    if error.errno == errno.EFBIG:
        return OutputError(
            "E_OUTPUT_FULL", what, "the file would be larger than allowed here", "see ulimit -f"
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return OutputError("E_OUTPUT_PERMISSION", what, "permission denied", "choose another folder")
    about_the_name = error.errno in (errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL)
    return OutputError(
        "E_OUTPUT_FAILED",
        what,
        error.strerror or str(error),
        "choose another name" if about_the_name else "check the disk",
    )


class Lock:
    """A file that one job at a time can hold. The system lets go of it when the job ends, however it ends: killed,
    or by a power cut.

    `held` is False where the file system has no locks: another job may hold it, too.
    """

    def __init__(self, path: Path) -> None:
        """Raises FileExistsError where another job holds it."""
        self._path = path
        self.held = True
        if sys.platform == "win32":  # gone when it is closed, which Windows does for a killed process, too
            self._file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_TEMPORARY)
            return
        import fcntl

        while True:
            self._file = os.open(path, os.O_CREAT | os.O_WRONLY, 0o644)
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                os.close(self._file)
                raise FileExistsError(errno.EEXIST, "locked", str(path)) from error
            except OSError:
                self.held = False  # no two drafts have one name, so nothing is mixed up
                return
            if _is_file(self._file, path):
                return
            os.close(
                self._file
            )  # whoever held it removed it between our two calls: ours is a file without a name

    def release(self) -> None:
        if sys.platform != "win32":
            self._path.unlink(missing_ok=True)  # while it is held, so that nobody else's is removed
        os.close(self._file)


def _is_file(descriptor: int, path: Path) -> bool:
    """Whether this open file is the one that has this name now."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def fingerprint(path: Path) -> str:
    """Whether a large file is still the same, told from its size and its first and last megabyte."""
    size, ends = path.stat().st_size, hashlib.sha256()
    with path.open("rb") as file:
        ends.update(file.read(1_000_000))
        file.seek(max(0, size - 1_000_000))
        ends.update(file.read())
    return f"{size} bytes, {ends.hexdigest()[:16]}"


def flush(path: Path) -> None:
    """To the disk itself; a rename before that can survive a power cut while the content does not."""
    # Windows flushes only what is open for writing; a folder can only be opened for reading
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        with contextlib.suppress(OSError):  # some file systems cannot; the rename is still whole
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
