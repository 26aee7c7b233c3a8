"""The Verilog model of a DSP48E2, in Icarus: values, cycles, enables, and X."""

import subprocess

import pytest

from fqvit_hw.rtl.flow.mapped_xcup import model

ENABLES = ("A2", "D", "AD", "B1", "B2", "M", "P")
ZEROS = (
    *("ACIN", "BCIN", "C", "PCIN", "CARRYIN", "CARRYCASCIN", "MULTSIGNIN", "ALUMODE", "CARRYINSEL"),
    *(f"CE{name}" for name in ("A1", "C", "ALUMODE", "CARRYIN", "CTRL", "INMODE")),
    *(
        f"RST{name}"
        for name in ("A", "B", "C", "D", "P", "ALLCARRYIN", "ALUMODE", "CTRL", "INMODE")
    ),
)
NONE = {f"{name}REG": 0 for name in ("A", "B", "C", "D", "AD", "M", "P", "ALUMODE", "CARRYIN",
                                     "CARRYINSEL", "INMODE", "OPMODE")}  # fmt: skip
ALL = NONE | {"AREG": 1, "BREG": 2, "DREG": 1, "ADREG": 1, "MREG": 1, "PREG": 1}
SUM = {"AMULTSEL": '"AD"'}
PRODUCT, ROUNDED = 0b000000101, 0b100000101


def simulate(parameters: dict, steps: list[str], folder, inmode=0b00100, opmode=PRODUCT):
    """P after each step's rise of the clock; a step is Verilog that sets a, d, b, ce or rst."""
    values = ", ".join(f".{name}({value})" for name, value in parameters.items())
    zeros = ", ".join(f".{name}(0)" for name in ZEROS)
    enables = ", ".join(f".CE{name}(ce)" for name in ENABLES)
    body = "\n".join(f'#1; {s} #1; clk = 1; #1; clk = 0; #1 $display("%b", p);' for s in steps)
    (folder / "bench.v").write_text(f"""
module bench;
  reg clk = 0, ce = 1, rst = 0;
  reg signed [29:0] a = 0; reg signed [26:0] d = 0; reg signed [17:0] b = 0;
  wire [47:0] p;
  DSP48E2 #({values}) dut (.CLK(clk), .A(a), .D(d), .B(b), .P(p), .RSTM(rst),
    .INMODE(5'd{inmode}), .OPMODE(9'd{opmode}), {enables}, {zeros});
  initial begin {body} end
endmodule
""")
    (folder / "cell.v").write_text(model("DSP48E2"))
    command = ["iverilog", "-g2005", "-o", "bench", "bench.v", "cell.v"]
    subprocess.run(command, cwd=folder, check=True)
    done = subprocess.run(["vvp", "bench"], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.split()


def signed(bits: str) -> int:
    return int(bits, 2) - (int(bits[0]) << len(bits))


def test_sums_times_a_factor(tmp_path):
    """Extremes of all ports: the sum wraps at 27 bits, the product of 45 never does."""
    low, high = -(1 << 26), (1 << 26) - 1
    some = [(low, 0), (high, 0), (low, -1), (high, 1), (0, high), (-128, -(128 << 17)), (5, 7)]
    cases = [(a, d, b) for a, d in some for b in (-(1 << 17), (1 << 17) - 1, -1, 0, 1)]
    steps = [f"a = {a}; d = {d}; b = {b};" for a, d, b in cases]
    got = simulate(NONE | SUM | {"RND": "48'd3"}, steps, tmp_path, opmode=ROUNDED)
    for (a, d, b), p in zip(cases, got, strict=True):
        wrapped = (a + d + (1 << 26)) % (1 << 27) - (1 << 26)
        assert signed(p) == wrapped * b + 3


def test_a_product_alone(tmp_path):
    """As Yosys maps one: no register, no pre-adder; D is not looked at."""
    steps = ["a = -67108864; b = -131072; d = 9;", "a = 67108863; b = 131071;"]
    got = simulate(NONE, steps, tmp_path, inmode=0)
    assert [signed(p) for p in got] == [67108864 * 131072, 67108863 * 131071]


def test_cycles_of_a_sum(tmp_path):
    """Displayed after the edge: in the registers of A, D and B, of AD and B, of M, of P."""
    steps = ["a = 2; d = 3; b = 7;", "a = 1; b = -5;", "a = 0; d = 0; b = 0;", "", "", ""]
    got = simulate(ALL | SUM, steps, tmp_path)
    assert [signed(p) for p in got] == [0, 0, 0, 35, -20, 0]


def test_registers_wait_for_their_enable(tmp_path):
    steps = ["a = 2; d = 3; b = 7;", "", "ce = 0; a = 9;", "", "ce = 1;", "", "", ""]
    got = simulate(ALL | SUM, steps, tmp_path)
    assert [signed(p) for p in got] == [0, 0, 0, 0, 0, 35, 35, 84]


@pytest.mark.parametrize(
    ("parameters", "mode", "steps"),
    [
        (ALL | SUM, {}, ["rst = 1;"]),  # a reset that is active
        (ALL | SUM, {"opmode": 0b000110101}, [""]),  # plus C
        (ALL | SUM, {"inmode": 0b01100}, [""]),  # D - A
        (ALL, {"inmode": 0b00100}, [""]),  # a pre-adder that is not used
        (ALL | SUM | {"CREG": 1}, {}, [""]),
        (ALL | SUM | {"USE_SIMD": '"TWO24"'}, {}, [""]),
        (ALL | SUM | {"A_INPUT": '"CASCADE"'}, {}, [""]),
    ],
)
def test_what_is_not_modelled_is_x(parameters, mode, steps, tmp_path):
    assert simulate(parameters, steps, tmp_path, **mode) == ["x" * 48]
