"""A mapped netlist as Verilog of one wire a bit: what OpenSTA reads, and Verilator counts.

Yosys's own writer joins and aliases nets, which OpenSTA 2.0 does not read and Verilator would count
twice. Here net n of Yosys is the wire n<n>, a cell is called by its first output: c<n>.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from .liberty import Cell
from .rams import KIND, Ram, ram

PIN = re.compile(r"\w+")
Bit = int | str  # a net's number, or a constant: "0", "1", "x", "z"


class Netlist:
    """One flat module of Yosys's JSON, mapped to `library`, memories left.

    cells: (name, type, connections by pin) of the library's cells; rams: (name in the design,
    shape, connections). Raises ValueError for a cell that is neither.
    """

    def __init__(self, module: dict, library: dict[str, Cell]):
        self.library = library
        self.ports: dict[str, dict] = module["ports"]
        self.cells: list[tuple[str, str, dict[str, Bit]]] = []
        self.rams: list[tuple[str, Ram, dict[str, list[Bit]]]] = []
        for name, cell in module["cells"].items():
            kind = cell["type"]
            if kind == KIND:
                pins = cell["connections"] | {"CLK": cell["connections"]["WR_CLK"]}
                found = ram(cell)
                self.rams.append((name, found, {p: pins[p] for p in ("CLK", *found.pins)}))
            elif kind in library:
                pins = {pin: bits[0] for pin, bits in cell["connections"].items()}
                self.cells.append((f"c{pins[next(iter(library[kind].outputs))]}", kind, pins))
            elif kind != "$scopeinfo":
                raise ValueError(f"{kind} is no cell of the library")
        self.names = dict(names(module))

    @property
    def area(self) -> float:
        """um2 of the library's cells."""
        return sum(self.library[kind].area for _, kind, _ in self.cells)

    def loads(self) -> dict[Bit, float]:
        """pF of the pins that hang on each net."""
        found: dict[Bit, float] = {}
        for _, kind, pins in self.cells:
            for pin, capacitance in self.library[kind].inputs.items():
                if pin in pins:
                    found[pins[pin]] = found.get(pins[pin], 0.0) + capacitance
        return found

    def structure(self, top: str) -> str:
        """The module in Verilog; cells and rams are instances of modules of their names."""
        cells = [
            f"  {kind} {name} ({', '.join(f'.{pin}({wire(bit)})' for pin, bit in pins.items())});"
            for name, kind, pins in self.cells
        ]
        return self._module(top, cells, {}, ())

    def behaviour(self, top: str, counted: Collection[Bit] = ()) -> str:
        """The same with what the cells compute in their place: simulators are faster with it.

        counted: nets of which Verilator's coverage, if it is built in, counts the toggles.
        Raises ValueError for a cell that is neither a gate nor a flip-flop of the rising edge.
        """
        gates, registers = [], {}
        for _, kind, pins in self.cells:
            cell = self.library[kind]
            for output, function in cell.outputs.items():
                if not {*PIN.findall(function)} <= {*cell.inputs} or PIN.sub("", cell.clock):
                    raise ValueError(f"{kind} is neither a gate nor a flip-flop")
                value = PIN.sub(lambda pin, pins=pins: wire(pins[pin[0]]), function)
                if cell.clock:
                    registers[pins[output]] = f"always @(posedge {wire(pins[cell.clock])}) "
                    registers[pins[output]] += f"{wire(pins[output])} <= {value};"
                else:
                    gates.append(f"  assign {wire(pins[output])} = {value};")
        return self._module(top, gates, registers, counted)

    def _module(
        self, top: str, cells: list[str], registers: dict[Bit, str], counted: Collection[Bit]
    ) -> str:
        """Ports and wires around the cells, and the rams; registers: what sets those nets."""
        nets = {bit for _, _, pins in self.cells for bit in pins.values()}
        nets |= {bit for _, _, pins in self.rams for bits in pins.values() for bit in bits}
        nets |= {bit for port in self.ports.values() for bit in port["bits"]}
        lines = ["/*verilator coverage_off*/", f"module {top} ({', '.join(self.ports)});"]
        for name, port in self.ports.items():
            bits = port["bits"]
            size = f"[{len(bits) - 1}:0] " if len(bits) > 1 else ""
            lines.append(f"  {port['direction']} {size}{name};")
        wires = sorted(n for n in nets if isinstance(n, int))
        kinds = {n: "reg" if n in registers else "wire" for n in wires}
        lines += [f"  {kinds[n]} n{n};" for n in wires if n not in counted]
        lines += ["  /*verilator coverage_on*/"]
        lines += [f"  {kinds[n]} n{n};" for n in wires if n in counted]
        lines += ["  /*verilator coverage_off*/"]
        for name, port in self.ports.items():
            for n, bit in enumerate(port["bits"]):
                pin = f"{name}[{n}]" if len(port["bits"]) > 1 else name
                ends = (wire(bit), pin) if port["direction"] == "input" else (pin, wire(bit))
                lines.append(f"  assign {ends[0]} = {ends[1]};")
        lines += cells
        lines += [f"  {statement}" for statement in registers.values()]
        for n, (_, found, pins) in enumerate(self.rams):
            joined = ", ".join(f".{pin}({concatenated(bits)})" for pin, bits in pins.items())
            lines.append(f"  {found.name} ram{n} ({joined});")
        return "\n".join([*lines, "endmodule"]) + "\n"

    def called(self, instance: str) -> str:
        """What people call a port, or an instance of `structure`: the signal that it drives."""
        if instance.startswith("ram") and instance[3:].isdecimal():
            return self.rams[int(instance[3:])][0]
        if instance.startswith("c") and instance[1:].isdecimal():
            return self.names.get(int(instance[1:]), instance)
        return instance


def wire(bit: Bit) -> str:
    """A constant that does not matter is 0: simulators and OpenSTA agree on it."""
    return f"n{bit}" if isinstance(bit, int) else "1'b1" if bit == "1" else "1'b0"


def concatenated(bits: list[Bit]) -> str:
    return (
        f"{{{', '.join(wire(bit) for bit in reversed(bits))}}}" if len(bits) > 1 else wire(bits[0])
    )


def names(module: dict) -> Iterator[tuple[int, str]]:
    """Nets and their names, those of the sources last, so that they prevail."""
    for name, net in sorted(
        module["netnames"].items(), key=lambda item: (not item[1]["hide_name"], -len(item[0]))
    ):
        for n, bit in enumerate(net["bits"]):
            if isinstance(bit, int):
                yield bit, f"{name}[{n}]" if len(net["bits"]) > 1 else name
