"""The files of a bundle, as a folder or as one zip: read without trust, written the same every time.

Reading takes members by the names that the manifest lists and never unpacks anything, so that a crafted
archive has nothing to climb out with; whatever else lies there is refused by `Bundle`.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from .errors import BundleError, OutputError, QualityError
from .files import write_whole
from .manifest import METADATA_MANIFEST, METADATA_VARIANT, FileRecord, Manifest
from .onnx_file import inspect

__all__ = [
    "MANIFEST",
    "MAX_FILES",
    "MAX_FILE_BYTES",
    "Files",
    "open_files",
    "pack",
    "printable",
    "record",
    "seal",
]

MANIFEST = "manifest.json"
MAX_FILES = 256
MAX_FILE_BYTES = 64 << 20
"""A style is 1 to 10 MiB. The caps keep a crafted bundle from filling the memory of whoever opens it."""
MAX_RATIO = 100
"""Unpacked over packed. Weights and PNGs hardly shrink; a member that shrinks 100 times is a zip bomb."""

_ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,  # cut off
    OSError,  # not readable, or an offset before the file's beginning
    RuntimeError,  # encrypted; and NotImplementedError: of a newer kind
    ValueError,  # a name that is not the UTF-8 it says it is
)
"""zipfile's ways to say that something is wrong with a zip."""


class Files(Protocol):
    """What a bundle reads from. Names are relative, with `/`."""

    def names(self) -> list[str]:
        """Every file there, listed or not. BundleError for links, duplicates, more than MAX_FILES."""

    def read(self, name: str) -> bytes:
        """The whole file. BundleError if it is not there, or larger than MAX_FILE_BYTES."""


@contextmanager
def open_files(path: Path) -> Iterator[Files]:
    """The files of a bundle's folder or zip, while it is open."""
    if path.is_dir():
        yield _Folder(path)
        return
    try:
        archive = zipfile.ZipFile(path)
    except _ZIP_ERRORS as error:
        raise BundleError(
            "E_BUNDLE_KIND", f"cannot open {path}", f"the zip is damaged: {error}", "get the bundle again"
        ) from None
    with archive:
        yield _Zip(path, archive)


class _Folder:
    def __init__(self, path: Path) -> None:
        self._path = path

    def names(self) -> list[str]:
        found: list[str] = []
        for folder, subfolders, files in os.walk(self._path):
            for name in (*subfolders, *files):
                entry = Path(folder, name)
                inside = entry.relative_to(self._path).as_posix()
                if entry.is_symlink():
                    raise _refused(self._path, inside, "it is a link", "put the file itself there")
                if name in files:
                    if not entry.is_file():
                        raise _refused(self._path, inside, "it is a device or a pipe", "remove it")
                    found.append(inside)
                if len(found) > MAX_FILES:
                    raise _too_many(self._path)
        return sorted(found)

    def read(self, name: str) -> bytes:
        try:
            with open(self._path / name, "rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            raise _unreadable(self._path, name, error.strerror or str(error)) from None
        if len(data) > MAX_FILE_BYTES:
            raise _too_large(self._path, name)
        return data


class _Zip:
    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self._path = path
        self._archive = archive

    def names(self) -> list[str]:
        members = self._archive.infolist()
        if len(members) > MAX_FILES:
            raise _too_many(self._path)
        found: list[str] = []
        for member in members:
            if member.is_dir():
                continue
            if stat.S_ISLNK(member.external_attr >> 16):
                raise _refused(self._path, member.filename, "it is a link", "put the file itself there")
            if member.filename in found:
                raise _refused(self._path, member.filename, "it is there twice", "get the bundle again")
            found.append(member.filename)
        return sorted(found)

    def read(self, name: str) -> bytes:
        try:
            member = self._archive.getinfo(name)
        except KeyError:
            raise _unreadable(self._path, name, "it is not there") from None
        if member.file_size > MAX_FILE_BYTES:
            raise _too_large(self._path, name)
        if member.file_size > MAX_RATIO * max(1, member.compress_size):
            raise _refused(
                self._path,
                name,
                f"it unpacks to more than {MAX_RATIO} times its size",
                "do not use this bundle",
            )
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise _unreadable(self._path, name, "its compression is neither stored nor deflated")
        try:
            with self._archive.open(member) as file:
                # The size in the directory is only a claim; never read more than that.
                return file.read(member.file_size + 1)
        except _ZIP_ERRORS as error:
            raise _unreadable(self._path, name, str(error) or "the zip ends too early") from None


def record(data: bytes) -> FileRecord:
    """What a manifest says of a file."""
    return FileRecord(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))


def seal(folder: Path, manifest: Manifest) -> Manifest:
    """Write `manifest` into `folder` with the hash of every file there; gives back what was written.

    The folder then is a bundle: it has passed the same checks that users' machines will make. The ONNX files
    have to carry `manifest.metadata(variant)` already. Raises QualityError E_PARITY for a variant out of
    tolerance, BundleError E_BUNDLE_METADATA for a file that carries another manifest, and what `Bundle.open`
    would raise.
    """
    from .bundle import Bundle

    for variant in manifest.variants:
        if not variant.parity:
            raise QualityError(
                "E_PARITY",
                f"cannot pack {folder}",
                f"variant {variant.name!r} is too far from {variant.parity.against}: "
                f"PSNR {variant.parity.psnr_db:.1f} dB, SSIM {variant.parity.ssim:.4f}, "
                f"largest difference {variant.parity.max_difference}",
                "leave the variant out, or find what its export changes",
            )
    files = _Folder(folder)
    for variant in manifest.variants:
        where = f"{folder}: {variant.file}"
        metadata = inspect(files.read(variant.file), where).metadata
        carried = METADATA_MANIFEST in metadata and Manifest.from_json(metadata[METADATA_MANIFEST], where)
        if carried != replace(manifest, files={}) or metadata.get(METADATA_VARIANT) != variant.name:
            raise BundleError(
                "E_BUNDLE_METADATA",
                f"cannot pack {where}",
                "its metadata has no manifest or another one, and people copy only the .onnx",
                f"write manifest.metadata({variant.name!r}) into it first",
            )
    names = [name for name in files.names() if name != MANIFEST]
    sealed = replace(manifest, files={name: record(files.read(name)) for name in names})
    write_whole(folder / MANIFEST, sealed.to_json())
    return Bundle.open(folder).manifest


def pack(folder: Path, path: Path, *, overwrite: bool = False) -> None:
    """Write the sealed bundle in `folder` as the one zip `path`; the same bytes for the same files, always.

    Stored, not deflated: weights shrink by a few percent only, deflate differs between zlib versions, and
    stored members can be read in place. Raises OutputError E_OUTPUT_EXISTS, E_OUTPUT_FOLDER (a folder is never
    replaced; nor may the zip lie in the bundle, which would not be one any more), BundleError, and what
    `write_whole` raises.
    """
    from .bundle import Bundle

    what = f"cannot write {path}"
    if path.is_dir():
        raise OutputError(
            "E_OUTPUT_FOLDER", what, "it is a folder", "choose another name, or remove it first"
        )
    if path.resolve().is_relative_to(folder.resolve()):
        raise OutputError("E_OUTPUT_FOLDER", what, f"{folder} is what is packed", "choose another folder")
    if path.exists() and not overwrite:
        raise OutputError("E_OUTPUT_EXISTS", what, "it exists", "choose another name")
    bundle = Bundle.open(folder)
    names = [MANIFEST, *sorted(bundle.manifest.files)]  # the manifest first: readable from a stream
    packed = io.BytesIO()  # a bundle is a few megabytes
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name in names:
            member = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            member.create_system = 3  # Unix, also when packed on Windows
            member.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(member, bundle.read(name))
    write_whole(path, packed.getvalue())


def printable(name: str) -> str:
    """A name that a stranger chose, without what a terminal would obey."""
    return name if name.isprintable() else ascii(name)


def _refused(path: Path, name: str, why: str, next: str) -> BundleError:
    return BundleError("E_BUNDLE_MEMBER", f"refused {path}: {printable(name)}", why, next)


def _unreadable(path: Path, name: str, why: str) -> BundleError:
    return BundleError("E_BUNDLE_MEMBER", f"cannot read {name} of {path}", why, "get the bundle again")


def _too_many(path: Path) -> BundleError:
    return BundleError(
        "E_BUNDLE_LIMIT",
        f"refused {path}",
        f"it has more than {MAX_FILES} files",
        "give a bundle of a style",
    )


def _too_large(path: Path, name: str) -> BundleError:
    return BundleError(
        "E_BUNDLE_LIMIT",
        f"refused {path}: {name}",
        f"it is larger than {MAX_FILE_BYTES >> 20} MiB",
        "give a bundle of a style",
    )
