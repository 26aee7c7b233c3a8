"""fqvit_hw.rtl.flow.absorb: what moves, what stays, and a proof of each kind of move."""

import copy
import json

import pytest

from fqvit_hw.rtl.flow.absorb import Absorber, absorb
from fqvit_hw.rtl.flow.mapped import HARD_BLOCKS, model
from fqvit_hw.rtl.flow.tools import run

from .netlists import CLOCK, Maker

WIDTH = 3  # bits of an operand in the proofs; the others are 0, or copies of the sign
CE_A, CE_B, CE_P = 3, 4, 5
A_IN, B_IN, A, B, P, OUT = 10, 20, 30, 40, 50, 100  # the first net of each bus


def multiplier(signed: bool = True, ces=(CE_A, CE_B, CE_P), product: bool = True, **a_ff) -> Maker:
    """Flip-flops, a multiplier, flip-flops: OUT = register(A * B); a_ff: of operand A's."""
    made = Maker()
    pins: dict = {"SIGNEDA": str(int(signed)), "SIGNEDB": str(int(signed))}
    pins |= {"SOURCEA": "0", "SOURCEB": "0"}
    for port, first, source, ce in (("A", A, A_IN, ces[0]), ("B", B, B_IN, ces[1])):
        for n in range(WIDTH):
            made.ff(first + n, source + n, ce=ce, **(a_ff if port == "A" else {}))
        for n in range(18):
            above = first + WIDTH - 1 if signed else "0"
            pins[f"{port}{n}"] = first + n if n < WIDTH else above
        made.port(f"{port.lower()}_in", "input", *range(source, source + WIDTH))
    for n in range(2 * WIDTH):
        pins[f"P{n}"] = P + n
        if product:
            made.ff(OUT + n, P + n, ce=ces[2])
    made.cell("MULT18X18D", "mult", **pins)
    out = OUT if product else P
    made.port("out", "output", *range(out, out + 2 * WIDTH))
    made.port("clk", "input", CLOCK)
    made.port("ces", "input", CE_A, CE_B, CE_P)
    return made


def absorbed(made: Maker) -> tuple[dict, dict]:
    """The module afterwards, and what was counted."""
    netlist = {"modules": {"top": copy.deepcopy(made.module)}}
    counts = absorb(netlist, "top")
    return netlist["modules"]["top"], counts


def test_all_registers_of_a_multiplier():
    module, counts = absorbed(multiplier())
    assert set(module["cells"]) == {"mult"}
    assert counts == {
        "multiplier inputs": 1, "multiplier outputs": 1, "flip-flops taken": 2 * WIDTH,
        "dead TRELLIS_FF": 2 * WIDTH,
    }  # fmt: skip
    mult = module["cells"]["mult"]
    pins, modes = mult["connections"], mult["parameters"]
    assert [modes[f"REG_{r}_CE"] for r in ("INPUTA", "INPUTB", "OUTPUT")] == ["CE0", "CE1", "CE2"]
    assert (pins["CE0"], pins["CE1"], pins["CE2"]) == ([CE_A], [CE_B], [CE_P])
    assert (pins["CLK0"], pins["RST0"]) == ([CLOCK], ["0"])
    assert (pins["A0"], pins["A17"], pins["B2"]) == ([A_IN], [A_IN + 2], [B_IN + 2])
    assert pins["P5"] == [OUT + 5]


def test_registers_without_an_enable_share_one():
    module, _ = absorbed(multiplier(ces=("1", "1", "1")))
    pins = module["cells"]["mult"]["connections"]
    assert pins["CE0"] == ["1"] and "CE1" not in pins


def test_a_flip_flop_that_others_read_stays_for_them():
    made = multiplier()
    made.port("more", "output", A)
    module, counts = absorbed(made)
    assert set(module["cells"]) == {"mult", f"ff{A}"}
    assert module["cells"]["mult"]["connections"]["A0"] == [A_IN]
    assert counts["dead TRELLIS_FF"] == 2 * WIDTH - 1


def reset(made: Maker) -> None:
    made.cells[f"ff{B}"]["connections"]["LSR"] = [CE_P]


def starts_as_one(made: Maker) -> None:
    made.cells[f"ff{B}"]["parameters"]["REGSET"] = "SET"


def other_enable(made: Maker) -> None:
    made.cells[f"ff{B}"]["connections"]["CE"] = [CE_A]


def other_clock(made: Maker) -> None:
    for n in range(WIDTH):
        made.cells[f"ff{B + n}"]["connections"]["CLK"] = [CE_P]


def falling_edge(made: Maker) -> None:
    for n in range(WIDTH):
        made.cells[f"ff{B + n}"]["parameters"]["CLKMUX"] = "INV"


def constant_one(made: Maker) -> None:
    made.cells["mult"]["connections"]["B0"] = ["1"]


def no_flip_flop(made: Maker) -> None:
    made.cells["mult"]["connections"]["B0"] = [B_IN]


def inverted_enable(made: Maker) -> None:
    for n in range(WIDTH):
        made.cells[f"ff{B + n}"]["parameters"]["CEMUX"] = "INV"


@pytest.mark.parametrize(
    "change",
    [reset, starts_as_one, other_enable, other_clock, falling_edge, constant_one, no_flip_flop,
     inverted_enable],
)  # fmt: skip
def test_operands_that_do_not_move(change):
    """If one operand does not, neither does: the output still does, on its clock."""
    made = multiplier()
    change(made)
    module, counts = absorbed(made)
    mult = module["cells"]["mult"]
    assert "multiplier inputs" not in counts and counts["multiplier outputs"] == 1
    assert "REG_INPUTA_CLK" not in mult["parameters"] and mult["connections"]["A0"] == [A]


def test_products_that_do_not_move():
    for change in ("shared", "read", "reset"):
        made = multiplier()
        if change == "shared":
            made.ff(200, P)
            made.port("more", "output", 200)
        elif change == "read":
            made.port("more", "output", P)
        else:
            made.cells[f"ff{OUT}"]["connections"]["LSR"] = [CE_P]
        module, counts = absorbed(made)
        assert "multiplier outputs" not in counts and counts["multiplier inputs"] == 1, change
        assert f"ff{OUT}" in module["cells"]


def ram(ce_read: int | str = 3, ce_out: int | str = 3, wide: bool = True) -> Maker:
    """Two words, written by A and read by B: two bits of each half, with flip-flops."""
    width = f"{36 if wide else 18:032b}"
    made = Maker()
    modes = {"DATA_WIDTH_A": width, "DATA_WIDTH_B": width, "CLKAMUX": "CLKA", "CLKBMUX": "CLKB"}
    modes |= {"REGMODE_A": "NOREG", "REGMODE_B": "NOREG", "GSR": "DISABLED"}
    zeros = [f"{p}{h}{n}" for p in ("AD", "DI") for h in "AB" for n in range(14)]
    zeros += [f"DI{h}{n}" for h in "AB" for n in range(14, 18)]
    zeros += [f"CS{h}{n}" for h in "AB" for n in range(3)]
    pins: dict = dict.fromkeys(zeros, "0") | {"CLKA": CLOCK, "CLKB": CLOCK, "WEA": 4, "WEB": "0"}
    pins |= {"CEA": "1", "CEB": ce_read, "OCEA": "0", "OCEB": "1", "RSTA": "0", "RSTB": "0"}
    pins |= {"ADA0": "1", "ADA2": "1" if wide else "0", "ADA5": 6, "ADB5": 7}
    halves = "AB" if wide else "B"
    for h, half in enumerate(halves):
        for n in range(2):
            pins[f"DI{'A' if not wide else half}{n}"] = 10 + 2 * h + n
            pins[f"DO{half}{n}"] = 20 + 2 * h + n
            made.ff(30 + 2 * h + n, 20 + 2 * h + n, ce=ce_out)
    made.cell("DP16KD", "ram", modes, **pins)
    made.port("data", "input", *range(10, 10 + 2 * len(halves)))
    made.port("out", "output", *range(30, 30 + 2 * len(halves)))
    made.port("clk", "input", CLOCK)
    made.port("controls", "input", 3, 4, 5, 6, 7)
    return made


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize(("read", "out"), [(3, 3), ("1", 3), ("1", "1")])
def test_the_output_register_of_a_ram(wide, read, out):
    module, counts = absorbed(ram(read, out, wide))
    cell = module["cells"]["ram"]
    assert set(module["cells"]) == {"ram"}
    assert cell["connections"]["OCEB"] == [out] and cell["connections"]["DOB0"] == [
        32 if wide else 30
    ]
    assert cell["parameters"]["REGMODE_B"] == "OUTREG"
    assert cell["parameters"]["REGMODE_A"] == ("OUTREG" if wide else "NOREG")
    assert counts == {"RAM outputs": 1, "flip-flops taken": 4 if wide else 2}


@pytest.mark.parametrize(("read", "out"), [(3, 5), (3, "1")])
def test_an_output_register_that_would_need_an_enable_of_its_own_stays(read, out):
    module, counts = absorbed(ram(read, out))
    assert not counts and module["cells"]["ram"]["parameters"]["REGMODE_B"] == "NOREG"


def test_a_ram_that_is_reset_is_left_alone():
    made = ram()
    made.cells["ram"]["connections"]["RSTB"] = [5]
    assert absorbed(made)[1] == {}


def test_one_register_between_a_ram_and_a_multiplier_is_taken_once():
    """By the multiplier; the RAM then has a reader that is no flip-flop. It was taken twice, and
    the multiplier's operand came from nowhere."""
    made = ram()
    pins: dict = {"SIGNEDA": "0", "SIGNEDB": "0", "SOURCEA": "0", "SOURCEB": "0"}
    pins |= {f"{port}{n}": "0" for port in "AB" for n in range(18)}
    pins |= {"A0": 30, "A1": 31, "A2": 32, "A3": 33, "B0": 60}
    made.ff(60, 61, ce=3)
    made.cell("MULT18X18D", "mult", **pins, P0=70)
    made.port("b", "input", 61)
    made.ports["out"]["bits"] = [70]
    module, counts = absorbed(made)
    assert counts["multiplier inputs"] == 1 and "RAM outputs" not in counts
    assert module["cells"]["ram"]["parameters"]["REGMODE_B"] == "NOREG"
    mult = module["cells"]["mult"]["connections"]
    assert [mult[f"A{n}"] for n in range(4)] == [[20], [21], [22], [23]] and mult["B0"] == [61]
    given = [module["cells"]["ram"]["connections"][f"DO{h}{n}"] for h in "AB" for n in range(2)]
    assert given == [[20], [21], [22], [23]]


def test_a_net_that_loses_its_driver_is_an_error(monkeypatch):
    """A flip-flop goes whose net is still read."""
    monkeypatch.setattr(Absorber, "move", lambda *arguments: None)
    take = Absorber.take

    def spoiled(self, cell, ports, after):
        for bit in after:
            self.cells["mult"]["connections"]["A9"] = [bit]
        take(self, cell, ports, after)

    monkeypatch.setattr(Absorber, "take", spoiled)
    with pytest.raises(RuntimeError, match=rf"nothing drives any more: \[{P + 2 * WIDTH - 1}\]"):
        absorbed(multiplier())


def test_one_register_between_two_multipliers_is_taken_once():
    made = multiplier()
    pins: dict = {"SIGNEDA": "0", "SIGNEDB": "0", "SOURCEA": "0", "SOURCEB": "0"}
    pins |= {f"{port}{n}": "0" for port in "AB" for n in range(18)}
    pins |= {f"A{n}": OUT + n for n in range(2 * WIDTH)} | {"B0": 200}
    made.ff(200, 201, ce=CE_P)
    made.cell("MULT18X18D", "after", **pins, P0=210)
    made.port("c", "input", 201)
    made.ports["out"]["bits"] = [210]
    for order in (("mult", "after"), ("after", "mult")):
        made.cells = {n: made.cells[n] for n in (*order, *made.cells) if n in made.cells}
        module, _ = absorbed(made)
        mult, after = (module["cells"][name]["connections"] for name in ("mult", "after"))
        assert [after[f"A{n}"] for n in range(2 * WIDTH)] == [
            mult[f"P{n}"] for n in range(2 * WIDTH)
        ]


def test_what_drives_nothing_goes_and_takes_its_sources_along():
    made = Maker()
    made.ff(10, 11)
    made.lut(11, 10)  # a loop that nobody sees
    made.ff(20, 21)
    made.lut(21, 20, 22)
    made.port("out", "output", 20)
    made.port("clk", "input", CLOCK)
    made.name("unseen", 10, 20)
    module, counts = absorbed(made)
    assert set(module["cells"]) == {"ff20", "lut21"}
    assert counts == {"dead TRELLIS_FF": 1, "dead LUT4": 1}
    assert module["netnames"]["unseen"]["bits"] == ["x", 20]


def prove(made: Maker, names: dict[str, int], folder, spoil=None) -> str | None:
    """Proof that a module does the same before and after, from the first cycle on.

    By induction over cycles: registers, named as in the hard block's model, are equal in the next
    cycle if they are equal in this one (equiv_induct); and they start equal, which the first cycles
    from the initial state show (sat). names: the name of a register's bit in the model to the net
    of its flip-flop. None if proved, else what Yosys said.
    """
    gate, _ = absorbed(made)
    if spoil:
        spoil(gate)
    gold = made.module
    for name, net in names.items():
        made.name(name, net)
    for name, module in (("gold", gold), ("gate", gate)):
        (folder / f"{name}.json").write_text(json.dumps({"creator": "", "modules": {name: module}}))
    cells = "\n".join(model(cell) for cell in ("TRELLIS_FF", *HARD_BLOCKS))
    (folder / "cells.v").write_text(cells)
    # gold's own registers of the hard block are idle: their names are for its flip-flops
    read = (
        "read_verilog cells.v; read_json {0}.json; hierarchy -top {0}; proc; flatten; memory;"
        " setundef -zero; opt -full; {1}; splitnets -format [] w:*_register w:*_latch;"
        " rename -hide w:* x:* %d w:*_register* %d w:*_latch* %d w:*memory* %d; design -stash {0}"
    )
    steps = [read.format("gold", "rename -hide w:*_register"), read.format("gate", "opt_clean")]
    both = "design -copy-from gold -as gold gold; design -copy-from gate -as gate gate"
    steps += [both, "equiv_make gold gate equiv", "hierarchy -top equiv"]
    steps += ["equiv_simple", "equiv_induct", "equiv_status -assert"]
    steps += [both, "miter -equiv -flatten gold gate miter", "hierarchy -top miter"]
    steps += ["sat -verify -prove trigger 0 -maxsteps 5 -tempinduct -tempinduct-baseonly"]
    return run("yosys", ["-p", "; ".join(steps)], folder, "proof.txt")


def registers(signed: bool) -> dict[str, int]:
    """The bits of a multiplier's registers, and whose flip-flops they replace; the copies of an
    operand's sign are bits of the register, too."""
    bits = 19 if signed else WIDTH
    operands = {
        f"mult.{port}_register[{n}]": first + min(n, WIDTH - 1)
        for port, first in (("a", A), ("b", B))
        for n in range(bits)
    }
    return operands | {f"mult.p_register[{n}]": OUT + n for n in range(2 * WIDTH)}


@pytest.mark.parametrize("signed", [True, False])
def test_proof_of_a_multiplier(signed, tmp_path):
    assert prove(multiplier(signed), registers(signed), tmp_path) is None


@pytest.mark.parametrize("wide", [True, False])
def test_proof_of_a_ram(wide, tmp_path):
    names = {
        f"ram.{half}_register[{n}]": 30 + 2 * h + n
        for h, half in enumerate("ab" if wide else "b")
        for n in range(2)
    }
    assert prove(ram(wide=wide), names, tmp_path) is None


def test_a_wrong_move_is_not_proved(tmp_path):
    def wrong(gate):
        gate["cells"]["mult"]["parameters"]["REG_INPUTB_CE"] = "CE0"

    assert "equiv" in (prove(multiplier(), registers(True), tmp_path, wrong) or "proved")
