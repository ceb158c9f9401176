"""Several experts become one network that paints like each, and like what lies between."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from drawings import picture
from torch import Tensor

from allaprima.errors import AllaPrimaError, UsageError
from allaprima_train.frame_model import paint
from allaprima_train.generators import make_generator
from allaprima_train.generators.domains import DomainMobile
from allaprima_train.generators.gate import Gate
from allaprima_train.generators.mobile import Mobile
from allaprima_train.loop import train
from allaprima_train.objectives import make_objective
from allaprima_train.objectives.mixture import Mixture, Shares
from allaprima_train.objectives.painting import border
from allaprima_train.recipe import Recipe, load_recipe, parse_recipe
from allaprima_train.run import Run

Recipes = Callable[..., Recipe]


def expert(folder: Path, recipe: Recipe, seed: int, start: Run | None = None) -> Run:
    """A run of random weights, strong enough to see; with `start` one that began with another."""
    torch.manual_seed(seed)
    network = make_generator(recipe.generator.network, recipe.generator.size)
    if start is not None:
        network.load_state_dict(start.generator()[0].state_dict())
    with torch.no_grad():
        for name, tensor in network.named_parameters():
            if name == "head.filter" and start is None:
                tensor.mul_(2)
            if name.endswith("bias"):
                tensor.add_(0.2 * torch.randn_like(tensor))
    run = Run(folder)
    run.begin(recipe)
    run.save_weights(network, {"step": "0"})
    return run


@pytest.fixture
def mixing(recipe: Recipes, tmp_path: Path) -> Callable[..., Recipe]:
    """A recipe with the experts `one`, `other`, and `near` that began with `one`."""
    one = expert(tmp_path / "one", recipe(), 1)
    expert(tmp_path / "other", recipe(), 2)
    expert(tmp_path / "near", recipe(), 3, start=one)

    def made(*experts: str, more: tuple[str, ...] = ()) -> Recipe:
        places = [str(tmp_path / name) for name in experts or ("one", "other")]
        text = f"""
name = "mixed"
method = "mixture"
[data]
content = {json.dumps(recipe().data.content)}
crop = 64
context = 0
held_out = 2
workers = 0
[generator]
size = "nano"
[mixture]
experts = {json.dumps(places)}
[train]
steps = 75
batch = 4
warmup = 2
learning_rate = 1e-3
ema = 0.9
save_every = 75
sample_every = 75
precision = "fp32"
tracker = "none"
"""
        return parse_recipe(text, "mixed.toml", more)

    return made


def apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().mean())


def paintings(recipe: Recipe, x: Tensor) -> list[Tensor]:
    with torch.no_grad():
        return [paint(Run(Path(one)).generator()[0], x).clamp(0, 1) for one in recipe.objective.experts]


def taught(objective: Any, x: Tensor, *shares: float) -> Tensor:
    batch = {"content": x, "shares": torch.tensor([shares] * len(x))}
    with torch.no_grad():
        if "gate" in objective.players:
            objective.terms("gate", batch)
        return objective.taught(batch["content"], batch["shares"])


def test_shares_are_of_one_expert_in_turn_or_of_some_and_always_the_same() -> None:
    drawn = torch.stack([Shares(4, seed=7)[number] for number in range(400)])
    assert torch.allclose(drawn.sum(1), torch.ones(400))
    alone, mixed = drawn[0::2], drawn[1::2]
    assert torch.equal(alone.sum(0), torch.full((4,), 50.0))
    assert set((alone > 0).sum(1).tolist()) == {1}
    assert set((mixed > 0).sum(1).tolist()) == {2, 3, 4}
    assert torch.allclose(mixed.mean(0), torch.full((4,), 0.25), atol=0.06)
    assert torch.equal(drawn[33], Shares(4, seed=7)[33])
    assert not torch.equal(drawn[33], Shares(4, seed=8)[33])


@pytest.mark.parametrize("fuse", ["pixels", "weights", "gate"])
def test_with_all_of_the_share_an_expert_is_what_is_taught(fuse: str, mixing) -> None:
    recipe = mixing("one", "near", more=(f"mixture.fuse={fuse}",))
    objective, x = make_objective(recipe, None), torch.rand(2, 3, 64, 64)
    one, near = paintings(recipe, x)
    assert apart(one, near) > 0.02
    assert apart(taught(objective, x, 1, 0), one) < 1e-5
    assert apart(taught(objective, x, 0, 1), near) < 1e-5
    between = taught(objective, x, 0.5, 0.5)
    assert 0 < apart(between, one) < apart(near, one)
    assert 0 < apart(between, near) < apart(near, one)


def test_pixels_lie_over_each_other_by_shares_of_each_picture(mixing) -> None:
    recipe = mixing(more=("mixture.fuse=pixels",))
    objective, x = make_objective(recipe, None), torch.rand(2, 3, 64, 64)
    shares = torch.tensor([[0.25, 0.75], [1.0, 0.0]])
    one, other = paintings(recipe, x)
    wanted = torch.stack([0.25 * one[0] + 0.75 * other[0], one[1]])
    with torch.no_grad():
        assert torch.allclose(objective.taught(x, shares), wanted, atol=1e-5)


def test_weights_are_one_network_between_the_experts_as_they_ship(mixing) -> None:
    recipe = mixing("one", "near", more=("mixture.fuse=weights",))
    x = torch.rand(1, 3, 64, 64)
    plain = [Run(Path(one)).generator()[0].folded() for one in recipe.objective.experts]
    between = Mobile("nano").folded()
    states = [network.state_dict() for network in plain]
    between.load_state_dict({name: 0.3 * states[0][name] + 0.7 * states[1][name] for name in states[0]})
    with torch.no_grad():
        wanted = paint(between, x).clamp(0, 1)
    assert apart(taught(make_objective(recipe, None), x, 0.3, 0.7), wanted) < 1e-5


def test_a_gate_gives_every_place_to_someone_and_learns_who_keeps_the_forms(mixing) -> None:
    torch.manual_seed(0)
    gate, x = Gate(3), torch.rand(2, 3, 32, 48)
    areas = gate(x, torch.tensor([[0.2, 0.8, 0.0], [0.0, 0.0, 1.0]]))
    assert areas.shape == (2, 3, 32, 48)
    assert torch.allclose(areas.sum(1), torch.ones(2, 32, 48))
    assert torch.equal(areas[0, 2], torch.zeros(32, 48))
    assert torch.equal(areas[1, 2], torch.ones(32, 48))

    # The photograph is dark on the left and light on the right; each expert keeps the forms of one half only.
    objective = make_objective(mixing(), None)
    assert isinstance(objective, Mixture)
    left = (torch.arange(64) < 32).float()
    photo, noise = (
        0.3 * torch.rand(2, 1, 32, 64).expand(2, 3, 32, 64) + 0.7 * (1 - left),
        torch.rand(2, 3, 32, 64),
    )
    objective.experts = [lambda x: x * left + noise * (1 - left), lambda x: noise * left + x * (1 - left)]
    batch = {"content": photo, "shares": torch.full((2, 2), 0.5)}
    optimiser = torch.optim.Adam(objective.gate.parameters(), lr=1e-3)
    for _ in range(70):
        terms = objective.terms("gate", batch)
        optimiser.zero_grad()
        sum(objective.weights[name] * term for name, term in terms.items()).backward()
        optimiser.step()
    with torch.no_grad():
        one, other = objective.gate(photo, batch["shares"]).mean((0, 2)).unbind(0)  # by column
    assert one[:28].mean() > 1.5 * one[36:].mean()
    assert other[36:].mean() > 1.5 * other[:28].mean()


def test_the_student_comes_nearer_to_each_expert_and_its_control_chooses(mixing, tmp_path) -> None:
    recipe = mixing(more=("mixture.fuse=pixels",))
    x = torch.from_numpy(picture(50, 64, 64)).permute(2, 0, 1)[None] / 255
    wanted = paintings(recipe, x)
    begun = make_objective(recipe, None).networks["generator"]
    run = train(recipe, Run(tmp_path / "mixed"))
    for name in ("one", "other"):
        shutil.rmtree(tmp_path / name)  # a finished run is whole without its experts
    student, _ = run.generator()
    assert student.controls[0].labels == ("one", "other")
    with torch.no_grad():
        for share in torch.eye(2):  # it begins as the first expert, whatever is asked
            assert apart(paint(begun, x, controls=(share,)).clamp(0, 1), wanted[0]) < 1e-4
        before, after = (
            [paint(network, x, controls=(share,)) for share in torch.eye(2)] for network in (begun, student)
        )
    assert apart(after[1], wanted[1]) < 0.6 * apart(before[1], wanted[1])
    for number in range(2):
        assert apart(after[number], wanted[number]) < 0.8 * apart(after[number], wanted[1 - number])


def test_the_student_is_held_to_what_it_paints_inside_a_larger_picture(mixing, tmp_path) -> None:
    """Experts of random weights have a border, and teach it."""
    x = torch.from_numpy(picture(50, 128, 128)).permute(2, 0, 1)[None] / 255
    found = []
    for weight in (0, 20):
        recipe = mixing(more=("mixture.fuse=pixels", f"mixture.border_weight={weight}"))
        student = train(recipe, Run(tmp_path / f"mixed{weight}")).generator()[0]
        with torch.no_grad():
            for share in torch.eye(2):
                painted = paint(student, x, controls=(share,))
                found.append(float(border(student, x, 32, [share[None]]) / painted.var()))
    assert max(found[2:]) < 0.5 * min(found[:2])  # against its own contrast: not by being pale


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ('mixture.experts=["starry"]', "name two or more"),
        ('mixture.experts=["a/starry", "b/starry.prima"]', "could not tell"),
        ("mixture.fuse=mud", "'pixels', 'weights' or 'gate'"),
    ],
)
def test_settings_that_cannot_be_mixed_are_refused_when_the_recipe_is_read(
    change: str, words: str, mixing
) -> None:
    with pytest.raises(UsageError, match=words):
        mixing(more=(change,))


def test_an_expert_that_does_not_fit_is_refused_by_name(mixing, recipe, tmp_path) -> None:
    def refused(*experts: str, fuse: str) -> str:
        with pytest.raises(AllaPrimaError) as caught:
            make_objective(mixing(*experts, more=(f"mixture.fuse={fuse}",)), None)
        return str(caught.value)

    expert(tmp_path / "larger", recipe("generator.size=small"), 1)
    (tmp_path / "begun").mkdir()
    Run(tmp_path / "begun").begin(recipe())
    mixed = mixing(more=("mixture.fuse=pixels",))
    Run(tmp_path / "mixed").begin(mixed)
    Run(tmp_path / "mixed").save_weights(DomainMobile("nano", ("one", "other")), {"step": "0"})
    for fuse in ("pixels", "gate", "weights"):
        assert re.search(
            r"cannot open .*/missing - there is no such file", refused("one", "missing", fuse=fuse)
        )
        assert "begun has no weights.safetensors" in refused("one", "begun", fuse=fuse)
    assert "in several ways, by its control domain" in refused("one", "mixed", fuse="gate")
    assert "has domains too much" in refused("one", "mixed", fuse="weights")
    assert "larger - it is not mobile-nano: has blocks.3.first" in refused("one", "larger", fuse="weights")
    assert re.search(
        r"weights of one and other - their kernels in stem correlate by -?0\.0\d, and .* with \[transfer\] init_from",
        refused("one", "other", fuse="weights"),
    )
    assert isinstance(
        make_objective(mixing("one", "larger"), None), Mixture
    )  # only paintings are mixed there


def test_an_expert_that_paints_larger_and_a_student_that_is_no_mobile_are_refused(mixing, tmp_path) -> None:
    restorer = Path(__file__).parents[2] / "recipes" / "enlarge-x2.toml"
    expert(tmp_path / "larger", load_recipe(restorer, ["generator.size=nano-x2"]), 1)
    with pytest.raises(UsageError, match=r"larger cannot teach .* 2 times as large, the student 1 times"):
        make_objective(mixing("one", "larger"), None)
    with pytest.raises(UsageError, match="'mixture' cannot train the generator 'resnet'"):
        make_objective(mixing(more=("generator.network=resnet",)), None)
