"""Bench of mac_array: matmul and BitShift cases, cut into tiles as a compiler would."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fqvit_hw.formats import ZERO_CODE
from fqvit_hw.rtl.blocks.mac_array import MacArray, MacArrayConfig
from fqvit_hw.units import Linear
from fqvit_hw.vectors.cases import Case, bitshift_case, matmul_case

from .golden import golden_cases
from .transaction import Transaction

CONFIGURATIONS = {
    "4x4": MacArrayConfig(4, 4, depth=20, bias=True),
    "8x16": MacArrayConfig(8, 16, depth=256, bias=True),
    "16x16": MacArrayConfig(16, 16, depth=256, shifters=True),
    "6x10_columns": MacArrayConfig(6, 10, tiles=5, depth=7, bias=True, load="columns"),
    "10x6_one_row": MacArrayConfig(10, 6, tiles=3, depth=1, bias=True),
    "4x5_pairs": MacArrayConfig(4, 5, depth=20, bias=True, bitshift=False, pairs=True),
    "8x16_multiply": MacArrayConfig(8, 16, depth=64, bitshift=False),
    "16x8_bitshift": MacArrayConfig(16, 8, depth=64, multiply=False),
}
SMALL = ("8x16", "6x10_columns", "4x5_pairs")
LARGEST = {"small": 400, "full": 4_000}  # beats of a case; longer ones only by name
TOKENS = {"small": (1, 5, 17), "full": (1, 5, 17, 50, 197)}
MAX_ROWS = 17  # of long dot products: with one accumulator each row loads all its tiles again

component = MacArray


def transactions(config: MacArrayConfig, size: str) -> Iterator[Transaction]:
    """Golden cases, then dot products of many lengths, for the modes that the array has."""
    cases = [*golden_cases("mac_array"), *(c for n in TOKENS[size] for c in random_cases(n))]
    for case in cases:
        built = config.bitshift if case.scalar("bitshift") else config.multiply
        if built:
            t = transaction(config, case)
            beats = max(len(payloads) for payloads in t.inputs.values())
            if beats > LARGEST[size]:
                t.left_out = f"{beats} beats, at size {size} at most {LARGEST[size]}"
            yield t


def random_cases(tokens: int) -> Iterator[Case]:
    rng = np.random.default_rng(tokens)
    few = min(tokens, MAX_ROWS)
    for rows, k, o in ((tokens, 1, 1), (few, tokens, 16), (few, 37, 21)):
        weight, bias = rng.integers(-128, 128, (o, k)), rng.integers(-(2**30), 2**30, o)
        for low in (-128, 0):  # int8 and uint8
            a = rng.integers(low, low + 256, (rows, k))
            yield matmul_case(f"random_{rows}x{k}x{o}_from{low}", Linear(weight, bias), a)
    # rows of softmax codes: few strong ones, many weak
    codes = np.minimum(np.argsort(rng.random((few, tokens)), 1) + 1, ZERO_CODE)
    yield bitshift_case(f"codes_{tokens}", codes, rng.integers(-128, 128, (tokens, 21)))


def pad(x: np.ndarray, rows: int, cols: int, fill: int = 0) -> np.ndarray:
    """x: (n, m) -> a multiple of rows x cols, as blocks (n / rows, m / cols, rows, cols)."""
    n, m = -(-x.shape[0] // rows), -(-x.shape[1] // cols)
    padded = np.full((n * rows, m * cols), fill, np.int64)
    padded[: x.shape[0], : x.shape[1]] = x
    return padded.reshape(n, rows, m, cols).transpose(0, 2, 1, 3)


def transaction(config: MacArrayConfig, case: Case) -> Transaction:
    """For as many tokens as there are accumulators, for each column tile, for each K tile."""
    a, bias, y, shift = case["a"], case["bias"], case["y"].astype(np.int64), case.scalar("bitshift")
    tokens, R, C = len(a), config.rows, config.cols
    tiles = pad(case["weight"].T, R, C)  # (K / R, O / C, R, C)
    operands = pad(a, 1, R, ZERO_CODE * shift)[:, :, 0]  # (N, K / R, R)
    if not config.bias:
        y = y - bias
    sums = pad(y, 1, C)[:, :, 0]  # (N, O / C, C)
    starts = pad(bias[None], 1, C)[0, :, 0]  # (O / C, C)

    weights, beats, biases, outputs, lengths = [], [], [], [], []
    for begin in range(0, tokens, config.depth):
        chunk = range(begin, min(begin + config.depth, tokens))
        for col in range(tiles.shape[1]):
            for k in range(tiles.shape[0]):
                tile = tiles[k, col] if config.load == "rows" else tiles[k, col].T
                lanes = tile.tolist()
                weights += [
                    {"data": lane, "last": int(n == len(lanes) - 1)} for n, lane in enumerate(lanes)
                ]
                lengths.append(len(chunk))
                beats += [
                    {
                        "data": operands[n, k].tolist(),
                        "tile": 0,
                        "release": int(n == chunk[-1]),
                        "addr": n - begin,
                        "first": int(k == 0),
                        "last": int(k == tiles.shape[0] - 1),
                    }
                    | ({"shift": shift} if config.both else {})
                    for n in chunk
                ]
            biases += [{"data": starts[col].tolist()} for _ in chunk]
            outputs += [{"data": sums[n, col].tolist()} for n in chunk]
    inputs = {"weights": weights, "i": beats} | ({"bias": biases} if config.bias else {})
    cycles = tile_cycles(config, lengths) + config.latency
    return Transaction(case.name, inputs, {"o": outputs}, cycles=cycles)


def tile_cycles(config: MacArrayConfig, lengths: list[int]) -> int:
    """Cycle of the last beat, counted from the first beat of weights; lengths: beats of each tile.

    A tile is loaded in as many cycles as it has lanes, once the ring has room and the tile before
    is loaded; its beats follow those of the tile before without a gap once it is there.
    """
    lanes = config.ring.lanes
    loaded, used = [], []  # the cycle after each tile's last beat of weights, of `i`
    for n, length in enumerate(lengths):
        room = used[n - config.tiles] if n >= config.tiles else 0
        loaded.append(max(loaded[-1] if loaded else 0, room) + lanes)
        used.append(max(used[-1] if used else 0, loaded[n]) + length)
    return used[-1] - 1
