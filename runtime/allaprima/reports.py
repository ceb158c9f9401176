"""Pages that hold everything they show: no file beside them, nothing loaded from anywhere, and a policy that says so.

    page("starry on clip.mp4", f"<h2>Figures</h2>{table(...)}{sliders({'original': photo, 'starry': painting})}")

What is quoted goes through `html.escape`; `sliders` and `table` do it themselves.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from string import Template

from .frame import Image

__all__ = ["address", "data_address", "loop", "page", "sliders", "table"]

NARROWEST = 480
"""Pixels that pictures are shown at, at least; larger ones at their own size, where the window has room."""


def page(title: str, body: str) -> bytes:
    """The whole page. `title` is text, `body` is HTML."""
    template = Template((files(__package__) / "assets" / "report.html").read_text(encoding="utf-8"))
    return template.substitute(title=escape(title), body=body).encode()


def sliders(pictures: Mapping[str, Image], *, quality: int | None = None) -> str:
    """Two or more pictures of one size, by name, (H, W, 3) uint8, on top of each other: each begins at a line that can
    be moved, and lies over those before it. HTML. `quality` as in `address`."""
    names = list(pictures)
    parts, inputs = [], []
    for number, (name, image) in enumerate(pictures.items()):
        shown = f'src="{address(image, quality=quality)}" alt="{escape(name)}"'
        if number == 0:
            parts.append(f"<img {shown}>")
            continue
        at = round(100 * number / len(names))
        place = f'class="line{number}" style="--at: {at}%"'
        parts.append(f"<i {place}></i><img {place} {shown}>")
        inputs.append(
            f'<input type=range min=0 max=100 value={at} data-line={number} aria-label="where {escape(name)} begins">'
        )
    spans = "".join(f"<span>{escape(name)}</span>" for name in names)
    wide = max(NARROWEST, next(iter(pictures.values())).shape[1])
    return (
        f'<div class=sliders style="max-width: {wide}px"><div class=compare>{"".join(parts)}</div>'
        f"{''.join(inputs)}<div class=names>{spans}</div></div>"
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Texts in a table; all columns but the first are numbers."""

    def line(cells: Sequence[str], tag: str) -> str:
        first, *others = (escape(cell) for cell in cells)
        return f"<tr><{tag}>{first}{''.join(f'<{tag} class=number>{cell}' for cell in others)}</tr>"

    body = "\n".join(line(row, "td") for row in rows)
    return (
        f"<div class=scroll><table><thead>{line(head, 'th')}</thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )


def address(image: Image, *, quality: int | None = None) -> str:
    """A `data:` address of the picture as WebP: without loss, or of a `quality` from 1 to 100."""
    from PIL import Image as Pictures

    stored = io.BytesIO()
    how = {"lossless": True, "method": 3} if quality is None else {"quality": quality}
    Pictures.fromarray(image).save(stored, format="WEBP", **how)
    return data_address(stored.getvalue())


def data_address(webp: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(webp).decode()}"


def loop(frames: Sequence[Image], rate: float, *, quality: int) -> bytes:
    """An endless WebP animation of (H, W, 3) uint8 frames, all of one size, at `rate` a second."""
    from PIL import Image as Pictures

    first, *others = (Pictures.fromarray(frame) for frame in frames)
    stored = io.BytesIO()
    first.save(
        stored,
        format="WEBP",
        save_all=True,
        append_images=others,
        duration=round(1000 / rate),
        loop=0,
        quality=quality,
        method=4,
    )
    return stored.getvalue()
