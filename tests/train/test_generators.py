"""Generators and losses: the fold, the grid, the border, and what the losses must notice."""

from collections.abc import Callable
from typing import cast

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from allaprima.errors import UsageError
from allaprima_train import losses
from allaprima_train.frame_model import FrameModel, paint
from allaprima_train.generators import GENERATORS, Generator, make_generator
from allaprima_train.generators.branched import BranchedConv, FoldingConv, PackedUp, SmoothUp, TwoLevels

ALL = [(network, size) for network, (_, sizes) in GENERATORS.items() for size in sizes]


def noisy(network: nn.Module) -> nn.Module:
    """Every weight moved away from its careful start, as training moves it."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += torch.randn_like(parameter) * 0.05
    return network


@pytest.mark.parametrize(("network", "size"), ALL)
def test_a_folded_generator_paints_the_same(network: str, size: str) -> None:
    generator = noisy(make_generator(network, size)).eval()
    x = torch.rand(1, 3 * cast(Generator, generator).pictures, 48, 64)
    with torch.no_grad():
        folded = cast(Generator, generator).folded()
        assert (generator(x) - folded(x)).abs().max() < 1e-4
    assert not any(isinstance(module, FoldingConv) for module in folded.modules())


def test_mobile_small_is_as_large_as_promised() -> None:
    """7.2 GMAC at 1280x720, counted from the folded convolutions as they run."""
    folded = cast(Generator, make_generator("mobile", "small")).folded()
    macs = 0

    def count(module: nn.Module, given: tuple[torch.Tensor], out: torch.Tensor) -> None:
        nonlocal macs
        assert isinstance(module, nn.Conv2d)
        macs += out[0].numel() * module.in_channels * 9

    for module in folded.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    with torch.no_grad():
        folded(torch.zeros(1, 3, 720, 1280))
    assert 7.0e9 < macs < 7.4e9


@pytest.mark.parametrize("size", ["nano", "nano-fine"])
def test_a_flat_area_stays_flat(size: str) -> None:
    """Interpolation answers all phases of the shuffle alike: no grid on a constant picture."""
    generator = noisy(make_generator("mobile", size)).eval()
    with torch.no_grad():
        change = generator(torch.full((1, 3, 256, 256), 0.4)) - 0.4
    inside = change[..., 96:-96, 96:-96]  # out of reach of the zero padding
    assert change.abs().max() > 1e-3
    assert inside.std(dim=(2, 3)).max() < 1e-5


def test_a_free_head_would_leave_a_grid() -> None:
    """The measure sees what interpolation prevents: features that change slowly, through both kinds of head."""
    torch.manual_seed(0)
    smooth, free = SmoothUp(8, 3, 4), BranchedConv(8, 48)
    x = F.interpolate(torch.rand(1, 8, 8, 8), scale_factor=8, mode="bicubic") + 1
    with torch.no_grad():
        without, grid = (F.pixel_shuffle(layer(x), 4)[..., 8:-8, 8:-8] for layer in (smooth, free))
    assert losses.grid(grid, 4) / grid.var() > 100 * losses.grid(without, 4) / without.var()


@pytest.mark.parametrize("factor", [2, 4])
def test_smooth_up_is_bilinear_interpolation_and_a_filter(factor: int) -> None:
    torch.manual_seed(0)
    layer = SmoothUp(6, 5, factor)
    x = torch.rand(1, 6, 9, 11)
    with torch.no_grad():
        fine = F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
        slow = F.conv2d(fine, layer.filter, layer.bias, padding="same")
        fast = F.pixel_shuffle(layer(x), factor)
    inside = slice(2 * factor, -2 * factor)  # at the border `same` pads with zeros
    assert (slow - fast)[..., inside, inside].abs().max() < 1e-5


def test_features_of_half_the_resolution_may_lie_packed() -> None:
    """The ends of a -fine size: the same convolutions of half-resolution pictures, done in cells of a quarter's."""
    torch.manual_seed(0)
    stem, head = TwoLevels(fine=6, near=10), PackedUp(6, 3)
    x, features = torch.rand(2, 3, 24, 40), torch.rand(2, 6, 12, 20)
    with torch.no_grad():
        found = stem(F.pixel_unshuffle(x, 4))
        fine = F.conv2d(F.pixel_unshuffle(x, 2), *stem.fine.fold(), padding=1)
        whole = F.pixel_shuffle(found[:, :24], 2)
        inside = slice(2, -2)  # at the border cells are copied, of 2x2 positions
        assert torch.allclose(whole[..., inside, inside], fine[..., inside, inside], atol=1e-5)
        assert torch.allclose(found[:, 24:], stem.near(F.pixel_unshuffle(x, 4)), atol=1e-5)
        painted = F.pixel_shuffle(head(F.pixel_unshuffle(features, 2)), 4)
        plain = F.pixel_shuffle(F.conv2d(features, *SmoothUp.fold(head), padding=1), 2)
        inside = slice(4, -4)
        assert torch.allclose(painted[..., inside, inside], plain[..., inside, inside], atol=1e-5)


@pytest.mark.parametrize("make", [lambda: TwoLevels(fine=6, near=10), lambda: PackedUp(6, 3)])
def test_what_was_folded_from_packed_layers_unfolds_into_them(make: Callable[[], FoldingConv]) -> None:
    torch.manual_seed(0)
    layer, other = make(), make()
    kernel, bias = layer.fold()
    other.unfold(kernel, bias)
    for found, wanted in zip(other.fold(), (kernel, bias), strict=True):
        assert torch.allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize("shape", [(16, 16), (17, 23), (93, 61), (64, 96)])
def test_any_size_is_painted_and_strength_zero_is_the_picture(shape: tuple[int, int]) -> None:
    model = FrameModel(noisy(make_generator("mobile", "nano"))).eval()
    image = torch.randint(0, 256, (1, *shape, 3), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.equal(model(image, torch.zeros(1)), image)
        styled = model(image, torch.ones(1))
    assert styled.shape == image.shape
    assert not torch.equal(styled, image)


def test_painting_is_not_disturbed_by_what_lies_far_away() -> None:
    """Convolutions only: the left half does not know the right half. (Instance norm would.)"""
    generator = cast(Generator, noisy(make_generator("mobile", "nano")).eval())
    x = torch.rand(1, 3, 64, 512)
    y = x.clone()
    y[..., 400:] = 0
    with torch.no_grad():
        assert torch.equal(paint(generator, x)[..., :200], paint(generator, y)[..., :200])


def test_structure_ignores_contrast_and_notices_lost_content() -> None:
    torch.manual_seed(0)
    features = torch.rand(1, 8, 32, 32)
    assert losses.structure(features, features) == 0
    assert losses.structure(features * 3 + 1, features) < 1e-4
    assert losses.structure(torch.rand(1, 8, 32, 32), features) > 0.9


def test_lightness_minds_which_areas_are_darker_and_neither_contrast_colour_nor_strokes() -> None:
    photo = torch.full((2, 3, 64, 64), 0.7)
    photo[0, :, :32], photo[1, :, :, :16] = 0.05, 0.4
    strokes = torch.linspace(-1, 1, 2).repeat(32)
    blue = torch.tensor([0.1, 0.3, 0.9])[:, None, None]
    pale = 0.5 + 0.3 * photo
    assert losses.lightness(photo, photo) < 1e-6
    assert losses.lightness(pale, photo) < 0.02
    assert losses.lightness(pale + 0.1 * strokes, photo) < 0.02
    assert losses.lightness(photo * blue, photo) < 0.02
    assert losses.lightness(1 - photo, photo) > 0.9
    helmet = photo.clone()
    helmet[0, :, :32] = 0.7  # a black one, as paper
    assert losses.lightness(helmet, photo) > 0.3
    night, snow = torch.full((1, 3, 32, 32), 0.1), torch.full((1, 3, 32, 32), 0.9)
    both = torch.cat([night, snow])  # which is darker is asked of all of a batch
    assert losses.lightness(both.flip(0), both) > 0.9
    assert losses.lightness(snow, night) < 0.01  # a plain one alone has no darker area


def test_halo_is_change_where_the_photograph_has_none_and_does_not_pay_for_pallor() -> None:
    photo = torch.full((1, 3, 128, 256), 0.2)
    photo[..., 200:] = 0.8  # a sky, and a wall
    sky = torch.zeros(1, 1, 128, 256)
    sky[..., 136:200] = 0.15  # lighter towards the wall
    assert losses.halo(photo, photo) < 1e-3
    assert losses.halo(1 - 0.5 * photo, photo) < 1e-3  # another colour is another colour
    haloed = losses.halo(photo + sky, photo)
    assert haloed > 0.02
    assert float(losses.halo(0.5 + 0.5 * (photo + sky), photo)) == pytest.approx(float(haloed), rel=0.15)
    strokes = 0.2 * torch.linspace(-1, 1, 2).repeat(128)
    assert losses.halo(photo + strokes, photo) < 1e-3
    assert losses.halo(torch.rand(1, 3, 16, 32), torch.rand(1, 3, 16, 32)).isfinite()  # two areas are enough


def test_style_is_zero_for_itself_and_one_for_nothing() -> None:
    grams = [losses.gram(torch.rand(1, 4, 16, 16)) for _ in range(3)]
    assert losses.style(grams, grams) < 1e-6
    assert losses.style([g * 0 for g in grams], grams) == pytest.approx(1)


def test_gram_is_the_formula() -> None:
    features = torch.rand(1, 3, 4, 5)
    flat = features[0].reshape(3, 20)
    assert torch.allclose(losses.gram(features)[0], flat @ flat.T / (4 * 5 * 3))


def test_gram_is_exact_under_autocast_and_so_is_its_gradient() -> None:
    features = torch.rand(2, 8, 16, 16).bfloat16().requires_grad_()
    exact = features.detach().double().requires_grad_()
    flat = exact.reshape(2, 8, 256)
    wanted = flat @ flat.transpose(1, 2) / (256 * 8)
    with torch.autocast("cpu", torch.bfloat16):
        found = losses.gram(features)
    assert found.dtype == torch.float32
    assert torch.allclose(found.double(), wanted, rtol=1e-6)
    pull = torch.rand(2, 8, 8)
    found.backward(pull)
    wanted.backward(pull.double())
    assert features.grad is not None
    assert exact.grad is not None
    off = (features.grad.double() - exact.grad).norm() / exact.grad.norm()
    assert off < 3e-3  # what the features themselves are rounded by


def test_gram_has_the_gradient_of_its_formula() -> None:
    features = torch.rand(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    flat = features.reshape(2, 3, 20)
    pull = torch.rand(2, 3, 3)
    (wanted,) = torch.autograd.grad((flat @ flat.transpose(1, 2) / 60 * pull).sum(), features)
    (found,) = torch.autograd.grad((losses.gram(features) * pull).sum(), features)
    assert torch.allclose(found, wanted, rtol=1e-5)


def test_unknown_generators_are_refused_by_name() -> None:
    with pytest.raises(UsageError, match="did you mean 'mobile'"):
        make_generator("mobil", "small")
    with pytest.raises(UsageError, match="nano, small, base"):
        make_generator("mobile", "huge")
