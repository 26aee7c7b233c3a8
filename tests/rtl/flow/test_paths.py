"""fqvit_hw.rtl.flow.paths: sums along paths of netlists by hand, to the picosecond."""

import pytest

from fqvit_hw.rtl.flow.paths import BESIDE, WIRE, Paths

from .netlists import CLOCK, Maker

CLKQ, LUT, INSIDE_CARRY = 525, 236, 71


def worst(made: Maker) -> dict[tuple[str, str], int]:
    """ps of every endpoint, by cell and port."""
    return {(e.at.cell, e.at.port): e.ps for e in Paths(made.module).endpoints()}


def test_a_chain_of_luts():
    made = Maker()
    made.ff(10, 13)
    made.lut(11, 10)
    made.lut(12, 11, 10)
    made.lut(13, 10, 12)
    assert worst(made) == {("ff10", "DI"): CLKQ + 3 * (WIRE + LUT) + BESIDE}


def test_a_register_that_follows_another_takes_a_wire():
    made = Maker()
    made.ff(10, 20)  # 20 comes from a pin: no path
    made.ff(11, 10)
    assert worst(made) == {("ff11", "DI"): CLKQ + WIRE}


def test_clock_enables_and_resets_are_endpoints():
    made = Maker()
    made.ff(10, 11, ce=12, lsr=10)
    made.lut(11, 10)
    made.lut(12, 10)
    assert worst(made) == {
        ("ff10", "DI"): CLKQ + WIRE + LUT + BESIDE,
        ("ff10", "CE"): CLKQ + WIRE + LUT + WIRE,
        ("ff10", "LSR"): CLKQ + WIRE + 424,
    }


@pytest.mark.parametrize(("inputs", "more"), [(3, 0), (4, 150), (16, 500), (64, 1200)])
def test_a_net_of_many_inputs_is_slower(inputs, more):
    made = Maker()
    made.ff(10, 10)
    for n in range(1, inputs):
        made.ff(10 + n, 10)
    assert set(worst(made).values()) == {CLKQ + WIRE + more}


def test_a_carry_chain_has_no_wires_inside():
    """Eight bits: four cells, the sum's last bit is the slowest."""
    made = Maker()
    for n in range(4):
        q, s, carry = 20 + 2 * n, 40 + 2 * n, 60 + n
        pins = {"A0": q, "A1": q + 1, "B0": "0", "B1": "0", "S0": s, "S1": s + 1, "COUT": carry}
        made.cell("CCU2C", f"add{n}", **pins, CIN=carry - 1 if n else "0")
        made.ff(q, s)
        made.ff(q + 1, s + 1)
    first = CLKQ + WIRE
    ends = worst(made)
    assert ends["ff20", "DI"] == first + LUT + BESIDE
    assert ends["ff21", "DI"] == first + 714 + BESIDE  # across one bit, from A0
    assert ends["ff27", "DI"] == first + 447 + 2 * INSIDE_CARRY + 474 + BESIDE
    assert max(ends.values()) == ends["ff27", "DI"]


def test_wide_multiplexers_have_no_wires_to_their_data():
    made = Maker()
    made.ff(10, 16)
    for z in (11, 12, 13):
        made.lut(z, 10)
    made.cell("PFUMX", "mux", ALUT=11, BLUT=12, C0="1", Z=15)
    made.cell("L6MUX21", "wide", D0=15, D1="0", SD=13, Z=16)
    fanout = Paths(made.module).fanout[10]
    assert fanout == 3
    # a multiplexer's output reaches the flip-flop over the fabric
    through_data = CLKQ + WIRE + LUT + 165 + 242
    through_select = CLKQ + WIRE + LUT + WIRE + 252
    assert worst(made) == {("ff10", "DI"): max(through_data, through_select) + WIRE}


@pytest.mark.parametrize(("mode", "launched"), [("NOREG", 5830), ("OUTREG", 956)])
def test_a_block_ram(mode, launched):
    made = Maker()
    made.cell("DP16KD", "ram", {"REGMODE_B": mode}, CLKB=CLOCK, ADB5=10, CEB=10, DOB0=11)
    made.ff(10, 11)
    assert worst(made) == {
        ("ff10", "DI"): launched + WIRE,
        ("ram", "ADB5"): CLKQ + WIRE + 205,
        ("ram", "CEB"): CLKQ + WIRE + 340,
    }


REGISTERS = {"inputs": {"REG_INPUTA_CLK": "CLK0", "REG_INPUTB_CLK": "CLK0"}}
REGISTERS |= {"output": {"REG_OUTPUT_CLK": "CLK0"}, "none": {}}
REGISTERS |= {"both": REGISTERS["inputs"] | REGISTERS["output"]}


@pytest.mark.parametrize(
    ("registers", "ends"),
    [
        ("none", {("ff10", "DI"): CLKQ + WIRE + 3927 + WIRE}),
        ("inputs", {("ff10", "DI"): 3864 + WIRE, ("mult", "A3"): CLKQ + WIRE + 84}),
        ("output", {("ff10", "DI"): 735 + WIRE, ("mult", "A3"): CLKQ + WIRE + 3486}),
        ("both", {("ff10", "DI"): 735 + WIRE, ("mult", "A3"): CLKQ + WIRE + 84}),
    ],
)
def test_a_multiplier(registers, ends):
    made = Maker()
    made.cell("MULT18X18D", "mult", REGISTERS[registers], A3=10, B0="1", P7=11)
    made.ff(10, 11)
    assert worst(made) == ends


def test_distributed_ram():
    made = Maker()
    made.cell(
        "TRELLIS_DPR16X4", "ram",
        WCK=CLOCK, WRE=10, WAD=[10, "0", "0", "0"], DI=["0", 11, "0", "0"], RAD=["0", 10, "0", "0"],
        DO=[20, 21, 22, 23],
    )  # fmt: skip
    made.ff(10, 10)
    made.ff(11, 21)
    wire = WIRE + 150  # four inputs
    assert worst(made) == {
        ("ff10", "DI"): CLKQ + wire,
        ("ff11", "DI"): max(CLKQ + wire + LUT, 929) + WIRE,
        ("ram", "WRE"): CLKQ + wire + 392,
        ("ram", "WAD"): CLKQ + wire,
        ("ram", "DI"): CLKQ + WIRE,
    }


def test_a_loop_is_named():
    made = Maker()
    made.ff(10, 12)
    made.lut(11, 10, 12)
    made.lut(12, 11)
    made.name("round", 11)
    with pytest.raises(ValueError, match=r"a loop without a register: .*round"):
        Paths(made.module)


def test_two_clocks_have_no_one_period():
    made = Maker()
    made.ff(10, 10)
    made.ff(11, 10)
    made.cells["ff11"]["connections"]["CLK"] = [3]
    with pytest.raises(ValueError, match="expected one clock, got 2"):
        Paths(made.module)


def test_unknown_cells_are_refused():
    made = Maker()
    made.cell("ALU54B", "alu", A0=3)
    with pytest.raises(ValueError, match="no delays for cells of type ALU54B"):
        Paths(made.module)
