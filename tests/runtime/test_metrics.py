"""PSNR and SSIM against arithmetic and against the definition written out slowly."""

import numpy as np
import pytest
from bundles import ramp

from allaprima.metrics import IDENTICAL_DB, compare, psnr, ssim, ssim_structure


def test_equal_pictures_are_identical():
    same = compare(ramp(20, 30), ramp(20, 30))
    assert (same.psnr_db, same.ssim, same.max_difference) == (IDENTICAL_DB, pytest.approx(1.0), 0)


def test_psnr_of_a_known_error():
    black = np.zeros((16, 16, 3), np.uint8)
    assert psnr(black, black + 255) == pytest.approx(0.0)
    assert psnr(black, black + 1) == pytest.approx(20 * np.log10(255))


def test_largest_difference_counts_both_directions():
    dark, light = np.full((16, 16, 3), 3, np.uint8), np.full((16, 16, 3), 250, np.uint8)
    assert compare(dark, light).max_difference == compare(light, dark).max_difference == 247


def test_ssim_equals_its_definition_window_by_window():
    ours = ramp(15, 17)
    theirs = np.clip(ours.astype(int) + ((np.arange(17) % 5) * 9)[None, :, None] - 18, 0, 255).astype(
        np.uint8
    )
    offsets = np.arange(-5, 6)
    window = np.exp(-(offsets[:, None] ** 2 + offsets[None, :] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    x, y = (image @ np.array([0.299, 0.587, 0.114]) for image in (ours, theirs))
    values = []
    for row in range(15 - 10):
        for column in range(17 - 10):
            a, b = (grey[row : row + 11, column : column + 11] for grey in (x, y))
            mean_a, mean_b = (window * a).sum(), (window * b).sum()
            variance_a, variance_b = (window * (a - mean_a) ** 2).sum(), (window * (b - mean_b) ** 2).sum()
            covariance = (window * (a - mean_a) * (b - mean_b)).sum()
            values.append(
                (2 * mean_a * mean_b + 2.55**2)
                * (2 * covariance + 7.65**2)
                / ((mean_a**2 + mean_b**2 + 2.55**2) * (variance_a + variance_b + 7.65**2))
            )
    assert ssim(ours, theirs) == pytest.approx(np.mean(values), abs=1e-9)
    assert 0 < ssim(ours, theirs) < 1


def test_the_structure_factor_is_blind_to_brightness_and_contrast_and_sees_what_is_upside_down():
    waves = 128 + 60 * np.sin(np.arange(40) / 3)[None, :, None] * np.ones((30, 1, 3))
    picture, fainter, inverted = (one.astype(np.uint8) for one in (waves, waves / 2 + 100, 255 - waves))
    assert ssim_structure(picture, picture) == pytest.approx(1)
    assert ssim_structure(fainter, picture) > 0.99 > 0.9 > ssim(fainter, picture)
    assert ssim_structure(inverted, picture) < -0.7  # where a wave turns, windows are nearly flat


def test_pictures_of_two_shapes_are_not_compared():
    with pytest.raises(ValueError, match="two shapes"):
        psnr(ramp(16, 16), ramp(16, 17))


def test_ssim_says_that_a_picture_is_smaller_than_its_window():
    with pytest.raises(ValueError, match="11 pixels"):
        ssim(ramp(10, 40), ramp(10, 40))
