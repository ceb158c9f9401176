"""card.md: what a bundle is, how it came to be, what may be done with it, what it cannot do. For people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from allaprima.manifest import Manifest

from .artefacts import Border, Grid
from .parity import Judged
from .variants import Made

__all__ = ["card", "imported_card"]


def card(
    manifest: Manifest,
    made: Sequence[Made],
    dropped: Sequence[Made],
    elsewhere: Mapping[str, Judged | str],
    source: str,
    grid: Grid | None,
    border: Border | None,
) -> str:
    """Markdown. `source` says which photographs the figures are from."""
    lineage, terms, geometry = manifest.lineage, manifest.licence, manifest.geometry
    paragraphs = [
        f"# {manifest.title}",
        f"A painting style for Alla Prima: `{manifest.name}`, "
        f"version {manifest.version}, packed {manifest.created[:10]}.",
        f"    allaprima run video.mp4 --style {manifest.name}.prima --out painted.mp4",
        "## What goes in and out",
        f"`image` uint8 [1, height, width, 3] RGB and `strength` float32 [1] (0 gives the picture back exactly, 1 is "
        f"the full style) go in, `styled` of the picture's shape comes out.{_controls(manifest)} Any size from "
        f"{geometry.minimum}x{geometry.minimum}; padding, range and rounding are inside the graph. For tiles: "
        f"overlap by {geometry.margin} pixels at least, begin at multiples of {geometry.stride}.",
        "## How it was made",
        _list(
            [
                ("Method", lineage.method),
                (
                    "Network",
                    f"{lineage.network}, {lineage.parameters:,} parameters, {lineage.gmac_720p:g} GMAC at 1280x720",
                ),
                ("Style", "; ".join(lineage.style)),
                ("Photographs", lineage.content),
                ("Feature network", lineage.features),
                (
                    "Training",
                    f"{lineage.steps:,} steps, finished {lineage.trained}; all settings in `{lineage.recipe}`",
                ),
                ("Notes", lineage.notes),
            ]
        ),
        "## Measured",
        f"Against the trained network in torch (fp32), on drawn scenes and {source}:",
        _list([(one.name, _measured(one)) for one in made]),
        _list([(f"{one.name} (not packed)", one.why_not) for one in dropped]),
        "The same model in OpenVINO on the exporting machine, for information:",
        _list([(name, one if isinstance(one, str) else one.line) for name, one in elsewhere.items()]),
        _list(
            [
                ("Grid", grid.line if grid is not None else "not measured"),
                ("Border", border.line if border is not None else "not measured"),
            ]
        ),
        "`golden/` holds a picture and its painting; `allaprima check` compares them on your machine.",
        "## Terms",
        _list(
            [
                ("This bundle's own files", terms.bundle),
                ("Weights", terms.weights),
                ("Style pictures", terms.style),
                ("Training photographs", terms.content),
            ]
        ),
        "## Limits",
        "It paints each frame on its own: flat areas of noisy video can flicker. It learned from everyday photographs "
        "at about 200 pixels; drawings, text and very large pictures were not among them. A painting is no "
        "disguise: people in it can be recognised.",
    ]
    return "\n\n".join(part for part in paragraphs if part) + "\n"


def imported_card(
    manifest: Manifest, judged: Mapping[str, Judged], elsewhere: Mapping[str, Judged | str]
) -> str:
    """Markdown, of a network that others trained: what was not stated is said to be so."""
    made, terms, geometry = manifest.lineage, manifest.licence, manifest.geometry
    fixed = manifest.variants[0].fixed
    takes = (
        f"{fixed[1]}x{fixed[0]} only; others are shrunk, padded and enlarged by the runtime"
        if fixed
        else f"any from {geometry.minimum}x{geometry.minimum}; it is padded to multiples of {geometry.stride} inside"
    )
    paragraphs = [
        f"# {manifest.title}",
        f"A network of others, wrapped for Alla Prima: `{manifest.name}`, packed {manifest.created[:10]}.",
        f"    allaprima run video.mp4 --style {manifest.name}.prima --out painted.mp4",
        "## What goes in and out",
        "`image` uint8 [1, height, width, 3] RGB and `strength` float32 [1] (0 gives the picture back exactly, 1 is "
        f"the network's own painting) go in, `styled` comes out, {geometry.scale} times as large. Sizes: {takes}.",
        "## Where it is from",
        _list(
            [
                (
                    "Network",
                    f"{made.network}, {made.parameters:,} parameters, {made.gmac_720p:g} GMAC at 1280x720",
                ),
                ("Style", "; ".join(made.style) or "not stated"),
                ("Training photographs", made.content),
                ("How it was imported", f"`{made.recipe}`"),
                ("Notes", made.notes),
            ]
        ),
        "## Measured",
        "Against the file as it came, run by ONNX Runtime with its picture prepared in numpy:",
        _list([(name, f"{one.line}; {one.description}") for name, one in judged.items()]),
        "The same model in OpenVINO on the importing machine, for information:",
        _list([(name, one if isinstance(one, str) else one.line) for name, one in elsewhere.items()]),
        "`golden/` holds a picture and its painting; `allaprima check` compares them on your machine.",
        "## Terms",
        _list(
            [
                ("Licence", terms.bundle),
                ("Weights", terms.weights),
                ("Style pictures", terms.style),
                ("Training photographs", terms.content),
            ]
        ),
    ]
    return "\n\n".join(part for part in paragraphs if part) + "\n"


def _measured(made: Made) -> str:
    kept = f"; in floating point: {', '.join(made.plan.keep)}" if made.plan and made.plan.keep else ""
    laps = "".join(f"; {lap.line}" for lap in made.laps if lap and (made.made_for or made.edges == "planes"))
    return f"{made.judged.line}; {made.judged.description}{kept}{laps}"


def _list(rows: Sequence[tuple[str, str]]) -> str:
    return "\n".join(f"- **{name}**: {text}" for name, text in rows if text)


def _controls(manifest: Manifest) -> str:
    """What else goes in, in words; empty where nothing does."""
    words = []
    for control in manifest.controls:
        if control.name != "strength":
            parts = f" of {', '.join(control.labels)}" if control.labels else ""
            span = f"{control.minimum:g} to {control.maximum:g}"
            words.append(f" `{control.name}` float32 {list(control.shape)}{parts}, {span}: {control.help}.")
    return f" Besides:{''.join(words)}" if words else ""
