"""The same training in pieces, by several processes, with varied pictures, and with losses beside the method's."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from shutil import which

import numpy as np
import pytest
import tomlkit
import torch
from drawings import picture
from PIL import Image

from allaprima.errors import DeviceError, UsageError
from allaprima_train import losses
from allaprima_train.augment import Augment, Varied
from allaprima_train.features import load_features
from allaprima_train.loop import train
from allaprima_train.objectives import make_objective
from allaprima_train.objectives.beside import with_losses_beside
from allaprima_train.recipe import Recipe, to_table
from allaprima_train.run import Run
from allaprima_train.streams import content
from allaprima_train.tables import Augment as AugmentTable
from allaprima_train.team import team

Recipes = Callable[..., Recipe]

# Without what draws a random number per batch or looks at half of it: those are other numbers in other parts
EVENLY = ("perceptual.shift_weight=0", "perceptual.border_weight=0", "train.precision='fp32'")


def apart(one: Run, other: Run) -> float:
    """How far apart the weights are, over how long they are. Not weight by weight: where a gradient is nothing but
    rounding, Adam steps one way or the other."""
    ours, theirs = one.load_checkpoint()[0], other.load_checkpoint()[0]
    names = [name for name in ours if name.startswith("network.")]
    squares = [((ours[n] - theirs[n]).square().sum(), ours[n].square().sum()) for n in names]
    return float(sum(d for d, _ in squares) / sum(w for _, w in squares)) ** 0.5


def test_a_batch_in_pieces_is_the_same_step(recipe: Recipes, features: Path, tmp_path: Path) -> None:
    runs = [
        train(
            recipe(*EVENLY, "train.steps=3", f"train.accumulate={n}"),
            Run(tmp_path / str(n)),
            features=features,
        )
        for n in (1, 2)
    ]
    assert apart(*runs) < 1e-3
    logged = [json.loads(run.log_file.read_text().splitlines()[-1]) for run in runs]
    assert logged[0]["loss/total"] == pytest.approx(logged[1]["loss/total"], rel=1e-3)
    fewer = train(recipe(*EVENLY, "train.steps=2"), Run(tmp_path / "fewer"), features=features)
    assert apart(runs[0], fewer) > 3e-3  # a step more is farther than that


@pytest.mark.slow  # torch compiles for half a minute
@pytest.mark.skipif(which("g++") is None, reason="torch compiles with g++, which is not here")
def test_a_compiled_training_is_the_same_training(recipe: Recipes, features: Path, tmp_path: Path) -> None:
    plain, compiled = (
        train(
            recipe(
                "train.steps=4", "train.precision='fp32'", "generator.size='nano-fine'", f"train.compile={c}"
            ),
            Run(tmp_path / c),
            features=features,
        )
        for c in ("false", "true")
    )
    assert apart(plain, compiled) < 1e-3
    longer = recipe(
        "train.steps=5", "train.precision='fp32'", "generator.size='nano-fine'", "train.compile=true"
    )
    train(longer, compiled, features=features, resume=True, may_change=["train.steps"])
    assert compiled.load_checkpoint()[1]["step"] == 5


def test_two_processes_train_what_one_does(recipe: Recipes, features: Path, tmp_path: Path) -> None:
    """By torchrun, over gloo, with the command that people type; and a resume by one process goes on from there."""
    pytest.importorskip("lightning_fabric")
    made = recipe(*EVENLY, "train.steps=3", "quality.every=3", "quality.goal='psnr_db'", "quality.side=96")
    crops = content(made)
    order = np.random.default_rng((made.seed, 0, 0)).permutation(len(crops.pictures))
    broken = crops.pictures[order[1]]
    broken.write_text("not a picture")
    assert all(len(crops[number]) for number in (0, 2, 4))  # the first process's
    assert crops.unreadable == []
    assert len(crops[1])
    assert crops.unreadable == [broken]
    (tmp_path / "small.toml").write_text(tomlkit.dumps(to_table(made)))
    command = [
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "allaprima",
        "train",
    ]
    words = ["small.toml", "--features", str(features), "--out", "two", "--device", "cpu", "--json"]
    done = subprocess.run(
        [sys.executable, *command, *words],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    steps = [json.loads(line)["step"] for line in done.stdout.splitlines() if line.startswith("{")]
    assert steps == [1, 2, 3, 3]  # once each, and the evaluation
    two, one = Run(tmp_path / "two"), train(made, Run(tmp_path / "one"), features=features)
    for run in (one, two):
        last = json.loads(run.log_file.read_text().splitlines()[-1])
        assert last["event"].endswith(f"pictures could not be read and were skipped: {broken}")
    assert apart(one, two) < 1e-3
    ours, theirs = (json.loads(run.log_file.read_text().splitlines()[1]) for run in (one, two))
    assert ours["loss/total"] == pytest.approx(theirs["loss/total"], rel=1e-3)
    longer = recipe(*EVENLY, "train.steps=4", "quality.every=3", "quality.goal='psnr_db'", "quality.side=96")
    train(longer, two, features=features, resume=True, may_change=["train.steps"])
    assert two.load_checkpoint()[1]["step"] == 4


def test_a_batch_that_cannot_be_shared_is_refused(recipe: Recipes, features: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="batch = 2 cannot be divided into 3.*take a batch of 3"):
        train(recipe("train.accumulate=3"), Run(tmp_path / "run"), features=features)
    together = "perceptual.gram_of='batch'"
    with pytest.raises(UsageError, match=r"cannot be computed in 2 pieces.*looks at 2.*take a batch of 4"):
        train(recipe(together, "train.accumulate=2"), Run(tmp_path / "run"), features=features)
    assert not (tmp_path / "run").exists()
    train(recipe(together, "train.accumulate=2", "train.batch=4", "train.steps=1"), Run(tmp_path / "run"),
          features=features)  # fmt: skip


def test_processes_part_before_they_end() -> None:
    """Else a thread of gloo's that is still there ends one of them, now and then, with an abort."""
    pytest.importorskip("lightning_fabric")
    program = """
import atexit, torch
atexit.register(lambda: print(torch.distributed.is_initialized()))  # the last to be called
from allaprima_train.team import Several
several = Several("cpu", {"WORLD_SIZE": "1"})
print(several.size, torch.distributed.is_initialized())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.stdout.split() == ["1", "True", "False"], done.stderr


def test_several_processes_without_fabric_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    with pytest.raises(DeviceError, match=r"allaprima\[scale\]"):
        team("cpu", {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_WORLD_SIZE": "2"})


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "meta"])
def test_a_device_that_is_not_here_is_named_with_those_that_are(name: str) -> None:
    words = f"cannot train on the device {name} - .+ - take --device cpu"
    with pytest.raises(DeviceError, match=words) as caught:
        team(name, {})
    assert caught.value.code == "E_DEVICE"
    assert team("cpu", {}).place == torch.device("cpu")
    with pytest.raises(DeviceError, match=words):  # processes that torchrun started, too
        team(name, {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_WORLD_SIZE": "2"})


def pictures(count: int = 2, side: int = 64) -> torch.Tensor:
    return (
        torch.from_numpy(np.stack([picture(n, side, side) for n in range(count)])).permute(0, 3, 1, 2) / 255
    )


def test_photographs_are_varied_within_their_range_and_pairs_alike() -> None:
    varied = Augment(AugmentTable(rotation=20, brightness=0.2, contrast=0.2, saturation=0.2, hue=0.05))
    batch = {"content": pictures(), "target": pictures(), "style": pictures()}
    found = varied(batch)
    assert found["content"].shape == batch["content"].shape
    assert (found["content"] - batch["content"]).abs().mean() > 0.02
    assert 0 <= float(found["content"].min()) <= float(found["content"].max()) <= 1
    assert torch.equal(found["content"], found["target"])
    assert torch.equal(found["style"], batch["style"])
    assert float(found["content"][..., :4, :4].amin()) > 0  # mirrored, not black, in the corners
    assert varied(batch)["content"].sub(found["content"]).abs().max() > 0.01


def test_nothing_is_varied_unasked() -> None:
    batch = {"content": pictures()}
    assert Augment(AugmentTable())(batch)["content"] is batch["content"]


@pytest.mark.parametrize("policy", ["colour", "translation", "cutout"])
def test_what_a_discriminator_sees_is_varied_and_the_gradient_passes(policy: str) -> None:
    torch.manual_seed(0)
    x = pictures(4).requires_grad_(True)
    seen = Varied((policy,))(x)
    assert seen.shape == x.shape
    assert (seen - x).abs().mean() > 0.01
    seen.square().sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert (x.grad != 0).float().mean() > 0.5


def test_a_varied_training_resumes_exactly(recipe: Recipes, features: Path, tmp_path: Path) -> None:
    made = recipe("augment.rotation=10", "augment.brightness=0.2", "train.steps=4", "train.save_every=2")
    whole, parts = (Run(tmp_path / name) for name in ("whole", "parts"))
    train(made, whole, features=features)
    train(made, parts, features=features, stop_at=2)
    torch.manual_seed(99)
    train(made, parts, features=features, resume=True)
    ours, theirs = whole.load_checkpoint()[0], parts.load_checkpoint()[0]
    assert {name for name in ours if not torch.equal(ours[name], theirs[name])} == set()


BESIDE = (
    "temporal.difference_weight=10",
    "temporal.noise_weight=10",
    "culture.texture_weight=0.1",
    "culture.line_weight=0.1",
    "culture.side=96",
)


def test_losses_beside_join_the_player_that_paints_and_train(
    recipe: Recipes, features: Path, photos: Path, tmp_path: Path
) -> None:
    made = recipe(*BESIDE, f"culture.reference=['{photos}']", "train.steps=2")
    run = train(made, Run(tmp_path / "run"), features=features)
    line = json.loads(run.log_file.read_text().splitlines()[-1])
    names = {name.removeprefix("loss/") for name in line if name.startswith("loss/")}
    assert {"temporal_difference", "temporal_noise", "culture_texture", "culture_line"} <= names
    assert "culture_colour" not in names
    weighted = 10 * line["loss/temporal_difference"] + 0.1 * line["loss/culture_line"]
    assert line["loss/total"] > weighted > 0


def test_a_painter_that_does_nothing_is_as_restless_as_the_picture(recipe: Recipes, features: Path) -> None:
    """What changes in the painting is what changes in the picture; noise is painted as noise."""
    made = recipe("temporal.difference_weight=1", "temporal.noise_weight=1")
    objective = with_losses_beside(made, make_objective(made, load_features(features)))
    generator = objective.networks["generator"]
    with torch.no_grad():
        generator.get_submodule("head").filter.zero_()  # type: ignore[operator, union-attr]
        generator.get_submodule("head").bias.zero_()  # type: ignore[operator, union-attr]
    generator.veil = 1.0  # type: ignore[assignment]
    batch = {"content": pictures(2, 96)}
    terms = objective.terms("generator", batch)
    assert float(terms["temporal_difference"].detach()) == pytest.approx(0, abs=1e-9)
    assert float(terms["temporal_noise"]) == pytest.approx(1, rel=1e-3)
    generator.veil = 0.5  # type: ignore[assignment]
    terms = objective.terms("generator", batch)
    assert float(terms["temporal_difference"]) > 1e-4
    assert float(terms["temporal_noise"]) == pytest.approx(0.25, rel=1e-3)


def test_culture_weights_need_a_reference(recipe: Recipes, features: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\[culture\] has weights and no reference"):
        train(recipe("culture.line_weight=1"), Run(tmp_path / "run"), features=features)


@pytest.mark.parametrize("workers", [0, 2])
def test_pictures_that_cannot_be_read_are_counted_and_named_at_the_end(
    recipe: Recipes, features: Path, photos: Path, tmp_path: Path, workers: int
) -> None:
    for number in range(10, 40):
        Image.fromarray(picture(number)).save(photos / f"{number}.png")
    made = recipe(
        "train.steps=20", f"data.workers={workers}", "data.held_out=1", "perceptual.pyramid=1", *EVENLY
    )
    from allaprima_train import data

    trained, _ = data.split(data.find_pictures(made.data.content), 1, made.seed)
    trained[5].write_text("not a picture")
    run = train(made, Run(tmp_path / "run"), features=features)
    last = json.loads(run.log_file.read_text().splitlines()[-1])
    assert last["event"] == f"1 of 39 pictures could not be read and were skipped: {trained[5]}"


def test_losses_of_structure_see_paint_over() -> None:
    """What steering watches: noise over everything is no structure left, a change of contrast is none lost."""
    torch.manual_seed(0)
    features = torch.rand(1, 8, 16, 16)
    assert float(losses.structure(3 * features + 1, features)) < 1e-4
    assert float(losses.structure(torch.rand_like(features), features)) > 0.9
