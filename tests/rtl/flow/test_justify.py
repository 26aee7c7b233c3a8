"""fqvit_hw.rtl.flow.justify: a netlist with operands moved to the top multiplies as before."""

import json
import subprocess

from fqvit_hw.rtl.flow.justify import justify, significant
from fqvit_hw.rtl.flow.tools import run

PRODUCTS = {  # bits of a, b and the result, signed: a, b
    "array": (8, 8, 22, True, True),
    "odd": (5, 17, 23, True, True),
    "whole": (18, 18, 36, True, True),
    "narrow": (8, 8, 9, True, True),  # the upper bits are used by nobody
    "positive": (8, 9, 17, False, False),
    "mixed": (8, 9, 17, True, False),
}
MODEL = """
module MULT18X18D(%s, input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB, %s);
  wire signed [18:0] a = {SIGNEDA & A17, %s};
  wire signed [18:0] b = {SIGNEDB & B17, %s};
  wire signed [37:0] p = a * b;
  assign {%s} = p[35:0];
endmodule
"""


def names(port, bits):
    return [f"{port}{n}" for n in reversed(range(bits))]


def model() -> str:
    """A MULT18X18D without registers; Yosys has none that can be simulated."""
    a, b, c, p = names("A", 18), names("B", 18), names("C", 18), names("P", 36)
    inputs = ", ".join(f"input {name}" for name in (*a, *b, *c))
    outputs = ", ".join(f"output {name}" for name in p)
    return MODEL % (inputs, outputs, *map(", ".join, (a, b, p)))


def source() -> str:
    """A multiplier for each of PRODUCTS, its operands extended, the lower outputs used."""
    ports, body = [], []
    for name, (a, b, width, a_signed, b_signed) in PRODUCTS.items():
        pins = [f".P{n}({name}[{n}])" for n in range(width)]
        for operand, bits, signed in (("a", a, a_signed), ("b", b, b_signed)):
            ports.append(f"input [{bits - 1}:0] {name}_{operand}")
            top = f"{name}_{operand}[{bits - 1}]" if signed else "1'b0"
            body.append(f"wire [17:0] {name}_{operand}w = {{{{18{{{top}}}}}, {name}_{operand}}};")
            port = operand.upper()
            pins += [f".{port}{n}({name}_{operand}w[{n}])" for n in range(18)]
            pins.append(f".SIGNED{port}(1'b{int(signed)})")
        ports.append(f"output [{width - 1}:0] {name}")
        body.append(f"MULT18X18D {name}_mult({', '.join(pins)});")
    return f"module top({', '.join(ports)});\n" + "\n".join(body) + "\nendmodule\n"


def bench() -> str:
    """Both modules beside each other, 2,000 random operands and the extreme ones."""
    wires, change, same = [], [], []
    for name, (a, b, width, _, _) in PRODUCTS.items():
        wires.append(f"wire [{width - 1}:0] {name}, {name}_new;")
        for operand, bits in (("a", a), ("b", b)):
            wires.append(f"reg [{bits - 1}:0] {name}_{operand};")
            extreme = f"n[0] ? {{1'b1, {{{bits - 1}{{1'b0}}}}}} : {{1'b0, {{{bits - 1}{{1'b1}}}}}}"
            change.append(f"{name}_{operand} = n < 8 ? ({extreme}) : $random;")
            change.append(f"if (n == 2) {name}_{operand} = -1;")
        same.append(f'if ({name} !== {name}_new || ^{name} === 1\'bx) $display("{name} %d", n);')
    operands = [f"{name}_{operand}" for name in PRODUCTS for operand in "ab"]
    ins = ", ".join(f".{name}({name})" for name in operands)
    old = ", ".join(f".{name}({name})" for name in PRODUCTS)
    new = ", ".join(f".{name}({name}_new)" for name in PRODUCTS)
    return "\n".join(
        [
            "module bench; integer n;",
            *wires,
            f"top old({ins}, {old}); top_new now({ins}, {new});",
            "initial begin for (n = 0; n < 2000; n = n + 1) begin",
            *change,
            "#1;",
            *same,
            'end $display("done"); end endmodule',
        ]
    )


def test_significant_bits_of_a_sign_extended_number():
    assert significant([2, 3, 4, 4, 4]) == 3
    assert significant([2, 3, 4]) == 3
    assert significant([7, 7, 7]) == 1


def test_products_stay_the_same(tmp_path):
    (tmp_path / "top.v").write_text(source())
    cells = "read_verilog -lib +/ecp5/cells_bb.v"
    script = f"{cells}; read_verilog top.v; hierarchy -top top; write_json top.json"
    assert run("yosys", ["-p", script], tmp_path, "read.txt") is None
    netlist = json.loads((tmp_path / "top.json").read_text())
    assert justify(netlist, "top") == 20 + 14 + 0 + 20  # positive and mixed: left alone
    (tmp_path / "new.json").write_text(json.dumps(netlist))
    script = "read_json new.json; rename top top_new; write_verilog new.v"
    assert run("yosys", ["-p", script], tmp_path, "write.txt") is None
    (tmp_path / "model.v").write_text(model())
    (tmp_path / "bench.v").write_text(bench())
    command = ["iverilog", "-g2005", "-o", "bench", "bench.v", "model.v", "top.v", "new.v"]
    subprocess.run(command, cwd=tmp_path, check=True)
    said = subprocess.run(
        ["vvp", "bench"], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert said.stdout.split() == ["done"]
