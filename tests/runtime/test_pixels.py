"""The pixel rules, over all the bytes there are."""

import numpy as np
import pytest

from allaprima.pixels import fit, from_unit, pad_edge, resize, to_unit

BYTES = np.arange(256, dtype=np.uint8)


def test_every_byte_comes_back_as_itself() -> None:
    assert np.array_equal(from_unit(to_unit(BYTES)), BYTES)


def test_rounding_is_to_the_nearest_and_the_half_goes_up() -> None:
    between = (np.arange(255, dtype=np.float32) + np.float32(0.5)) / np.float32(255)
    assert np.abs(from_unit(between).astype(int) - np.arange(255)).max() <= 1
    assert np.array_equal(from_unit((BYTES[:255] + np.float32(0.49)) / 255), BYTES[:255])
    assert np.array_equal(from_unit((BYTES[:255] + np.float32(0.51)) / 255), BYTES[1:])


@pytest.mark.parametrize(
    ("value", "byte"),
    [(-0.1, 0), (1.2, 255), (300 / 255, 255), (np.nan, 0), (np.inf, 255), (-np.inf, 0), (1e30, 255)],
)
def test_what_lies_outside_is_clipped_and_never_wraps(value: float, byte: int) -> None:
    assert from_unit(np.array([value], np.float32))[0] == byte


def test_a_resized_picture_keeps_its_mean_and_its_shape() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (90, 160, 3), dtype=np.uint8)
    smaller = resize(picture, 40, 30)
    assert smaller.shape == (30, 40, 3)
    assert abs(smaller.mean() - picture.mean()) < 2
    assert smaller.std() < picture.std() / 2  # averaged, not picked
    assert resize(picture, 160, 90) is picture


@pytest.mark.parametrize(
    ("size", "box", "fitted"),
    [
        ((1920, 1080), (1280, 720), (1280, 720)),
        ((1080, 1920), (1280, 720), (404, 720)),
        ((640, 480), (1280, 720), (640, 480)),
        ((641, 481), (641, 481), (641, 481)),
        ((5000, 10), (100, 100), (100, 2)),
    ],
)
def test_fit_keeps_the_aspect_in_even_numbers_and_never_enlarges(
    size: tuple[int, int], box: tuple[int, int], fitted: tuple[int, int]
) -> None:
    assert fit(*size, box) == fitted


def test_padding_repeats_the_edge() -> None:
    picture = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    padded = pad_edge(picture, 1, 2, 3, 0)
    assert padded.shape == (4, 6, 3)
    assert np.array_equal(padded[0, 0], picture[0, 0])
    assert np.array_equal(padded[3, 5], picture[1, 1])
