"""docs/gallery.md and the README show what ships, and nothing else."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image as Pictures

pytest.importorskip("torch")

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs" / "images"
RENEW = "renew it: python benchmarks/gallery.py"


@pytest.fixture
def gallery(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("gallery")


@pytest.mark.slow  # asked for before a release: a style may be there some days before its pictures
def test_the_page_and_the_readme_are_those_of_the_bundles_that_ship(gallery: ModuleType) -> None:
    found = list(gallery.entries())
    assert {entry.style for entry in found} == {
        path.stem for path in ROOT.glob("runtime/allaprima/styles/*.prima")
    }
    assert (ROOT / "docs" / "gallery.md").read_text("utf-8") == gallery.page(found), RENEW
    assert gallery.rows(found) in (ROOT / "README.md").read_text("utf-8"), RENEW


def test_every_picture_is_shown_and_all_together_are_small() -> None:
    pages = (ROOT / "docs" / "gallery.md").read_text("utf-8") + (ROOT / "README.md").read_text("utf-8")
    pictures = [path for path in IMAGES.rglob("*") if path.is_file()]
    assert [path.name for path in pictures if path.name not in pages] == []
    assert sum(path.stat().st_size for path in pictures) < 5e6
    loop = IMAGES / "loop.webp"
    assert loop.stat().st_size < 3e6
    with Pictures.open(loop) as opened:
        assert opened.n_frames > 24
        assert opened.info["loop"] == 0  # for ever
