"""Calm video: noise is averaged away, motion is followed, what is new is shown at once."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import pytest

from allaprima.errors import DeviceError
from allaprima.frame import Image
from allaprima.metrics import static_jitter, steadiness
from allaprima.temporal import Stabiliser, Still

cv2 = pytest.importorskip("cv2")


def scene(seed: int = 0, size: tuple[int, int] = (120, 160)) -> Image:
    """(H, W, 3): soft blobs, so that a flow can be found everywhere."""
    noise = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    blurred = cv2.GaussianBlur(noise, (0, 0), 3).astype(np.float32)
    low, high = blurred.min(), blurred.max()
    return ((blurred - low) * (255 / (high - low))).astype(np.uint8)


def pan(count: int, step: int = 2) -> list[Image]:
    """A camera that turns right by `step` pixels a frame over a still scene."""
    wide = scene(size=(120, 160 + count * step))
    return [wide[:, number * step : number * step + 160].copy() for number in range(count)]


def flickering(images: list[Image], strength: float = 12.0) -> Iterator[Image]:
    """Paintings whose strokes are chosen anew for each frame."""
    random = np.random.default_rng(1)
    for image in images:
        strokes = cv2.GaussianBlur(random.normal(0, strength * 6, image.shape).astype(np.float32), (0, 0), 2)
        yield np.clip(255 - image + strokes, 0, 255).astype(np.uint8)


def noisy(image: Image, sigma: float, seed: int) -> Image:
    return np.clip(image + np.random.default_rng(seed).normal(0, sigma, image.shape), 0, 255).astype(np.uint8)


def test_a_panning_camera_and_a_flickering_painter_become_a_steady_video() -> None:
    images = pan(12)
    painted = list(flickering(images))
    stabiliser = Stabiliser(0.8)
    calm = [stabiliser(image, one) for image, one in zip(images, painted, strict=True)]
    before, after = steadiness(images, painted), steadiness(images, calm)
    assert before.warping_error > 5
    assert after.warping_error < before.warping_error / 2
    np.testing.assert_array_equal(calm[0], painted[0])


def test_amount_0_and_a_first_frame_are_the_painting_itself() -> None:
    images = pan(3)
    stabiliser = Stabiliser(0.0)
    for image, painted in zip(images, flickering(images), strict=True):
        assert stabiliser(image, painted) is painted


def test_a_still_scene_stays_as_sharp_as_it_was_painted() -> None:
    image = scene()
    stabiliser = Stabiliser(0.8)
    for number in range(6):
        shown = stabiliser(noisy(image, 1.0, number), 255 - image)
    np.testing.assert_array_equal(shown, 255 - image)


def test_a_cut_shows_nothing_of_the_scene_before() -> None:
    one, other = scene(1), 255 - scene(1)
    stabiliser = Stabiliser(0.9)
    stabiliser(one, one)
    assert stabiliser(other, other) is other
    assert stabiliser.follow(255 - other) is None


def test_what_comes_into_view_is_shown_at_once() -> None:
    image = scene()
    changed = image.copy()
    changed[40:80, 60:100] = (250, 10, 10)
    stabiliser = Stabiliser(0.9)
    stabiliser(image, image)
    shown = stabiliser(changed, changed)
    inside = np.s_[46:74, 66:94]
    np.testing.assert_array_equal(shown[inside], changed[inside])
    assert np.abs(shown[:20].astype(int) - image[:20]).mean() < 1


def test_a_frame_that_was_not_painted_looks_like_the_last_painting_moved_along() -> None:
    images = pan(2, step=4)
    stabiliser = Stabiliser(0.5)
    assert stabiliser.follow(images[0]) is None  # nothing to follow yet
    stabiliser(images[0], 255 - images[0])
    followed = stabiliser.follow(images[1])
    assert followed is not None
    wanted, stale = 255 - images[1], 255 - images[0]
    inner = np.s_[10:-10, 10:-14]  # the right edge came into view
    error = np.abs(followed[inner].astype(int) - wanted[inner]).mean()
    assert error < np.abs(stale[inner].astype(int) - wanted[inner]).mean() / 4
    assert error < 4


def test_another_size_or_a_painting_of_another_size_begins_anew() -> None:
    small, large = scene(size=(60, 80)), scene(size=(120, 160))
    stabiliser = Stabiliser(0.8)
    stabiliser(large, large)
    assert stabiliser(small, small) is small
    assert stabiliser(small, large) is large
    assert stabiliser(large, small) is small
    stabiliser.reset()
    assert stabiliser(large, small) is small


def test_paintings_of_twice_the_size_are_steadied_too() -> None:
    images = pan(6)
    painted = [np.repeat(np.repeat(one, 2, 0), 2, 1) for one in flickering(images)]
    stabiliser = Stabiliser(0.8)
    calm = [stabiliser(image, one) for image, one in zip(images, painted, strict=True)]
    doubled = [np.repeat(np.repeat(one, 2, 0), 2, 1) for one in images]
    assert steadiness(doubled, calm).warping_error < steadiness(doubled, painted).warping_error * 0.6


@pytest.mark.parametrize("amount", [-0.1, 0.96, float("nan")])
def test_an_amount_that_cannot_be_is_refused(amount: float) -> None:
    with pytest.raises(ValueError, match=r"0 to 0\.95"):
        Stabiliser(amount)


def test_without_opencv_the_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(DeviceError, match="libgl1") as caught:
        Stabiliser()
    assert caught.value.code == "E_DISPLAY_LIBRARY"


@pytest.mark.parametrize("sigma", [0.0, 2.0, 5.0])
def test_noise_alone_is_no_reason_to_paint(sigma: float) -> None:
    image = np.clip(scene(size=(720, 1280)), 30, 225)
    still = Still()
    assert not still(noisy(image, sigma, 0))
    assert all(still(noisy(image, sigma, seed)) for seed in range(1, 6))


def test_a_fingertip_and_a_slow_dawn_are_seen() -> None:
    image = scene(size=(720, 1280)) // 2
    still = Still()
    still(image)
    finger = image.copy()
    finger[300:309, 500:509] += 90
    assert not still(finger)
    assert still(finger)
    dawn = [not still(finger + np.uint8(step)) for step in range(1, 10)]
    assert 2 <= sum(dawn) <= 4  # each time that it has become 2 to 3 levels lighter since the last painting


def test_a_change_of_style_or_size_is_painted() -> None:
    image = scene()
    still = Still()
    assert not still(image)
    still.reset()
    assert not still(image)
    assert not still(scene(size=(60, 80)))


def test_measures_of_steadiness_are_what_arithmetic_says() -> None:
    images = pan(5)
    perfect = steadiness(images, [255 - image for image in images])
    assert perfect.warping_error == pytest.approx(perfect.source_warping_error, rel=0.05)
    assert perfect.difference_ratio == pytest.approx(1.0, abs=1e-6)
    assert perfect.pairs == 4
    still = [scene()] * 4
    wobbling = [np.clip(scene(), 20, 230) + np.uint8(10 * (number % 2)) for number in range(4)]
    assert steadiness(still, wobbling).warping_error == pytest.approx(10, rel=0.01)
    assert steadiness(still, still).warping_error == 0


def test_jitter_of_a_painter_that_copies_is_the_noise_itself_and_of_one_that_ignores_none() -> None:
    image = np.full((64, 64, 3), 120, np.uint8)
    copied = static_jitter(lambda picture: picture, image, noise=3.0)
    assert copied == pytest.approx(3 * 2**0.5, rel=0.03)
    assert static_jitter(lambda picture: image, image) == 0
    stabiliser = Stabiliser(0.8)
    assert static_jitter(lambda picture: stabiliser(picture, picture), image, noise=3.0) < copied / 2


def test_measuring_asks_for_frames_that_belong_together() -> None:
    with pytest.raises(ValueError, match="two frames"):
        steadiness([scene()], [scene()])
    with pytest.raises(ValueError, match="cannot be compared"):
        steadiness([scene()] * 2, [scene(size=(60, 80))] * 2)
