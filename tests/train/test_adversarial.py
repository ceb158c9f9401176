"""The parts of adversarial methods: losses against their formulas, what discriminators see, what is remembered."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from allaprima_train import losses_gan
from allaprima_train.discriminators import Domains, MultiScale, Patches
from allaprima_train.generators import make_generator
from allaprima_train.generators.branched import beyond
from allaprima_train.generators.coarse_to_fine import CoarseToFine
from allaprima_train.generators.controls import as_tensors
from allaprima_train.generators.domains import DomainMobile
from allaprima_train.generators.modulated import CODE, WIDTH, Modulated, ModulatedConv
from allaprima_train.objectives.adversarial import Clock, Pool, gradient_penalty, still
from allaprima_train.objectives.painting import as_seen
from allaprima_train.recipe import Train
from allaprima_train.state import rate_factor


def disturbed(network: nn.Module, amount: float = 0.05) -> nn.Module:
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += torch.randn_like(parameter) * amount
    return network.eval()


def test_a_patch_score_sees_70_pixels() -> None:
    discriminator = Patches(width=8, normalised=False)
    x = torch.rand(1, 3, 160, 160, requires_grad=True)
    scores = discriminator(x)[-1]
    (gradient,) = torch.autograd.grad(scores[0, 0, 9, 9], x)
    rows = gradient.abs().sum((0, 1, 3)).nonzero().flatten()
    assert int(rows.max() - rows.min()) + 1 == 70


def test_each_scale_looks_at_half_the_picture_of_the_one_before() -> None:
    found = MultiScale(3, channels=6, width=8)(torch.rand(2, 6, 128, 128))
    assert [features[0].shape[-1] for features in found] == [64, 32, 16]
    assert all(len(features) == 5 for features in found)


def test_a_multi_domain_score_is_that_of_the_domain_asked_about() -> None:
    torch.manual_seed(0)
    discriminator = Domains(3, code=4, width=8)
    x = torch.rand(2, 3, 64, 64)
    asked = [discriminator(x, torch.full((2,), domain))[0] for domain in range(3)]
    mixed, logits, code = discriminator(x, torch.tensor([2, 0]))
    assert torch.equal(mixed, torch.stack([asked[2][0], asked[0][1]]))
    assert (logits.shape, code.shape) == ((2, 3), (2, 4))


def test_least_squares_and_logistic_losses_are_least_where_the_scores_are_right() -> None:
    for loss in (losses_gan.least_squares, losses_gan.softplus):
        for real, right, wrong in ((True, 1.0, -1.0), (False, 0.0, 1.0)):
            assert loss(torch.full((2, 1, 3, 3), right), real) < loss(torch.full((2, 1, 3, 3), wrong), real)
    assert losses_gan.least_squares(torch.tensor([1.0, 3.0]), real=True) == 2
    assert losses_gan.softplus(torch.zeros(3), real=False) == pytest.approx(0.6931, abs=1e-4)


def test_r1_is_the_squared_slope_at_real_pictures() -> None:
    x = torch.rand(3, 3, 4, 4)
    slope = torch.rand(3, 4, 4)
    score = lambda looked_at: (looked_at * slope).sum((1, 2, 3))  # noqa: E731 - one expression
    assert torch.allclose(gradient_penalty(score, x, every=4), 4 * slope.square().sum())


def test_patch_nce_is_cross_entropy_over_the_places_of_the_own_picture() -> None:
    torch.manual_seed(0)
    query, keys = torch.randn(2, 5, 8), torch.randn(2, 5, 8)
    slow = [
        -torch.log_softmax(
            torch.stack([F.cosine_similarity(query[n, i], keys[n, j], dim=0) for j in range(5)]) / 0.07, 0
        )[i]
        for n in range(2)
        for i in range(5)
    ]
    assert torch.allclose(losses_gan.patch_nce(query, keys), torch.stack(slow).mean(), atol=1e-5)
    assert losses_gan.patch_nce(keys, keys) < losses_gan.patch_nce(query, keys)


def test_feature_matching_leaves_the_scores_out() -> None:
    one = [[torch.zeros(1, 2), torch.ones(1, 2), torch.zeros(1)]]
    other = [[torch.zeros(1, 2), torch.zeros(1, 2), torch.full((1,), 99.0)]]
    assert losses_gan.feature_matching(one, other) == 0.5


def test_diversity_falls_as_pictures_of_different_codes_differ() -> None:
    codes, others = torch.zeros(2, 4), torch.ones(2, 4)
    alike, apart = torch.zeros(2, 3, 8, 8), torch.full((2, 3, 8, 8), 0.3)
    assert losses_gan.diversity(alike, alike, codes, others) == 0
    assert losses_gan.diversity(alike, apart, codes, others) == pytest.approx(-0.3)
    assert losses_gan.diversity(alike, apart * 3, codes, others) == -0.5  # no further


def test_an_opponent_that_holds_still_passes_gradients_and_gets_none() -> None:
    discriminator = nn.Conv2d(3, 1, 3)
    discriminator.bias.requires_grad_(False)  # type: ignore[union-attr]  # frozen by somebody else
    x = torch.rand(1, 3, 8, 8, requires_grad=True)
    with still(discriminator):
        discriminator(x).sum().backward()
    assert x.grad is not None
    assert discriminator.weight.grad is None
    assert [p.requires_grad for p in discriminator.parameters()] == [True, False]


def test_the_pool_fills_and_then_hands_out_earlier_paintings() -> None:
    torch.manual_seed(0)
    pool = Pool(4, 8)
    shown = [pool.exchange(torch.full((1, 3, 8, 8), number / 100)) for number in range(40)]
    numbers = [round(float(picture.mean()) * 100) for picture in shown]
    assert numbers[:4] == [0, 1, 2, 3]  # itself, while there is room
    earlier = [now - then for now, then in enumerate(numbers) if then != now]
    assert 8 <= len(earlier) <= 28
    assert min(earlier) > 0
    again = Pool(4, 8)
    again.load_state_dict(pool.state_dict())
    assert torch.equal(again.get_buffer("pictures"), pool.get_buffer("pictures"))
    assert torch.equal(Pool(0, 8).exchange(torch.ones(2, 3, 8, 8)), torch.ones(2, 3, 8, 8))


def test_a_clock_goes_on_from_its_checkpoint() -> None:
    clock, again = Clock(), Clock()
    assert [clock.tick() for _ in range(3)] == [0, 1, 2]
    again.load_state_dict(clock.state_dict())
    assert again.tick() == 3


def test_a_clock_counts_steps_and_not_the_pieces_that_they_are_accumulated_of() -> None:
    clock = Clock(pieces=2)
    assert [(clock.tick(), clock.now) for _ in range(5)] == [(0, 1), (0, 1), (1, 2), (1, 2), (2, 3)]


def test_a_clock_counts_on_where_a_resume_has_other_pieces() -> None:
    clock, again = Clock(), Clock(pieces=4)
    for _ in range(500):
        clock.tick()
    again.load_state_dict(clock.state_dict())
    assert [again.tick() for _ in range(5)] == [500, 500, 500, 500, 501]


def test_a_gradient_passes_the_clip_on_the_way_in_only() -> None:
    raw = torch.tensor([-1.0, -1.0, 0.5, 2.0, 2.0], requires_grad=True)
    seen = as_seen(raw)
    assert seen.tolist() == [0, 0, 0.5, 1, 1]
    seen.backward(torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0]))  # a step goes against it
    assert raw.grad is not None
    assert raw.grad.tolist() == [0, -1, 1, 1, 0]


def test_modulating_features_is_modulating_and_normalising_the_kernel() -> None:
    """The paper's form (Karras 2020, section 2.2): a kernel of its own for each picture."""
    layer = disturbed(ModulatedConv(4, 6, gain=2**0.5))
    assert isinstance(layer, ModulatedConv)
    x, w = torch.randn(2, 4, 9, 11), torch.randn(2, WIDTH)
    with torch.no_grad():
        kernel, bias = layer.fold()
        for picture, scale, fast in zip(x, layer.style(w), layer(x, w), strict=True):
            own = kernel * scale[None, :, None, None]
            own = own * (own.square().sum((1, 2, 3), keepdim=True) + 1e-4).rsqrt() * 2**0.5
            slow = F.conv2d(beyond(picture[None]), own, bias)[0]
            assert (slow - fast).abs().max() < 1e-4


@pytest.mark.parametrize(
    "made", [lambda: DomainMobile("nano", ("a", "b", "c"), 4), lambda: Modulated("nano")]
)
def test_a_folded_generator_with_controls_paints_the_same(made) -> None:
    generator = disturbed(made())
    x = torch.rand(2, 3, 48, 64)
    given = [torch.rand(2, *value.shape) for value in as_tensors(generator.controls)]
    with torch.no_grad():
        folded = generator.folded()
        assert (generator(x, *given) - folded(x, *given)).abs().max() < 1e-4
        each = torch.cat([generator(x[n : n + 1], *(value[n] for value in given)) for n in range(2)])
        assert (generator(x, *given) - each).abs().max() < 1e-3  # one for all, or one for each: the same


def test_only_the_shares_of_domains_count_and_they_mix_between_them() -> None:
    generator = disturbed(DomainMobile("nano", ("a", "b")), 0.02)
    x = torch.rand(1, 3, 32, 32)
    paint = lambda *weights: generator(x, torch.tensor(weights))  # noqa: E731 - one expression
    with torch.no_grad():
        assert torch.allclose(paint(0.2, 0.2), paint(1.0, 1.0), atol=1e-6)
        assert paint(0.0, 0.0).isfinite().all()
        a, b, between = paint(1.0, 0.0), paint(0.0, 1.0), paint(1.0, 1.0)
        assert 0 < (a - between).abs().mean() < (a - b).abs().mean()
        assert 0 < (b - between).abs().mean() < (a - b).abs().mean()


def test_truncation_leads_to_the_mean_style_whatever_the_code() -> None:
    generator = disturbed(Modulated("nano"))
    x, zero = torch.rand(1, 3, 32, 32), torch.zeros(1)
    with torch.no_grad():
        one, other = (generator(x, torch.randn(CODE), zero) for _ in range(2))
        assert torch.equal(one, other)
        assert not torch.equal(generator(x, torch.randn(CODE), zero + 1), one)
        blocks = torch.randn(1, len(generator.blocks), CODE)  # mixed styles
        assert not torch.equal(generator(x, blocks, zero + 1), generator(x, blocks[:, 0], zero + 1))


def test_coarse_to_fine_paints_1024_pixels_and_its_coarse_half_alone() -> None:
    generator = make_generator("coarse-to-fine", "small").eval()
    assert isinstance(generator, CoarseToFine)
    with torch.no_grad():
        assert generator(torch.rand(1, 3, 64, 1024)).shape == (1, 3, 64, 1024)
        assert generator.coarse(torch.rand(1, 3, 32, 512)).shape == (1, 3, 32, 512)


def test_the_linear_schedule_keeps_the_peak_for_half_of_the_steps_and_ends_at_zero() -> None:
    settings = Train(steps=100, warmup=0, schedule="linear")
    assert [rate_factor(step, settings) for step in (0, 50, 75, 100)] == [1, 1, 0.5, 0]
    assert rate_factor(99, Train(steps=100, schedule="constant")) == 1
