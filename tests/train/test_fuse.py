"""One picture of several: what it learns from, and what the network can and cannot do."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from allaprima.errors import UsageError
from allaprima_train.bracket import Bracket
from allaprima_train.generators.fuser import Fuser, blended
from allaprima_train.loop import State, to_batch
from allaprima_train.objectives import (
    make_objective,
    objective_streams,
    shipped_generator,
    shown_pictures,
)
from allaprima_train.recipe import Recipe, parse_recipe

ROWS, COLUMNS = np.mgrid[0:96, 0:96]
PHOTO = np.stack(
    [128 + 50 * np.sin(ROWS / 3 + colour) + 50 * np.cos(COLUMNS / 2) for colour in range(3)], axis=2
).astype(np.uint8)


def made(bracket: Bracket, seed: int = 0, count: int = 2) -> tuple[np.ndarray, np.ndarray]:
    return bracket.apply(PHOTO, count, np.random.default_rng(seed))


def test_exposures_lie_around_the_photograph() -> None:
    pictures, wanted = made(Bracket(exposure=1, noise=(0, 0)), count=3)
    assert np.abs(wanted.astype(int) - PHOTO).max() <= 1
    means = sorted(picture.mean() for picture in pictures)
    assert means[0] < PHOTO.mean() - 20
    assert means[2] > PHOTO.mean() + 20


def test_every_place_is_sharp_in_one_of_a_focus_stack() -> None:
    pictures, wanted = made(Bracket(focus=1, noise=(0, 0)))
    off = np.abs(pictures.astype(int) - wanted).mean(3)  # (K, H, W)
    assert off.min(0).mean() < 0.4 * off.mean()
    assert all(one.mean() > 1 for one in off)


def test_pictures_of_a_seam_hold_the_others_pixels_where_they_have_none() -> None:
    for seed in range(5):
        pictures, wanted = made(Bracket(seam=1, moved=(0, 0), noise=(0, 0)), seed)
        equal = (pictures[0] == pictures[1]).all(2)
        assert 1 - equal.mean() > 0.02  # they overlap
        assert np.abs(pictures[0][equal].astype(int) - wanted[equal]).max() <= 1
        between = (wanted >= pictures.min(0).astype(int) - 1) & (wanted <= pictures.max(0).astype(int) + 1)
        assert between.mean() > 0.99


def test_the_same_chance_makes_the_same_pictures() -> None:
    mixed = Bracket(exposure=1, focus=1, seam=1, noise=(1, 3))
    for seed in range(4):
        assert all(np.array_equal(a, b) for a, b in zip(made(mixed, seed), made(mixed, seed), strict=True))
    with pytest.raises(ValueError, match="above 0"):
        Bracket()


def strong(pictures: int = 2) -> Fuser:
    """Weights that differ from place to place without any training."""
    torch.manual_seed(0)
    network = Fuser("nano", pictures).eval()
    with torch.no_grad():
        for parameter in network.head.parameters():
            parameter.mul_(20)
    return network


def test_what_is_the_same_in_all_pictures_stays_as_it_is() -> None:
    x = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        assert torch.allclose(strong(3)(x.repeat(1, 3, 1, 1)), x, atol=1e-5)


def test_the_order_of_the_pictures_does_not_matter() -> None:
    one, other = torch.rand(2, 1, 3, 64, 64)
    network = strong()
    with torch.no_grad():
        first, second = network(torch.cat([one, other], 1)), network(torch.cat([other, one], 1))
        weights = network.weights(torch.stack([one, other], 1))
    assert torch.allclose(first, second, atol=1e-5)
    assert weights.std() > 0.02
    assert torch.allclose(weights.sum(1), torch.ones(1, 1, 64, 64))


def test_mixing_level_by_level_leaves_no_step_where_weights_turn() -> None:
    """A hard change of weights between two greys: a slope of some thirty pixels, not a step."""
    dark, light = torch.full((1, 3, 64, 64), 0.4), torch.full((1, 3, 64, 64), 0.6)
    left = (torch.arange(64) < 32).float().expand(1, 1, 64, 64)
    mixed = blended(torch.stack([dark, light], 1), torch.stack([left, 1 - left], 1))
    steps = mixed[0, 0, 32].diff()
    assert float(steps.max()) < 0.02  # a step would be 0.2
    assert float(mixed[0, 0, 32, 0]) == pytest.approx(0.4, abs=0.01)
    assert float(mixed[0, 0, 32, -1]) == pytest.approx(0.6, abs=0.01)


@pytest.fixture
def fusing(photos: Path) -> Callable[..., Recipe]:
    text = f"""
name = "join"
method = "fuse"
[data]
content = ["{photos}"]
crop = 64
context = 0
held_out = 2
workers = 0
[generator]
network = "fuser"
size = "nano"
[fuse.bracket]
focus = 1.0
blur = [3, 4]
[train]
steps = 60
batch = 2
warmup = 5
learning_rate = 5e-3
precision = "fp32"
"""
    return lambda *overrides: parse_recipe(text, "join.toml", overrides)


def test_it_learns_which_picture_is_sharp_where(fusing: Callable[..., Recipe]) -> None:
    torch.manual_seed(0)
    recipe = fusing()
    streams = objective_streams(recipe)
    state = State(make_objective(recipe, None), recipe.train, torch.device("cpu"))
    sampled = {name: torch.stack([stream[0], stream[1]]) for name, stream in streams.items()}
    batch = to_batch(sampled, torch.device("cpu"))
    assert batch["pictures"].shape == (2, 2, 3, 64, 64)
    losses = [float(state.step(batch)[0]["pixels"]) for _ in range(60)]
    assert losses[-1] < 0.8 * losses[0]


def test_samples_show_all_that_goes_in(fusing: Callable[..., Recipe]) -> None:
    recipe = fusing("fuse.count=3")
    assert shown_pictures(recipe, PHOTO, 0).shape == (3, 96, 96, 3)
    assert shipped_generator(recipe).pictures == 3
    with pytest.raises(UsageError, match="cannot train the generator mobile-small"):
        shipped_generator(fusing("generator.network=mobile", "generator.size=small"))
