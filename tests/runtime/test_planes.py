"""YUV 4:2:0: what its numbers mean, and that a frame carries them without touching them."""

import dataclasses

import av
import numpy as np
import pytest
from media import CODINGS, picture, planes

from allaprima.frame import Frame
from allaprima.planes import BT601, BT709, BT2020, Coding, Planes, rules


@pytest.mark.parametrize(
    ("coding", "rgb", "yuv"),
    [  # worked out by hand from BT.709-6 and BT.601-7, items 3.2 to 3.5; BT.2020-2 table 4
        (Coding(BT709), (255, 255, 255), (235, 128, 128)),
        (Coding(BT709), (0, 0, 0), (16, 128, 128)),
        (Coding(BT709), (255, 0, 0), (62.56, 102.34, 240)),
        (Coding(BT601), (255, 0, 0), (81.48, 90.20, 240)),
        (Coding(BT601, True), (255, 0, 0), (76.24, 84.97, 255.5)),
        (Coding(BT709, True), (0, 0, 255), (18.41, 255.5, 116.31)),
        (Coding(BT2020), (0, 255, 0), (164.48, 47.28, 25.01)),
    ],
)
def test_primaries_have_the_numbers_of_the_standards(coding, rgb, yuv) -> None:
    found = rules(coding)
    assert found.yuv_from_rgb @ np.array(rgb) + found.yuv_of_black == pytest.approx(yuv, abs=0.02)


@pytest.mark.parametrize("coding", CODINGS, ids=str)
def test_the_two_ways_of_a_coding_are_inverse(coding) -> None:
    found = rules(coding)
    assert found.rgb_from_yuv @ found.yuv_from_rgb == pytest.approx(np.eye(3), abs=1e-5)


def test_an_unknown_matrix_is_refused() -> None:
    with pytest.raises(ValueError, match="matrix 8"):
        rules(Coding(8))


@pytest.mark.parametrize("coding", CODINGS, ids=str)
def test_the_arithmetic_is_what_swscale_does(coding) -> None:
    """On flat chroma, where interpolation has nothing to say."""
    y = np.arange(16, 236, dtype=np.uint8).reshape(20, 11)
    u, v = np.full((10, 6), 120, np.uint8), np.full((10, 6), 140, np.uint8)
    made = Planes(y, u, v, coding).rgb()
    found = rules(coding)
    yuv = np.stack([y, np.full_like(y, 120), np.full_like(y, 140)], axis=-1) - found.yuv_of_black
    expected = np.clip(np.floor(yuv @ found.rgb_from_yuv.T + 0.5), 0, 255)
    assert np.abs(made - expected).max() <= 1


@pytest.mark.parametrize("size", [(16, 16), (17, 23), (48, 65), (1, 1)], ids=str)
@pytest.mark.parametrize("name", ["yuv420p", "nv12"])
def test_planes_are_views_of_a_decoders_frame_and_make_one_again(name, size) -> None:
    before = planes(*size)
    frame = before.frame()
    if name == "nv12":
        frame = frame.reformat(format="nv12")
    after = Planes.of(frame, before.coding)
    for plane in "yuv":
        assert np.array_equal(getattr(after, plane), getattr(before, plane))
    assert not after.y.flags.owndata


def test_what_is_not_420_is_refused() -> None:
    with pytest.raises(ValueError, match="yuv444p"):
        Planes.of(av.VideoFrame(16, 16, "yuv444p"), Coding())
    with pytest.raises(ValueError, match="not 4:2:0"):
        Planes(np.zeros((16, 16), np.uint8), np.zeros((7, 8), np.uint8), np.zeros((8, 8), np.uint8))


def test_a_frame_of_planes_is_converted_when_asked_and_once() -> None:
    frame = Frame(planes(18, 26), index=3, time=1.5)
    assert (frame.width, frame.height) == (26, 18)
    assert frame.planes is frame.picture
    image = frame.image
    assert image.shape == (18, 26, 3)
    assert frame.image is image
    later = dataclasses.replace(frame, time=2.0)
    assert later.planes is frame.planes
    assert (later.index, later.time) == (3, 2.0)


def test_a_painted_frame_has_one_picture_only() -> None:
    """Whatever form the new picture has, nothing of the old one is left to be written by mistake."""
    painted = dataclasses.replace(Frame(planes(18, 26)), picture=picture(26, 18))
    assert painted.planes is None
    assert painted.image is painted.picture


@pytest.mark.parametrize("size", [(17, 23), (48, 64)], ids=str)
def test_stacked_planes_come_apart_again(size) -> None:
    before = planes(*size, Coding(BT601, True))
    after = Planes.unstacked(before.stacked(), before.coding)
    for plane in "yuv":
        assert np.array_equal(getattr(after, plane), getattr(before, plane))


@pytest.mark.parametrize("coding", CODINGS, ids=str)
def test_the_slow_conversion_and_swscales_agree(coding) -> None:
    image = picture(64, 48)
    slow, fast = Planes.from_rgb(image, coding), Planes.converted(image, coding)
    assert np.abs(slow.y.astype(int) - fast.y).max() <= 1
    for one, other in ((slow.u, fast.u), (slow.v, fast.v)):
        assert (
            abs(one.astype(float).mean() - other.mean()) < 0.6
        )  # swscale cuts full range, and rounds limited
    assert np.abs((slow.rgb().astype(float) - image).mean((0, 1))).max() < 1
