"""`export --report report.html`: one page that holds everything, for eyes: each variant beside the trained network.

No file beside it, nothing loaded from anywhere. Pictures are stored without loss: what one sees is what was painted.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

import numpy as np

from allaprima.files import write_whole
from allaprima.frame import Image
from allaprima.manifest import Manifest
from allaprima.metrics import compare
from allaprima.reports import address, page, sliders

from .measures import worst_tile
from .parity import FloatPainter, Painter, Panel
from .variants import Made

__all__ = ["GAIN", "write_report"]

GAIN = 16
"""How many times as strong differences are shown: one grey level is just seen."""
SHOWN = (560, 560)
"""Photographs are cut down to fit (width, height): at their own resolution, because shrinking hides errors."""
PHOTOS = 3


def write_report(
    path: Path,
    manifest: Manifest,
    made: Sequence[Made],
    dropped: Sequence[Made],
    panel: Panel,
    source: str,
    notes: Sequence[str],
) -> None:
    """Write the page. `panel`: the pictures that were judged on; `source` says where its photographs are from.

    Raises OutputError where the file cannot be written.
    """
    everything = [*made, *dropped]
    lineage = manifest.lineage
    tools = ", ".join(f"{name} {version}" for name, version in manifest.tool.items())
    body = Template((files(__package__) / "report.html").read_text(encoding="utf-8")).substitute(
        about=escape(
            f"{manifest.name}: {lineage.network}, {lineage.parameters:,} parameters, {lineage.gmac_720p:g} GMAC at "
            f"1280x720; {lineage.method}, {lineage.steps:,} steps. Exported {manifest.created[:10]} by {tools}."
        ),
        count=len(panel.pictures),
        source=escape(source),
        variants="\n".join(_row(one) for one in everything),
        times=_times(everything),
        gain=GAIN,
        pictures="\n".join(_pictures(name, everything, panel) for name in _shown(panel)),
        notes="".join(f"<p>Note: {escape(note)}</p>\n" for note in notes),
    )
    write_whole(path, page(f"{manifest.title}: export report", body))


def _row(one: Made) -> str:
    figures = one.judged.parity
    kept = ", ".join(one.plan.keep) or "nothing" if one.plan else ""
    verdict = (
        f'<span class="bad">no: {escape(one.why_not)}</span>'
        if one.why_not
        else '<span class="good">yes</span>'
    )
    cells = [
        ("", escape(one.name)),
        ("number", f"{one.model.ByteSize() / 1e6:.2f}"),
        ("number", f"{figures.psnr_db:.1f}"),
        ("number", f"{figures.ssim:.4f}"),
        ("number", f"{one.judged.worst_tile_db:.1f}"),
        ("number", f"{one.judged.banding:.1%}"),
        ("", escape(one.judged.worst)),
        ("", escape(one.judged.description)),
        ("", escape(kept)),
        ("", verdict + (f" (for {escape(', '.join(one.made_for))})" if one.made_for else "")),
    ]
    tds = "".join(f'<td class="{kind}">{text}' if kind else f"<td>{text}" for kind, text in cells)
    return f"<tr{' class=dropped' if one.why_not else ''}>{tds}</tr>"


def _times(everything: Sequence[Made]) -> str:
    laps = [(one, lap) for one in everything for lap in one.laps]
    if not laps:
        return "<p>Nothing was raced: no variant is for speed on a backend that starts here.</p>"
    precisions = sorted({name for _, lap in laps for name in lap.median_ms})
    head = "".join(f'<th class="number">{escape(name)}' for name in precisions)
    rows = [
        f"<tr><td>{escape(one.name)}<td>{escape(lap.backend)}"
        + "".join(
            f'<td class="number">{lap.median_ms[name]:.1f}' if name in lap.median_ms else "<td>"
            for name in precisions
        )
        + f'<td class="{"good" if lap else "bad"}">{escape(lap.line)}</tr>'
        for one, lap in laps
    ]
    return (
        f'<div class="scroll"><table><thead><tr><th>variant<th>backend{head}<th>faster?</tr></thead>\n'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _shown(panel: Panel) -> list[str]:
    """The golden scene, and the photographs that are there: those with a file's name."""
    photos = [name for name in panel.pictures if "." in name and name not in panel.turned]
    scenes = [name for name in panel.pictures if name.startswith("golden")]
    return [*photos[:PHOTOS], *scenes[:1]]


def _pictures(name: str, everything: Sequence[Made], panel: Panel) -> str:
    reference = _cut(panel.references[name])
    figures = []
    for one in everything:
        if one.fixed is not None or one.edges == "planes" or one.profile == "float":
            continue  # other sizes, codings or borders: the tables have their figures
        kind = FloatPainter if one.edges == "float" else Painter
        backend = one.made_for[0] if one.made_for else "ort"
        painter = kind(one.model.SerializeToString(), backend, one.precision, panel.controls)
        figures.append(_figure(one, reference, _cut(painter.paint(panel.pictures[name]))))
    return f"<h3>{escape(name)}</h3>\n<div class=row>{''.join(figures)}</div>"


def _figure(one: Made, reference: Image, styled: Image) -> str:
    found = compare(styled, reference)
    apart = np.abs(styled.astype(np.int16) - reference)
    error = np.clip(apart * GAIN, 0, 255).astype(np.uint8)
    name = escape(one.name)
    return (
        f"<figure>{sliders({'torch': reference, one.name: styled})}"
        f'<img class=error src="{address(error)}" alt="difference of {name}, {GAIN} times">'
        f"<figcaption><b>{name}</b>{' (dropped)' if one.why_not else ''}: PSNR {found.psnr_db:.1f} dB, SSIM "
        f"{found.ssim:.4f}, worst tile {worst_tile(styled, reference):.1f} dB, largest difference "
        f"{found.max_difference}</figcaption></figure>"
    )


def _cut(image: Image) -> Image:
    """The middle of a picture that is larger than SHOWN."""
    height, width = image.shape[:2]
    top, left = max(0, (height - SHOWN[1]) // 2), max(0, (width - SHOWN[0]) // 2)
    return np.ascontiguousarray(image[top : top + SHOWN[1], left : left + SHOWN[0]])
