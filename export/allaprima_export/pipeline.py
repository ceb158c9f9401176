"""From a run folder to a bundle, in the order in which it happens. Nothing is packed that is not proven.

exported = export(Path("runs/starry"), Path("starry.prima"))
print(exported.path, exported.judged["fp32"].line)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import onnx
from torch import nn

from allaprima.archive import seal
from allaprima.check import Checked
from allaprima.engines import Entry
from allaprima.errors import UsageError
from allaprima.frame import Image
from allaprima.manifest import Control, Geometry, Golden, Licence, Lineage, Manifest, TensorSpec, Variant
from allaprima.pixels import resize
from allaprima.settings import nearest
from allaprima_train.generators import Generator
from allaprima_train.generators.controls import Values
from allaprima_train.objectives import objective_features
from allaprima_train.recipe import PictureSet, Recipe, bundle_name
from allaprima_train.run import Run

from .artefacts import SMALLEST, Border, Grid
from .artefacts import border as measure_border
from .artefacts import grid as measure_grid
from .card import card
from .core import billion_macs, in_bytes, reach, require_finite, to_opset, trace
from .edges import attach_edges
from .engine import build_engines, wanted_cards
from .half import half
from .pack import licence_text, prove, require_free, staged, versions, write_model, write_png
from .parity import (
    GOLDEN_TOLERANCES,
    TOLERANCES,
    Judged,
    Painter,
    Reference,
    at_positions,
    judge,
    judged_elsewhere,
    unseen,
    within,
)
from .scenes import golden_scene, scenes

__all__ = ["PRECISIONS", "Exported", "export"]

PRECISIONS: dict[str, Callable[[onnx.ModelProto], onnx.ModelProto]] = {
    "fp32": lambda core: core,
    "fp16": half,
}
"""How a variant is made from the traced core. Best first, as the manifest lists them."""

MINIMUM = 16  # pixels; smaller pictures are padded by the runtime


@dataclass(frozen=True)
class Exported:
    """A bundle and how it measured."""

    path: Path
    manifest: Manifest
    judged: dict[str, Judged]
    """By variant: ONNX Runtime against torch. All within tolerance."""
    elsewhere: dict[str, Judged | str]
    """By precision: OpenVINO against torch, for information; words where it did not run."""
    grid: Grid | None
    border: Border | None
    checked: list[Checked]
    """The golden pair of the finished bundle on every backend here."""
    notes: list[str]
    """What the user should know and nothing refuses."""
    engines: list[Entry] = field(default_factory=list)
    """TensorRT engines that were built ahead of time, in the user's cache."""


def export(
    run_folder: Path,
    out: Path | None = None,
    *,
    variants: Sequence[str] = ("fp32", "fp16"),
    fixed: Sequence[tuple[int, int]] = (),
    opset: int = 18,
    pictures: Path | None = None,
    direction: str = "",
    engines: Sequence[str] = (),
    as_zip: bool = False,
    overwrite: bool = False,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> Exported:
    """Export the weights of a run as the bundle `out` (default: NAME.prima, here).

    `variants`: precisions in PRECISIONS. Each is written for any size, and for every (width, height) in `fixed`
    once more with the size built in. `pictures`: a folder of photographs to measure parity on instead of those
    that the recipe held out. `direction`: of a method that trains several generators, another than the one that
    ships. `engines`: cards to build TensorRT engines for, in the sizes of `fixed`: `ada`, `sm86`, `here`; see
    engine.py. `on_stage` hears what happens next, in words.

    Raises UsageError (E_EXPORT_...), InputError for a run that cannot be read, OutputError, and QualityError:
    E_WEIGHTS_FINITE, E_NOT_FINITE, E_PARITY, E_GOLDEN; DeviceError E_ENGINE_REFUSED, E_ENGINE_BUILD. Then nothing
    is left behind.
    """
    run = Run(run_folder)
    recipe = run.recipe()
    out = out or Path(f"{bundle_name(recipe.name)}.prima")
    _require_known(variants, fixed)
    require_free(out, overwrite=overwrite)
    cards = wanted_cards(engines, fixed)

    on_stage("folding and tracing the network")
    generator, noted = run.generator(f"generator_{direction}" if direction else "generator")
    require_finite(generator, str(run.weights_file))
    controls = cast(Generator, generator).controls
    core = to_opset(trace(in_bytes(generator)), opset)
    models = {
        _variant_name(precision, size): (precision, size, _wrap(PRECISIONS[precision](core), generator, size))
        for size in (None, *((height, width) for width, height in fixed))
        for precision in PRECISIONS
        if precision in variants
    }

    on_stage("painting the reference with torch")
    photos, source = unseen(recipe, pictures, noted.get("pictures"))
    reference = Reference(generator)
    wanted = {**scenes(), **photos}
    again, turned = at_positions(wanted, controls)
    wanted |= again
    painted = {name: reference.paint(image, name, values=turned.get(name)) for name, image in wanted.items()}

    judged: dict[str, Judged] = {}
    promised: list[Variant] = []
    for name, (precision, size, model) in models.items():
        seen, expected = (wanted, painted) if size is None else _at_size(wanted, reference, size, turned)
        on_stage(f"comparing {name} with the reference on {len(seen)} pictures")
        painter = Painter(model.SerializeToString(), "ort", precision, controls)
        judged[name] = judge(painter, seen, expected, TOLERANCES[precision], turned)
        within(judged[name], precision, name)
        promised.append(_promise(name, precision, size, model, judged[name]))

    on_stage("measuring bf16, grid and border")
    untouched = {name: image for name, image in wanted.items() if name not in turned}
    elsewhere = _elsewhere(models, untouched, painted, controls)
    grid, border = _artefacts(photos, painted, reference, cast(Generator, generator))

    on_stage(f"packing {out}")
    manifest = _manifest(recipe, run, generator, noted, promised)
    with staged(out, as_zip=as_zip) as folder:
        for variant in manifest.variants:
            write_model(folder / variant.file, models[variant.name][2], manifest, variant.name)
        write_png(folder / "golden" / "image.png", golden_scene())
        write_png(folder / "golden" / "styled.png", reference.paint(golden_scene(), "the golden scene"))
        (folder / "recipe.toml").write_bytes(run.recipe_file.read_bytes())
        (folder / "card.md").write_text(
            card(manifest, judged, elsewhere, source, grid, border), encoding="utf-8"
        )
        (folder / "LICENSE.txt").write_text(licence_text(manifest.licence.bundle), encoding="utf-8")
        manifest = seal(folder, manifest)
        on_stage("checking the golden pair on every backend here")
        checked = prove(folder, out)
        built = build_engines(folder, cards, fixed, on_stage) if cards else []
    return Exported(
        out,
        manifest,
        judged,
        elsewhere,
        grid,
        border,
        checked,
        _notes(photos, source, grid, border, recipe),
        built,
    )


def _require_known(variants: Sequence[str], fixed: Sequence[tuple[int, int]]) -> None:
    for variant in variants:
        if variant not in PRECISIONS:
            raise UsageError(
                "E_EXPORT_VARIANT",
                f"there is no variant {variant!r}{nearest(variant, PRECISIONS)}",
                next=f"choose among {', '.join(PRECISIONS)}",
            )
    if not variants:
        raise UsageError(
            "E_EXPORT_VARIANT", "no variant to export", next=f"choose among {', '.join(PRECISIONS)}"
        )
    for width, height in fixed:
        if not (MINIMUM <= width <= 8192 and MINIMUM <= height <= 8192):
            raise UsageError(
                "E_EXPORT_SIZE",
                f"cannot export for {width}x{height}",
                next=f"choose {MINIMUM} to 8192 pixels",
            )


def _variant_name(precision: str, size: tuple[int, int] | None) -> str:
    return f"{precision}-{size[0]}x{size[1]}" if size else precision


def _wrap(core: onnx.ModelProto, generator: nn.Module, size: tuple[int, int] | None) -> onnx.ModelProto:
    network = cast(Generator, generator)
    return attach_edges(
        core,
        period=network.period,
        stride=network.stride,
        margin=network.margin,
        veil=network.veil,
        scale=network.scale,
        fixed=size,
    )


def _at_size(
    pictures: Mapping[str, Image],
    reference: Reference,
    size: tuple[int, int],
    turned: Mapping[str, Values],
) -> tuple[dict[str, Image], dict[str, Image]]:
    """The pictures stretched to a built-in size: not pretty, but what is compared sees the same."""
    height, width = size
    few = {name: resize(image, width, height) for name, image in list(pictures.items())[-4:]}
    return few, {name: reference.paint(image, name, values=turned.get(name)) for name, image in few.items()}


def _promise(
    name: str, precision: str, size: tuple[int, int] | None, model: onnx.ModelProto, judged: Judged
) -> Variant:
    suffix = name.removeprefix("fp32").strip("-").replace("-", "_")
    return Variant(
        name=name,
        file=f"model_{suffix}.onnx" if suffix else "model.onnx",
        precision=precision,  # type: ignore[arg-type]
        opset=model.opset_import[0].version,
        ir_version=model.ir_version,
        parity=judged.parity,
        fixed=size,
    )


def _elsewhere(
    models: Mapping[str, tuple[str, tuple[int, int] | None, onnx.ModelProto]],
    pictures: Mapping[str, Image],
    painted: Mapping[str, Image],
    controls: Sequence[Control],
) -> dict[str, Judged | str]:
    """OpenVINO paints the fp32 variant in fp32 and bf16; a few pictures, because each size is compiled anew."""
    if "fp32" not in models:
        return {}
    few = dict(list(pictures.items())[-3:])
    model = models["fp32"][2].SerializeToString()
    return judged_elsewhere(model, ("fp32", "bf16"), few, painted, controls)


def _artefacts(
    photos: Mapping[str, Image], painted: Mapping[str, Image], reference: Reference, generator: Generator
) -> tuple[Grid | None, Border | None]:
    """On photographs only: a drawn scene has lines of its own in its spectrum."""
    large = [name for name, photo in photos.items() if min(photo.shape[:2]) >= SMALLEST]
    if not large:
        return None, None
    scale = generator.scale
    compared = [
        (resize(photos[name], painted[name].shape[1], painted[name].shape[0]), painted[name])
        for name in large
    ]
    return (
        measure_grid(compared, generator.stride * scale),
        measure_border(
            lambda image: reference.paint(image, "a cut photograph"),
            [photos[name] for name in large],
            scale=scale,
        ),
    )


def _manifest(
    recipe: Recipe, run: Run, generator: nn.Module, noted: Mapping[str, str], variants: Sequence[Variant]
) -> Manifest:
    network = cast(Generator, generator)
    scale = network.scale
    larger = tuple(side if scale == 1 else f"{scale}*{side}" for side in ("height", "width"))
    far = reach(generator)  # None: the whole picture
    used = {variant.precision for variant in variants}
    computed = {"fp32": ("fp32", "bf16"), "fp16": ("fp16",)}
    return Manifest(
        name=bundle_name(recipe.name),
        title=recipe.title or recipe.name,
        version="1",
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        tool=versions("torch"),
        inputs=(TensorSpec(name="image", shape=(1, "height", "width", 3)),),
        outputs=(TensorSpec(name="styled", shape=(1, *larger, 3)),),
        geometry=Geometry(
            minimum=MINIMUM,
            scale=scale,
            margin=far or network.margin,
            stride=network.stride,
            whole=far is None,
        ),
        controls=(
            Control(
                name="strength",
                default=1.0,
                help="how much of the painting: 0 is the picture itself, exactly"
                + (f", each pixel {scale} x {scale} times" if scale > 1 else ""),
            ),
            *network.controls,
        ),
        variants=tuple(variants),
        golden=Golden(
            image="golden/image.png",
            styled="golden/styled.png",
            controls={"strength": 1.0},
            tolerances={name: GOLDEN_TOLERANCES[name] for stored in used for name in computed[stored]},  # type: ignore[misc]
        ),
        lineage=_lineage(recipe, run, generator, noted, local=far is not None),
        licence=_licence(recipe),
    )


def _lineage(
    recipe: Recipe, run: Run, generator: nn.Module, noted: Mapping[str, str], *, local: bool
) -> Lineage:
    given = recipe.card
    style = given.style_source or _style_files(recipe.objective)
    finished = datetime.fromtimestamp(run.weights_file.stat().st_mtime, UTC)
    plain = cast(Generator, generator).folded()
    changes = [f"{change.line[0].upper()}{change.line[1:]}." for change in run.changes()]
    whole = "" if local else "Each pixel depends on the whole picture: tiles of it do not fit together."
    return Lineage(
        method=recipe.method,
        recipe="recipe.toml",
        network=f"{recipe.generator.network}-{recipe.generator.size}",
        parameters=sum(parameter.numel() for parameter in plain.parameters()),
        gmac_720p=round(billion_macs(generator, 720, 1280), 2),
        style=(style,) if style else (),
        content=given.content_source or "not stated",
        features="; ".join(
            part for part in (objective_features(recipe.method) or "none", noted.get("features", "")) if part
        ),
        steps=int(noted.get("step", recipe.train.steps)),
        trained=finished.strftime("%Y-%m-%d"),
        notes=" ".join(part for part in (given.notes, *changes, whole) if part),
    )


def _style_files(settings: object) -> str:
    """What the method's settings name as style, without the folders of this machine; empty where they name none."""
    named = getattr(settings, "style", "")
    if isinstance(named, PictureSet):
        named = named.pictures
    places = named if isinstance(named, tuple) else (named,)
    return ", ".join(Path(place).name for place in places if isinstance(place, str) and place)


def _licence(recipe: Recipe) -> Licence:
    given = recipe.card
    content = given.content_terms or "not stated"
    return Licence(
        bundle=given.licence,
        weights=f"{given.licence}, as far as the exporter holds the rights. The weights were trained on photographs "
        f"under these terms: {content}. Whether terms of training pictures bind the weights is not settled",
        style=given.style_terms or "not stated",
        content=content,
    )


def _notes(
    photos: Mapping[str, Image],
    source: str,
    grid: Grid | None,
    border: Border | None,
    recipe: Recipe,
) -> list[str]:
    notes = []
    if not photos:
        notes.append(f"parity was measured on {source}; give --pictures FOLDER")
    if grid is not None and not grid:
        notes.append(f"the painting has a grid: {grid.line}; raise grid_weight in the recipe")
    if border is not None and not border:
        notes.append(f"the painting changes along its border: {border.line}")
    absolute = [place for place in recipe.data.content if Path(place).is_absolute()]
    if absolute:
        notes.append(f"recipe.toml in the bundle names folders of this machine: {', '.join(absolute)}")
    return notes
