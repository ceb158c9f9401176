"""What is done to good photographs, and how a network learns to undo it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from allaprima.errors import UsageError
from allaprima_train import losses
from allaprima_train.degrade import HOLE, Degradation
from allaprima_train.loop import State, to_batch, train
from allaprima_train.objectives import beside, make_objective, objective_streams, shown_pictures
from allaprima_train.recipe import Recipe, parse_recipe
from allaprima_train.run import Run
from allaprima_train.streams import every_picture

ROWS, COLUMNS = np.mgrid[0:96, 0:128]
PHOTO = np.stack(
    [128 + 100 * np.sin(ROWS / 9 + COLUMNS / (5 + colour)) for colour in range(3)], axis=2
).astype(np.uint8)

FAULTS = {
    "noise": Degradation(noise=(20, 20)),
    "blur": Degradation(blur=(2, 2)),
    "jpeg": Degradation(jpeg=(5, 5)),
    "darkness": Degradation(darkness=(0.1, 0.1)),
    "colourless": Degradation(colourless=1),
    "holes": Degradation(holes=(0.1, 0.1)),
}


def spoiled(fault: Degradation, seed: int = 0, scale: int = 1) -> np.ndarray:
    return fault.apply(PHOTO, np.random.default_rng(seed), scale)


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_shows_and_is_the_same_for_the_same_chance(fault: str) -> None:
    poor = spoiled(FAULTS[fault])
    assert poor.shape == PHOTO.shape
    assert poor.dtype == np.uint8
    assert not np.array_equal(poor, PHOTO)
    assert np.array_equal(poor, spoiled(FAULTS[fault]))


def test_no_fault_leaves_the_picture_as_it_is() -> None:
    assert np.array_equal(spoiled(Degradation()), PHOTO)


def test_the_faults_are_what_they_say() -> None:
    grey = np.full((128, 128, 3), 128, np.uint8)
    noise = FAULTS["noise"].apply(grey, np.random.default_rng(0)).astype(float) - 128
    assert noise.std() == pytest.approx(20, rel=0.1)
    assert abs(noise.mean()) < 1
    assert (spoiled(FAULTS["holes"]) == HOLE).all(2).mean() == pytest.approx(0.1, abs=0.08)
    assert np.ptp(spoiled(FAULTS["colourless"]), axis=2).max() == 0
    linear = (spoiled(FAULTS["darkness"]) / 255) ** 2.2 / np.maximum((PHOTO / 255) ** 2.2, 1e-3)
    assert np.median(linear) == pytest.approx(0.1, rel=0.1)
    sharp, soft = (
        np.abs(np.diff(one.astype(float), axis=1)).mean() for one in (PHOTO, spoiled(FAULTS["blur"]))
    )
    assert soft < sharp


def test_another_fault_in_the_recipe_does_not_change_the_first() -> None:
    """So that two recipes can be compared: the same pictures are noisy by as much."""
    holes = Degradation(holes=(0.1, 0.1), noise=(20, 20))
    both, alone = spoiled(holes), spoiled(FAULTS["noise"])
    whole = ~(both == HOLE).all(2)
    assert np.array_equal(both[whole], alone[whole])


def test_a_larger_answer_is_learned_from_a_smaller_picture() -> None:
    assert spoiled(Degradation(), scale=2).shape == (48, 64, 3)


@pytest.fixture
def restoring(photos: Path) -> Callable[..., Recipe]:
    text = f"""
name = "mend"
method = "restore"
[data]
content = ["{photos}"]
crop = 64
context = 0
held_out = 2
workers = 0
[generator]
network = "restorer"
size = "nano"
[restore.degradation]
noise = [20, 20]
[train]
steps = 4
batch = 2
warmup = 2
log_every = 1
save_every = 2
sample_every = 4
precision = "fp32"
"""
    return lambda *overrides: parse_recipe(text, "mend.toml", overrides)


def test_a_recipe_that_restores_nothing_is_refused(restoring: Callable[..., Recipe]) -> None:
    with pytest.raises(UsageError, match="restores nothing"):
        objective_streams(restoring("restore.degradation.noise=[0, 0]"))
    with pytest.raises(UsageError, match="jpeg"):
        restoring("restore.degradation.jpeg=[0, 300]")


@pytest.mark.parametrize("size", ["nano", "nano-x2", "nano-x4"])
def test_pairs_fit_together_at_every_scale(restoring: Callable[..., Recipe], size: str) -> None:
    made = restoring(f"generator.size={size}")
    streams = objective_streams(made)
    scale = {"nano": 1, "nano-x2": 2, "nano-x4": 4}[size]
    assert streams["content"][5].shape == (3, 64 // scale, 64 // scale)
    assert torch.equal(streams["content"][5], streams["content"][5])
    assert streams["target"][5].shape == (3, 64, 64)
    sampled = {name: torch.stack([stream[0], stream[1]]) for name, stream in streams.items()}
    terms = make_objective(made, None).terms("generator", to_batch(sampled, torch.device("cpu")))
    assert all(torch.isfinite(term) for term in terms.values())
    assert set(terms) == {"pixels", "detail"}
    coloured = make_objective(restoring(f"generator.size={size}", "restore.colour_weight=0.5"), None)
    assert set(coloured.terms("generator", to_batch(sampled, torch.device("cpu")))) == {*terms, "colours"}
    assert shown_pictures(made, PHOTO, 0).shape == (1, 96 // scale, 128 // scale, 3)
    assert every_picture(streams) == set(streams["target"].pictures)  # what both read is counted once


@pytest.mark.parametrize(("scale", "context"), [(2, 64), (4, 32), (4, 0)])
def test_losses_beside_see_of_an_enlarged_picture_what_its_own_losses_see(
    restoring: Callable[..., Recipe], photos: Path, monkeypatch: pytest.MonkeyPatch, scale: int, context: int
) -> None:
    """A painter that only enlarges is as restless as the picture; [data] counts in the larger one."""
    made = restoring(
        f"generator.size=nano-x{scale}", f"data.context={context}", "temporal.difference_weight=1",
        "temporal.noise_weight=1", "culture.line_weight=1", f"culture.reference=['{photos}']", "culture.side=96",
    )  # fmt: skip
    plain, compared, seen = beside.CultureLoss, [], []

    def culture(works: list[Path], side: int, crop: int, seed: int) -> nn.Module:
        compared.append(crop)
        return plain(works, side, crop, seed)

    monkeypatch.setattr(beside, "CultureLoss", culture)
    objective = beside.with_losses_beside(made, make_objective(made, None))
    assert isinstance(objective, beside.Beside)
    with torch.no_grad():
        for parameter in objective.networks["generator"].get_submodule("head").parameters():
            parameter.zero_()
    assert objective.culture is not None
    objective.culture.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[-2:]))
    small = (64 + 2 * context) // scale
    side = torch.linspace(0.2, 0.8, small)
    terms = objective._beside((side + side[:, None]).div(2).expand(2, 3, -1, -1))
    assert (compared, seen) == ([64], [(64, 64)])
    assert float(terms["temporal_difference"].detach()) == pytest.approx(0, abs=1e-9)
    assert float(terms["temporal_noise"].detach()) == pytest.approx(1, rel=1e-3)
    assert torch.isfinite(terms["culture_line"])


def test_it_learns_to_take_noise_away(restoring: Callable[..., Recipe], tmp_path: Path) -> None:
    """Sixty steps: clearly nearer to the clean picture than what it was given."""
    torch.manual_seed(0)
    made = restoring("train.steps=60", "train.learning_rate=5e-3", "train.warmup=10")
    streams = objective_streams(made)
    state = State(make_objective(made, None), made.train, torch.device("cpu"))
    for step in range(60):
        sampled = {
            name: torch.stack([stream[2 * step], stream[2 * step + 1]]) for name, stream in streams.items()
        }
        state.step(to_batch(sampled, torch.device("cpu")))
    batch = to_batch(sampled, torch.device("cpu"))
    with torch.no_grad():
        restored = state.objective.networks["generator"](batch["content"])
    before, after = (float((one - batch["target"]).abs().mean()) for one in (batch["content"], restored))
    assert after < 0.85 * before


def test_samples_show_the_spoiled_picture_above_the_restored_one(
    restoring: Callable[..., Recipe], tmp_path: Path
) -> None:
    from PIL import Image

    run = train(restoring("generator.size=nano-x2"), Run(tmp_path / "run"))
    with Image.open(run.samples / "step-000004.png") as opened:
        sheet = np.asarray(opened)
    given = sheet[:96, :112]  # as large as what comes out, each pixel twice
    assert np.array_equal(given[::2, ::2], given[1::2, 1::2])


def test_a_rare_colour_outweighs_many_greys() -> None:
    """What `colours` is for: of what is grey in two pictures of three and else a strong blue, it asks for blue."""
    grey, blue = torch.tensor([0.5, 0.5, 0.5]), torch.tensor([0.3, 0.5, 0.8])
    wanted = torch.stack([grey, grey, blue]).view(3, 3, 1, 1).expand(3, 3, 16, 16)
    all_grey, all_blue = (one.view(1, 3, 1, 1).expand(3, 3, 16, 16) for one in (grey, blue))
    assert losses.tints(wanted, wanted) < 1e-4
    assert losses.tints(all_blue, wanted) < losses.tints(all_grey, wanted)
    assert losses.charbonnier(all_grey, wanted) < losses.charbonnier(all_blue, wanted)  # pixels want grey
    assert losses.tints(0.5 * all_grey, all_grey) < 1e-3  # light is not its business


def test_a_lattice_too_faint_for_single_pictures_shows_in_the_mean_of_all() -> None:
    """A fifth of a level under noise of six: what `grid_weight` has to see."""
    noise = torch.randn(8, 3, 96, 96, generator=torch.Generator().manual_seed(3)) * 6 / 255
    checkers = (1 - 2 * ((torch.arange(96)[:, None] + torch.arange(96)) % 2)) / 255

    def rise(window: int | None) -> float:
        before, after = (losses.grid(noise + level * checkers, 2, window) for level in (0.0, 0.2))
        return float(after / before)

    assert rise(None) > 5
    assert rise(4) < 1.1
