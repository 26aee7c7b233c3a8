"""Memories that a standard-cell library has not: taken out of a netlist as macros, listed apart.

Yosys keeps them as $mem_v2. Here each is a shape: its line in the list of memories, a Verilog model
to simulate the rest with, a Liberty cell to time the rest with. The Liberty cell has no area and
no capacitance, takes addresses and data without set-up time, and delivers what it reads ACCESS ns
after the clock: nobody knows these before a memory compiler is chosen.
"""

from __future__ import annotations

from dataclasses import dataclass

KIND = "$mem_v2"
ACCESS = 0.0  # ns


@dataclass(frozen=True)
class Ram:
    """words x width bits, so many ports that read and one that writes, of one clock, each bit with
    its own write enable."""

    words: int
    width: int
    reads: int
    address: int  # bits of an address

    @property
    def name(self) -> str:
        return f"ram_{self.words}x{self.width}_{self.reads}r1w"

    @property
    def pins(self) -> dict[str, tuple[str, int]]:
        """Direction and bits of each pin but CLK, by the names of Yosys."""
        return {
            "RD_EN": ("input", self.reads),
            "RD_ADDR": ("input", self.reads * self.address),
            "RD_DATA": ("output", self.reads * self.width),
            "WR_EN": ("input", self.width),
            "WR_ADDR": ("input", self.address),
            "WR_DATA": ("input", self.width),
        }


def ram(cell: dict) -> Ram:
    """The shape of a $mem_v2. Raises ValueError for what the macros have not: a second port that
    writes, a read without a clock or with a reset."""

    def bits(name: str) -> int:
        return int(cell["parameters"][name], 2)

    reads = bits("RD_PORTS")
    if bits("WR_PORTS") != 1:
        raise ValueError(f"a memory with {bits('WR_PORTS')} ports that write")
    if bits("RD_CLK_ENABLE") != 2**reads - 1 or bits("RD_TRANSPARENCY_MASK"):
        raise ValueError("a memory that is read without a clock, or while it is written")
    pins = cell["connections"]
    if set(pins["RD_SRST"] + pins["RD_ARST"]) - {"0", "x"}:
        raise ValueError("a memory whose output has a reset")
    if len({bit for bit in pins["RD_CLK"] + pins["WR_CLK"]}) != 1:
        raise ValueError("a memory with two clocks")
    return Ram(bits("SIZE"), bits("WIDTH"), reads, bits("ABITS"))


def model(ram: Ram) -> str:
    """Verilog that simulates it; a word that is read while it is written is the old one."""
    w, a = ram.width, ram.address
    ports = [f"{flow} [{bits - 1}:0] {pin}" for pin, (flow, bits) in ram.pins.items()]
    ports = [port.replace("output", "output reg") for port in ports]
    reads = [
        f"    if (RD_EN[{n}]) RD_DATA[{n * w} +: {w}] <= words[RD_ADDR[{n * a} +: {a}]];"
        for n in range(ram.reads)
    ]
    old = "words[WR_ADDR]"
    lines = [
        f"module {ram.name} (input CLK, {', '.join(ports)});",
        f"  reg [{w - 1}:0] words [0:{ram.words - 1}];",
        "  always @(posedge CLK) begin",
        *reads,
        f"    if (|WR_EN) {old} <= ({old} & ~WR_EN) | (WR_DATA & WR_EN);",
        "  end",
        "endmodule",
    ]
    return "\n".join(lines) + "\n"


def liberty(rams: set[Ram], access: float = ACCESS) -> str:
    """A Liberty library of them."""
    cells = sorted(rams, key=lambda ram: ram.name)
    widths = sorted({bits for ram in cells for _, bits in ram.pins.values()})
    types = [
        f"  type (bits{n}) {{ base_type : array; data_type : bit; bit_width : {n}; "
        f"bit_from : {n - 1}; bit_to : 0; downto : true; }}"
        for n in widths
    ]
    units = [
        '  delay_model : table_lookup; time_unit : "1ns"; voltage_unit : "1V";',
        '  current_unit : "1uA"; pulling_resistance_unit : "1kohm"; leakage_power_unit : "1nW";',
        "  capacitive_load_unit (1, pf);",
        *(
            f"  {'slew_' * (n in (20, 80))}{part}_threshold_pct_{edge} : {n};"
            for part, n in (("input", 50), ("output", 50), ("lower", 20), ("upper", 80))
            for edge in ("rise", "fall")
        ),
    ]
    body = [line for ram in cells for line in liberty_cell(ram, access)]
    return "\n".join(["library (rams) {", *units, *types, *body, "}"]) + "\n"


def liberty_cell(ram: Ram, access: float) -> list[str]:
    lines = [f"  cell ({ram.name}) {{", "    area : 0; is_macro_cell : true;"]
    lines += ["    pin (CLK) { direction : input; capacitance : 0; clock : true; }"]
    for pin, (flow, bits) in ram.pins.items():
        if flow == "output":
            kind, values = "rising_edge", ("cell_rise", "cell_fall")
            fixed = {"rise_transition": 0.0, "fall_transition": 0.0}
            found = dict.fromkeys(values, access) | fixed
        else:
            kind, found = "setup_rising", {"rise_constraint": 0.0, "fall_constraint": 0.0}
        tables = " ".join(f'{name} (scalar) {{ values ("{n:g}"); }}' for name, n in found.items())
        lines += [
            f"    bus ({pin}) {{ bus_type : bits{bits}; direction : {flow}; capacitance : 0;",
            f'      timing () {{ related_pin : "CLK"; timing_type : {kind}; {tables} }} }}',
        ]
    return [*lines, "  }"]
