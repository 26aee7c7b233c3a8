"""Parameters as the machine reads them from memory (docs/accelerator.md, "Weights in memory")."""

from __future__ import annotations

import numpy as np

from ..machine.hardware import EXP_BYTES, GELU_ENTRIES, NORM_BYTES, PARAM_BYTES, Hardware
from ..units import Gelu, LayerNorm, gelu


def pack_weights(hw: Hardware, weight, k_tiles: int, params) -> np.ndarray:
    """weight: int8 (out, K), K in the order of the operand's bytes; params: of `pack_params`.

    -> uint8, for each column tile its parameters and k_tiles tiles (of all groups); tails are 0.
    """
    R, C = hw.rows, hw.cols
    outputs, K = weight.shape
    tiles = -(-outputs // C)
    padded = np.zeros((tiles * C, k_tiles * R), np.int8)
    padded[:outputs, :K] = weight
    # (tiles, C, K, R) -> (tiles, K, R, C)
    padded = padded.reshape(tiles, C, k_tiles, R).transpose(0, 2, 3, 1)
    columns = np.zeros((tiles * C, PARAM_BYTES), np.uint8)
    columns[:outputs] = params
    return np.concatenate(
        [
            columns.reshape(tiles, C * PARAM_BYTES),
            np.ascontiguousarray(padded).reshape(tiles, -1).view(np.uint8),
        ],
        axis=1,
    )


def pack_params(bias, multiplier, shift, x_factor=0, factor=0) -> np.ndarray:
    """Arrays (out,) -> uint8 (out, 8)."""
    out = np.zeros((len(bias), PARAM_BYTES), np.uint8)
    out[:, 0:4] = np.asarray(bias).astype("<i4").view(np.uint8).reshape(-1, 4)
    out[:, 4:6] = np.asarray(multiplier).astype("<u2").view(np.uint8).reshape(-1, 2)
    out[:, 6] = shift
    out[:, 7] = np.asarray(x_factor) | np.asarray(factor) << 2
    return out


def pack_norm(p: LayerNorm) -> np.ndarray:
    """-> uint8 (C, 8)."""
    out = np.zeros((len(p.factor), NORM_BYTES), np.uint8)
    out[:, 0:2] = p.gamma.astype("<i2").view(np.uint8).reshape(-1, 2)
    out[:, 2:6] = p.beta.astype("<i4").view(np.uint8).reshape(-1, 4)
    out[:, 6] = p.factor
    return out


def pack_gelu(p: Gelu) -> np.ndarray:
    """int8 (4096,): what the unit gives for each x in -2048..2047, whatever its index width."""
    half = GELU_ENTRIES // 2
    return gelu(np.arange(-half, half, dtype=np.int16), p)


def pack_exponentials(table) -> np.ndarray:
    """uint24 (256,) -> 4 bytes each."""
    assert EXP_BYTES == 4
    return table.astype("<u4")


def pack_stream(codes, hw: Hardware) -> np.ndarray:
    """codes (rows, C): int8 or int16 -> int16 (rows, words * lanes), tails 0."""
    lanes = hw.cols
    out = np.zeros((len(codes), -(-codes.shape[1] // lanes) * lanes), "<i2")
    out[:, : codes.shape[1]] = codes
    return out
