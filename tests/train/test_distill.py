"""A small network learns what a large one paints; channels go by importance; int8 is trained for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from torch import nn

from allaprima.errors import UsageError
from allaprima.metrics import compare
from allaprima_train import loop
from allaprima_train.fake_int8 import Ranges, rounded
from allaprima_train.features import load_features
from allaprima_train.frame_model import FrameModel, paint
from allaprima_train.generators import Generator, make_generator
from allaprima_train.generators.branched import int8_kernel
from allaprima_train.generators.mobile import Mobile, Size
from allaprima_train.loop import train
from allaprima_train.objectives import make_objective
from allaprima_train.prune import prune, size_of
from allaprima_train.recipe import Recipe, parse_recipe
from allaprima_train.run import Run
from allaprima_train.teachers import teacher

Recipes = Callable[..., Recipe]


def strong(size: Size, seed: int = 0) -> Mobile:
    """Random weights whose painting is far from the photograph."""
    torch.manual_seed(seed)
    network = Mobile(size).eval()
    with torch.no_grad():
        network.head.filter.mul_(4)
    return network


def photo(seed: int = 0, height: int = 64, width: int = 72) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width] / 9
    waves = [np.sin(x * (c + 1 + seed) / 2) + np.cos(y - c * seed) for c in range(3)]
    return ((np.stack(waves, axis=2) + 2) * 63).astype(np.uint8)


@torch.no_grad()
def painted(network: nn.Module, image: np.ndarray) -> np.ndarray:
    return FrameModel(network)(torch.from_numpy(image)[None], torch.ones(1))[0].numpy()


@pytest.fixture
def distilling(recipe: Recipes, features: Path, tmp_path: Path) -> Callable[..., Recipe]:
    """A recipe whose teacher is a run of the perceptual one."""
    run = train(recipe(), Run(tmp_path / "teacher"), features=features)
    text = f"""
name = "pupil"
method = "distill"
[data]
content = {list(recipe().data.content)}
crop = 64
context = 16
held_out = 2
workers = 0
[distill]
teacher = "{run.folder}"
width = [8, 16, 1]
[train]
steps = 4
batch = 2
warmup = 1
log_every = 1
save_every = 4
sample_every = 4
precision = "fp32"
tracker = "none"
"""
    return lambda *overrides: parse_recipe(text, "pupil.toml", overrides)


def test_without_a_look_nothing_looks_at_features(distilling: Callable[..., Recipe]) -> None:
    """They take most of a step."""

    class Blind(nn.Module):
        def forward(self, *_: object) -> dict[str, torch.Tensor]:
            raise AssertionError("features were looked at")

    batch = {"content": torch.rand(2, 3, 96, 96)}
    objective = make_objective(distilling("distill.look_weight=0.0"), Blind())
    assert set(objective.terms("generator", batch)) == {"pixels", "detail"}
    with pytest.raises(AssertionError, match="looked at"):
        make_objective(distilling(), Blind()).terms("generator", batch)


@pytest.mark.parametrize("size", [Size(16, 24, 2), Size(16, 24, 2, half=4)])
def test_pruning_to_the_same_size_changes_nothing(size: Size) -> None:
    whole = strong(size)
    assert size_of(whole) == size
    same = prune(whole, size, [photo()]).eval()
    assert compare(painted(same, photo(1)), painted(whole, photo(1))).max_difference <= 1


def test_what_nobody_reads_goes_first() -> None:
    """Channels whose readers have weights of zero, and a block that adds nothing, are pruned without a trace."""
    whole = strong(Size(16, 24, 3))
    with torch.no_grad():
        for layer in (whole.down, *(block.first for block in whole.blocks)):  # type: ignore[union-attr]
            kernel, bias = layer.fold()  # type: ignore[operator]
            dead = slice(8, 16) if layer is whole.down else slice(0, 8)
            kernel[:, dead] = 0
            layer.unfold(kernel, bias)  # type: ignore[operator]
        whole.head.filter[:, 8:16] = 0
        whole.up.filter[:, 0:8] = 0
        for number, block in enumerate(whole.blocks):
            kernel, bias = block.second.fold()  # type: ignore[union-attr,operator]
            kernel[:, 16:] = 0
            block.second.unfold(kernel * (number != 1), bias * (number != 1))  # type: ignore[union-attr,operator]
    small = prune(whole, Size(8, 16, 2), [photo()]).eval()
    assert size_of(small) == Size(8, 16, 2)
    assert compare(painted(small, photo(1)), painted(whole, photo(1))).max_difference <= 1


def test_features_at_half_the_resolution_are_pruned_by_their_readers_too() -> None:
    whole = strong(Size(8, 16, 1, half=6))
    with torch.no_grad():
        whole.head.filter[:, 2:4] = 0
    small = prune(whole, Size(8, 16, 1, half=4), [photo()]).eval()
    assert size_of(small) == Size(8, 16, 1, half=4)
    assert compare(painted(small, photo(1)), painted(whole, photo(1))).max_difference <= 1


def test_only_a_mobile_generator_is_pruned_and_never_made_larger() -> None:
    with pytest.raises(UsageError, match="cannot be pruned"):
        size_of(make_generator("resnet", "small"))
    with pytest.raises(UsageError, match="larger"):
        prune(strong(Size(8, 16, 1)), Size(8, 24, 1), [photo()])
    with pytest.raises(UsageError, match="a level comes or goes"):
        prune(strong(Size(8, 16, 1, half=4)), Size(8, 16, 1), [photo()])


def test_a_kernel_in_int8_has_255_steps_per_channel_adds_up_and_passes_its_gradient() -> None:
    kernel = torch.randn(4, 3, 3, 3) * torch.tensor([1, 10, 0.1, 0]).view(4, 1, 1, 1)
    kernel.requires_grad_(True)
    held = int8_kernel(kernel)
    scale = kernel.detach().abs().amax((1, 2, 3)) / 127
    for channel in range(3):
        steps = held[channel].detach() / scale[channel]
        assert torch.allclose(steps, steps.round(), atol=1e-3)
        assert (held[channel] - kernel[channel]).abs().max() <= scale[channel] * 1.001
        assert (held[channel] - kernel[channel]).sum((1, 2)).abs().max() <= scale[channel] * 0.501
    assert not held[3].any()
    held.sum().backward()
    assert torch.equal(kernel.grad[:3], torch.ones(3, 3, 3, 3))  # type: ignore[index]


def test_rounding_is_only_there_while_it_paints_for_the_losses() -> None:
    network = strong(Size(8, 16, 1))
    ranges = Ranges(network)
    x = torch.rand(1, 3, 48, 48)
    generator = cast(Generator, network)
    before = paint(generator, x)
    with rounded(network, ranges):
        held = paint(generator, x)
    assert 0 < (held - before).abs().max() < 0.2
    assert torch.equal(paint(generator, x), before)
    low, high = ranges.get_buffer("stem")
    assert low == 0
    assert 0.9 < high <= 1
    held.square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_training_for_int8_makes_int8_nearer() -> None:
    """The finished network's own paintings as the target: what is left of the distance is int8's."""
    network, wanted_of = strong(Size(8, 16, 1), seed=3), strong(Size(8, 16, 1), seed=3)
    x = torch.stack([torch.from_numpy(photo(n, 48, 48)).permute(2, 0, 1) for n in range(2)]).float() / 255
    wanted = paint(cast(Generator, wanted_of), x).detach()
    ranges = Ranges(network)
    steps, warm = 120, 20
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-4)
    rate = torch.optim.lr_scheduler.LambdaLR(  # from an optimum, Adam's first full steps would lead away
        optimiser, lambda n: min((n + 1) / warm, (1 + np.cos(np.pi * n / steps)) / 2)
    )
    distances = []
    for _ in range(steps):
        with rounded(network, ranges):
            distance = (paint(cast(Generator, network), x) - wanted).square().mean()
        optimiser.zero_grad()
        distance.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        rate.step()
        distances.append(distance.item())
    assert np.mean(distances[-10:]) < 0.85 * distances[0]  # a tap that goes the other way is a step


def test_the_pupil_comes_nearer_to_its_teacher(distilling: Callable[..., Recipe], features: Path) -> None:
    torch.manual_seed(0)
    made = distilling("train.steps=100", "train.learning_rate=3e-3")
    state = loop.State(make_objective(made, load_features(features)), made.train, torch.device("cpu"))
    batch = {"content": torch.rand(2, 3, 96, 96)}
    sums = []
    for _ in range(25):
        terms, _ = state.step(batch)
        sums.append(state.weighted({name: float(term) for name, term in terms.items()}))
    assert sums[-1] < 0.7 * sums[0]


@pytest.mark.parametrize("int8", [False, True])
def test_a_pupil_is_a_run_like_any_other(
    distilling: Callable[..., Recipe], features: Path, tmp_path: Path, int8: bool
) -> None:
    """Begun, interrupted, resumed, with the generator of its own width; ranges are in the checkpoint."""
    made = distilling(f"distill.int8={str(int8).lower()}")
    once = train(made, Run(tmp_path / "once"), features=features)
    twice = Run(tmp_path / "twice")
    train(made, twice, features=features, stop_at=2)
    train(made, twice, features=features, resume=True)
    assert size_of(once.generator()[0]) == Size(8, 16, 1)
    for ours, theirs in zip(once.generator()[0].parameters(), twice.generator()[0].parameters(), strict=True):
        assert torch.equal(ours, theirs)
    saved = once.load_checkpoint()[0]
    assert ("network.ranges.stem" in saved) == int8


def test_a_bundle_teaches_too() -> None:
    """starry in bytes: what the runtime paints is the target."""
    teach = teacher("starry", 1)
    x = torch.from_numpy(photo(height=48, width=56)).permute(2, 0, 1)[None].float() / 255
    answer = teach(x.contiguous())
    assert answer.shape == x.shape
    assert 0.02 < float((answer - x).abs().mean()) < 0.9
    with pytest.raises(UsageError, match="1 times as large, the student 2 times"):
        teacher("starry", 2)


def test_settings_that_fit_no_network_are_refused(distilling: Callable[..., Recipe], features: Path) -> None:
    with pytest.raises(UsageError, match="width is for mobile"):
        make_objective(distilling('generator.network="resnet"'), load_features(features))
    resnet = distilling()
    unset = replace(resnet, objective=replace(resnet.objective, width=None, int8=True))
    unset = replace(unset, generator=replace(unset.generator, network="resnet", size="small"))
    with pytest.raises(UsageError, match="no folding convolutions"):
        make_objective(unset, load_features(features))
    with pytest.raises(UsageError, match="at least 1"):
        distilling("distill.width=[8, 0, 1]")
