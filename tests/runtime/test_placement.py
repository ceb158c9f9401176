"""A picture of any size goes into the tensor and its painting comes out at the picture's size."""

from dataclasses import replace

import bundles
import numpy as np
import pytest

from allaprima.manifest import Geometry
from allaprima.placement import place


def fixed(*sizes: tuple[int, int]):
    variants = tuple(
        bundles.variant(f"fp32-{height}x{width}", fixed=(height, width)) for height, width in sizes
    )
    return bundles.manifest(variants=variants)


@pytest.mark.parametrize("size", [(1, 1), (7, 33), (15, 16), (16, 16), (37, 50)])
def test_what_is_laid_in_comes_out_byte_for_byte(size):
    promise = bundles.manifest(geometry=Geometry(minimum=16, multiple_of=4))
    placement = place(size, promise)
    image = bundles.ramp(*size)
    laid = placement.lay(image)
    assert laid.shape == (1, *placement.tensor, 3)
    assert all(side >= 16 and side % 4 == 0 for side in placement.tensor)
    assert np.array_equal(placement.lift(laid), image)


def test_padding_repeats_the_edge():
    laid = place((2, 3), bundles.manifest()).lay(bundles.ramp(2, 3))[0]
    assert (laid[2:, 2] == laid[1, 2]).all()
    assert (laid[0, 3:] == laid[0, 2]).all()


def test_picture_of_a_fitting_size_is_not_touched():
    placement = place((37, 50), bundles.manifest())
    assert placement.picture == placement.inner == placement.tensor == (37, 50)


def test_fixed_size_takes_smaller_pictures_whole_and_shrinks_larger_ones_without_a_stretch():
    assert place((40, 50), fixed((64, 64))).inner == (40, 50)
    assert place((64, 64), fixed((64, 64))).tensor == (64, 64)
    wide = place((100, 200), fixed((64, 64)))
    assert wide.shrinks
    assert wide.inner == (32, 64)
    assert wide.lift(wide.lay(bundles.ramp(100, 200))).shape == (100, 200, 3)


@pytest.mark.parametrize(
    ("size", "chosen"), [((60, 60), (64, 64)), ((65, 60), (128, 128)), ((500, 500), (128, 128))]
)
def test_of_several_fixed_sizes_the_one_that_keeps_most_and_pads_least_is_taken(size, chosen):
    assert place(size, fixed((64, 64), (128, 128))).tensor == chosen


def test_very_long_picture_still_fits():
    placement = place((20, 4000), fixed((64, 64)))
    assert placement.inner[0] >= 1
    assert placement.lay(bundles.ramp(20, 4000)).shape == (1, 64, 64, 3)


def test_painting_of_scale_two_is_twice_the_picture():
    doubling = replace(bundles.manifest().outputs[0], shape=(1, "2*height", "2*width", 3))
    placement = place((7, 33), bundles.manifest(geometry=Geometry(scale=2), outputs=(doubling,)))
    doubled = placement.lay(bundles.ramp(7, 33)).repeat(2, axis=1).repeat(2, axis=2)
    assert np.array_equal(placement.lift(doubled), bundles.ramp(7, 33).repeat(2, axis=0).repeat(2, axis=1))


def test_dynamic_variant_makes_fixed_ones_optional():
    mixed = fixed((64, 64))
    mixed = replace(mixed, variants=(*mixed.variants, bundles.variant("fp32")))
    assert place((200, 100), mixed).tensor == (200, 100)
