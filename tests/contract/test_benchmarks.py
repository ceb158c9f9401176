"""Benchmarks that need what is not here say so, and end well."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import allaprima  # noqa: E402
from allaprima_train.recipe import load_recipe  # noqa: E402

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
GPU = BENCHMARKS / "gpu.py"
SHARED = BENCHMARKS.parents[1] / "shared" / "data"


def imported(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module(name)


@pytest.fixture
def quality(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return imported("quality", monkeypatch)


def test_without_a_card_the_gpu_benchmark_says_so_and_claims_nothing() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a card: run benchmarks/gpu.py itself")
    done = subprocess.run(
        [sys.executable, str(GPU)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "no GPU: torch finds no card that it can use here\n"


@pytest.mark.slow
def test_every_step_of_the_gpu_benchmark_works_on_a_processor() -> None:
    done = subprocess.run(
        [sys.executable, str(GPU), "--rehearse"], capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert '"gpu": "none"' in done.stdout
    assert "these figures mean nothing" in done.stdout


def test_two_of_one_name_are_told_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shipped = Path(allaprima.__file__).parent / "styles" / "restore.prima"
    (tmp_path / "mine.prima").symlink_to(shipped)
    mine = str(tmp_path / "mine.prima")
    looks = imported("looks", monkeypatch).every_look(["restore", mine], "fp32", named=["a.png"])
    assert [name for name, _, _ in looks] == ["restore", mine]


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the photographs and VGG-19 in ../shared/data")
def test_the_quality_benchmark_measures_what_ships(tmp_path: Path) -> None:
    sheet, wave = tmp_path / "sheet.png", SHARED / "styles" / "single" / "wave.jpg"
    words = ["starry", "--style", wave, "--pictures", 2, "--frames", 0, "--sheet", sheet]
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "quality.py"), *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    first, head, _, row = done.stdout.splitlines()
    line = json.loads(first)
    assert line["zero_exact"] is True
    assert line["grid"]["within"]
    assert 0.1 < line["structure"] < 0.6
    assert line["goals"]["style at most the peer's 0.032"] is False  # it learned from another painting
    assert head.count("|") == row.count("|")
    assert sheet.is_file()


def test_every_domain_of_a_network_is_compared_with_its_own_set(monkeypatch: pytest.MonkeyPatch) -> None:
    ways = imported("looks", monkeypatch)
    recipe = load_recipe(BENCHMARKS.parent / "recipes" / "stargan.toml")
    looks = list(ways.looks(recipe, None))
    assert [look.controls for look in looks] == [("domain=ink",), ("domain=blue-green",), ("domain=outline",)]
    assert looks[0].pictures.grey
    assert [look.pictures.pictures for look in ways.looks(recipe, ["mine"])] == [("mine",)]
    single = load_recipe(BENCHMARKS.parent / "recipes" / "starry.toml")
    assert [look.pictures.pictures for look in ways.looks(single, None)] == [(single.objective.style,)]
    assert [look.pictures for look in ways.looks(None, None)] == [None]
    mixture = load_recipe(
        BENCHMARKS.parent / "recipes" / "mixture.toml", ['mixture.experts=["starry", "lost"]']
    )
    assert [(look.label, look.pictures is None) for look in ways.looks(mixture, None)] == [
        ("starry", False),  # its own recipe says
        ("lost", True),
    ]


def test_a_goal_is_only_reached_where_everything_was_measured(quality: ModuleType) -> None:
    figures = {
        "gmac_720p": 7.2,
        "grid": {"within": True},
        "border": {"within": False},
        "zero_exact": None,
        "structure": 0.3,
        "style": 0.04,
    }
    reached = quality.goals(figures, quality.PictureSet(("somewhere/wave.jpg",)))
    assert [goal for goal, there in reached.items() if there] == [
        "at most 9.4 GMAC",
        "grid at most +1 dB",
        "structure at most the peer's 0.317",
    ]
    assert len(quality.goals(figures, None)) == 4


def test_the_distance_between_sets_is_that_of_the_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torchmetrics")
    sets = imported("sets", monkeypatch)
    draw = torch.Generator().manual_seed(0)
    known = {name: torch.randn(20, 8, generator=draw) + shift for name, shift in (("a", 1.0), ("b", 1.3))}
    monkeypatch.setattr(sets, "pooled", lambda pictures, features: known[pictures[0]])
    monkeypatch.setattr(sets.Pictures, "fromarray", lambda image: image)
    found = sets.kid(["a"], ["b"], known["a"], None)

    scale = known["a"].square().mean().sqrt()
    x, y = (known[name].double() / scale for name in "ab")

    def kernel(one, other):
        return (one @ other.T / 8 + 1) ** 3

    apart = 1 - torch.eye(20)  # unbiased: nothing is compared with itself
    within = sum((kernel(one, one) * apart).sum() / (20 * 19) for one in (x, y))
    assert found["kid"] == pytest.approx(float(within - 2 * kernel(x, y).mean()), abs=1e-3)
    assert found["kid_untouched"] < found["kid"]
    assert (found["squares_of_works"], found["squares"]) == (20, 20)


def test_a_painted_face_is_taken_for_the_person_whose_photograph_is_nearest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    faces = imported("faces", monkeypatch)

    class Window:
        def __init__(self, left: int, right: int) -> None:
            self.left, self.right = left, max(left, right)

        def area(self) -> int:
            return self.right - self.left

        def intersect(self, other: Window) -> Window:
            return Window(max(self.left, other.left), min(self.right, other.right))

    class Recogniser:
        """A face looks as bright as its picture is; where it is found, its darkest pixel says."""

        def find(self, image: np.ndarray) -> list[Window]:
            return [Window(int(image.min()), int(image.min()) + 10)]

        def look(self, image: np.ndarray, window: Window) -> np.ndarray:
            return np.full(1, image.max() / 100)

    def face(person: str, brightest: int) -> faces.Face:
        image = np.array([[[0, brightest]]], np.uint8)
        return faces.Face(person, image, Window(0, 10), Recogniser().look(image, Window(0, 10)))

    eyes = [face("one", 10), face("one", 40), face("other", 200)]
    assert len(list(faces.seen(Recogniser(), "one", np.zeros((9, 17, 3), np.uint8)))) == 1

    def measured(paint) -> dict:
        painter = SimpleNamespace(paint=paint, network="none")
        return faces.measure(painter, eyes, Recogniser())[0]

    kept = measured(lambda image: image)
    assert (kept["found"], kept["known"], kept["same"], kept["distance"]) == (1, 1, 1, 0)
    assert (kept["faces"], kept["people"]) == (3, 2)
    assert (kept["strangers"], kept["frames"]) == (1.75, 0.3)
    brighter = measured(lambda image: image + np.array([4, 90], np.uint8))  # 100, 130 and 34 (it wraps)
    assert brighter["found"] == 0  # windows 4 apart have 6 of 14 in common
    assert brighter["known"] == pytest.approx(1 / 3, abs=1e-3)  # of the first only
    assert brighter["same"] == 0


def test_without_a_recogniser_of_faces_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    faces = imported("faces", monkeypatch)
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(SystemExit, match="pip install --no-deps dlib-bin face_recognition_models"):
        faces.Recogniser()
