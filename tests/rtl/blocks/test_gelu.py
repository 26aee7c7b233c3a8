"""Gelu in Amaranth's simulator against the unit: latency, stalls, the borders of the table."""

from __future__ import annotations

import numpy as np
import pytest

from fqvit_hw.rtl.blocks.gelu import Gelu, GeluConfig
from fqvit_hw.units import Gelu as Parameters
from fqvit_hw.units import Requantize, gelu
from tests.rtl.streams import drive


def parameters(index_width: int, shift: int = 16) -> Parameters:
    rng = np.random.default_rng([index_width, shift])
    linear = Requantize(int(rng.integers(1 << 15, 1 << 16)), shift, int(rng.integers(-128, 128)), 8)
    return Parameters(index_width, rng.integers(-128, 128, 1 << index_width), linear)


def constants(p: Parameters) -> dict:
    linear = p.linear
    return {
        "config": {
            "multiplier": int(linear.multiplier),
            "shift": int(linear.shift),
            "zero": linear.zero,
        }
    }


def writes(p: Parameters) -> dict:
    return {"table": [{"addr": n, "data": int(entry)} for n, entry in enumerate(p.table)]}


def run(dut: Gelu, p: Parameters, x, stall: float = 0.0):
    inputs = [{"data": beat} for beat in x.tolist()]
    return drive(
        dut, {"i": inputs}, {"o": len(x)}, constants=constants(p), tables=writes(p), stall=stall
    )


@pytest.mark.parametrize("stall", [0.0, 0.5], ids=["steady", "stalls"])
@pytest.mark.parametrize(
    ("lanes", "index_width", "shift"), [(1, 8, 1), (2, 8, 16), (3, 10, 18), (4, 12, 47)]
)
def test_against_the_unit(lanes, index_width, shift, stall):
    p, half = parameters(index_width, shift), 1 << (index_width - 1)
    rng = np.random.default_rng(lanes)
    x = rng.integers(-2 * half, 2 * half, (60, lanes))
    borders = [-(2**15), -half - 1, -half, -1, 0, half - 1, half, 2**15 - 1]
    x[: len(borders)] = np.array(borders)[:, None]
    dut = Gelu(GeluConfig(lanes, index_width))
    records = run(dut, p, x, stall)
    assert [beat["data"] for beat in records["o"].beats] == gelu(x, p).tolist()
    assert np.ptp(records["table"].cycles) == (1 << index_width) - 1  # always ready
    if not stall:
        cycles = [c + dut.latency for c in records["i"].cycles]
        assert records["o"].cycles == cycles
        assert np.ptp(cycles) == len(cycles) - 1  # a beat every cycle


def test_every_entry_in_every_lane():
    """All addresses of both ports of a table copy, and of the copy with one lane."""
    p = parameters(8)
    x = np.stack([np.roll(np.arange(-128, 128), 85 * n) for n in range(3)], axis=1)
    records = run(Gelu(GeluConfig(3, 8)), p, x)
    assert [beat["data"] for beat in records["o"].beats] == gelu(x, p).tolist()


@pytest.mark.parametrize(
    ("arguments", "error", "what"),
    [
        ((0,), ValueError, "lanes"),
        ((1, 9), ValueError, "index_width"),
        ((1.0,), TypeError, "lanes"),
        ((1, "8"), TypeError, "index_width"),
    ],
)
def test_config_errors(arguments, error, what):
    with pytest.raises(error, match=rf"GeluConfig\.{what}: expected .* got"):
        GeluConfig(*arguments)
