"""fqvit_hw.rtl.flow.delays: every cell and every port has its figure, or is refused."""

import pytest

from fqvit_hw.rtl.flow.delays import delays


def test_arcs_of_the_ports_that_are_there():
    lut = delays("LUT4", {"INIT": "0"}, ["A", "C", "Z"])
    assert lut.arcs == (("A", "Z", 236), ("C", "Z", 236))
    assert not lut.launches and not lut.captures and not lut.clocks


def test_a_flip_flop_starts_and_ends_paths():
    ff = delays("TRELLIS_FF", {}, ["CLK", "DI", "LSR", "Q"])
    assert ff.launches == (("Q", 525),) and ff.clocks == ("CLK",)
    assert dict(ff.captures) == {"DI": 0, "LSR": 424}


@pytest.mark.parametrize(
    ("clocks", "launched", "captured"),
    [
        ("", None, None),
        ("A", None, None),  # one operand's register: none, to nextpnr
        ("AB", 3864, 84),
        ("P", 735, 3486),
        ("ABP", 735, 84),
    ],
)
def test_a_multiplier_by_its_registers(clocks, launched, captured):
    names = {"A": "REG_INPUTA_CLK", "B": "REG_INPUTB_CLK", "P": "REG_OUTPUT_CLK"}
    registers = {names[port]: "CLK0" for port in clocks}
    found = delays("MULT18X18D", registers, ["A0", "B17", "P3"])
    assert bool(found.arcs) == (launched is None)
    assert dict(found.launches) == ({"P3": launched} if launched else {})
    assert dict(found.captures) == ({"A0": captured, "B17": captured} if captured else {})


def test_a_block_ram_by_its_halves():
    found = delays("DP16KD", {"REGMODE_B": "OUTREG"}, ["DOA0", "DOB17", "CLKA", "CLKB", "ADB13"])
    assert dict(found.launches) == {"DOA0": 5609, "DOB17": 956}
    assert found.captures == (("ADB13", 205),) and found.clocks == ("CLKA", "CLKB")


def test_what_nobody_times_is_refused():
    with pytest.raises(ValueError, match="no delays for cells of type ALU54B"):
        delays("ALU54B", {}, [])
    with pytest.raises(ValueError, match=r"MULT18X18D: no delays for C0, SRIA3"):
        delays("MULT18X18D", {}, ["A0", "SRIA3", "C0", "P0"])
