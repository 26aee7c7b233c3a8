"""Requantize in Amaranth's simulator against the unit: latency, stalls, every width."""

from __future__ import annotations

import numpy as np
import pytest

from fqvit_hw.rtl.blocks.requantize import Requantize, RequantizeConfig
from fqvit_hw.units import Requantize as Parameters
from fqvit_hw.units import requantize
from tests.rtl.streams import drive


def stimulus(lanes: int, width: int, beats: int = 30):
    """Payloads of `i` and the beats that must come out; every lane has its own M and N."""
    rng = np.random.default_rng([lanes, width])
    p = Parameters(
        rng.integers(1 << 15, 1 << 16, lanes),
        rng.integers(1, 48, lanes),
        int(rng.integers(-(1 << (width - 1)), 1 << (width - 1))),
        width,
    )
    acc = rng.integers(-(2**31), 2**31, (beats, lanes)) >> rng.integers(0, 32, (beats, lanes))
    acc[0], acc[1], acc[2] = -(2**31), 2**31 - 1, -1
    inputs = [
        {
            "lanes": [
                {"acc": int(a), "multiplier": int(m), "shift": int(s)}
                for a, m, s in zip(beat, p.multiplier, p.shift, strict=True)
            ],
            "zero": p.zero,
        }
        for beat in acc
    ]
    return inputs, [{"data": beat} for beat in requantize(acc, p).tolist()]


@pytest.mark.parametrize("stall", [0.0, 0.5], ids=["steady", "stalls"])
@pytest.mark.parametrize(("lanes", "width"), [(1, 8), (3, 8), (2, 10), (2, 16), (1, 32)])
def test_against_the_unit(lanes, width, stall):
    inputs, expected = stimulus(lanes, width)
    dut = Requantize(RequantizeConfig(lanes, width))
    records = drive(dut, {"i": inputs}, {"o": len(expected)}, stall=stall)
    assert records["o"].beats == expected
    if not stall:
        cycles = [c + dut.latency for c in records["i"].cycles]
        assert records["o"].cycles == cycles
        assert np.ptp(cycles) == len(cycles) - 1  # a beat every cycle


def test_all_ties_go_up():
    """M = 2^15, N = 16: half of every int8 and its neighbours."""
    p = Parameters(1 << 15, 16, 0, 8)
    acc = np.arange(-300, 300)[:, None]
    inputs = [
        {"lanes": [{"acc": int(a), "multiplier": 1 << 15, "shift": 16}], "zero": 0}
        for a in acc[:, 0]
    ]
    records = drive(Requantize(RequantizeConfig(1)), {"i": inputs}, {"o": len(inputs)})
    got = [beat["data"] for beat in records["o"].beats]
    assert got == requantize(acc, p).tolist()
    assert got[300:304] == [[0], [1], [1], [2]] and got[298:300] == [[-1], [0]]


@pytest.mark.parametrize(
    ("arguments", "what"), [((0,), "lanes"), ((1, 7), "width"), ((1, 33), "width")]
)
def test_config_errors(arguments, what):
    with pytest.raises(ValueError, match=rf"RequantizeConfig\.{what}: expected .* got"):
        RequantizeConfig(*arguments)
