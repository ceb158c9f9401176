"""docs/gallery.md and its pictures, and the rows of the README's, made of the bundles that ship. Renews them all.

    python benchmarks/gallery.py            a minute; needs scikit-image (extra `dev`), nothing from ../shared

The photographs are ones that may be passed on: the demo's own, and two that scikit-image brings along. Figures are
those of the last line in results/quality.jsonl, where there is one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lines
import numpy as np
from PIL import Image as Pictures

from allaprima import reports
from allaprima.bundle import Bundle, styles
from allaprima.cli.controls import control_values
from allaprima.demo import PHOTOGRAPH, window
from allaprima.frame import Image
from allaprima.manifest import Manifest
from allaprima.sources import PictureSource
from allaprima.stylizer import Stylizer
from allaprima_train.objectives import shown_pictures
from allaprima_train.recipe import Recipe, parse_recipe

ROOT = Path(__file__).parents[1]
PAGE, README, IMAGES = ROOT / "docs" / "gallery.md", ROOT / "README.md", ROOT / "docs" / "images"
LOOP_SIZE, LOOP_RATE, LOOP_BYTES = (560, 315), 15, 2_900_000
SHOW_S, WIPE_S = 1.4, 0.4  # seconds of each style, and of them how long it takes to come in from the left
QUALITY = 88
BEGIN, END = "<!-- gallery: made by benchmarks/gallery.py -->\n", "<!-- /gallery -->"

CREDITS = {
    "astronaut": "Eileen Collins, by NASA (public domain)",
    "coffee": "a cup of coffee, by Rachel Michetti (CC0)",
    "rocket": "Falcon 9 before a launch, by SpaceX (CC0)",
}


@dataclass(frozen=True)
class Entry:
    """One way in which a style that ships paints."""

    style: str
    label: str
    """Of its control; empty where there is one way only."""
    controls: tuple[str, ...]
    manifest: Manifest
    path: Path
    recipe: Recipe | None

    @property
    def name(self) -> str:
        return f"{self.style}-{self.label}" if self.label else self.style

    @property
    def mends(self) -> bool:
        """It is given spoiled pictures, and paints nothing."""
        return self.recipe is not None and self.recipe.method == "restore"


def main() -> None:
    lines.arguments(__doc__).parse_args()
    photos = dict(photographs())
    found = list(entries())
    folder = IMAGES / "gallery"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.webp"):
        old.unlink()
    for title, photo in photos.items():
        save(folder / f"{title}.webp", photo)
    for entry in found:
        with opened(entry) as stylizer:
            for number, (title, photo) in enumerate(photos.items()):
                given = spoiled(entry, photo, number)
                if given is not photo:
                    save(folder / f"{entry.name}-{title}-given.webp", given)
                save(folder / f"{entry.name}-{title}.webp", stylizer.paint(given))
    (IMAGES / "loop.webp").write_bytes(loop([entry for entry in found if not entry.mends]))
    PAGE.write_text(page(found), "utf-8")
    before, _, rest = README.read_text("utf-8").partition(BEGIN)
    README.write_text(f"{before}{BEGIN}{rows(found)}\n{END}{rest.partition(END)[2]}", "utf-8")
    total = sum(path.stat().st_size for path in IMAGES.rglob("*") if path.is_file())
    print(f"{len(found)} entries, {total / 1e6:.2f} MB of pictures")


def photographs() -> Iterator[tuple[str, Image]]:
    """(H, W, 3) uint8 each, at their own size."""
    import skimage.data

    yield "astronaut", next(iter(PictureSource(PHOTOGRAPH))).image
    for title in ("coffee", "rocket"):
        yield title, np.asarray(getattr(skimage.data, title)())


def entries() -> Iterator[Entry]:
    shipped = {name: path for name, path in styles().items() if path.is_relative_to(ROOT)}
    for name, path in shipped.items():
        bundle = Bundle.open(path)
        manifest = bundle.manifest
        made = manifest.lineage
        recipe = parse_recipe(bundle.read(made.recipe).decode(), made.recipe)
        labelled = next((control for control in manifest.controls if control.labels), None)
        if labelled is None:
            yield Entry(name, "", (), manifest, path, recipe)
            continue
        for label in labelled.labels:
            yield Entry(name, label, (f"{labelled.name}={label}",), manifest, path, recipe)


def opened(entry: Entry) -> Stylizer:
    stylizer = Stylizer.open(entry.path, precision="fp32")
    stylizer.set(**control_values(entry.manifest.controls, entry.controls))
    return stylizer


def spoiled(entry: Entry, photo: Image, number: int) -> Image:
    """What it is given of a photograph: mostly the photograph itself."""
    if not entry.mends or entry.recipe is None:
        return photo
    given: Image = shown_pictures(entry.recipe, photo, number)[0]
    return given


def save(path: Path, image: Image) -> None:
    Pictures.fromarray(image).save(path, quality=QUALITY, method=6)


def loop(found: Sequence[Entry]) -> bytes:
    """An animated WebP: the demo's scene, to and fro, in each style in turn, as large as LOOP_BYTES allows."""
    width, height = LOOP_SIZE
    while True:
        moving = reports.loop(list(looped(found, (width, height))), LOOP_RATE, quality=60)
        if len(moving) <= LOOP_BYTES:
            return moving
        width, height = round(width * 0.85), round(height * 0.85)


def looped(found: Sequence[Entry], size: tuple[int, int]) -> Iterator[Image]:
    each, wipe = round(SHOW_S * LOOP_RATE), round(WIPE_S * LOOP_RATE)
    with Pictures.open(PHOTOGRAPH) as picture:
        photo = picture.convert("RGB")
    turns = len(found) + 1
    scene = []
    for number in range(each * turns):
        sway = np.cos(2 * np.pi * number / (each * turns) * max(1, turns // 2))  # ends where it began
        view = photo.resize(size, Pictures.Resampling.LANCZOS, box=window(0.8 - 0.2 * sway))
        scene.append(np.asarray(view))
    painters = [None, *(opened(entry) for entry in found)]  # the scene itself comes first
    try:
        for number, view in enumerate(scene):
            turn, since = divmod(number, each)
            now, before = painters[turn], painters[turn - 1]
            shown = now.paint(view) if now else view.copy()
            if since < wipe:
                edge = round(size[0] * (since + 1) / (wipe + 1))
                shown[:, edge:] = (before.paint(view) if before else view)[:, edge:]
            yield shown
    finally:
        for painter in painters:
            if painter:
                painter.close()


def page(found: Sequence[Entry]) -> str:
    parts = [
        "# Gallery",
        "Every picture is made by `python benchmarks/gallery.py` from the bundles that ship, in fp32, "
        "at `--strength 1` and at the photograph's own size: open one to see it so. Nothing was trained on these "
        f"photographs, and they may be passed on: {'; '.join(CREDITS.values())}. "
        "`allaprima styles --sheet sheet.png --on yours.jpg` paints yours; [quality.md](quality.md) has all figures "
        "and what was tried.",
        "![The demo's scene in every painting style in turn](images/loop.webp)",
    ]
    figures = measured()
    titled = ""
    for entry in found:
        if entry.style != titled:
            titled = entry.style
            parts += [f"## {entry.manifest.title}: `{entry.style}`", *about(entry)]
        if entry.label:
            parts.append(f"### `--control {entry.controls[0]}`")
        known = figures.get(f"{entry.style} {entry.label}".strip())
        if known:
            parts.append(in_words(known))
        header = "| given | mended |" if entry.mends else "| photograph | painted |"
        parts.append("\n".join([header, "|---|---|", *(row(entry, title) for title in CREDITS)]))
    return "\n\n".join(parts) + "\n"


def about(entry: Entry) -> list[str]:
    made, terms = entry.manifest.lineage, entry.manifest.licence
    return [
        f"{made.network}, {made.parameters:,} parameters, {made.gmac_720p:g} GMAC at 1280x720; `{made.method}`, "
        f"{made.steps:,} steps in its last run.",
        "\n".join(
            [
                f"- Learned from: {'; '.join(made.style) or 'photographs only'}. Terms: {terms.style}.",
                f"- Photographs: {made.content}. Terms: {terms.content}.",
                *([f"- {made.notes}"] if made.notes else []),
            ]
        ),
    ]


def row(entry: Entry, title: str) -> str:
    given = f"{entry.name}-{title}-given" if entry.mends else title
    words = "mended by" if entry.mends else "painted by"
    return (
        f"| ![{title}](images/gallery/{given}.webp) | ![{title}, {words} {entry.name}]"
        f"(images/gallery/{entry.name}-{title}.webp) |"
    )


def rows(found: Sequence[Entry]) -> str:
    """For the README: the face, in pairs."""
    cells = [("photograph", "astronaut")]
    cells += [(f"`{entry.name}`", f"{entry.name}-astronaut") for entry in found if not entry.mends]
    table = []
    for start in range(0, len(cells), 4):
        four = cells[start : start + 4]
        four += [("", "")] * (4 - len(four))
        table.append("| " + " | ".join(name for name, _ in four) + " |")
        if start == 0:
            table.append("|---|---|---|---|")
        pictures = [f"![{name}](docs/images/gallery/{file}.webp)" if file else "" for name, file in four]
        table.append("| " + " | ".join(pictures) + " |")
    return "\n".join(table)


def measured() -> dict[str, dict[str, Any]]:
    """The last kept line of each style."""
    file = lines.RESULTS / "quality.jsonl"
    kept = file.read_text("utf-8").splitlines() if file.exists() else []
    return {line["name"]: line for line in map(json.loads, kept) if line["precision"] == "fp32"}


def in_words(line: dict[str, Any]) -> str:
    if "restored" in line:
        return (
            f"On {line['photographs']} Kodak photographs: {line['spoiled']['psnr_db']:.1f} dB before, "
            f"{line['restored']['psnr_db']:.1f} dB after."
        )
    words = [f"structure {line['structure']:.3f}"]
    if "style" in line:
        words.append(f"style {line['style']:.3f} (untouched photographs {line['style_untouched']:.2f})")
    if "kid" in line:
        words.append(f"kernel distance {line['kid']['kid']:.2f} ({line['kid']['kid_untouched']:.2f})")
    return f"On {line['photographs']} Kodak photographs: {', '.join(words)}."


if __name__ == "__main__":
    main()
