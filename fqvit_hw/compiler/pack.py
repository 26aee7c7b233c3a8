"""Parameters as the machine reads them from memory (docs/accelerator.md, "Weights in memory")."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..machine.hardware import Hardware
from ..machine.layouts import COLUMN, GELU_ENTRIES, NORM, SOFTMAX, STREAM
from ..units import Gelu, LayerNorm, gelu


def pack_weights(hw: Hardware, weight: np.ndarray, k_tiles: int, params: np.ndarray) -> np.ndarray:
    """weight: int8 (out, K), K in the order of the operand's bytes; params: of `pack_params`.

    -> uint8 (column tiles, hw.column_tile_bytes(k_tiles)); k_tiles: of all groups; tails are 0.
    """
    R, C = hw.rows, hw.cols
    outputs, K = weight.shape
    tiles = -(-outputs // C)
    padded = np.zeros((tiles * C, k_tiles * R), np.int8)
    padded[:outputs, :K] = weight
    # (tiles, C, K, R) -> (tiles, K, C, R)
    padded = padded.reshape(tiles, C, k_tiles, R).transpose(0, 2, 1, 3)
    columns = np.zeros((tiles * C, COLUMN.bytes), np.uint8)
    columns[:outputs] = params
    return np.concatenate(
        [
            columns.reshape(tiles, hw.param_bytes),
            np.ascontiguousarray(padded).reshape(tiles, -1).view(np.uint8),
        ],
        axis=1,
    )


def pack_params(
    bias: ArrayLike,
    multiplier: ArrayLike,
    shift: ArrayLike,
    x_factor: ArrayLike = 0,
    factor: ArrayLike = 0,
) -> np.ndarray:
    """Arrays (out,), or a number for all -> uint8 (out, COLUMN.bytes)."""
    return COLUMN.pack(
        bias=bias, multiplier=multiplier, shift=shift, x_factor=x_factor, factor=factor
    )


def pack_norm(p: LayerNorm) -> np.ndarray:
    """-> uint8 (C, NORM.bytes)."""
    return NORM.pack(gamma=p.gamma, beta=p.beta, factor=p.factor)


def pack_gelu(p: Gelu) -> np.ndarray:
    """int8 (4096,): what the unit gives for each x in -2048..2047, whatever its index width."""
    half = GELU_ENTRIES // 2
    return gelu(np.arange(-half, half, dtype=np.int16), p)


def pack_softmax(table: np.ndarray) -> np.ndarray:
    """Exponentials or codes (256,) -> uint8 (256, SOFTMAX.bytes)."""
    return SOFTMAX.pack(entry=table)


def pack_stream(codes: np.ndarray, hw: Hardware) -> np.ndarray:
    """codes (rows, C): int8 or int16 -> int16 (rows, words * lanes), tails 0."""
    lanes = hw.cols
    padded = -(-codes.shape[1] // lanes) * lanes
    out = np.zeros((len(codes), padded), STREAM.fields["code"].dtype)
    out[:, : codes.shape[1]] = codes
    return out
