"""The Verilog models of an ECP5's hard blocks, in Icarus: values, cycles, and X."""

import subprocess

import pytest

from fqvit_hw.rtl.flow.mapped import model

OPERANDS = [0, 1, 5, 2**17 - 1, 2**17, 2**18 - 1, 0x2A5A5]


def simulate(
    cell: str, pins: dict[str, str], parameters: dict[str, str], steps, folder
) -> list[str]:
    """What `out` is before each step and after the last; a step is Verilog, then the clock rises.

    pins: port to expression. Registers that the expressions use are declared in `steps[0]`'s bench.
    """
    connect = ", ".join(f".{port}({value})" for port, value in pins.items())
    values = ", ".join(f".{name}({value})" for name, value in parameters.items())
    body = "\n".join(
        f'#1; {step} #1; clk = 1; #1; clk = 0; #1 $display("%b", out);' for step in steps
    )
    text = f"""
module bench;
  reg clk = 0, ce = 1, oce = 1, we = 0, rst = 0;
  reg [17:0] a = 0, b = 0;
  reg [35:0] data = 0;
  reg [13:0] write = 0, read = 0;
  wire [35:0] out;
  {cell} #({values}) dut ({connect});
  initial begin {body} end
endmodule
"""
    (folder / "bench.v").write_text(text)
    (folder / "cell.v").write_text(model(cell))
    command = ["iverilog", "-g2005", "-o", "bench", "bench.v", "cell.v"]
    subprocess.run(command, cwd=folder, check=True)
    done = subprocess.run(["vvp", "bench"], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.split()


def bus(prefix: str, bits: int, signal: str, first: int = 0) -> dict[str, str]:
    return {f"{prefix}{n}": f"{signal}[{first + n}]" for n in range(bits)}


def multiplier(signed_a: int, signed_b: int) -> dict[str, str]:
    pins = bus("A", 18, "a") | bus("B", 18, "b") | bus("P", 36, "out")
    pins |= {"SIGNEDA": f"1'b{signed_a}", "SIGNEDB": f"1'b{signed_b}", "CLK0": "clk", "RST0": "rst"}
    return pins | {"SOURCEA": "1'b0", "SOURCEB": "1'b0", "CE0": "1'b1", "CE1": "ce"}


def signed(value: int) -> int:
    return value - (value >> 17 << 18)


@pytest.mark.parametrize(("signed_a", "signed_b"), [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_products(signed_a, signed_b, tmp_path):
    pairs = [(a, b) for a in OPERANDS for b in OPERANDS]
    steps = [f"a = {a}; b = {b};" for a, b in pairs]
    said = simulate("MULT18X18D", multiplier(signed_a, signed_b), {}, steps, tmp_path)
    for (a, b), product in zip(pairs, said, strict=True):
        x, y = signed(a) if signed_a else a, signed(b) if signed_b else b
        assert int(product, 2) == x * y % 2**36


REGISTERED = {"GSR": '"DISABLED"'}
INPUTS = {f"REG_INPUT{p}_CLK": '"CLK0"' for p in "AB"} | REGISTERED
OUTPUT = {"REG_OUTPUT_CLK": '"CLK0"'} | REGISTERED


@pytest.mark.parametrize(
    ("registers", "seen"), [({}, [6, 20, 0, 0]), (INPUTS, [6, 20, 0, 0]), (OUTPUT, [6, 20, 0, 0]),
                            (INPUTS | OUTPUT, [0, 6, 20, 0])],
)  # fmt: skip
def test_cycles_of_a_product(registers, seen, tmp_path):
    """Displayed after the edge: with one register the operands before it, with two those before."""
    steps = ["a = 2; b = 3;", "a = 4; b = 5;", "a = 0;", ""]
    said = simulate("MULT18X18D", multiplier(1, 1), registers, steps, tmp_path)
    assert [int(value, 2) for value in said] == seen


def test_a_register_waits_for_its_own_enable(tmp_path):
    registers = INPUTS | OUTPUT | {"REG_INPUTB_CE": '"CE1"'}
    steps = ["a = 2; b = 3;", "ce = 0; a = 4; b = 5;", "", "ce = 1;", ""]
    said = simulate("MULT18X18D", multiplier(1, 1), registers, steps, tmp_path)
    assert [int(value, 2) for value in said] == [0, 6, 12, 12, 20]


@pytest.mark.parametrize(
    ("registers", "steps"),
    [
        (INPUTS, ["rst = 1;"]),
        ({"REG_PIPELINE_CLK": '"CLK0"'}, [""]),
        ({"REG_OUTPUT_CLK": '"CLK1"'} | REGISTERED, [""]),
        ({"REG_OUTPUT_CLK": '"CLK0"'}, [""]),  # with the global reset
    ],
)
def test_a_product_that_nobody_knows_is_x(registers, steps, tmp_path):
    said = simulate("MULT18X18D", multiplier(1, 1), registers, steps, tmp_path)
    assert said == ["x" * 36]


def ram(wide: bool = True) -> dict[str, str]:
    """Port A writes `data` to word `write`, port B reads word `read`: 36 or 18 bits."""
    pins = bus("DIA", 18, "data") | bus("DIB", 18, "data", 18)
    pins |= bus("DOA", 18, "out") | bus("DOB", 18, "out", 18)
    first = 5 if wide else 4
    for port, name in (("A", "write"), ("B", "read")):
        pins |= {f"AD{port}{n}": f"{name}[{n - first}]" for n in range(first, 14)}
    pins |= {f"ADA{n}": "1'b1" for n in range(first)}
    pins |= {f"ADB{n}": "1'b0" for n in range(first)}
    pins |= {f"CS{port}{n}": "1'b0" for port in "AB" for n in range(3)}
    pins |= {"CLKA": "clk", "CLKB": "clk", "CEA": "1'b1", "CEB": "ce", "WEA": "we", "WEB": "1'b0"}
    return pins | {"OCEA": "1'b0", "OCEB": "oce", "RSTA": "1'b0", "RSTB": "rst"}


WIDE = {"DATA_WIDTH_A": "36", "DATA_WIDTH_B": "36"}
OUTREG = {"REGMODE_A": '"OUTREG"', "REGMODE_B": '"OUTREG"'}
WORDS = [0x123456789, 0xFEDCBA987]


def word(value: int) -> str:
    return f"{value:036b}"


def test_words_of_36_bits(tmp_path):
    """Written, read one cycle after the address; the output keeps its word while CE is 0."""
    steps = [
        f"we = 1; write = 3; data = 36'd{WORDS[0]};",
        f"write = 4; data = 36'd{WORDS[1]}; read = 3;",
    ]
    steps += ["we = 0; read = 4;", "ce = 0; read = 3;", "ce = 1; rst = 1;"]
    said = simulate("DP16KD", ram(), WIDE, steps, tmp_path)
    assert said == [word(0), word(WORDS[0]), word(WORDS[1]), word(WORDS[1]), "x" * 36]


def test_bytes_of_9_bits(tmp_path):
    pins = ram() | {f"ADA{n}": str(int(n in (1, 2))) for n in range(4)}
    steps = [f"we = 1; data = 36'd{2**36 - 1};", "we = 0;"]
    said = simulate("DP16KD", pins, WIDE, steps, tmp_path)
    assert said[-1] == "0" * 9 + "1" * 18 + "0" * 9


def test_words_of_18_bits_share_the_memory_with_bytes(tmp_path):
    pins = ram(wide=False) | {"ADB3": "read[13]"}
    modes = {"DATA_WIDTH_A": "18", "DATA_WIDTH_B": "9"}
    steps = [f"we = 1; write = 9; data = {0x2ABCD};", "we = 0; read = 9;", "read[13] = 1;"]
    said = simulate("DP16KD", pins, modes, steps, tmp_path)
    assert [int(value[9:18], 2) for value in said[1:]] == [0x2ABCD & 511, 0x2ABCD >> 9]


def test_a_word_that_is_being_written_reads_as_x(tmp_path):
    steps = ["we = 1; data = 5; write = 2; read = 2;", "we = 0;"]
    assert simulate("DP16KD", ram(), WIDE, steps, tmp_path) == ["x" * 36, word(5)]


def test_the_output_register(tmp_path):
    """One cycle more; it waits for OCE; OCE without CE makes it X."""
    steps = [
        f"we = 1; write = 1; data = {WORDS[1]};".replace("data = ", "data = 36'd"),
        "we = 0; read = 1;",
    ]
    steps += ["", "ce = 0; oce = 0;", "oce = 1;"]
    said = simulate("DP16KD", ram(), WIDE | OUTREG, steps, tmp_path)
    assert said == [word(0), word(0), word(WORDS[1]), word(WORDS[1]), "x" * 36]


def test_initial_words(tmp_path):
    start = {"INITVAL_00": "{140'd0, 20'd7, 20'd6, 140'd0}"}
    said = simulate("DP16KD", ram(), WIDE | start, ["read = 3;", "read = 4;"], tmp_path)
    assert [int(value, 2) for value in said] == [6 << 18, 7]


@pytest.mark.parametrize(("width", "count"), [(1, 8), (2, 4), (4, 2)])
def test_narrow_words_pass_over_the_ninth_bit(width, count, tmp_path):
    """`count` words make the lower eight bits of a byte, in order, and leave the ninth alone."""
    pins = ram(wide=False) | {f"ADA{n}": f"write[{n}]" for n in range(14)}
    first = {1: 0, 2: 1, 4: 2}[width]
    values = [(0x9C >> width * n) % 2**width for n in range(count)]
    steps = [
        f"we = 1; write = {(2 * 16 + 8) | n << first}; data = {value};"
        for n, value in enumerate(values)
    ]
    steps += ["we = 0; read = 2;", ""]
    modes = {"DATA_WIDTH_A": str(width), "DATA_WIDTH_B": "18"}
    said = simulate("DP16KD", pins, modes, steps, tmp_path)
    assert int(said[-1][:18], 2) == 0x9C << 9


@pytest.mark.parametrize(("mode", "third"), [("NORMAL", 0), ("READBEFOREWRITE", 3)])
def test_the_output_while_its_port_writes(mode, third, tmp_path):
    pins = ram(wide=False) | {"WEB": "rst", "RSTB": "1'b0", "ADB0": "1'b1", "ADB1": "1'b1"}
    pins |= {f"DIB{n}": str(12 >> n & 1) for n in range(18)}
    modes = {f"WRITEMODE_{port}": f'"{mode}"' for port in "AB"}
    steps = ["we = 1; write = 5; data = 3; read = 1;", "we = 0; rst = 1; read = 5;", "rst = 0;"]
    said = [int(v[:18], 2) for v in simulate("DP16KD", pins, modes, steps, tmp_path)]
    assert said == [0, third, 12]


def test_what_both_ports_write_is_x(tmp_path):
    pins = ram(wide=False) | {"WEB": "rst", "RSTB": "1'b0", "ADB0": "1'b1", "ADB1": "1'b0"}
    pins |= {f"DIB{n}": "1'b1" for n in range(18)}
    steps = ["we = 1; write = 5; data = 18'h00000; rst = 1; read = 5;", "we = 0; rst = 0;"]
    said = simulate("DP16KD", pins, {}, steps, tmp_path)
    assert said[-1][:18] == "0" * 9 + "x" * 9


@pytest.mark.parametrize("modes", [{"DATA_WIDTH_A": "36"}, {"WRITEMODE_B": '"WRITETHROUGH"'}])
def test_modes_that_nobody_modelled_are_x(modes, tmp_path):
    assert simulate("DP16KD", ram(wide=False), modes, [""], tmp_path) == ["x" * 36]
