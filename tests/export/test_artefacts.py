"""The measures see a grid and a border that were drawn in, and nothing where there is none."""

import numpy as np
import pytest
import trained

from allaprima.frame import Image
from allaprima_export.artefacts import border, grid


def strokes(image: Image) -> Image:
    """Painted without fault: stronger contrast and noise, the same everywhere."""
    chance = np.random.default_rng(5).normal(0, 12, image.shape)
    return np.clip((image - 128.0) * 1.3 + 128 + chance, 0, 255).astype(np.uint8)


def photos() -> list[Image]:
    return [np.clip(trained.soft(208, 256, n) + np.random.default_rng(n).normal(0, 4, (208, 256, 3)), 0, 255)
            .astype(np.uint8) for n in range(6)]  # fmt: skip


def test_strokes_without_a_grid_measure_as_none() -> None:
    found = grid([(photo, strokes(photo)) for photo in photos()], 8)
    assert found
    assert abs(found.excess_db) < 0.5


@pytest.mark.parametrize("levels", [1.5, 4])
def test_a_faint_grid_is_seen_and_its_frequency_named(levels: float) -> None:
    columns = levels * np.cos(2 * np.pi * 3 / 8 * np.arange(256))
    pairs = [
        (photo, np.clip(strokes(photo) + columns[None, :, None], 0, 255).astype(np.uint8))
        for photo in photos()
    ]
    found = grid(pairs, 8)
    assert not found
    assert found.worst in ((0, 3), (0, 5))  # a real signal has its line twice


def test_a_grid_that_the_picture_has_itself_is_no_fault_of_the_painting() -> None:
    columns = 6 * np.cos(2 * np.pi / 4 * np.arange(256))[None, :, None]
    pairs = [(np.clip(photo + columns, 0, 255).astype(np.uint8),) * 2 for photo in photos()]
    assert grid(pairs, 4).excess_db == pytest.approx(0, abs=1e-9)


def test_flat_pictures_have_no_grid_and_no_nan() -> None:
    flat = np.full((192, 192, 3), 90, np.uint8)
    assert grid([(flat, flat)], 8).excess_db == pytest.approx(0, abs=1e-9)


def test_a_painter_that_knows_no_border_measures_as_one() -> None:
    found = border(lambda image: 255 - image, photos())
    assert found
    assert (found.brightness, found.contrast, found.detail) == pytest.approx((1, 1, 1))
    assert found.sky_levels == 0


def test_a_band_along_the_border_is_seen() -> None:
    def banded(image: Image) -> Image:
        painted = image.astype(float)
        painted[:8] *= 0.6
        painted[-8:] *= 0.6
        return painted.astype(np.uint8)

    found = border(banded, photos())
    assert not found
    assert found.brightness < 0.9


def test_a_band_that_only_a_plain_sky_shows_is_seen() -> None:
    def banded(image: Image) -> Image:
        busy = np.abs(np.diff(image.astype(float), axis=0)).mean() > 2
        painted = image.astype(float)
        if not busy:
            painted[-24:, :, 2] -= 12
        return np.clip(painted, 0, 255).astype(np.uint8)

    found = border(banded, photos())
    assert (found.brightness, found.contrast, found.detail) == pytest.approx((1, 1, 1))
    assert found.sky_levels == pytest.approx(12, abs=0.5)
    assert not found
