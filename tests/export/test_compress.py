"""A run becomes as fast as wanted, by measured milliseconds, and says what that cost."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import trained
from safetensors.torch import save_file

from allaprima.cli import main
from allaprima.errors import DeviceError, OutputError, QualityError, UsageError
from allaprima_export import compress as module
from allaprima_export.compress import SMALLEST, Point, Studio, compress, ladder
from allaprima_export.core import billion_macs
from allaprima_export.pipeline import export
from allaprima_train.features import FILE, Vgg19
from allaprima_train.generators.mobile import SIZES, Mobile, Size
from allaprima_train.judge import style_of
from allaprima_train.objectives.cut import CutSettings
from allaprima_train.prune import size_of
from allaprima_train.run import Run
from allaprima_train.tables import Augment, Compress, PictureSet


@pytest.fixture(scope="module")
def eyes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of VGG-19's shapes, random: the machinery needs no trained eyes."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("features") / FILE
    save_file({name: t * 1.5 for name, t in Vgg19().state_dict().items() if name != "mean"}, path)
    return path


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return trained.make_run(tmp_path / "r", trained.strong("mobile", "nano"), "mobile", "nano")


@pytest.fixture
def clocked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Milliseconds by the multiply-adds: what is chosen does not depend on the load here, and nothing is traced."""

    def export(studio: Studio, network: Mobile, precision: str, most: int | None = None) -> onnx.ModelProto:
        return onnx.ModelProto(doc_string=str(module._gmac(size_of(network))))

    monkeypatch.setattr(Studio, "export", export)
    monkeypatch.setattr(Studio, "ms", lambda studio, model, precision: 10 * float(model.doc_string))


@pytest.mark.parametrize("whole", [SIZES["small"], SIZES["small-fine"], Size(16, 32, 2, half=3)], ids=str)
def test_the_ladder_goes_down_in_multiples_of_eight(whole: Size) -> None:
    steps = ladder(whole)
    assert steps[0] == whole
    assert steps[-1][:3] == SMALLEST[:3]
    assert all(0 < size.half <= whole.half if whole.half else size.half == 0 for size in steps)
    assert all(size.quarter % 8 == size.eighth % 8 == 0 for size in steps)
    cost = [module._gmac(size) for size in steps]
    assert cost == sorted(cost, reverse=True)
    assert cost[0] == pytest.approx(billion_macs(Mobile(whole), 720, 1280), abs=2e-3)


@pytest.mark.usefixtures("clocked")
def test_the_largest_that_is_fast_enough_is_chosen(run: Run) -> None:
    made = compress(run.folder, wish=Compress(target_ms=15, at="64x48"), plan=True)
    assert made.run is None
    fast = [rung for rung in made.rungs if rung.ms <= 15]
    assert made.chosen == max(fast, key=lambda rung: rung.gmac).size
    assert any(rung.ms > 15 for rung in made.rungs)
    assert [path.name for path in run.folder.parent.iterdir() if path.name.startswith("run-")] == []


@pytest.mark.usefixtures("clocked")
def test_what_cannot_be_reached_is_said_before_anything_is_trained(run: Run) -> None:
    with pytest.raises(QualityError, match="the smallest, 8-16-1, takes") as caught:
        compress(run.folder, wish=Compress(target_ms=0.5, at="64x48"))
    assert caught.value.code == "E_COMPRESS_TARGET"
    with pytest.raises(UsageError, match="no latency"):
        compress(run.folder)
    with pytest.raises(UsageError, match="cannot compress for fp16"):
        compress(run.folder, wish=Compress(target_ms=9, precision="fp16", on="ort"))
    with pytest.raises(DeviceError, match="cannot train on the device gpu"):  # nor measured
        compress(run.folder, wish=Compress(target_ms=0.5, at="64x48"), device="gpu")
    with pytest.raises(ValueError, match="a width and a height"):
        Compress(at="720p")


def test_int8_alone_trains_the_same_network_under_its_own_name(
    run: Run, eyes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Studio, "ms", lambda studio, model, precision: 1.0)
    monkeypatch.chdir(tmp_path)
    made = compress(
        run.folder, Path("for-int8"), Compress(int8=True, at="64x48", steps=2, on="ort"), features=eyes
    )
    assert made.run is not None
    before, recipe = run.recipe(), made.run.recipe()
    assert made.chosen == size_of(run.generator()[0])
    assert (recipe.name, recipe.card, recipe.generator) == (before.name, before.card, before.generator)
    assert (recipe.method, recipe.objective.teacher, recipe.objective.int8) == (
        "distill",
        str(run.folder),
        True,
    )
    assert style_of(recipe) == style_of(before)  # what it will be measured by
    assert made.run.generator()[1]["init_from"] == f"the run {before.name}, step {run.generator()[1]['step']}"
    assert {one.name for one in made.points} == {"whole", "trained for int8"}
    with pytest.raises(UsageError, match="no latency"):
        compress(run.folder, wish=Compress(int8=True), plan=True)
    with pytest.raises(UsageError, match="cannot be written over by it"):
        compress(run.folder, run.folder, Compress(int8=True), overwrite=True)
    assert run.generator()[1]["step"]


def test_a_compressed_run_is_smaller_trained_and_exports(
    run: Run, eyes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_choose", lambda *given: Size(8, 24, 2))  # choosing has tests of its own
    monkeypatch.setattr(Studio, "ms", lambda studio, model, precision: len(model.SerializeToString()) / 1e4)
    out = tmp_path / "small"
    wish = Compress(target_ms=15, at="64x48", steps=2, on="ort")
    made = compress(run.folder, out, wish, features=eyes)
    assert made.run is not None
    assert size_of(made.run.generator()[0]) == made.chosen
    assert made.chosen == Size(8, 24, 2)
    assert [(one.name, one.precision) for one in made.points] == [
        ("whole", "fp32"), ("pruned", "fp32"), ("fine-tuned", "fp32")
    ]  # fmt: skip
    whole, pruned, _ = made.points
    assert whole.psnr_db > 60 > pruned.psnr_db
    assert pruned.ms < whole.ms
    table = json.loads((out / "pareto.json").read_text())
    assert table["points"][0]["size"] == list(SIZES["nano"])
    recipe = made.run.recipe()
    assert recipe.method == "distill"
    assert "Compressed from Small Study" in recipe.card.notes
    with pytest.raises(OutputError, match="holds a run already"):
        compress(run.folder, out, wish, features=eyes)
    bundle = export(out, tmp_path / "small.prima", variants=["fp32"]).manifest
    assert bundle.lineage.method == "distill"
    assert bundle.lineage.network == "mobile-8-24-2"
    assert bundle.lineage.parameters < 40_000


def test_a_run_that_varied_for_its_discriminator_is_compressed_with_its_photographs_varied(
    run: Run, eyes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Studio, "ms", lambda studio, model, precision: 1.0)
    monkeypatch.setattr(Studio, "points", lambda *given: [])  # what is measured has tests of its own
    recipe = run.recipe()
    works = PictureSet(pictures=tuple(recipe.data.content))
    varied = Augment(streams=("content", "style"), rotation=5, discriminator=("colour", "translation"))
    run.begin(replace(recipe, method="cut", objective=CutSettings(style=works), augment=varied))
    run.save_weights(trained.strong("mobile", "nano"), {"step": "7"})
    made = compress(run.folder, tmp_path / "out", Compress(int8=True, at="64x48", steps=1), features=eyes)
    assert made.run is not None
    assert made.run.generator()[1]["step"] == "1"
    assert made.run.recipe().augment == Augment(streams=("content",), rotation=5)


def test_the_front_is_what_nothing_beats() -> None:
    def point(ms: float, db: float) -> Point:
        return Point("x", Size(8, 16, 1), "fp32", ms, db, 0.9, 0.1)

    made = module._with_front([point(10, 40), point(5, 30), point(6, 29), point(10, 40), point(4, 20)])
    assert [one.front for one in made] == [True, True, False, True, True]


@pytest.mark.usefixtures("clocked")
def test_the_command_takes_the_recipes_wish_and_its_own(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = run.recipe_file.read_text()
    assert "target_ms = 0.0" in text
    run.recipe_file.write_text(text.replace("target_ms = 0.0", "target_ms = 15.0"))
    asked: list[Compress] = []
    real = compress

    def seen(folder: Path, out: Path | None, wish: Compress, **how: object):  # type: ignore[no-untyped-def]
        asked.append(wish)
        return real(folder, out, wish, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "compress", seen)
    assert main(["compress", str(run.folder), "--at", "64x48", "--plan", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert asked == [Compress(target_ms=15, at="64x48")]
    assert said["run"] is None
    assert len(said["rungs"]) >= 2
    assert main(["compress", str(run.folder), "--at", "720p"]) == 2


def test_milliseconds_are_measured_on_the_backend_that_it_is_for(run: Run) -> None:
    recipe, network = run.recipe(), run.generator()[0]
    studio = Studio(recipe, network, Compress(target_ms=5, at="64x48", on="ort"))  # type: ignore[arg-type]
    assert studio.float == "fp32"
    assert studio.precision == "fp32"
    assert all(max(photo.shape[:2]) <= 256 for photo in studio.photos)
    assert 0 < studio.ms(studio.export(network, "fp32"), "fp32") < 1000  # type: ignore[arg-type]
    assert np.ptp(studio.wanted[0]) > 50
