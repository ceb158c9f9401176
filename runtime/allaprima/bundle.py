"""A bundle: one style as a folder `NAME.prima/` or one zip `NAME.prima`, verified when it is opened.

    bundle = Bundle.open("starry.prima")
    bundle.manifest.title, bundle.read("card.md"), bundle.variant("fp32")

docs/bundle.md is the format. Nothing in a bundle is executed or unpacked.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from . import settings
from .archive import MANIFEST, MAX_FILE_BYTES, Files, open_files, printable, record
from .errors import BundleError, UsageError
from .manifest import (
    COLOUR_CONSTANTS,
    METADATA_MANIFEST,
    METADATA_VARIANT,
    Manifest,
    Shape,
    Variant,
    resolve_shape,
)
from .onnx_file import OnnxFile, inspect, sniff

__all__ = ["Bundle", "find_style", "styles"]


@dataclass(frozen=True)
class Bundle:
    """A style on disk and what it promises. Make one with `Bundle.open`."""

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: str | Path) -> Bundle:
        """Open and verify: the size and SHA-256 of every file, no file too many, only tame ONNX models.

        `path` is a bundle's folder, its zip, or one ONNX file that was exported for a bundle. Raises
        BundleError, which names the file and the reason.
        """
        path = Path(path)
        if not path.exists():
            raise BundleError(
                "E_BUNDLE_MISSING", f"cannot open {path}", "there is no such file", "check the path"
            )
        kind = _kind(path)
        if kind == "model":
            lone = cls(path, _manifest_of_model(path))
            lone._check_model(lone.manifest.variants[0], inspect(_read(path), str(path)))
            return lone
        with open_files(path) as files:
            names = files.names()
            if MANIFEST not in names:
                raise BundleError(
                    "E_BUNDLE_KIND",
                    f"{path} is not a bundle",
                    f"there is no {MANIFEST} in it",
                    "give the folder or file that ends in .prima",
                )
            manifest = Manifest.from_json(files.read(MANIFEST), f"{path}: {MANIFEST}")
            bundle = cls(path, manifest)
            bundle._verify(files, names)
        return bundle

    def read(self, name: str) -> bytes:
        """One file of the bundle, checked against the manifest again: it may have changed since `open`."""
        if name == MANIFEST:
            return self.manifest.to_json()
        if name not in self.manifest.files:
            raise BundleError(
                "E_BUNDLE_MEMBER",
                f"cannot read {name} of {self.path}",
                "the bundle has no such file",
                f"choose one of {', '.join(self.manifest.files)}",
            )
        if self.path.is_file() and _kind(self.path) == "model":
            data = _read(self.path)
        else:
            with open_files(self.path) as files:
                data = files.read(name)
        self._check(name, data)
        return data

    def variant(self, name: str) -> Variant:
        """The variant of that name; UsageError E_STYLE_VARIANT lists those that there are."""
        for variant in self.manifest.variants:
            if variant.name == name:
                return variant
        names = [variant.name for variant in self.manifest.variants]
        raise UsageError(
            "E_STYLE_VARIANT",
            f"style {self.manifest.name!r} has no variant {name!r}{settings.nearest(name, names)}",
            next=f"choose one of {', '.join(names)}",
        )

    def _verify(self, files: Files, names: list[str]) -> None:
        listed = {MANIFEST, *self.manifest.files}
        for name in names:
            if name not in listed:
                raise BundleError(
                    "E_BUNDLE_MEMBER",
                    f"refused {self.path}: {printable(name)}",
                    "the manifest does not list this file",
                    "remove it, or get the bundle again",
                )
        for name in self.manifest.references():
            if name not in self.manifest.files:
                raise BundleError(
                    "E_BUNDLE_MEMBER",
                    f"refused {self.path}: {name}",
                    "the manifest speaks of this file and does not list it",
                    "export the style again with allaprima export",
                )
        if self.manifest.golden is None:
            raise BundleError(
                "E_BUNDLE_GOLDEN",
                f"refused {self.path}",
                "it has no golden pair to prove itself with",
                "export the style again with allaprima export",
            )
        variants = {variant.file: variant for variant in self.manifest.variants}
        for name in self.manifest.files:
            data = files.read(name)
            self._check(name, data)
            if name in variants:
                self._check_model(variants[name], inspect(data, f"{self.path}: {name}"))
            elif name.endswith(".onnx"):
                raise BundleError(
                    "E_BUNDLE_MEMBER",
                    f"refused {self.path}: {name}",
                    "it is a model and none of the manifest's variants",
                    "remove it, or get the bundle again",
                )

    def _check_model(self, variant: Variant, found: OnnxFile) -> None:
        """That the graph is the one which the manifest speaks of; what it computes only `check` can tell."""
        where = f"{self.path}: {variant.file}"
        takes, gives = self.manifest.takes(variant), self.manifest.gives(variant)
        for what, is_there, promised in (
            ("inputs", sorted(found.inputs), sorted(takes)),
            ("outputs", sorted(found.outputs), sorted(gives)),
            ("opset", found.opset, variant.opset),
            ("IR version", found.ir_version, variant.ir_version),
        ):
            if is_there != promised:
                raise BundleError(
                    "E_BUNDLE_MODEL",
                    f"refused {where}",
                    f"its {what}: {is_there}; the manifest promises {promised}",
                    "export the style again with allaprima export",
                )
        for name, shape in (*found.inputs.items(), *found.outputs.items()):
            promised_shape = (takes if name in takes else gives)[name].shape
            if not _fits(shape, promised_shape, variant.fixed):
                raise BundleError(
                    "E_BUNDLE_MODEL",
                    f"refused {where}",
                    f"the shape of its {name!r} is {list(shape)}; the manifest promises {list(promised_shape)}",
                    "export the style again with allaprima export",
                )
        for name, size in COLOUR_CONSTANTS.items() if variant.edges == "planes" else ():
            if found.weights.get(name) != size:
                raise BundleError(
                    "E_BUNDLE_MODEL",
                    f"refused {where}",
                    f"it has no weights {name!r} of {list(size)}, which say what its planes mean",
                    "export the style again with allaprima export",
                )

    def _check(self, name: str, data: bytes) -> None:
        promised, found = self.manifest.files[name], record(data)
        if found == promised:
            return
        why = (
            f"it has {found.bytes:,} bytes, the manifest says {promised.bytes:,}"
            if found.bytes != promised.bytes
            else f"its SHA-256 is {found.sha256[:12]}..., the manifest says {promised.sha256[:12]}..."
        )
        raise BundleError(
            "E_BUNDLE_CHANGED", f"refused {self.path}: {name} was changed", why, "get the bundle again"
        )


def styles() -> dict[str, Path]:
    """The styles that can be given by name, and where they lie; the user's own before the shipped ones."""
    found: dict[str, Path] = {}
    for folder in _style_folders():
        if folder.is_dir():
            for path in sorted(folder.glob("*.prima")):
                found.setdefault(path.name.removesuffix(".prima"), path)
    return found


def find_style(name_or_path: str | Path) -> Path:
    """The bundle of an installed style's name, or the path that was given.

    Raises UsageError E_STYLE_UNKNOWN with the nearest name and the list of all.
    """
    word = str(name_or_path)
    path = _expanded(word)
    if isinstance(name_or_path, Path) or path.suffix in (".prima", ".onnx") or os.sep in word or "/" in word:
        return path
    known = styles()
    if word in known:
        return known[word]
    if path.exists():
        return path
    raise UsageError(
        "E_STYLE_UNKNOWN",
        f"there is no style {word!r}{settings.nearest(word, known)}",
        next=f"the styles here are: {', '.join(known) or 'none'}; or give the path of a .prima bundle",
    )


def _style_folders() -> list[Path]:
    shipped = Path(__file__).parent / "styles"
    user = os.environ.get("ALLAPRIMA_STYLES")
    if user:
        return [_expanded(user), shipped]
    data_home = os.environ.get("XDG_DATA_HOME")
    try:
        data = Path(data_home) if data_home else Path.home() / ".local" / "share"
    except RuntimeError:  # nobody's home: a container with a user id that it does not know, without HOME
        return [shipped]
    return [data / "allaprima" / "styles", shipped]


def _expanded(word: str) -> Path:
    """The path with `~` and `~name` as the home of that user; as it is where there is no such user."""
    try:
        return Path(word).expanduser()
    except RuntimeError:
        return Path(word)


def _fits(found: Shape, promised: Shape, fixed: tuple[int, int] | None) -> bool:
    """Whether a graph's shape can be the promised one; a size that it leaves open, any backend will find out."""
    wanted = resolve_shape(promised, *fixed) if fixed else promised
    return len(found) == len(wanted) and all(
        isinstance(size, str) or size == other for size, other in zip(found, wanted, strict=True)
    )


def _kind(path: Path) -> str:
    """`folder`, `zip` or `model`, by content. BundleError E_BUNDLE_KIND says what else it is."""
    if path.is_dir():
        return "folder"
    try:
        with open(path, "rb") as file:
            head = file.read(512)
    except OSError as error:
        raise BundleError(
            "E_BUNDLE_MISSING", f"cannot open {path}", error.strerror or str(error), "check the path"
        ) from None
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    if path.suffix == ".onnx":
        return "model"
    raise BundleError(
        "E_BUNDLE_KIND",
        f"{path} is not a bundle",
        f"it is {sniff(head) or 'neither a zip nor an ONNX file'}",
        "give a folder or file that ends in .prima",
    )


def _read(path: Path) -> bytes:
    with open(path, "rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise BundleError(
            "E_BUNDLE_LIMIT",
            f"refused {path}",
            f"it is larger than {MAX_FILE_BYTES >> 20} MiB",
            "give a bundle",
        )
    return data


def _manifest_of_model(path: Path) -> Manifest:
    """The manifest inside an ONNX file, cut down to what this one file can keep."""
    data = _read(path)
    metadata = inspect(data, str(path)).metadata
    if METADATA_MANIFEST not in metadata:
        raise BundleError(
            "E_BUNDLE_KIND",
            f"{path} is not one of our models",
            "its metadata has no manifest",
            "give a bundle; models of other programs have to be exported by allaprima export first",
        )
    manifest = Manifest.from_json(metadata[METADATA_MANIFEST], f"{path}: the manifest in its metadata")
    for variant in manifest.variants:
        if variant.name == metadata.get(METADATA_VARIANT):
            alone = replace(variant, file="model.onnx")
            return replace(manifest, variants=(alone,), golden=None, files={alone.file: record(data)})
    raise BundleError(
        "E_BUNDLE_MANIFEST",
        f"cannot use {path}",
        f"its metadata does not say which variant it is ({METADATA_VARIANT})",
        "give the whole bundle",
    )
