"""A stranger's ONNX file in, a proven bundle out. What nobody said of it, the bundle says was not stated.

proposal = propose(Path("candy.onnx"), {})                       # what it expects, tried out: probe.py
imported = import_network(Path("candy.onnx"), proposal.convention)
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
import tomlkit

from allaprima import settings
from allaprima.archive import seal
from allaprima.check import Checked
from allaprima.demo import PHOTOGRAPH
from allaprima.errors import BundleError, QualityError, UsageError
from allaprima.frame import Image
from allaprima.manifest import Control, Geometry, Golden, Licence, Lineage, Manifest, TensorSpec, Variant
from allaprima.metrics import Difference
from allaprima.pixels import fit, pad_edge, resize
from allaprima.settings import nearest
from allaprima.sources.pictures import PictureSource
from allaprima_train.recipe import bundle_name

from .adopt import adopt, count_macs, count_parameters
from .card import imported_card
from .edges import attach_edges
from .foreign import Bare, Convention, Stranger, read_stranger
from .half import half
from .pack import NOT_STATED, licence_text, prove, require_free, staged, versions, write_model, write_png
from .parity import GOLDEN_TOLERANCES, LARGEST, TOLERANCES, Judged, Painter, judge, judged_elsewhere, within
from .scenes import golden_scene, scenes

__all__ = ["PRECISIONS", "Imported", "Terms", "import_network", "look", "sheet"]

PRECISIONS: dict[str, Callable[[onnx.ModelProto], onnx.ModelProto]] = {
    "fp32": lambda core: core,
    "fp16": half,
}
"""How a variant is made from the adopted core."""

UNKNOWN = "not stated"
AGAINST = "the file as it came, in ONNX Runtime"


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What only people know of a network. What is left out, the bundle calls not stated."""

    title: str = ""
    """What users read (default: the file's name)."""
    network: str = ""
    """Its architecture and makers: `fast neural style (Johnson 2016), pytorch/examples`."""
    licence: str = NOT_STATED
    """SPDX identifier of the weights' licence."""
    style: str = ""
    """The style's pictures: artist, title, year."""
    style_terms: str = ""
    content: str = ""
    """The photographs that it was trained on."""
    content_terms: str = ""
    notes: str = ""


@dataclass(frozen=True)
class Imported:
    path: Path
    manifest: Manifest
    judged: dict[str, Judged]
    """By variant: the wrapped graph against the bare file. All within tolerance."""
    dropped: dict[str, str]
    """Variants and precisions that could not be made or are not faithful, and why."""
    elsewhere: dict[str, Judged | str]
    """By precision: OpenVINO, for information."""
    checked: list[Checked]


def import_network(
    path: Path,
    convention: Convention,
    out: Path | None = None,
    *,
    terms: Terms | None = None,
    variants: Sequence[str] = tuple(PRECISIONS),
    pictures: Sequence[Path] = (),
    as_zip: bool = False,
    overwrite: bool = False,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> Imported:
    """Wrap the network at `path` in our contract and pack it as `out` (default: its name as .prima, here).

    `pictures` are what it is compared on, besides drawn scenes; none: the photograph of the demo. `variants`: fp32
    always is one of them; another one that cannot be made or is not faithful is left out with its reason.

    Raises what `read_stranger` raises, UsageError (E_EXPORT_...), OutputError, BundleError E_IMPORT_OPSET,
    E_IMPORT_RUN, QualityError E_NOT_FINITE, E_PARITY, E_GOLDEN. Then nothing is left behind.
    """
    for one in variants:
        if one not in PRECISIONS:
            raise UsageError(
                "E_EXPORT_VARIANT",
                f"there is no variant {one!r}{nearest(one, PRECISIONS)}",
                next=f"choose among {', '.join(PRECISIONS)}",
            )
    name = bundle_name(path.stem) or "imported"
    out = out or Path(f"{name}.prima")
    require_free(out, overwrite=overwrite)
    terms = terms or Terms()

    on_stage("wrapping the network")
    stranger = read_stranger(path)
    fixed = stranger.fixed(convention.layout)
    core = adopt(stranger, convention)
    models = {"fp32": _wrap(core, convention, fixed, path)}
    dropped: dict[str, str] = {}
    for one in PRECISIONS:
        if one in variants and one != "fp32":
            try:
                models[one] = _wrap(PRECISIONS[one](core), convention, fixed, path)
            except BundleError as error:
                dropped[one] = error.why

    on_stage("painting the reference with the bare file")
    bare = Bare(stranger)
    golden = golden_scene(*fixed) if fixed else golden_scene()
    wanted = _pictures(pictures, fixed, convention.minimum)
    painted = {label: _reference(bare, image, convention, label, path) for label, image in wanted.items()}
    judged: dict[str, Judged] = {}
    for one, model in models.items():
        on_stage(f"comparing {one} with the bare file on {len(wanted)} pictures")
        painter = Painter(model.SerializeToString(), "ort", one)
        found = judge(painter, wanted, painted, TOLERANCES[one], against=AGAINST)
        try:
            within(found, one, one)
        except QualityError as error:
            if one == "fp32":
                raise
            dropped[one] = error.why
            continue
        judged[one] = found
    few = {label: wanted[label] for label in list(wanted)[-3:]}
    elsewhere = judged_elsewhere(models["fp32"].SerializeToString(), ("fp32", "bf16"), few, painted)

    on_stage(f"packing {out}")
    source = stranger.path.read_bytes()
    promised = _promised(judged, elsewhere, dropped)
    manifest = _manifest(name, stranger, source, convention, core, terms, judged, models, fixed, promised)
    with staged(out, as_zip=as_zip) as folder:
        for variant in manifest.variants:
            write_model(folder / variant.file, models[variant.precision], manifest, variant.name)
        write_png(folder / "golden" / "image.png", golden)
        styled = _reference(bare, golden, convention, "the golden scene", path)
        write_png(folder / "golden" / "styled.png", styled)
        (folder / "import.toml").write_text(_record(path, source, convention, terms), encoding="utf-8")
        (folder / "card.md").write_text(imported_card(manifest, judged, elsewhere), encoding="utf-8")
        (folder / "LICENSE.txt").write_text(licence_text(terms.licence), encoding="utf-8")
        manifest = seal(folder, manifest)
        on_stage("checking the golden pair on every backend here")
        checked = prove(folder, out)
    return Imported(out, manifest, judged, dropped, elsewhere, checked)


def look(pictures: Sequence[Path]) -> dict[str, Image]:
    """The pictures by name, shrunk to fit LARGEST; of none, the photograph of the demo. Raises InputError."""
    found = {}
    for path in pictures or [PHOTOGRAPH]:
        image = next(iter(PictureSource(path))).image
        found[path.name] = resize(image, *fit(image.shape[1], image.shape[0], LARGEST))
    return found


def sheet(path: Path, convention: Convention, pictures: Sequence[Path]) -> Image:
    """Each picture (three at most) beside its painting as rgb and as bgr, uint8 (H, W, 3): eyes see what is right."""
    stranger = read_stranger(path)
    bare, fixed = Bare(stranger), stranger.fixed(convention.layout)
    rows = []
    for label, image in list(look(pictures).items())[:3]:
        photo = (
            _placed(image, fixed)
            if fixed
            else resize(image, *fit(image.shape[1], image.shape[0], (480, 480)))
        )
        orders = (Convention(**{**settings.write(convention), "color": color}) for color in ("rgb", "bgr"))
        painted = [_reference(bare, photo, order, label, path) for order in orders]
        rows.append(np.concatenate([resize(one, 480, 480) for one in (photo, *painted)], axis=1))
    return np.concatenate(rows)


def _wrap(
    core: onnx.ModelProto, convention: Convention, fixed: tuple[int, int] | None, path: Path
) -> onnx.ModelProto:
    try:
        return attach_edges(
            core,
            period=1,
            stride=convention.multiple_of,
            margin=0,  # its makers had none; with one, every pixel of a network with instance norm would change
            veil=0.0,
            scale=convention.scale,
            fixed=fixed,
        )
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise BundleError(
            "E_IMPORT_RUN",
            f"cannot import {path}",
            f"the wrapped graph is not valid: {str(error).strip().splitlines()[0]}",
            "report this with where the network is from",
        ) from error


def _pictures(paths: Sequence[Path], fixed: tuple[int, int] | None, minimum: int) -> dict[str, Image]:
    """What is compared: drawn scenes that are large enough, and photographs."""
    drawn = {name: image for name, image in scenes().items() if min(image.shape[:2]) >= minimum}
    wanted = {**drawn, **look(paths)}
    return {name: _placed(image, fixed) for name, image in wanted.items()} if fixed else wanted


def _placed(image: Image, size: tuple[int, int]) -> Image:
    """In a network's one size as the runtime places it: shrunk to fit, then padded by the edge."""
    height, width = size
    inner = resize(image, *fit(image.shape[1], image.shape[0], (width, height)))
    return pad_edge(inner, 0, 0, width - inner.shape[1], height - inner.shape[0])


def _reference(bare: Bare, image: Image, convention: Convention, label: str, path: Path) -> Image:
    try:
        return bare.paint(image, convention)
    except ValueError as error:
        raise QualityError(
            "E_NOT_FINITE",
            f"cannot import {path}",
            f"its answer to {label} is not finite: {error}",
            "check --range: a network that is given numbers of another size than it knows can overflow",
        ) from None


def _promised(
    judged: Mapping[str, Judged], elsewhere: Mapping[str, Judged | str], dropped: dict[str, str]
) -> list[str]:
    """What the golden pair speaks for. bf16 only where it was tried and is near enough: nobody trained these networks
    for it, and what is not promised no runtime takes by itself. `dropped` hears why not."""
    bf16 = elsewhere.get("bf16", "OpenVINO did not run")
    near = not isinstance(bf16, str) and GOLDEN_TOLERANCES["bf16"].holds(
        Difference(bf16.parity.psnr_db, bf16.parity.ssim, bf16.parity.max_difference)
    )
    if not near:
        dropped["bf16"] = f"not promised: {bf16 if isinstance(bf16, str) else bf16.line}"
    return [*judged, *(["bf16"] if near else [])]


def _manifest(
    name: str,
    stranger: Stranger,
    source: bytes,
    convention: Convention,
    core: onnx.ModelProto,
    terms: Terms,
    judged: Mapping[str, Judged],
    models: Mapping[str, onnx.ModelProto],
    fixed: tuple[int, int] | None,
    promised: Sequence[str],
) -> Manifest:
    scale = convention.scale
    sides = ("height", "width") if scale == 1 else (f"{scale}*height", f"{scale}*width")
    return Manifest(
        name=name,
        title=terms.title or stranger.path.stem,
        version="1",
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        tool=versions(),
        inputs=(TensorSpec(name="image", shape=(1, "height", "width", 3)),),
        outputs=(TensorSpec(name="styled", shape=(1, *sides, 3)),),
        geometry=Geometry(minimum=convention.minimum, scale=scale, stride=convention.multiple_of),
        controls=(
            Control(
                name="strength",
                default=1.0,
                help="how much of the painting: 0 is the picture itself, exactly",
            ),
        ),
        variants=tuple(_variant(one, judged[one], models[one], fixed) for one in judged),
        golden=Golden(
            image="golden/image.png",
            styled="golden/styled.png",
            controls={"strength": 1.0},
            tolerances={kind: GOLDEN_TOLERANCES[kind] for kind in promised},  # type: ignore[misc]
        ),
        lineage=_lineage(stranger, source, core, terms, fixed),
        licence=Licence(
            bundle=terms.licence,
            weights=UNKNOWN if terms.licence == NOT_STATED else f"{terms.licence}, as the importer says",
            style=terms.style_terms or UNKNOWN,
            content=terms.content_terms or UNKNOWN,
        ),
    )


def _variant(name: str, judged: Judged, model: onnx.ModelProto, fixed: tuple[int, int] | None) -> Variant:
    return Variant(
        name=f"{name}-{fixed[0]}x{fixed[1]}" if fixed else name,
        file="model.onnx" if name == "fp32" else f"model_{name}.onnx",
        precision=name,  # type: ignore[arg-type]
        opset=model.opset_import[0].version,
        ir_version=model.ir_version,
        parity=judged.parity,
        fixed=fixed,
    )


def _lineage(
    stranger: Stranger, source: bytes, core: onnx.ModelProto, terms: Terms, fixed: tuple[int, int] | None
) -> Lineage:
    height, width = fixed or (256, 256)
    macs = count_macs(core, height, width)
    # A fixed size is what a picture of 1280x720 is shrunk to; any other network paints all of its pixels.
    gmac = macs / 1e9 if fixed else macs / 1e9 * (1280 * 720) / (height * width)
    return Lineage(
        method="imported",
        recipe="import.toml",
        network=terms.network or f"{stranger.path.name}, SHA-256 {hashlib.sha256(source).hexdigest()[:12]}",
        parameters=max(1, count_parameters(core)),
        gmac_720p=max(0.001, round(gmac, 3)),
        style=(terms.style,) if terms.style else (),
        content=terms.content or UNKNOWN,
        features=UNKNOWN,
        steps=0,
        trained=UNKNOWN,
        notes=" ".join(part for part in (terms.notes, "Not trained with Alla Prima: imported.") if part),
    )


def _record(path: Path, source: bytes, convention: Convention, terms: Terms) -> str:
    """import.toml: with it and the file, the bundle can be made again."""
    record = tomlkit.document()
    record.add(
        tomlkit.comment(
            "How this network was imported: the file, what it expects, and what was stated of it."
        )
    )
    record["file"] = path.name
    record["sha256"] = hashlib.sha256(source).hexdigest()
    record["convention"] = settings.write(convention)
    record["terms"] = {field.name: getattr(terms, field.name) for field in fields(terms)}
    return tomlkit.dumps(record)
