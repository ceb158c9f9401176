"""A bundle's folder or zip, written under another name and put in place when it is whole and proven."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import distribution, version
from pathlib import Path

import onnx

from allaprima.archive import MANIFEST, pack
from allaprima.bundle import Bundle
from allaprima.check import Checked, check
from allaprima.errors import OutputError, QualityError, UsageError
from allaprima.files import write_error
from allaprima.frame import Image
from allaprima.manifest import Manifest

NOT_STATED = "NOASSERTION"
"""SPDX's word for a licence that nobody has stated."""

__all__ = [
    "NOT_STATED",
    "licence_text",
    "prove",
    "require_folder",
    "require_free",
    "staged",
    "versions",
    "write_model",
    "write_png",
]

FLOAT_METADATA = {"Image.NominalPixelRange": "Normalized_0_1"}
IMAGE_METADATA = {  # what other programs read: docs/MetadataProps.md of ONNX
    "Image.BitmapPixelFormat": "Rgb8",
    "Image.ColorSpaceGamma": "SRGB",
    "Image.NominalPixelRange": "NominalRange_0_255",
}


def require_free(out: Path, *, overwrite: bool) -> None:
    """Raises before any work is done: UsageError E_EXPORT_NAME, OutputError E_OUTPUT_EXISTS, E_OUTPUT_NO_FOLDER."""
    if out.suffix != ".prima":
        raise UsageError(
            "E_EXPORT_NAME", f"cannot export to {out}", "a bundle's name ends in .prima", f"--out {out}.prima"
        )
    require_folder(out)
    if not (out.exists() or out.is_symlink()):
        return
    if not overwrite:
        raise OutputError(
            "E_OUTPUT_EXISTS", f"cannot write {out}", "it exists", "give another --out, or --overwrite"
        )
    if out.is_symlink() or (out.is_dir() and any(out.iterdir()) and not (out / MANIFEST).is_file()):
        raise OutputError(
            "E_OUTPUT_EXISTS",
            f"cannot overwrite {out}",
            "it is not a bundle",
            "give another --out, or remove it",
        )


def require_folder(out: Path) -> None:
    """Raises OutputError E_OUTPUT_NO_FOLDER where the folder to write `out` into is not there."""
    if not out.resolve().parent.is_dir():
        raise OutputError(
            "E_OUTPUT_NO_FOLDER", f"cannot write {out}", f"there is no folder {out.parent}", "make it first"
        )


@contextmanager
def staged(out: Path, *, as_zip: bool) -> Iterator[Path]:
    """An empty folder to write a bundle into; when the block ends well, it (or its zip) becomes `out`.

    On an error nothing is left, and what was at `out` before is still there. Raises OutputError.
    """
    out = out.resolve()
    work: Path | None = None
    try:
        work = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=out.parent))
        before = work.with_suffix(".before")  # beside, not in it: that one is removed whatever happens
        folder = work / out.name
        (folder / "golden").mkdir(parents=True)
        yield folder
        finished = folder
        if as_zip:
            finished = work / f"{out.name}.zip"
            pack(folder, finished)
        _replace(out, finished, before)
    except OSError as error:
        raise write_error(out, error) from error
    finally:
        if work is not None:
            shutil.rmtree(work, ignore_errors=True)


def _replace(out: Path, finished: Path, before: Path) -> None:
    """Give `finished` the name `out`. What has it now, folder or file, waits as `before` and comes back on an error."""
    had = out.exists()
    if had:
        os.replace(out, before)  # one call replaces a file by a file only
    try:
        os.replace(finished, out)
    except BaseException:
        if had:
            os.replace(before, out)
        raise
    if before.is_dir():
        shutil.rmtree(before, ignore_errors=True)
    else:
        before.unlink(missing_ok=True)


def write_model(path: Path, model: onnx.ModelProto, manifest: Manifest, variant: str) -> None:
    """A variant's file, with what people who copy only the `.onnx` have to know in its metadata."""
    labelled = onnx.ModelProto()
    labelled.CopyFrom(model)
    edges = next(one.edges for one in manifest.variants if one.name == variant)
    kind = "floats" if edges == "float" else "bytes"
    labelled.doc_string = f"{manifest.title}. {manifest.lineage.network}; {kind} in, {kind} out."
    about = {"license": manifest.licence.bundle, "author": "Alla Prima"}
    if edges == "float":
        about |= FLOAT_METADATA
    picture = {} if edges == "planes" else IMAGE_METADATA  # ONNX has no words for YUV
    onnx.helper.set_model_props(labelled, {**picture, **about, **manifest.metadata(variant)})
    onnx.save(labelled, str(path))


def versions(*packages: str) -> dict[str, str]:
    """What made a bundle. ONNX Runtime says itself what it is: it comes as onnxruntime, onnxruntime-gpu, ..."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before the import, or it reports home
    import onnxruntime

    installed = {name: version(name) for name in ("allaprima", *packages, "onnx")}
    return {**installed, "onnxruntime": onnxruntime.__version__}


def prove(folder: Path, out: Path) -> list[Checked]:
    """The sealed bundle in `folder` passes the check that users will make. Raises QualityError E_GOLDEN."""
    checked = check(Bundle.open(folder))
    failed = [one for one in checked if one.ran and not one]
    if not failed:
        return checked
    one = failed[0]
    assert one.difference is not None  # it ran
    why = (
        f"PSNR {one.difference.psnr_db:.1f} dB, SSIM {one.difference.ssim:.4f}, "
        f"largest difference {one.difference.max_difference}"
    )
    if one.identity is False:
        why += "; strength 0 does not give the picture back"
    raise QualityError(
        "E_GOLDEN",
        f"{out} fails its own golden pair on {one.backend} in {one.precision}",
        f"{why}; it promises {one.tolerance}",
        "train with a lower learning rate: large weights do not survive a lower precision",
    )


def write_png(path: Path, image: Image) -> None:
    """(H, W, 3) uint8 RGB, without metadata."""
    from PIL import Image as Pictures

    Pictures.fromarray(image).save(path, format="PNG", optimize=True)


def licence_text(spdx: str) -> str:
    """The text for LICENSE.txt: the Apache License from this package's own copy; of others, where to read it."""
    if spdx == NOT_STATED:
        return (
            f"SPDX-License-Identifier: {spdx}\n\nThe terms of this network were not stated when it was imported. "
            "Ask those who made it before you pass it on.\n"
        )
    if spdx != "Apache-2.0":
        return f"SPDX-License-Identifier: {spdx}\n\nThe text is at https://spdx.org/licenses/{spdx}.html\n"
    for file in distribution("allaprima").files or []:
        if file.name == "LICENSE":
            return Path(str(file.locate())).read_text(encoding="utf-8")
    raise FileNotFoundError("the installed package has no LICENSE")
