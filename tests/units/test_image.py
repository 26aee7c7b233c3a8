"""Pixels to patches: the code of every pixel, and its place."""

from __future__ import annotations

import numpy as np
import pytest

from fqvit_hw.units import matmul, patches


def test_every_pixel_value():
    images = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    y = patches(images, 16)
    assert y.dtype == np.int8 and y.tolist() == [[list(range(-128, 128))]]


@pytest.mark.parametrize(
    ("shape", "patch"), [((2, 3, 8, 8), 2), ((1, 1, 4, 12), 4), ((1, 2, 3, 3), 1)]
)
def test_place_of_every_pixel(shape, patch):
    images = np.random.default_rng(patch).integers(0, 256, shape, np.uint8)
    B, C, H, W = shape
    y = patches(images, patch)
    assert y.shape == (B, H * W // patch**2, C * patch**2)
    for b, c, h, w in np.ndindex(shape):
        n = h // patch * (W // patch) + w // patch
        k = c * patch**2 + h % patch * patch + w % patch
        assert y[b, n, k] == int(images[b, c, h, w]) - 128


def test_im2col_is_a_convolution():
    """Rows of patches times the flattened weights are the convolution of stride `patch`."""
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (2, 3, 8, 12), np.uint8)
    weight = rng.integers(-128, 128, (5, 3, 4, 4), np.int8)
    acc = matmul(patches(images, 4), weight.reshape(5, -1))
    code = images.astype(int) - 128
    for b, o, i, j in np.ndindex(2, 5, 2, 3):
        window = code[b, :, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4]
        assert acc[b, 3 * i + j, o] == (window * weight[o].astype(int)).sum()


@pytest.mark.parametrize("patch", [3, 16])
def test_a_patch_that_does_not_divide_is_refused(patch):
    with pytest.raises(ValueError, match=f"patches: {patch} does not divide the image size 8 x 8"):
        patches(np.zeros((1, 3, 8, 8), np.uint8), patch)


@pytest.mark.parametrize(
    ("pixel", "error"),
    [(0.5, TypeError), (True, TypeError), (-1, OverflowError), (256, OverflowError)],
)
def test_pixels_that_are_not_uint8_are_refused(pixel, error):
    with pytest.raises(error, match="patches: pixel"):
        patches(np.full((1, 1, 2, 2), pixel), 2)
