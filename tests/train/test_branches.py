"""Generators with a part that only training sees, and the methods that train them."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from allaprima.errors import UsageError
from allaprima_train import losses
from allaprima_train.generators import make_generator
from allaprima_train.generators.doubletail import DoubleTail
from allaprima_train.generators.retention import Retention
from allaprima_train.objectives import make_objective, shipped_generator
from allaprima_train.recipe import Recipe, parse_recipe
from allaprima_train.smoothing import flattened, softened_edges


def shares(x: torch.Tensor) -> torch.Tensor:
    return torch.rand(x.shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", [DoubleTail, Retention])
def test_what_only_training_sees_is_dropped_and_the_painting_stays(
    kind: type[DoubleTail | Retention],
) -> None:
    network = kind("nano").eval()
    x = torch.rand(1, 3, 48, 64)
    plain = network.folded()
    shipped = make_generator("mobile", "nano").folded()
    assert {name: p.shape for name, p in plain.named_parameters()} == {
        name: p.shape for name, p in shipped.named_parameters()
    }
    with torch.no_grad():
        assert torch.allclose(plain(x), network(x), atol=1e-5)
        if isinstance(network, DoubleTail):
            main, support = network.both(x)
            assert torch.allclose(main, network(x), atol=1e-6)
            assert torch.equal(main, support)  # they begin alike
            network.support_head.bias.add_(0.1)
            main, support = network.both(x)
            assert torch.allclose(main, network(x), atol=1e-6)
            assert torch.allclose(main + 0.1, support, atol=1e-5)
        else:
            features = network.features(x)
            assert torch.allclose(network.style_branch(x, features), network(x), atol=1e-6)
            assert network.content_branch(features[1]).shape == (1, 1, 24, 32)


def recipe(photos: Path, method: str, *overrides: str) -> Recipe:
    return parse_recipe(
        f"""
name = "branches"
method = "{method}"
[data]
content = ["{photos}"]
crop = 64
context = 16
held_out = 2
[generator]
size = "nano"
[{method}.style]
pictures = ["{photos}"]
[train]
precision = "fp32"
""",
        "test",
        overrides,
    )


def batch() -> dict[str, torch.Tensor]:
    chance = torch.Generator().manual_seed(1)
    return {
        "content": torch.rand(2, 3, 96, 96, generator=chance),
        "style": torch.rand(2, 3, 64, 64, generator=chance),
    }


def test_content_trains_its_tasks_apart_and_then_together(photos: Path) -> None:
    """In phase one the forms have no gradient for the trunk; in phase two they have, and hold the painting, too."""
    from allaprima_train.features import Vgg19

    objective = make_objective(recipe(photos, "content", "content.apart=1"), Vgg19())
    network = objective.networks["generator"]
    assert isinstance(network, Retention)
    trunk = list(network.blocks.parameters())
    apart = objective.terms("generator", batch())
    assert "retention" not in apart
    assert torch.autograd.grad(apart["forms"], trunk, allow_unused=True, retain_graph=True)[0] is None
    together = objective.terms("generator", batch())
    assert torch.autograd.grad(together["forms"], trunk, retain_graph=True)[0].abs().sum() > 0
    # the painting follows the forms, not the forms the painting
    branch = list(network.content_head.parameters())
    assert torch.autograd.grad(together["retention"], branch, allow_unused=True)[0] is None
    assert int(objective.networks["clock"].steps) == 2  # type: ignore[arg-type]  # in every checkpoint


def test_doubletail_warms_up_before_its_adversaries_come(photos: Path) -> None:
    from allaprima_train.features import Vgg19

    torch.manual_seed(0)
    objective = make_objective(recipe(photos, "doubletail", "doubletail.warm_steps=1"), Vgg19())
    warm = objective.terms("generator", batch())
    assert {"structure", "colour", "copy"} <= warm.keys()
    assert not {"adversary", "texture", "polished"} & warm.keys()
    met = objective.terms("generator", batch())
    assert {"adversary", "texture", "polished"} <= met.keys()
    # the support tail fights; the main tail only copies
    support = list(objective.networks["generator"].support_head.parameters())  # type: ignore[union-attr]
    main = list(objective.networks["generator"].head.parameters())  # type: ignore[union-attr]
    assert torch.autograd.grad(met["adversary"], main, allow_unused=True, retain_graph=True)[0] is None
    assert torch.autograd.grad(met["copy"], support, allow_unused=True, retain_graph=True)[0] is None
    assert torch.autograd.grad(met["copy"], main, retain_graph=True)[0].abs().sum() > 0
    for player in ("lines", "polish"):
        (term,) = objective.terms(player, batch()).values()
        assert torch.isfinite(term)


@pytest.mark.parametrize("method", ["content", "doubletail"])
def test_another_generator_than_mobile_is_refused(photos: Path, method: str) -> None:
    with pytest.raises(UsageError, match="cannot train the generator 'resnet'"):
        shipped_generator(recipe(photos, method, "generator.network=resnet", "generator.size=small"))


def test_flattening_makes_regions_flat_and_leaves_edges_where_they_are() -> None:
    step = torch.zeros(1, 3, 40, 40)
    step[..., 20:] = 0.8
    noisy = step + 0.05 * (shares(step) - 0.5)
    flat = flattened(noisy)
    for side in (slice(4, 18), slice(22, 36)):
        assert flat[..., side].std() < 0.35 * noisy[..., side].std()
    assert float((flat[..., 19] - 0).abs().max()) < 0.05  # the two columns along the edge
    assert float((flat[..., 20] - 0.8).abs().max()) < 0.05


def test_softening_touches_edges_only() -> None:
    step = torch.zeros(1, 3, 40, 40)
    step[..., 20:] = 0.8
    soft = softened_edges(step)
    assert torch.equal(soft[..., :14], step[..., :14])
    assert float((soft - step)[..., 18:22].abs().max()) > 0.1


def test_forms_are_blind_to_tone_and_see_what_moved() -> None:
    rows, columns = np.mgrid[0:48, 0:48]
    x = torch.from_numpy(0.5 + 0.3 * np.sin(rows / 3) * np.cos(columns / 4))[None, None].float()
    assert float(losses.forms(x, x)) == pytest.approx(0, abs=1e-5)
    assert float(losses.forms(0.6 * x + 0.3, x)) < 0.05
    assert float(losses.forms(x.roll(6, 3), x)) > 0.5


def test_colour_sees_a_cast_and_not_strokes_within_an_area() -> None:
    grey = torch.full((1, 3, 32, 32), 0.5)
    board = (torch.arange(32)[:, None] + torch.arange(32)) % 2 * 0.2 - 0.1
    cast = grey + torch.tensor([0.2, 0.0, -0.2]).view(1, 3, 1, 1)
    assert float(losses.colour(grey + board, grey)) < 0.01
    assert float(losses.colour(cast, grey)) > 0.2
    assert F.l1_loss(grey + board, grey) > 0.09
