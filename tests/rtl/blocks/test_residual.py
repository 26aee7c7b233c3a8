"""Residual in Amaranth's simulator against the unit: latency, stalls, widths, shifts from 0."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from fqvit_hw.rtl.blocks.residual import Residual, ResidualConfig
from fqvit_hw.units import Residual as Parameters
from fqvit_hw.units import residual
from tests.rtl.streams import drive

WIDTHS = list(itertools.product((8, 16), repeat=3))  # x, branch, output


def parameters(rng, widths, lanes: int, shift: int) -> Parameters:
    def zero(width):
        return int(rng.integers(-128, 128)) if width == 8 else 0

    def factors(width):
        return rng.integers(0, 4 if width == 8 else 1, lanes)

    x_width, branch_width, width = widths
    x_multiplier, branch_multiplier = (int(m) for m in rng.integers(1, min(1 << 17, 8 << shift), 2))
    return Parameters(
        x_width, zero(x_width), factors(x_width), x_multiplier,
        branch_width, zero(branch_width), branch_multiplier,
        shift, width, zero(width), factors(width),
    )  # fmt: skip


def run(dut: Residual, p: Parameters, x, branch, stall: float = 0.0, **more):
    inputs = [
        {
            "lanes": [
                {"x": int(a), "branch": int(b), "x_factor": int(f), "factor": int(g)}
                for a, b, f, g in zip(*beat, p.x_factor, p.factor, strict=True)
            ]
        }
        for beat in zip(x, branch, strict=True)
    ]
    config = {
        "x_zero": p.x_zero,
        "branch_zero": p.y_zero,
        "x_multiplier": p.x_multiplier,
        "branch_multiplier": p.y_multiplier,
        "shift": p.shift,
        "zero": p.zero,
        **more,
    }
    return drive(dut, {"i": inputs}, {"o": len(x)}, constants={"config": config}, stall=stall)


def codes(rng, width: int, lanes: int, rows: int = 40):
    top = 1 << (width - 1)
    x = rng.integers(-top, top, (rows, lanes)) >> rng.integers(0, width, (rows, lanes))
    x[0], x[1] = -top, top - 1
    return x


@pytest.mark.parametrize("stall", [0.0, 0.5], ids=["steady", "stalls"])
@pytest.mark.parametrize("shift", [0, 1, 17, 40])
@pytest.mark.parametrize("widths", WIDTHS, ids=str)
def test_against_the_unit(widths, shift, stall):
    lanes = 3
    rng = np.random.default_rng([*widths, shift])
    p = parameters(rng, widths, lanes, shift)
    x, branch = codes(rng, widths[0], lanes), codes(rng, widths[1], lanes)
    dut = Residual(ResidualConfig(lanes, *widths))
    records = run(dut, p, x, branch, stall)
    assert [beat["data"] for beat in records["o"].beats] == residual(x, branch, p).tolist()
    if not stall:
        cycles = [c + dut.latency for c in records["i"].cycles]
        assert records["o"].cycles == cycles
        assert np.ptp(cycles) == len(cycles) - 1  # a beat every cycle


@pytest.mark.parametrize("widths", WIDTHS, ids=str)
def test_flexible(widths):
    """One block for all widths, chosen by what comes and `wide`."""
    lanes = 3
    rng = np.random.default_rng([*widths, 5])
    p = parameters(rng, widths, lanes, 17)
    x, branch = codes(rng, widths[0], lanes), codes(rng, widths[1], lanes)
    dut = Residual(ResidualConfig(lanes, 16, 16, 16, flexible=True))
    records = run(dut, p, x, branch, 0.2, wide=int(widths[2] == 16))
    assert [beat["data"] for beat in records["o"].beats] == residual(x, branch, p).tolist()


def test_widest_sum():
    """-2^15 * (2^17 - 1) twice needs all 34 bits of the sum, at every shift."""
    for shift in (0, 17, 18, 40):
        p = Parameters(16, 0, [0], 2**17 - 1, 16, 0, 2**17 - 1, shift, 16, 0, [0])
        x = np.array([[-(2**15)], [2**15 - 1], [0]])
        records = run(Residual(ResidualConfig(1, 16, 16, 16)), p, x, x)
        assert [beat["data"] for beat in records["o"].beats] == residual(x, x, p).tolist()


def test_ties_go_up():
    """Equal weights of one half: x + branch odd lies half-way."""
    p = Parameters(8, 0, [0], 2**15, 8, 0, 2**15, 16, 8, 0, [0])
    x, branch = np.array([[1], [-1], [2], [-2], [-3]]), np.array([[0], [0], [1], [-1], [0]])
    records = run(Residual(ResidualConfig(1)), p, x, branch)
    assert [beat["data"] for beat in records["o"].beats] == [[1], [0], [2], [-1], [-1]]


@pytest.mark.parametrize(
    ("arguments", "error", "what"),
    [
        ((0,), ValueError, "lanes"),
        (("4",), TypeError, "lanes"),
        ((1, 9), ValueError, "x_width"),
        ((1, 8, 12), ValueError, "branch_width"),
        ((1, 8, 8, 32), ValueError, "width"),
        ((1, 8, 8, 8.0), TypeError, "width"),
        ((1, 16, 8, 16, True), ValueError, "branch_width"),
    ],
)
def test_config_errors(arguments, error, what):
    with pytest.raises(error, match=rf"ResidualConfig\.{what}: expected .* got"):
        ResidualConfig(*arguments)
