"""From a run folder, or a bundle, to a bundle, in the order in which it happens. Nothing is packed that is not proven.

exported = export(Path("runs/starry"), Path("starry.prima"))
print(exported.path, exported.judged["fp32"].line)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from torch import nn

from allaprima.archive import seal
from allaprima.bundle import Bundle
from allaprima.check import Checked
from allaprima.engines import Entry
from allaprima.errors import BundleError, QualityError, UsageError
from allaprima.frame import Image
from allaprima.manifest import (
    Control,
    Geometry,
    Golden,
    Licence,
    Lineage,
    Manifest,
    Plan,
    TensorSpec,
    Variant,
)
from allaprima.pixels import resize
from allaprima.planes import Planes
from allaprima.settings import nearest
from allaprima_train.generators import Generator
from allaprima_train.objectives import objective_features
from allaprima_train.recipe import PictureSet, Recipe, bundle_name
from allaprima_train.run import Run

from .artefacts import SMALLEST, Border, Grid
from .artefacts import border as measure_border
from .artefacts import grid as measure_grid
from .calibration import DRAWN
from .card import card
from .core import billion_macs, in_bytes, reach, require_finite, to_opset, trace
from .engine import build_engines, wanted_cards
from .pack import licence_text, prove, require_folder, require_free, staged, versions, write_model, write_png
from .parity import GOLDEN_TOLERANCES, Judged, Panel, Reference, judged_elsewhere, unseen
from .post import REACH, attach_post, post_controls
from .profiles import PROFILES, make_profile, partitions
from .report import write_report
from .scenes import golden_scene, scenes
from .several import beside, picture_names, pictures_of
from .source import Source, open_source
from .variants import PRECISIONS, Made, Material, at_size, make
from .video import PlanesReference, for_video

__all__ = ["PRECISIONS", "Exported", "export"]

MINIMUM = 16  # pixels; smaller pictures are padded by the runtime


@dataclass(frozen=True)
class Exported:
    """A bundle and how it measured."""

    path: Path
    manifest: Manifest
    made: tuple[Made, ...]
    """The variants that are packed: all within tolerance, and what is for speed faster."""
    dropped: tuple[Made, ...]
    """Those that did not pass the gate, and why not."""
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

    @property
    def judged(self) -> dict[str, Judged]:
        """By variant that is packed: it against torch."""
        return {one.name: one.judged for one in self.made}


def export(
    source: Path,
    out: Path | None = None,
    *,
    variants: Sequence[str] = tuple(PRECISIONS),
    profiles: Sequence[str] = (),
    planes: Sequence[str] | None = None,
    fixed: Sequence[tuple[int, int]] = (),
    opset: int = 18,
    pictures: Path | None = None,
    quantizers: Sequence[str] = (),
    plan: Path | None = None,
    direction: str = "",
    report: Path | None = None,
    engines: Sequence[str] = (),
    post: Sequence[str] = (),
    as_zip: bool = False,
    overwrite: bool = False,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> Exported:
    """Export the weights of a run, or once more those of a bundle, as the bundle `out` (default: NAME.prima, here).

    `variants`: precisions in PRECISIONS. Each is written for any size, and for every (width, height) in `fixed`
    once more with the size built in; those in `planes` (None: all) once more for video (`video.py`). What does not
    pass the gate (`gate.py`) is left out, and `dropped` says why. `profiles`: rows of PROFILES, beside the variants;
    with one that has a size built in, `fixed` are its sizes only.
    `pictures`: a folder of photographs to judge on instead of those that the recipe held out. `quantizers`: rows of
    QUANTIZERS for int8, instead of the best for each backend that starts here. `plan`: a bundle whose int8 variant
    tells which layers to keep in floating point; without it, the one that is exported once more, or overwritten.
    `direction`: of a method that trains several generators, another than the one that ships. `engines`: cards to
    build TensorRT engines for, in the sizes of `fixed`: `ada`, `sm86`, `here`; see engine.py. `post`: stages of
    post-processing that the graphs get, each a control, see post.py; without them, those of the bundle that is
    exported once more. `report`: a file to write, an HTML page that shows every variant beside the trained network.
    `on_stage` hears what happens next, in words.

    Raises UsageError (E_EXPORT_...), InputError for a run that cannot be read, OutputError, and QualityError:
    E_WEIGHTS_FINITE, E_NOT_FINITE, E_PARITY, E_GATE where nothing passes, E_GOLDEN; DeviceError E_ENGINE_REFUSED,
    E_ENGINE_BUILD. Then nothing is left behind.
    """
    given = open_source(source, direction)
    recipe, generator, noted = given.recipe, given.generator, given.notes
    if direction:  # another network than the recipe's card speaks of: it must not carry that one's name
        name, title = f"{recipe.name} {direction}", f"{recipe.title or recipe.name} ({direction})"
        recipe = replace(recipe, name=name, title=title)
    out = out or Path(f"{bundle_name(recipe.name)}.prima")
    _require_known(variants, profiles, fixed)
    require_free(out, overwrite=overwrite)
    if report is not None:
        require_folder(report)
    cards = wanted_cards(engines, fixed)
    in_floats = [profile for profile in profiles if PROFILES[profile].edges == "float"]
    left_out = [] if post or not in_floats else list(given.stages)
    post = post or ([] if left_out else given.stages)
    extras = post_controls(post)
    if extras and in_floats:
        raise UsageError(
            "E_EXPORT_PROFILE",
            f"profile {in_floats[0]!r} cannot have stages of --post",
            "they work on bytes, and it has floats",
            "leave one of the two out, or export twice",
        )

    on_stage("folding and tracing the network")
    require_finite(generator, given.label)
    core = to_opset(trace(in_bytes(generator)), opset)

    on_stage("painting the reference with torch")
    photos, unseen_in = unseen(recipe, pictures, noted.get("pictures"))
    reference = Reference(generator)
    several = cast(Generator, generator).pictures
    panel = Panel.of(
        reference, {name: beside(image, several) for name, image in {**scenes(), **photos}.items()}
    )
    material = Material(
        core,
        generator,
        reference,
        panel,
        recipe,
        pictures,
        known=_known_plan(plan, given.bundle or out),
        on_stage=on_stage,
    )
    open_size = [
        one
        for precision in PRECISIONS
        if precision in variants
        for one in make(precision, material, quantizers)
    ]
    in_planes: list[Made | str] = []
    in_video = variants if planes is None else planes
    if in_video and post:
        in_planes = ["the stages after painting are made for RGB"]
    else:
        in_planes = [
            for_video(one, material) for one in open_size if one.precision in in_video and not one.why_not
        ]
    built_in = [
        at_size(one, (height, width), material)
        for width, height in fixed
        for one in open_size
        if not one.why_not and not any(PROFILES[profile].sized for profile in profiles)
    ]
    for_others = [
        make_profile(profile, material, size)
        for profile in profiles
        for size in ([(height, width) for width, height in fixed] if PROFILES[profile].sized else [None])
    ]
    video = (one for one in in_planes if isinstance(one, Made))
    everything = (*open_size, *video, *built_in, *for_others)
    made = tuple(one for one in everything if not one.why_not)
    dropped = tuple(one for one in everything if one.why_not)
    _require_some(made, dropped, out)

    on_stage("measuring bf16, grid and border")
    elsewhere = _elsewhere(material) if "fp32" in variants else {}
    grid, border = _artefacts(photos, panel.references, reference, cast(Generator, generator))

    on_stage(f"packing {out}")
    manifest = _manifest(recipe, given, generator, noted, [one.promise() for one in made], extras)
    with staged(out, as_zip=as_zip) as folder:
        for one, variant in zip(made, manifest.variants, strict=True):
            # Judged without: at 0, where the controls stand, the stages change no byte (a test).
            finished = attach_post(one.model, post) if post else one.model
            write_model(folder / variant.file, finished, manifest, variant.name)
        golden = beside(golden_scene(), several)
        for name, image in zip(_golden_names(several), pictures_of(golden), strict=True):
            write_png(folder / name, image)
        write_png(folder / "golden" / "styled.png", reference.paint(golden, "the golden scene"))
        if manifest.golden and manifest.golden.planes and manifest.golden.styled_planes:
            scene = Planes.from_rgb(golden_scene())
            write_png(folder / manifest.golden.planes, scene.stacked())
            styled = PlanesReference(generator).paint(scene)
            write_png(folder / manifest.golden.styled_planes, styled.stacked())
        (folder / "recipe.toml").write_bytes(given.recipe_text)
        (folder / "card.md").write_text(
            card(manifest, made, dropped, elsewhere, unseen_in, grid, border), encoding="utf-8"
        )
        (folder / "LICENSE.txt").write_text(licence_text(manifest.licence.bundle), encoding="utf-8")
        manifest = seal(folder, manifest)
        on_stage("checking the golden pair on every backend here")
        checked = prove(folder, out)
        built = build_engines(folder, cards, fixed, on_stage) if cards else []
    notes = _notes(photos, unseen_in, grid, border, recipe)
    notes += [note for one in made if one.profile == "mobile" for note in _in_pieces(one)]
    notes += sorted({f"there is no variant for video: {one}" for one in in_planes if isinstance(one, str)})
    if left_out:
        notes.append(f"left out, because they work on bytes: {', '.join(left_out)}")
    if any(one.plan and one.plan.calibration == DRAWN for one in made):
        notes.append(f"int8 was calibrated on {DRAWN}")
    if report is not None:
        on_stage(f"painting the report {report}")
        write_report(report, manifest, made, dropped, panel, unseen_in, notes)
    return Exported(out, manifest, made, dropped, elsewhere, grid, border, checked, notes, built)


def _require_known(
    variants: Sequence[str], profiles: Sequence[str], fixed: Sequence[tuple[int, int]]
) -> None:
    for profile in profiles:
        if profile not in PROFILES:
            raise UsageError(
                "E_EXPORT_PROFILE",
                f"there is no profile {profile!r}{nearest(profile, PROFILES)}",
                next=f"choose among {', '.join(PROFILES)}",
            )
        if PROFILES[profile].sized and not fixed:
            raise UsageError(
                "E_EXPORT_SIZE", f"profile {profile!r} has a size built in", next="give it with --at 1280x720"
            )
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


def _known_plan(given: Path | None, out: Path) -> Plan | None:
    """The plan of the bundle `given`, or else of the one at `out`, which is exported once more or overwritten.

    Raises BundleError for a `given` one that cannot be read, UsageError E_EXPORT_PLAN where it has none.
    """
    source = given or (out if out.exists() else None)
    if source is None:
        return None
    try:
        variants = Bundle.open(source).manifest.variants
    except BundleError:
        if given:
            raise
        return None  # what is overwritten may be broken: a reason to overwrite it
    for variant in variants:
        if variant.plan:
            return variant.plan
    if given:
        raise UsageError(
            "E_EXPORT_PLAN",
            f"cannot take the plan of {given}",
            "it has no int8 variant",
            "leave --plan out: the layers are then searched",
        )
    return None


def _in_pieces(one: Made) -> list[str]:
    """What has to be said of a mobile variant that its accelerators would cut up."""
    cut = [f"{name} into {count}" for name, count in partitions(one.model).items() if count != 1]
    return [f"{one.name} is cut into pieces: by {' and by '.join(cut)}"] if cut else []


def _require_some(made: Sequence[Made], dropped: Sequence[Made], out: Path) -> None:
    """Raises QualityError E_GATE where no variant for any size is left."""
    if made:
        return
    raise QualityError(
        "E_GATE",
        f"cannot export {out}: no variant passes",
        "; ".join(f"{one.name}: {one.why_not}" for one in dropped),
        "export fp32 as well: --variants fp32," + ",".join(one.name for one in dropped),
    )


def _elsewhere(material: Material) -> dict[str, Judged | str]:
    """OpenVINO paints the fp32 variant in fp32 and bf16; a few pictures, because each size is compiled anew."""
    panel = material.panel
    untouched = [name for name in panel.pictures if name not in panel.turned]
    few = {name: panel.pictures[name] for name in untouched[-3:]}
    model = material.plain.SerializeToString()
    return judged_elsewhere(model, ("fp32", "bf16"), few, panel.references, panel.controls)


def _artefacts(
    photos: Mapping[str, Image], painted: Mapping[str, Image], reference: Reference, generator: Generator
) -> tuple[Grid | None, Border | None]:
    """On photographs only: a drawn scene has lines of its own in its spectrum."""
    large = [name for name, photo in photos.items() if min(photo.shape[:2]) >= SMALLEST]
    if not large or generator.pictures > 1:  # what mixes pictures has their grids and borders
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


def _golden_names(pictures: int) -> list[str]:
    return [f"golden/{name}.png" for name in picture_names(pictures)]


def _manifest(
    recipe: Recipe,
    given: Source,
    generator: nn.Module,
    noted: Mapping[str, str],
    variants: Sequence[Variant],
    extras: Sequence[Control],
) -> Manifest:
    network = cast(Generator, generator)
    scale = network.scale
    larger = tuple(side if scale == 1 else f"{scale}*{side}" for side in ("height", "width"))
    far = reach(generator)  # None: the whole picture
    used = {variant.precision for variant in variants}
    computed = {name: row.computed for name, row in PRECISIONS.items()}
    in_planes = any(variant.edges == "planes" for variant in variants)
    return Manifest(
        name=bundle_name(recipe.name),
        title=recipe.title or recipe.name,
        version="1",
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        tool=versions("torch"),
        inputs=tuple(
            TensorSpec(name=name, shape=(1, "height", "width", 3)) for name in picture_names(network.pictures)
        ),
        outputs=(TensorSpec(name="styled", shape=(1, *larger, 3)),),
        geometry=Geometry(
            minimum=MINIMUM,
            scale=scale,
            margin=(far or network.margin) + (REACH if extras else 0),
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
            *extras,
        ),
        variants=tuple(variants),
        golden=Golden(
            image="golden/image.png",
            others=tuple(_golden_names(network.pictures)[1:]),
            styled="golden/styled.png",
            controls={"strength": 1.0},
            planes="golden/planes.png" if in_planes else None,
            styled_planes="golden/styled_planes.png" if in_planes else None,
            tolerances={name: GOLDEN_TOLERANCES[name] for stored in used for name in computed[stored]},  # type: ignore[misc]
        ),
        lineage=given.lineage
        if isinstance(given.lineage, Lineage)
        else _lineage(recipe, given.lineage, generator, noted, local=far is not None),
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
    start = f"Began with {begun}." if (begun := noted.get("init_from")) else ""
    whole = "" if local else "Each pixel depends on the whole picture: tiles of it do not fit together."
    return Lineage(
        method=recipe.method,
        recipe="recipe.toml",
        network=f"{recipe.generator.network}-{size_name(recipe)}",
        parameters=sum(parameter.numel() for parameter in plain.parameters()),
        gmac_720p=round(billion_macs(generator, 720, 1280), 2),
        style=(style,) if style else (),
        content=given.content_source or "not stated",
        features="; ".join(
            part for part in (objective_features(recipe.method) or "none", noted.get("features", "")) if part
        ),
        steps=int(noted.get("step", recipe.train.steps)),
        trained=finished.strftime("%Y-%m-%d"),
        notes=" ".join(
            part for part in (given.notes, start, _taught(recipe.objective), *changes, whole) if part
        ),
    )


def _style_files(settings: object) -> str:
    """What the method's settings name as style, without the folders of this machine; empty where they name none."""
    named = getattr(settings, "style", "")
    if isinstance(named, PictureSet):
        named = named.pictures
    places = named if isinstance(named, tuple) else (named,)
    return ", ".join(Path(place).name for place in places if isinstance(place, str) and place)


def _taught(settings: object) -> str:
    """Which networks gave the answers: what these had learned from has gone into this one, too."""
    named = (getattr(settings, "teacher", ""), *getattr(settings, "experts", ()))
    names = [Path(name).name.removesuffix(".prima") for name in named if name]
    return f"Learned from the paintings of {' and '.join(names)}." if names else ""


def size_name(recipe: Recipe) -> str:
    """A size's name, or where a distillation chose its own: `24-48-3`."""
    width: Sequence[int] | None = getattr(recipe.objective, "width", None)
    return "-".join(map(str, width)) if width else recipe.generator.size


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


def _remedy(weight: str, recipe: Recipe) -> str:
    """What to do about an artefact, of methods that can: a restoration has no such loss."""
    given = getattr(recipe.objective, weight, None)
    return "" if given is None else f"; raise {weight} in the recipe, it is {given:g}"


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
        notes.append(f"the painting has a grid: {grid.line}{_remedy('grid_weight', recipe)}")
    if border is not None and not border:
        notes.append(
            f"the painting changes along its border: {border.line}{_remedy('border_weight', recipe)}"
        )
    absolute = [place for place in recipe.data.content if Path(place).is_absolute()]
    if absolute:
        notes.append(f"recipe.toml in the bundle names folders of this machine: {', '.join(absolute)}")
    return notes
