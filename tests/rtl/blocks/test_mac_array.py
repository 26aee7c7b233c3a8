"""MacArray in Amaranth's simulator: sums, exact latency, no bubbles, sizes, tile loading."""

from __future__ import annotations

import numpy as np
import pytest

from fqvit_hw.rtl.blocks.mac_array import MacArray, MacArrayConfig
from tests.rtl.streams import drive


def simulate(dut, inputs, n_out, stall=0.0, constants=None):
    """Returns the rows of `o`, and the handshake cycles of `i` and `o`, counted alike."""
    records = drive(dut, inputs, {"o": n_out}, constants=constants, stall=stall)
    rows = np.array([beat["data"] for beat in records["o"].beats])
    return rows, {name: record.cycles for name, record in records.items()}


def weight_beats(tile, load):
    """tile: (rows, cols) -> payloads of `weights`."""
    rows = tile if load == "rows" else tile.T
    return [{"data": r.tolist(), "last": n == len(rows) - 1} for n, r in enumerate(rows)]


def beat(config, row, **fields):
    payload = {"data": [int(x) for x in row], "tile": 0, "release": 0, "addr": 0}
    payload |= {"first": 1, "last": 1} | ({"shift": 0} if config.both else {}) | fields
    return payload


SHAPES = [(4, 4), (8, 16), (6, 10), (1, 3), (3, 1), (17, 2)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("load", ["rows", "columns"])
@pytest.mark.parametrize("stalls", [False, True])
def test_matmul_over_k_tiles(shape, load, stalls):
    """Token-major: all tokens of a tile, then the next tile; extremes of both operands included."""
    rng = np.random.default_rng([*shape, stalls])
    R, C = shape
    tokens, k_tiles = max(R, C) + 3, 3
    config = MacArrayConfig(R, C, depth=tokens, load=load)
    dut = MacArray(config)
    a = rng.integers(-256, 256, (tokens, k_tiles * R))
    a[0] = -256
    w = rng.integers(-256, 256, (k_tiles * R, C))
    w[:, 0] = -256
    tiles = w.reshape(k_tiles, R, C)
    weights = [b for t in tiles for b in weight_beats(t, load)]
    beats = [
        beat(config, a[n, k * R : (k + 1) * R], addr=n, first=k == 0, last=k == k_tiles - 1,
             release=n == tokens - 1)
        for k in range(k_tiles)
        for n in range(tokens)
    ]  # fmt: skip
    stall = 0.3 if stalls else 0.0
    got, times = simulate(dut, {"weights": weights, "i": beats}, tokens, stall)
    np.testing.assert_array_equal(got, a @ w)
    if not stalls:
        start = R if load == "rows" else C  # the first tile is loaded
        assert times["i"] == list(range(start, start + len(beats)))
        first = times["i"][-tokens] + dut.latency
        assert times["o"] == list(range(first, first + tokens))


@pytest.mark.parametrize("rows,latency", [(1, 6), (4, 7), (5, 8), (16, 9), (17, 10), (64, 11)])
def test_latency(rows, latency):
    config = MacArrayConfig(rows, 2)
    dut = MacArray(config)
    weights = weight_beats(np.ones((rows, 2), int), "rows")
    got, times = simulate(dut, {"weights": weights, "i": [beat(config, [1] * rows)]}, 1)
    assert got.tolist() == [[rows, rows]]
    assert dut.latency == latency == times["o"][0] - times["i"][0]


EXTREMES = {"low": (-128, 127, -1, 0, 1), "factor": (-256, 255, -128, 127, -1, 0, 1)}


@pytest.mark.parametrize("cols", [4, 3])
@pytest.mark.parametrize("stalls", [False, True])
def test_pairs_of_extremes(cols, stalls):
    """Every pair of extreme weights in one multiplier, times every extreme operand: each product is
    exact, whatever its neighbour borrows or carries; an odd column has no neighbour."""
    values = EXTREMES["low"]
    tiles = [np.array([[x, y, y, x][:cols]]) for x in values for y in values]
    config = MacArrayConfig(1, cols, tiles=len(tiles), bitshift=False, pairs=True)
    dut = MacArray(config)
    beats = [
        beat(config, [factor], tile=n) for n in range(len(tiles)) for factor in EXTREMES["factor"]
    ]
    expected = [factor * tile[0] for tile in tiles for factor in EXTREMES["factor"]]
    weights = [b for tile in tiles for b in weight_beats(tile, "rows")]
    streams = {"weights": weights, "i": beats}
    got, times = simulate(dut, streams, len(beats), 0.3 if stalls else 0.0)
    np.testing.assert_array_equal(got, expected)
    if not stalls:
        assert dut.latency == 8 == times["o"][-1] - times["i"][-1]


@pytest.mark.parametrize("shape", [(4, 4), (8, 16), (6, 7)])
def test_pairs_over_k_tiles(shape):
    """Dot products of int8 and uint8 operands, a sum of many terms of both signs."""
    R, C = shape
    rng = np.random.default_rng(shape)
    tokens, k_tiles = max(R, C) + 3, 3
    config = MacArrayConfig(R, C, depth=tokens, bitshift=False, pairs=True)
    a = rng.integers(-256, 256, (tokens, k_tiles * R))
    w = rng.integers(-128, 128, (k_tiles * R, C))
    a[0], w[:, 0] = -256, -128
    weights = [b for t in w.reshape(k_tiles, R, C) for b in weight_beats(t, "rows")]
    beats = [
        beat(config, a[n, k * R : (k + 1) * R], addr=n, first=k == 0, last=k == k_tiles - 1,
             release=n == tokens - 1)
        for k in range(k_tiles)
        for n in range(tokens)
    ]  # fmt: skip
    got, _ = simulate(MacArray(config), {"weights": weights, "i": beats}, tokens)
    np.testing.assert_array_equal(got, a @ w)


@pytest.mark.parametrize("multiply, shifters", [(False, False), (True, False), (True, True)])
def test_bitshift_every_code(multiply, shifters):
    """All 16 codes against extreme operands; with both modes, beats of either kind alternate."""
    config = MacArrayConfig(4, 4, tiles=1, multiply=multiply, shifters=shifters)
    dut = MacArray(config)
    v = np.array([[-256, 255, 1, -1], [0] * 4, [-128, 127, 3, -3], [7] * 4])
    codes = np.stack([np.arange(16), np.arange(16), np.arange(16)[::-1], np.full(16, 15)], 1)
    weight = np.where(codes == 15, 0, 1 << (14 - np.minimum(codes, 14)))
    beats, expected = [], []
    for code, w in zip(codes, weight, strict=True):
        beats.append(beat(config, code, **({"shift": 1} if multiply else {})))
        expected.append(w @ v)
        if multiply:
            beats.append(beat(config, code))
            expected.append(code @ v)
    streams = {"weights": weight_beats(v, "rows"), "i": beats}
    got, times = simulate(dut, streams, len(beats))
    np.testing.assert_array_equal(got, expected)
    assert times["o"] == list(range(times["o"][0], times["o"][0] + len(beats)))


@pytest.mark.parametrize("stalls", [False, True])
@pytest.mark.parametrize("depth", [1, 3])
def test_bias_and_repeated_rows(stalls, depth):
    """One bias beat for every `first`; beats pile up on the same row and on alternating ones."""
    rng = np.random.default_rng(depth)
    config = MacArrayConfig(2, 3, tiles=1, depth=depth, bias=True)
    dut = MacArray(config)
    w = rng.integers(-256, 256, (2, 3))
    order = [0] * 4 if depth == 1 else [0, 0, 1, 1, 0, 1, 2, 1, 2, 0, 0, 2]
    beats, biases, expected = [], [], []
    for _ in range(6):
        rows = {}
        for n, addr in enumerate(order):
            a = rng.integers(-256, 256, 2)
            first, last = addr not in rows, addr not in order[n + 1 :]
            if first:
                rows[addr] = rng.integers(-(2**30), 2**30, 3)
                biases.append({"data": rows[addr].tolist()})
            rows[addr] = rows[addr] + a @ w
            if last:
                expected.append(rows[addr])
            beats.append(beat(config, a, addr=addr, first=first, last=last))
    stall = 0.4 if stalls else 0.0
    streams = {"weights": weight_beats(w, "rows"), "i": beats, "bias": biases}
    got, times = simulate(dut, streams, len(expected), stall)
    np.testing.assert_array_equal(got, expected)
    if not stalls:
        assert times["i"] == list(range(times["i"][0], times["i"][0] + len(beats)))


def test_ring_wraps_and_releases_several_tiles():
    """5 tiles of capacity, 13 tiles used out of order, released by twos and threes."""
    rng = np.random.default_rng(0)
    config = MacArrayConfig(2, 2, tiles=5)
    dut = MacArray(config)
    tiles = rng.integers(-128, 128, (13, 2, 2))
    uses = [(1, 0), (0, 0), (2, 1), (0, 0), (4, 0), (1, 1), (3, 0), (2, 0), (4, 1), (2, 1)]
    beats, expected, oldest = [], [], 0
    for tile, release in uses:
        a = rng.integers(-128, 128, 2)
        beats.append(beat(config, a, tile=tile, release=release))
        expected.append(a @ tiles[oldest + tile])
        oldest += (tile + 1) * release
    weights = [b for t in tiles for b in weight_beats(t, "rows")]
    got, _ = simulate(dut, {"weights": weights, "i": beats}, len(beats))
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("load", ["rows", "columns"])
def test_group_with_an_early_last(load):
    """Three tiles fill side by side; the second group has fewer lanes, met by operands 0."""
    rng = np.random.default_rng(1)
    config = MacArrayConfig(4, 4, tiles=7, load=load, group=4)
    dut = MacArray(config)
    tiles = rng.integers(-128, 128, (6, 4, 4))
    weights = []
    for first, lanes in ((0, 4), (3, 2)):
        for lane in range(lanes):
            for n in range(first, first + 3):
                row = tiles[n][lane] if load == "rows" else tiles[n][:, lane]
                weights.append({"data": row.tolist(), "last": lane == lanes - 1 and n == first + 2})
    a = rng.integers(-128, 128, (6, 4))
    expected = np.einsum("nr,nrc->nc", a, tiles)
    if load == "rows":
        a[3:, 2:] = 0
        expected = np.einsum("nr,nrc->nc", a, tiles)
    beats = [beat(config, a[n], tile=n) for n in range(6)]
    streams = {"weights": weights, "i": beats}
    got, _ = simulate(dut, streams, 6, constants={"group": 3})
    columns = slice(None) if load == "rows" else slice(0, 2)  # of the second group
    np.testing.assert_array_equal(got[:3], expected[:3])
    np.testing.assert_array_equal(got[3:, columns], expected[3:, columns])


@pytest.mark.parametrize(
    "fields",
    [{"rows": 0}, {"cols": 0}, {"tiles": 0}, {"depth": 0}, {"load": "diagonal"}, {"group": 3},
     {"multiply": False, "bitshift": False}, {"rows": 1024}, {"pairs": True}],
)  # fmt: skip
def test_refused_configurations(fields):
    with pytest.raises(ValueError, match=next(iter(fields)) if len(fields) == 1 else "neither"):
        MacArray(MacArrayConfig(**{"rows": 4, "cols": 4} | fields))
