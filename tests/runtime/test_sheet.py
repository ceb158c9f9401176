"""The contact sheet shows what the styles really paint."""

import math

import numpy as np
from PIL import Image as Pictures

from allaprima.bundle import Bundle, styles
from allaprima.cli import main
from allaprima.stylizer import Stylizer


def gradient(height: int, width: int) -> np.ndarray:
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows % 256, columns % 256, (rows * 2 + columns) % 256], -1).astype(np.uint8)


def shown() -> list[str]:
    """Every style by name; of a bundle that holds several each."""
    return [
        f"{name} {label}".strip()
        for name, path in styles().items()
        for label in Bundle.open(path).manifest.styles
    ]


def test_a_sheet_has_every_style_beside_each_photograph(tmp_path):
    one, two = tmp_path / "one.png", tmp_path / "two.png"
    Pictures.fromarray(gradient(90, 120)).save(one)
    Pictures.fromarray(gradient(60, 100)).save(two)
    out = tmp_path / "sheet.png"
    assert main(["styles", "--sheet", str(out), "--on", str(one), str(two)]) == 0
    sheet = np.asarray(Pictures.open(out))
    columns = len(shown()) + 1
    assert sheet.shape == (28 + 90 + 60 + 3 * 8, 120 * columns + 8 * (columns + 1), 3)
    assert np.array_equal(sheet[36:126, 8:128], gradient(90, 120))
    name = next(iter(styles()))
    with Stylizer.open(name) as stylizer:
        painted = stylizer.paint(gradient(60, 100))
    assert np.abs(sheet[134:194, 136:236].astype(int) - painted).max() <= 1


def test_one_photograph_and_its_paintings_lie_in_rows(tmp_path):
    one, out = tmp_path / "one.png", tmp_path / "sheet.png"
    Pictures.fromarray(gradient(90, 120)).save(one)
    assert main(["styles", "--sheet", str(out), "--on", str(one)]) == 0
    sheet = np.asarray(Pictures.open(out))
    names = ["photograph", *shown()]
    side = math.ceil(len(names) ** 0.5)
    down = math.ceil(len(names) / side)
    assert sheet.shape == ((28 + 90 + 2 * 8) * down, 120 * side + 8 * (side + 1), 3)
    for label in ("wave", "scream"):
        row, column = divmod(names.index(f"masters {label}"), side)
        top, left = 134 * row + 36, 128 * column + 8
        with Stylizer.open("masters") as stylizer:
            labels = stylizer.bundle.manifest.controls[-1].labels
            stylizer.set(domain=[float(label == other) for other in labels])
            painted = stylizer.paint(gradient(90, 120))
        assert np.abs(sheet[top : top + 90, left : left + 120].astype(int) - painted).max() <= 1


def test_without_photographs_it_shows_ours_and_nothing_is_replaced(tmp_path, capsys):
    out = tmp_path / "sheet.jpg"
    assert main(["styles", "--sheet", str(out)]) == 0
    assert Pictures.open(out).size[0] > 3 * 500
    assert main(["styles", "--sheet", str(out)]) == 4
    assert "E_OUTPUT_EXISTS" in capsys.readouterr().err
    assert main(["styles", "--on", str(out)]) == 2
