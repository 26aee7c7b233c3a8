"""Flip-flops moved into the registers of multipliers and block RAMs: a netlist for an ECP5.

Yosys maps `MULT18X18D` and `DP16KD` without their registers. With them a block RAM answers 0.96 ns
after the clock instead of 5.83, and a multiplier takes 0.08 and gives 0.74 instead of 3.93 between
two wires; the flip-flops and the wires between are saved.

    flip-flops -> A, B    the input registers, if both operands come from flip-flops or are 0
    P -> flip-flops       the output register
    DO -> flip-flops      OUTREG of that half, of both where a RAM is 36 bits wide

What is moved does in every cycle what it did before, from the first one:

- all flip-flops of an operand, a product or a half share clock and enable;
- none has a reset or starts as 1: hard blocks start as 0, and whether a reset goes before the clock
  enable there is not relied on;
- what leaves a multiplier or a RAM goes nowhere but to its flip-flop; what enters a multiplier may
  go elsewhere too, then the flip-flop stays for that;
- a RAM's output register is used only where OCE alone and OCE with CE mean the same.

What drives nothing afterwards is removed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from .netlist import Bit, nets

FF, MULTIPLIER, RAM = "TRELLIS_FF", "MULT18X18D", "DP16KD"
OPERAND, PRODUCT, HALF = 18, 36, 18  # bits


@dataclass(frozen=True)
class Control:
    """What flip-flops must share to become one register: nets or constants."""

    clock: Bit
    enable: Bit


def plain(ff: dict) -> Control | None:
    """Clock and enable of a flip-flop that a hard block's register can stand for, else None."""
    pins = ff["connections"]
    modes = {name: str(value).strip() for name, value in ff["parameters"].items()}
    if modes.get("LSRMUX", "LSR") != "LSR" or pins.get("LSR", ["0"]) != ["0"]:
        return None
    if modes.get("REGSET", "RESET") != "RESET" or modes.get("CLKMUX", "CLK") != "CLK":
        return None
    if "DI" not in pins:
        return None
    enable = modes.get("CEMUX", "CE")
    if enable not in ("CE", "1"):
        return None
    return Control(pins["CLK"][0], pins["CE"][0] if enable == "CE" else "1")


class Absorber:
    """One module and who drives and reads its nets; `counts` says what was done."""

    def __init__(self, module: dict):
        self.module, self.cells = module, module["cells"]
        self.counts: Counter[str] = Counter()
        self.driver: dict[int, str] = {}
        self.readers: dict[int, list[tuple[str, str]]] = defaultdict(list)
        for name, cell in self.cells.items():
            for port, bits in cell["connections"].items():
                for bit in nets(bits):
                    if cell["port_directions"][port] == "output":
                        self.driver[bit] = name
                    else:
                        self.readers[bit].append((name, port))
        self.outputs = {
            bit
            for port in module["ports"].values()
            if port["direction"] != "input"
            for bit in nets(port["bits"])
        }

    @property
    def undriven(self) -> set[int]:
        """Nets that are read and come from nowhere."""
        inputs = {
            bit
            for port in self.module["ports"].values()
            if port["direction"] != "output"
            for bit in nets(port["bits"])
        }
        return {bit for bit, found in self.readers.items() if found} - set(self.driver) - inputs

    def sources(self, bits: Iterable[Bit]) -> tuple[Control, dict[int, Bit]] | None:
        """Of nets that come from flip-flops: their control, and net to what is before it. None if
        one comes from elsewhere, is a constant 1, or no flip-flop is there."""
        controls, before = set(), {}
        for bit in bits:
            if bit == "0":
                continue
            ff = self.cells.get(self.driver.get(bit, "")) if isinstance(bit, int) else None
            if ff is None or ff["type"] != FF:
                return None
            controls.add(plain(ff))
            before[bit] = ff["connections"]["DI"][0]
        control = controls.pop() if len(controls) == 1 else None
        return (control, before) if control else None

    def sinks(self, bits: Iterable[Bit]) -> tuple[Control, dict[int, str]] | None:
        """Of nets that go to flip-flops: their control, and net to the name of its flip-flop. Nets
        that nobody reads are left out. None if one goes elsewhere, or all are read by nobody."""
        controls, after = set(), {}
        for bit in nets(bits):
            readers = self.readers[bit]
            if bit in self.outputs or len(readers) > 1:
                return None
            if not readers:
                continue
            ((name, port),) = readers
            if self.cells[name]["type"] != FF or port != "DI":
                return None
            controls.add(plain(self.cells[name]))
            after[bit] = name
        control = controls.pop() if len(controls) == 1 else None
        return (control, after) if control else None

    def input(self, cell: dict, port: str, bit: Bit) -> None:
        """Connect an input that the cell had not."""
        cell["connections"][port] = [bit]
        cell["port_directions"][port] = "input"

    def move(self, name: str, port: str, bit: int, to: Bit) -> None:
        """Connect an input to another net; who looks at either net's readers next sees it."""
        self.cells[name]["connections"][port] = [to]
        self.readers[bit].remove((name, port))
        if isinstance(to, int):
            self.readers[to].append((name, port))

    def take(self, cell: dict, ports: Iterable[str], after: dict[int, str]) -> None:
        """Outputs of a cell take the nets of the flip-flops behind them, which go."""
        for port in ports:
            bits = cell["connections"].get(port, [])
            for n, bit in enumerate(bits):
                if bit in after:
                    (bits[n],) = self.cells[after[bit]]["connections"]["Q"]
        for name in after.values():
            del self.cells[name]
        self.counts["flip-flops taken"] += len(after)

    def multiplier(self, name: str) -> None:
        cell = self.cells[name]
        pins, modes = cell["connections"], cell["parameters"]
        operands = {p: [f"{p}{n}" for n in range(OPERAND) if f"{p}{n}" in pins] for p in "AB"}
        product = [f"P{n}" for n in range(PRODUCT) if f"P{n}" in pins]
        a, b = (self.sources(pins[port][0] for port in operands[p]) for p in "AB")
        p = self.sinks(pins[port][0] for port in product)
        registers: dict[str, Control] = {}
        if a and b and a[0].clock == b[0].clock:
            registers |= {"INPUTA": a[0], "INPUTB": b[0]}
        if p and all(control.clock == p[0].clock for control in registers.values()):
            registers["OUTPUT"] = p[0]
        if not registers:
            return
        enables = list(dict.fromkeys(control.enable for control in registers.values()))
        for register, control in registers.items():
            modes[f"REG_{register}_CLK"] = "CLK0"
            modes[f"REG_{register}_CE"] = f"CE{enables.index(control.enable)}"
            modes[f"REG_{register}_RST"] = "RST0"
            self.input(cell, "CLK0", control.clock)
        self.input(cell, "RST0", "0")
        for n, enable in enumerate(enables):
            self.input(cell, f"CE{n}", enable)
        modes |= {"GSR": "DISABLED", "RESETMODE": "SYNC"}
        if a and b and "INPUTA" in registers:
            for ports, (_, before) in ((operands["A"], a), (operands["B"], b)):
                for port in ports:
                    (bit,) = pins[port]
                    if bit in before:
                        self.move(name, port, bit, before[bit])
            self.counts["multiplier inputs"] += 1
        if p and "OUTPUT" in registers:
            self.take(cell, product, p[1])
            self.counts["multiplier outputs"] += 1

    def ram(self, name: str) -> None:
        cell = self.cells[name]
        if int(cell["parameters"]["DATA_WIDTH_A"], 2) == 2 * HALF:  # written by A, read by B
            self.ram_outputs(cell, "B", "AB")
        else:
            for half in "AB":
                self.ram_outputs(cell, half, half)

    def ram_outputs(self, cell: dict, port: str, halves: str) -> None:
        """The output registers of `halves`, which the clock and the enables of `port` control."""
        pins, modes = cell["connections"], cell["parameters"]
        data = [f"DO{half}{n}" for half in halves for n in range(HALF) if f"DO{half}{n}" in pins]
        found = self.sinks(pins[p][0] for p in data)
        if not found:
            return
        control, after = found
        enable = pins[f"CE{port}"][0]
        if enable not in ("1", control.enable) or pins[f"RST{port}"] != ["0"]:
            return
        if pins[f"CLK{port}"] != [control.clock] or modes[f"CLK{port}MUX"] != f"CLK{port}":
            return
        for half in halves:
            modes[f"REGMODE_{half}"] = "OUTREG"
        self.input(cell, f"OCE{port}", control.enable)
        self.take(cell, data, after)
        self.counts["RAM outputs"] += 1

    def sweep(self) -> None:
        """Remove the cells from which no path leads to an output, and their names."""
        alive: set[str] = set()
        waiting = [self.driver[bit] for bit in self.outputs if bit in self.driver]
        while waiting:
            name = waiting.pop()
            if name not in alive:
                alive.add(name)
                cell = self.cells[name]
                for port, bits in cell["connections"].items():
                    if cell["port_directions"][port] != "output":
                        waiting += [self.driver[bit] for bit in nets(bits) if bit in self.driver]
        for name in [name for name in self.cells if name not in alive]:
            if self.cells[name]["type"] != "$scopeinfo":
                self.counts[f"dead {self.cells[name]['type']}"] += 1
            del self.cells[name]
        left = {
            bit
            for cell in self.cells.values()
            for bits in cell["connections"].values()
            for bit in bits
        }
        left |= {bit for port in self.module["ports"].values() for bit in port["bits"]}
        for named in self.module["netnames"].values():
            named["bits"] = [bit if bit in left else "x" for bit in named["bits"]]


def absorb(netlist: dict, top: str) -> dict[str, int]:
    """Change the flat module `top` of what `write_json` wrote, in place; what was done, counted.

    Before `rtl.flow.justify`: that makes one net of the copies of a product's sign. Raises
    RuntimeError if a net has lost its driver.
    """
    module = netlist["modules"][top]
    names = {
        kind: [n for n, c in module["cells"].items() if c["type"] == kind]
        for kind in (MULTIPLIER, RAM)
    }
    absorber = Absorber(module)
    undriven = absorber.undriven
    for name in names[MULTIPLIER]:
        absorber.multiplier(name)
    for name in names[RAM]:
        absorber.ram(name)
    swept = Absorber(module)
    swept.sweep()
    if lost := Absorber(module).undriven - undriven:
        raise RuntimeError(f"absorb: nets that nothing drives any more: {sorted(lost)}")
    return dict(absorber.counts + swept.counts)
