"""What a host may rely on: offsets and bits as numbers, and the places that are made from them."""

from __future__ import annotations

import pytest

from fqvit_hw.machine import document
from fqvit_hw.machine.fields import UNUSED
from fqvit_hw.machine.hardware import HARDWARE
from fqvit_hw.machine.registers import (
    COUNTERS,
    REGISTER_BITS,
    REGISTERS,
    Counter,
    Register,
    bit,
    c_header,
    offset,
    shape,
)
from fqvit_hw.places import CHECKOUT
from fqvit_hw.rtl.accelerator.gemm import STATES

OFFSETS = {
    "CONTROL": 0x00, "STATUS": 0x04, "IRQ_ENABLE": 0x08, "IRQ_STATUS": 0x0C, "BASE": 0x10,
    "BASE_HIGH": 0x14, "SIZE": 0x18, "PROGRAM": 0x1C, "SHAPE": 0x20, "COUNTER": 0x40,
}  # fmt: skip
BITS = {
    "CONTROL": {"start": 1, "soft_reset": 2},
    "STATUS": {"busy": 1, "done": 2, "error": 4, "code": 0xFF00, "fetched": 0xFFFF0000},
    "IRQ_ENABLE": {"done": 1, "error": 2},
    "IRQ_STATUS": {"done": 1, "error": 2},
    "BASE": {"address": 0xFFFFFF00},
    "BASE_HIGH": {"address": 0xFF},
    "SIZE": {"bytes": 0xFFFFFFFF},
    "PROGRAM": {"offset": 0xFFFFFF00},
    "SHAPE": {"rows": 0xFF, "cols": 0xFF00, "lanes": 0xFF0000, "bus_bytes": 0xFF000000},
}


def test_offsets_and_bits():
    """Host software has these numbers built in: a change of one is a change of the interface."""
    assert {register.name: register.value for register in Register} == OFFSETS
    found = {
        register.name: {f.name: bit(register, f.name) for f in entry.layout if f.name != UNUSED}
        for register, entry in REGISTERS.items()
    }
    assert found == BITS


def test_every_register_has_its_bits():
    assert set(REGISTERS) == set(Register) - {Register.COUNTER}
    assert all(entry.layout.width <= REGISTER_BITS for entry in REGISTERS.values())
    assert all(r.name == entry.layout.name for r, entry in REGISTERS.items())


def test_counters():
    assert [counter.value for counter in Counter] == list(range(11)) and set(COUNTERS) == {*Counter}
    assert (offset(Counter.CYCLES), offset(Counter.WEIGHT_BYTES)) == (0x40, 0x90)


def test_the_array_has_a_state_for_each_counter_of_cycles():
    """State 0 counts as IDLE (rtl.accelerator.accelerator), the others as the counter of theirs."""
    told = {"busy": "ARRAY_BUSY", "tile": "WEIGHTS", "acts": "ACTIVATIONS", "norm": "LAYERNORM",
            "codes": "SOFTMAX", "room": "EPILOGUE"}  # fmt: skip
    assert [Counter[told[state]] for state in STATES[1:]] == list(range(1, Counter.IDLE))


@pytest.mark.parametrize("hw", HARDWARE.values(), ids=lambda hw: hw.name)
def test_shape(hw):
    assert list(shape(hw).to_bytes(4, "little")) == [hw.rows, hw.cols, hw.lanes, hw.bus_bytes]


def test_the_header_of_the_harness():
    lines = c_header().splitlines()
    for name, value in OFFSETS.items():
        assert f"    {name} = {value:#04x}," in lines
    for register, fields in BITS.items():
        for name, mask in fields.items():
            assert f"constexpr uint32_t {register}_{name.upper()} = {mask:#x};" in lines
    assert "constexpr unsigned STATUS_FETCHED_AT = 16;" in lines
    assert 'COUNTER_NAMES[] = {"cycles", "array_busy", ' in lines[-1]


def test_the_page_is_current():
    page = (CHECKOUT / "docs" / "accelerator.md").read_text()
    assert document.current(page) == page
    assert f"| 0x{Register.SHAPE:02X} | SHAPE | r |" in page
    stale = page.replace("| 0x20 | SHAPE |", "| 0x24 | SHAPE |")
    assert document.current(stale) == page != stale


def test_a_page_without_marks_is_refused():
    with pytest.raises(ValueError, match="expected one line <!-- modes"):
        document.current("nothing here\n")
