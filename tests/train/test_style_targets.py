"""Several pictures of one style: which of them a painting is measured by, and what code their paint has."""

import numpy as np
import pytest
import torch
from PIL import Image

from allaprima_train import losses
from allaprima_train.data import prepared
from allaprima_train.features import Vgg19
from allaprima_train.recipe import PictureSet
from allaprima_train.style_codes import StyleCodes
from allaprima_train.style_targets import StyleTargets, grams, levels, patches

LAYERS = ("relu1_1", "relu2_1")


def flat(colour: tuple[int, int, int]) -> Image.Image:
    """Two tones of a colour in a chessboard: a texture of its own."""
    board = (np.indices((64, 64)).sum(0) % 8 < 4)[..., None]
    return Image.fromarray(np.where(board, colour, np.array(colour) // 2).astype(np.uint8))


@pytest.fixture(scope="module")
def network() -> Vgg19:
    torch.manual_seed(0)
    return Vgg19()


def measured(picture: Image.Image, network: Vgg19) -> list[torch.Tensor]:
    x = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None] / 255
    return grams(levels(x, network, LAYERS, 2), LAYERS)


RED, BLUE, GREEN = flat((220, 30, 30)), flat((30, 40, 230)), flat((20, 200, 60))


def test_one_picture_is_the_target_whatever_is_followed(network: Vgg19) -> None:
    for follow in ("mean", "drawn", "nearest"):
        targets = StyleTargets.of([RED], network, LAYERS, 2, follow)
        before = torch.get_rng_state()
        chosen = targets.chosen(measured(BLUE, network))
        assert torch.equal(torch.get_rng_state(), before)  # the shipped recipe draws nothing
        assert float(losses.style(measured(RED, network), chosen)) < 1e-6


def test_nearest_follows_the_picture_that_a_painting_is_like(network: Vgg19) -> None:
    targets = StyleTargets.of([RED, BLUE, GREEN], network, LAYERS, 2, "nearest")
    both = [torch.cat(pair) for pair in zip(measured(GREEN, network), measured(RED, network), strict=True)]
    assert float(losses.style(both, targets.chosen(both))) < 1e-6


def test_mean_is_between_and_drawn_is_each_of_them_in_turn(network: Vgg19) -> None:
    red, blue = measured(RED, network), measured(BLUE, network)
    mean = StyleTargets.of([RED, BLUE], network, LAYERS, 2, "mean").chosen(red)
    assert all(torch.allclose(one, (a + b) / 2, atol=1e-6) for one, a, b in zip(mean, red, blue, strict=True))
    torch.manual_seed(1)
    drawn = StyleTargets.of([RED, BLUE], network, LAYERS, 2, "drawn")
    seen = {round(float(losses.style(red, drawn.chosen(red))), 3) for _ in range(20)}
    assert len(seen) == 2
    assert min(seen) == 0


def test_a_set_of_pictures_is_trimmed_and_greyed_before_it_is_learned_from() -> None:
    framed = Image.new("RGB", (100, 100), (255, 0, 0))
    framed.paste((10, 120, 200), (10, 20, 70, 95))
    inner = np.array(prepared(framed, PictureSet(("p",), trim=(0.2, 0.3, 0.05, 0.1))))
    assert inner.shape == (75, 60, 3)
    assert (inner == (10, 120, 200)).all()
    grey = np.array(prepared(framed, PictureSet(("p",), grey=True)))
    assert grey.shape == (100, 100, 3)
    assert (grey == grey[..., :1]).all()


def test_patches_are_inside_the_picture_and_the_same_for_the_same_seed() -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 140, 3), dtype=np.uint8))
    cut = patches(picture, 5, 64, seed=3)
    assert [one.size for one in cut] == [(64, 64)] * 5
    assert [one.tobytes() for one in cut] == [one.tobytes() for one in patches(picture, 5, 64, seed=3)]
    assert len({one.tobytes() for one in cut}) == 5
    assert patches(picture, 1, 500, seed=3)[0].size == (90, 90)  # no larger than the picture


def seen(network: Vgg19, *pictures: Image.Image) -> dict[str, torch.Tensor]:
    x = torch.from_numpy(np.stack([np.array(one) for one in pictures])).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        return network(x, LAYERS)


def test_like_paint_has_like_codes_and_a_set_is_spread_as_chance_is(network: Vgg19) -> None:
    shades = [(60 + 9 * n, 250 - 9 * n, (70 * n) % 256) for n in range(20)]
    codes = StyleCodes(6, LAYERS, [seen(network, flat(shade)) for shade in shades])
    found = torch.cat([codes(seen(network, flat(shade))) for shade in shades])
    assert found.shape == (20, 6)
    torch.testing.assert_close(found.mean(0), torch.zeros(6), atol=1e-3, rtol=0)
    torch.testing.assert_close(found.T @ found / 20, torch.eye(6), atol=1e-2, rtol=0)
    red, nearly, blue = (codes(seen(network, one)) for one in (RED, flat((216, 32, 32)), BLUE))
    assert (red - nearly).norm() < 0.2 * (red - blue).norm()
    assert torch.equal(codes(seen(network, RED)), red)  # nothing of it is chance


def test_what_a_small_set_cannot_tell_is_left_to_chance(network: Vgg19) -> None:
    alone = StyleCodes(24, LAYERS, [seen(network, RED)])
    torch.manual_seed(1)
    numbers = torch.randn(1, 24)
    torch.manual_seed(1)
    torch.testing.assert_close(alone(seen(network, BLUE)), numbers)
    again = StyleCodes(24, LAYERS, [seen(network, BLUE, GREEN)])
    again.load_state_dict(alone.state_dict())  # a resume's are those of the checkpoint
    torch.manual_seed(1)
    torch.testing.assert_close(again(seen(network, BLUE)), numbers)
