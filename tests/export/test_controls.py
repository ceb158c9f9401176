"""What a generator can be turned by becomes an input of the graph, and is proven there at several settings."""

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import trained
from PIL import Image as Pictures

from allaprima.bundle import Bundle
from allaprima.cli import main
from allaprima.cli.controls import control_values
from allaprima.errors import UsageError
from allaprima.stylizer import Stylizer
from allaprima_export import pipeline
from allaprima_export.pipeline import Exported, export
from allaprima_train import run as runs
from allaprima_train.generators.controls import as_tensors, positions


@pytest.fixture(scope="module")
def tinted(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    torch.manual_seed(0)
    generator = trained.Tinted("nano").eval()
    folder = tmp_path_factory.mktemp("tinted")
    run = trained.make_run(folder, generator, "mobile", "nano")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "shipped_generator", lambda recipe: trained.Tinted("nano"))
        return export(run.folder, folder / "tinted.prima", variants=["fp32"], fixed=[(64, 48)])


def test_controls_are_inputs_and_stand_in_the_manifest(tinted: Exported) -> None:
    assert [control.name for control in tinted.manifest.controls] == ["strength", "tint", "code"]
    for variant in tinted.manifest.variants:
        graph = onnx.load(tinted.path / variant.file).graph
        shapes = {one.name: [d.dim_value for d in one.type.tensor_type.shape.dim] for one in graph.input}
        assert shapes["tint"] == [2]
        assert shapes["code"] == [3]
    assert "`tint` float32 [2] of warm, cold, 0 to 1: mixture." in (tinted.path / "card.md").read_text()
    stored = json.loads((tinted.path / "manifest.json").read_text())["controls"][1]
    assert (stored["labels"], stored["defaults"]) == (["warm", "cold"], [1, 0])


def test_parity_is_judged_where_the_controls_are_turned_to(tinted: Exported) -> None:
    labels = positions(trained.Tinted.controls)
    assert list(labels) == ["tint=cold", "tint=all", "code=1", "code=2"]
    assert all(judged.parity for judged in tinted.judged.values())
    frames = tinted.judged["fp32"].parity.frames
    assert frames == len(pipeline.scenes()) + 2 + 2 * len(
        labels
    )  # the scenes, two photographs, two for each label


@pytest.mark.parametrize("backend", ["ort", "openvino"])
def test_a_turned_control_changes_the_painting_and_its_weights_are_shares(
    tinted: Exported, backend: str
) -> None:
    image = trained.soft(61, 93)
    with Stylizer.open(Bundle.open(tinted.path), backend=backend, precision="fp32") as stylizer:
        assert stylizer.controls["tint"] == [1, 0]
        warm = stylizer.paint(image)
        stylizer.set(tint=[0.5, 0])
        assert np.abs(stylizer.paint(image).astype(int) - warm).max() <= 1
        stylizer.set(tint=[0, 1], code=[0, 2, -1])
        assert np.abs(stylizer.paint(image).astype(int) - warm).mean() > 1
        stylizer.set(strength=0)
        assert np.array_equal(stylizer.paint(image), image)
        with pytest.raises(UsageError, match="2 numbers"):
            stylizer.set(tint=[1, 0, 0])


def test_values_of_controls_come_in_their_shape_and_order() -> None:
    tint, code = as_tensors(trained.Tinted.controls, {"code": (1, 2, 3)})
    assert tint.tolist() == [1, 0]
    assert code.tolist() == [1, 2, 3]


def test_a_direction_that_the_method_does_not_train_is_refused(small_run: runs.Run) -> None:
    with pytest.raises(
        Exception, match=r"no weights_back\.safetensors - the method perceptual trains no such"
    ):
        export(small_run.folder, direction="back")


def test_controls_are_turned_on_the_command_line(tinted: Exported, tmp_path: Path, capsys) -> None:
    Pictures.fromarray(trained.soft(61, 93)).save(tmp_path / "photo.png")
    answers = {}
    for number, chosen in enumerate(
        [
            "tint=warm",
            "tint=cold:2",
            "tint=0,0.5",
            "tint=warm:0.5,cold:0.5",
            "code=1,2,3",
            "code=1",
            "code=1,0,0",
        ]
    ):
        out = tmp_path / f"{number}.png"
        command = ["run", str(tmp_path / "photo.png"), "--style", str(tinted.path), "--backend", "ort"]
        if chosen == "tint=cold:2":
            assert main([*command, "--out", str(out), "--control", chosen]) == 2  # out of range
            continue
        assert main([*command, "--out", str(out), "--control", chosen]) == 0
        answers[chosen] = np.asarray(Pictures.open(out)).astype(int)
    apart = lambda one, other: np.abs(answers[one] - answers[other]).mean()  # noqa: E731 - one expression
    assert apart("tint=warm", "tint=0,0.5") > 1
    assert 0 < apart("tint=warm", "tint=warm:0.5,cold:0.5") < apart("tint=warm", "tint=0,0.5")
    assert apart("tint=warm", "code=1,2,3") > 0
    assert apart("code=1", "code=1,2,3") > 0
    assert apart("code=1", "code=1,0,0") == 0  # the others stay as they are
    capsys.readouterr()
    assert main(["info", str(tinted.path)]) == 0
    assert "tint 0..1 for each of warm, cold, usually warm:1: mixture" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tint", "it has no '='"),
        ("tint=worm", "there is no 'worm': it has warm, cold; did you mean 'warm'?"),
        ("tint=warm:much", "'much' is no number"),
        ("code=a,b", "'a,b' is no number"),
        ("tent=warm", "no control 'tent': it has tint, code; did you mean 'tint'?"),
    ],
)
def test_a_control_that_cannot_be_read_is_told_in_words(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=re.escape(words)):
        control_values(trained.Tinted.controls, [text])
