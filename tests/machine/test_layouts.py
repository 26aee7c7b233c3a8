"""Bytes in memory, against Python's `struct` and the formats of the model."""

from __future__ import annotations

import struct
import subprocess
import sys

import numpy as np
import pytest

from fqvit_hw.compiler.pack import (
    pack_norm,
    pack_params,
    pack_softmax,
    pack_stream,
    pack_weights,
)
from fqvit_hw.formats import BETA
from fqvit_hw.machine.hardware import BASE, ECP5_85K, HARDWARE, TINY
from fqvit_hw.units import LayerNorm


def test_a_column():
    raw = pack_params([-(2**31), 2**31 - 1], [0xFFFF, 1], [47, 255], [3, 1], [2, 0])
    assert raw[0].tobytes() == struct.pack("<iHBB", -(2**31), 0xFFFF, 47, 3 | 2 << 2)
    assert raw[1].tobytes() == struct.pack("<iHBB", 2**31 - 1, 1, 255, 1)


def test_a_multiplier_that_does_not_fit():
    with pytest.raises(OverflowError, match=r"column\.multiplier: 65536 does not fit uint16"):
        pack_params([0], [65536], [1])


def test_a_channel_of_a_layernorm():
    gamma, beta = np.array([-32768, 32767]), np.array([BETA.min, BETA.max])
    raw = pack_norm(LayerNorm(np.array([3, 1]), 5, 8, 1, gamma, 2, beta, 0))
    for n, factor in enumerate((3, 1)):
        assert raw[n].tobytes() == struct.pack("<hiBx", gamma[n], beta[n], factor)


def test_exponentials():
    table = np.array([0, 1, 0xFFFFFF], np.uint32)
    assert pack_softmax(table).tobytes() == struct.pack("<III", 0, 1, 0xFFFFFF)


def test_the_stream():
    packed = pack_stream(np.array([[-1, 2, -32768, 4, 5]]), TINY)
    assert packed.tobytes() == struct.pack("<8h", -1, 2, -32768, 4, 5, 0, 0, 0)


@pytest.mark.parametrize("hw", [TINY, ECP5_85K, BASE], ids=lambda hw: hw.name)
def test_a_column_tile(hw):
    """Parameters, then tiles; byte c * R + r of a tile is row r, column c; tails are 0."""
    R, C = hw.rows, hw.cols
    rng = np.random.default_rng(0)
    weight = rng.integers(-128, 128, (C + 1, R + 1)).astype(np.int8)
    params = pack_params(rng.integers(-99, 99, C + 1), rng.integers(1 << 15, 1 << 16, C + 1), 7)
    raw = pack_weights(hw, weight, 2, params)
    assert raw.shape == (2, hw.column_tile_bytes(2)) == (2, 8 * C + 2 * R * C)
    assert hw.param_beats + 2 * hw.tile_beats == raw.shape[1] // hw.bus_bytes
    assert raw[0, : 8 * C].tobytes() == params[:C].tobytes()
    assert raw[1, : 8 * C].tobytes() == params[C].tobytes() + bytes(8 * (C - 1))
    tiles = raw[:, 8 * C :].view(np.int8).reshape(2, 2, C, R)
    assert np.array_equal(tiles[0, 0], weight[:C, :R])
    assert np.array_equal(tiles[1, 1, 0], [weight[C, R], *[0] * (R - 1)])
    assert np.count_nonzero(tiles) == np.count_nonzero(weight)


def test_a_column_tile_is_whole_beats():
    for hw in HARDWARE.values():
        assert hw.param_bytes % hw.bus_bytes == hw.tile_bytes % hw.bus_bytes == 0


@pytest.mark.parametrize("module", ["fields", "layouts", "registers", "isa", "hardware"])
def test_neither_amaranth_nor_torch(module):
    """A host driver takes offsets and layouts from these."""
    code = (
        f"import sys, fqvit_hw.machine.{module}; print({{'amaranth', 'torch'}} & {{*sys.modules}})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
