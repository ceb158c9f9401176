"""Kernels in fewer bits: each tap is near what it was, and each kernel adds up to what it did."""

import numpy as np
import pytest

from allaprima.kernels import in_steps, rounded, to_bf16, to_fp16


@pytest.mark.parametrize(("to", "step"), [(to_bf16, 2.0**-8), (to_fp16, 2.0**-11)])
def test_kernels_add_up_to_what_they_did(to, step):
    kernels = np.random.default_rng(0).normal(0, 0.1, (16, 8, 3, 3)).astype(np.float32)
    found = rounded(kernels, to)
    assert np.array_equal(to(found), found), "there is nothing left to round"
    off = np.abs((found - kernels).sum((2, 3)))
    by_itself = np.abs((to(kernels.astype(np.float64)) - kernels).sum((2, 3)))
    assert off.mean() < by_itself.mean() / 10
    # a tap takes what was left of eight others, half a step of theirs each
    assert np.abs(found - kernels).max() <= 9 / 2 * step * np.abs(kernels).max()


def test_a_kernel_of_one_tap_is_the_nearest_number():
    kernels = np.array([0.1, -3.3, 0.0], np.float32).reshape(3, 1, 1, 1)
    assert np.array_equal(rounded(kernels, to_bf16), to_bf16(kernels.astype(np.float64)))


def test_bf16_is_rounded_to_the_nearest_and_to_even():
    values = np.array([1.0, 1 + 2**-9, 1 + 2**-8, 1 + 3 * 2**-8, -1 - 2**-8 - 2**-10, 65280.0, np.inf])
    expected = np.array([1.0, 1.0, 1.0, 1 + 2**-6, -1 - 2**-7, 65280.0, np.inf])
    assert np.array_equal(to_bf16(values), expected)


def test_bf16_is_that_of_torch():
    torch = pytest.importorskip("torch")
    values = np.random.default_rng(1).normal(0, 100, 10_000).astype(np.float32)
    expected = torch.from_numpy(values).bfloat16().double().numpy()
    assert np.array_equal(to_bf16(values.astype(np.float64)), expected)


def test_kernels_of_whole_steps_add_up_to_half_a_step():
    kernels = np.random.default_rng(2).normal(0, 0.1, (16, 8, 3, 3)).astype(np.float32)
    step = (np.abs(kernels).max((1, 2, 3)) / 127).astype(np.float32)
    found = in_steps(kernels, step)
    back = found * step[:, None, None, None].astype(np.float64)
    assert found.dtype == np.int8
    assert (np.abs((back - kernels).sum((2, 3))) <= 0.5001 * step[:, None]).all()
    assert (np.abs(back - kernels) <= 1.0001 * step[:, None, None, None]).all()
    changed = found != np.rint(kernels / step[:, None, None, None])
    assert 0.02 < changed.mean() < 0.2, "most taps go where they are nearest"


def test_whole_steps_end_where_eight_bits_do():
    kernels = np.full((1, 1, 3, 3), 127.4, np.float32)  # nine of 0.4 left: four more would be 128
    assert (in_steps(kernels, np.ones(1, np.float32)) == 127).all()
    assert (in_steps(-kernels, np.ones(1, np.float32)) == -127).all()
