"""Training at the door: `train(recipe, run)` on real pictures, eight steps at a time."""

import json
import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from allaprima.errors import InputError, OutputError, QualityError
from allaprima_train import loop
from allaprima_train.loop import Step, train
from allaprima_train.recipe import Recipe
from allaprima_train.run import Run

Recipes = Callable[..., Recipe]


def test_a_training_leaves_a_run_that_explains_itself(
    recipe: Recipes, features: Path, tmp_path: Path
) -> None:
    run = train(recipe(), Run(tmp_path / "run"), features=features)
    assert run.recipe() == recipe()
    lines = [json.loads(line) for line in run.log_file.read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 9))
    assert all(np.isfinite(line["loss/style"]) for line in lines)
    with Image.open(run.samples / "step-000008.png") as sheet:
        assert np.asarray(sheet).std() > 10
    assert list((run.folder / "tensorboard").iterdir())
    generator, notes = run.generator()
    assert notes["step"] == "8"
    assert sum(p.numel() for p in generator.parameters()) > 10_000


def test_the_loss_falls_on_a_fixed_batch(recipe: Recipes, features: Path) -> None:
    """Enough steps on the same pictures must lower the weighted sum of the losses."""
    from allaprima_train.features import load_features
    from allaprima_train.objectives import make_objective

    torch.manual_seed(0)
    made = recipe("train.steps=100", "train.learning_rate=2e-3")
    objective = make_objective(made, load_features(features))
    state = loop.State(objective, made.train, torch.device("cpu"))
    batch = torch.rand(2, 3, 64, 64)
    sums = []
    for _ in range(30):
        terms, _ = state.step(batch)
        sums.append(sum(objective.weights[name] * float(term) for name, term in terms.items()))
    assert np.mean(sums[-5:]) < 0.8 * np.mean(sums[:5])


@pytest.mark.parametrize("workers", [0, 1])
def test_an_interrupted_training_goes_on_exactly(
    recipe: Recipes, features: Path, tmp_path: Path, workers: int
) -> None:
    made = recipe(f"data.workers={workers}")
    whole = train(made, Run(tmp_path / "whole"), features=features)
    parts = Run(tmp_path / "parts")
    train(made, parts, features=features, stop_at=5)
    torch.manual_seed(12345)  # whatever happened in between must not matter
    train(made, parts, features=features, resume=True)

    left, right = load_file(whole.checkpoint_file), load_file(parts.checkpoint_file)
    assert left.keys() == right.keys()
    assert {name for name in left if not torch.equal(left[name], right[name])} == set()
    assert whole.weights_file.read_bytes() == parts.weights_file.read_bytes()

    def steps(run: Run) -> dict[int, dict[str, float]]:
        lines = [json.loads(line) for line in run.log_file.read_text().splitlines()]
        return {line["step"]: {k: v for k, v in line.items() if "pictures" not in k} for line in lines}

    assert steps(whole) == steps(parts)


def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    recipe: Recipes, features: Path, tmp_path: Path
) -> None:
    run = train(recipe(), Run(tmp_path / "run"), features=features)
    run.checkpoint_file.write_bytes(run.checkpoint_file.read_bytes()[:1000])
    seen: list[Step] = []
    train(recipe(), run, features=features, resume=True, on_step=seen.append)
    assert [step.step for step in seen] == [5, 6, 7, 8]


def test_a_loss_that_is_not_a_number_stops_and_keeps_the_last_checkpoint(
    recipe: Recipes, features: Path, tmp_path: Path
) -> None:
    run = train(recipe(), Run(tmp_path / "run"), features=features, stop_at=4)
    before = run.checkpoint_file.read_bytes()
    with pytest.raises(
        QualityError, match=r"the loss structure and style .* is not a number at step 6"
    ) as caught:
        train(
            recipe("train.learning_rate=1e30", "train.gradient_clip=1e30"),
            run,
            features=features,
            resume=True,
        )
    assert caught.value.exit_status == 8
    assert run.checkpoint_file.read_bytes() == before


def test_a_full_disk_leaves_the_last_checkpoint_intact(
    recipe: Recipes, features: Path, tmp_path: Path
) -> None:
    run = train(recipe(), Run(tmp_path / "run"), features=features, stop_at=4)
    before = run.weights_file.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OutputError, match="File too large"):
            train(recipe(), run, features=features, resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert run.weights_file.read_bytes() == before
    assert not list(run.folder.glob("*.part"))
    assert run.load_checkpoint()[1]["step"] == 4


def test_one_unreadable_picture_is_skipped_and_named(
    recipe: Recipes, features: Path, photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for path in sorted(photos.glob("*.png"))[::3]:
        path.write_bytes(path.read_bytes()[:200])
    made = recipe("data.held_out=1")
    pictures, held_out = loop.split(loop.find_pictures(made.data.content), 1, made.seed)
    if held_out[0].stat().st_size < 300:  # the sample sheet needs one that can be read
        Image.new("RGB", (96, 96)).save(held_out[0])
    train(made, Run(tmp_path / "run"), features=features)
    assert caplog.text.count("skipped the picture") >= 1
    assert any(str(path) in caplog.text for path in pictures)


def test_grey_alpha_and_small_pictures_are_taken(recipe: Recipes, features: Path, photos: Path) -> None:
    for path in photos.glob("*.png"):
        path.unlink()
    Image.new("L", (40, 50), 90).save(photos / "grey.png")
    Image.new("RGBA", (70, 200), (200, 10, 10, 40)).save(photos / "alpha.png")
    Image.new("I;16", (80, 80), 30000).save(photos / "deep.png")
    crops = loop.Crops(loop.find_pictures([str(photos)]), recipe().data, seed=1)
    for number in range(6):
        assert crops[number].shape == (3, 96, 96)  # 64 and 16 of context on each side


def test_training_without_pictures_says_what_to_do(recipe: Recipes, features: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    made = recipe(f"data.content=['{tmp_path / 'empty'}']")
    with pytest.raises(InputError, match="it has no pictures in it") as caught:
        train(made, Run(tmp_path / "run"), features=features)
    assert "--set" in caught.value.next
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_of_another_network_says_what_differs(
    recipe: Recipes, features: Path, tmp_path: Path
) -> None:
    run = train(recipe(), Run(tmp_path / "run"), features=features, stop_at=4)
    with pytest.raises(
        InputError, match=r"another network - lacks generator.blocks.3.first.full;.*and \d+ more"
    ):
        train(recipe("generator.size='small'"), run, features=features, resume=True)


def test_missing_features_say_where_to_point(recipe: Recipes, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="ALLAPRIMA_FEATURES"):
        train(recipe(), Run(tmp_path / "run"), features=tmp_path / "nowhere")


def test_crops_depend_on_seed_and_number_alone(recipe: Recipes) -> None:
    made = recipe()
    pictures = loop.find_pictures(made.data.content)
    one, two = loop.Crops(pictures, made.data, seed=5), loop.Crops(pictures, made.data, seed=5)
    _ = [one[number] for number in (9, 2, 30)]
    assert torch.equal(one[17], two[17])
    assert not torch.equal(one[17], loop.Crops(pictures, made.data, seed=6)[17])


def test_held_out_pictures_are_never_trained_on(recipe: Recipes) -> None:
    made = recipe()
    pictures = loop.find_pictures(made.data.content)
    train_on, held_out = loop.split(pictures, 2, made.seed)
    assert set(train_on) | set(held_out) == set(pictures)
    assert not set(train_on) & set(held_out)
    assert loop.split(pictures, 2, made.seed) == (train_on, held_out)
