"""Pixels to patches: uint8 images become int8 codes, one row per patch (im2col)."""

from __future__ import annotations

import numpy as np

from ..formats import INT8, UINT8, require


def patches(images, patch: int) -> np.ndarray:
    """images: uint8 (B, C, H, W) -> int8 codes pixel - 128 (B, N, C * patch * patch).

    Rows are patches in raster order, columns in the order of a convolution's weights (C, y, x).
    Raises TypeError or OverflowError for what is not uint8, ValueError if patch does not divide H
    and W.
    """
    images = require(images, UINT8, "patches: pixel")
    B, C, H, W = images.shape
    if H % patch or W % patch:
        raise ValueError(f"patches: {patch} does not divide the image size {H} x {W}")
    codes = (images.astype(np.int16) + INT8.min).astype(np.int8)
    grid = codes.reshape(B, C, H // patch, patch, W // patch, patch)
    # (B, C, h, y, w, x) -> (B, h, w, C, y, x) -> (B, N, K)
    return grid.transpose(0, 2, 4, 1, 3, 5).reshape(B, H * W // patch**2, C * patch * patch)
