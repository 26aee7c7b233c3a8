"""Pixels to patches: uint8 images become int8 codes, one row per patch (im2col)."""

from __future__ import annotations

import numpy as np

from ..formats import INT8, UINT8, require


def patches(images, patch: int, pad=None) -> np.ndarray:
    """images: uint8 (B, C, H, W) -> int8 codes pixel - 128 (B, N, C * patch * patch).

    Rows are patches in raster order, columns in the order of a convolution's weights (C, y, x).
    pad: int8 (C,), the codes that fill an image at the bottom and the right up to whole patches.
    Raises TypeError or OverflowError for what is not uint8, ValueError if patch does not divide H
    and W and there is no pad.
    """
    images = require(images, UINT8, "patches: pixel")
    codes = (images.astype(np.int16) + INT8.min).astype(np.int8)
    B, C, H, W = codes.shape
    bottom, right = -H % patch, -W % patch
    if bottom or right:
        if pad is None:
            raise ValueError(f"patches: {patch} does not divide the image size {H} x {W}")
        whole = np.empty((B, C, H + bottom, W + right), np.int8)
        whole[:] = np.asarray(pad, np.int8).reshape(C, 1, 1)
        whole[:, :, :H, :W] = codes
        codes, H, W = whole, H + bottom, W + right
    grid = codes.reshape(B, C, H // patch, patch, W // patch, patch)
    # (B, C, h, y, w, x) -> (B, h, w, C, y, x) -> (B, N, K)
    return grid.transpose(0, 2, 4, 1, 3, 5).reshape(B, H * W // patch**2, C * patch * patch)
