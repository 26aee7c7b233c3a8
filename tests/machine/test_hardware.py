"""Sizes that no machine can have are refused by name, before anything is compiled or built."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fqvit_hw.machine.hardware import BASE, HARDWARE, LARGE, TINY
from fqvit_hw.machine.registers import shape


@pytest.mark.parametrize(
    "hw,sizes,words",
    [
        (TINY, {"prefetch": 1}, "Hardware.prefetch: 1 beats have no room for a burst, 32 of 64"),
        (BASE, {"prefetch": 15}, "Hardware.prefetch: 15 .* 16 of 128 bits"),
        (LARGE, {"cols": 256}, "Hardware.cols: 256 is more than the register SHAPE can tell, 255"),
        (TINY, {"rows": 8}, "Hardware.rows: 8 is more than cols, 4"),
        (TINY, {"ring": 3000}, "Hardware.ring: 3000 is more than half of tiles, 2048"),
        (TINY, {"bus": 32}, "Hardware.bus: expected 64, 128, 256 or 512 bits, got 32"),
        (TINY, {"sums": 0}, "Hardware.sums: expected at least 1, got 0"),
        (TINY, {"modes": ("max9",)}, "Hardware.modes: expected some of .*max9"),
        (TINY, {"wide_multipliers": True}, "Hardware.wide_multipliers: .* expected modes without"),
    ],
)
def test_refusals(hw, sizes, words):
    with pytest.raises(ValueError, match=f"^{words}"):
        replace(hw, **sizes)


def test_least_prefetch():
    """A burst is enough."""
    for hw in HARDWARE.values():
        assert replace(hw, prefetch=hw.burst).prefetch == hw.burst


def test_shape_tells_the_largest():
    wide = replace(LARGE, rows=128, cols=128, lanes=32)
    assert shape(wide).to_bytes(4, "little") == bytes([128, 128, 32, wide.bus_bytes])
