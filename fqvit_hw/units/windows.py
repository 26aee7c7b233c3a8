"""Swin's windows, shifts and patch merging are addresses, not arithmetic: this unit makes them.

Tokens of a grid of `height` x `width` are numbered in raster order; PAD stands for a token that is
not there and reads as real 0, the zero point of its tensor. timm's order is kept: the cyclic shift
comes before the padding, so that padding is always at the bottom and at the right.
"""

from __future__ import annotations

import functools

import numpy as np

PAD = -1
SIZES = 64  # of grids and windows whose addresses are kept


def padded(n: int, multiple: int) -> int:
    """The smallest multiple of `multiple` that is at least n."""
    return -(-n // multiple) * multiple


def in_windows(grid: np.ndarray, window: tuple[int, int]) -> np.ndarray:
    """(H, W), multiples of the window -> (windows, tokens of a window), both in raster order."""
    (H, W), (h, w) = grid.shape, window
    # (H, W) -> (H / h, h, W / w, w) -> (H / h, W / w, h, w)
    return grid.reshape(H // h, h, W // w, w).transpose(0, 2, 1, 3).reshape(-1, h * w)


@functools.lru_cache(SIZES)
def partition(
    height: int, width: int, window: tuple[int, int], shift: tuple[int, int]
) -> np.ndarray:
    """int32 (windows, N): which token stands where in which window, PAD for none."""
    tokens = np.arange(height * width, dtype=np.int32).reshape(height, width)
    tokens = np.roll(tokens, (-shift[0], -shift[1]), (0, 1))
    grid = np.full((padded(height, window[0]), padded(width, window[1])), PAD, np.int32)
    grid[:height, :width] = tokens
    return read_only(in_windows(grid, window))


@functools.lru_cache(SIZES)
def reverse(height: int, width: int, window: tuple[int, int], shift: tuple[int, int]) -> np.ndarray:
    """int32 (height * width,): where each token stands in `partition`, flattened."""
    there = partition(height, width, window, shift).ravel()
    places = np.empty(height * width, np.int32)
    places[there[there != PAD]] = np.flatnonzero(there != PAD)
    return read_only(places)


@functools.lru_cache(SIZES)
def shift_mask(
    height: int, width: int, window: tuple[int, int], shift: tuple[int, int]
) -> np.ndarray | None:
    """bool (windows, N, N), True for pairs that were no neighbours before the shift; None for none.

    As in timm, each padded side has three regions, the borders at -window and -shift; a pair of
    tokens from two regions is left out.
    """
    if not any(shift):
        return None
    regions = []
    for side, w, s in zip((height, width), window, shift, strict=True):
        region = np.zeros(padded(side, w), np.int32)
        region[-w:] = 1
        region[len(region) - s :] = 2  # nothing where s = 0
        regions.append(region)
    grid = in_windows(3 * regions[0][:, None] + regions[1], window)
    return read_only(grid[:, :, None] != grid[:, None, :])


@functools.lru_cache(SIZES)
def merging(height: int, width: int) -> np.ndarray:
    """int32 (tokens after, 4): the 2 x 2 tokens that patch merging joins, in the order (x, y)."""
    grid = np.full((padded(height, 2), padded(width, 2)), PAD, np.int32)
    grid[:height, :width] = np.arange(height * width, dtype=np.int32).reshape(height, width)
    # (H / 2, y, W / 2, x) -> (H / 2, W / 2, x, y)
    four = grid.reshape(grid.shape[0] // 2, 2, grid.shape[1] // 2, 2).transpose(0, 2, 3, 1)
    return read_only(four.reshape(-1, 4))


def take(x, index, fill: int | None) -> np.ndarray:
    """x: (B, N, C); index: int (...) into N or PAD -> (B, ..., C), `fill` where the index is PAD.

    fill = None says that there is no PAD.
    """
    gathered = np.take(x, index, axis=1)  # PAD reads the last token, which is then overwritten
    if fill is not None:
        gathered[:, index == PAD] = fill
    return gathered


def read_only(array: np.ndarray) -> np.ndarray:
    """These tables are shared by all calls."""
    array = np.ascontiguousarray(array)
    array.setflags(write=False)
    return array
