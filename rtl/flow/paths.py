"""The slowest path to every register of a mapped netlist, wires estimated: for `rtl.flow.timing`.

A path starts at the clock input of a register (flip-flop, RAM or multiplier), passes cells without
a clock and ends at a register:

    clock to output + wire + cell + wire + cell + ... + wire + set-up

Cells: `rtl.flow.delays`, an ECP5 of speed grade 6. Wires: `wire`, by the number of inputs that a
net drives, or, of a placed netlist, by their length (`rtl.flow.placed`). Paths from or to pins do
not count, nor do those inside a multiplier.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from .delays import delays
from .netlist import names, nets
from .placed import Place, distance

# Inputs with a wire of their own: the carry, and what a multiplexer takes from its own slice
INSIDE = {("CCU2C", "CIN"), ("PFUMX", "ALUT"), ("PFUMX", "BLUT"), ("L6MUX21", "D0")}
INSIDE |= {("L6MUX21", "D1")}
BESIDE = 130  # ps, from a LUT or an adder to the flip-flop of the same slice
WIRE = 850  # any other wire, to few inputs
SPREAD = ((64, 1200), (16, 500), (4, 150))  # more, if the net drives as many inputs
SUFFIX = re.compile(r"_(?:TRELLIS_FF|DP16KD|MULT18X18D|TRELLIS_DPR16X4)\w*$")


@dataclass(frozen=True)
class Point:
    """An input of a register, or of a cell on the way to one."""

    cell: str
    port: str
    bit: int


@dataclass(frozen=True)
class Endpoint:
    """The slowest path to one input of a register."""

    ps: int
    at: Point


def wire(kind: str, port: str, driver: str, fanout: int) -> int:
    """ps from a cell of kind `driver` to input `port` of a cell of kind `kind`.

    The figures are a fit to designs that nextpnr routed, of a slice's own wires and of the rest.
    """
    if (kind, port) in INSIDE:
        return 0
    if (kind, port) == ("TRELLIS_FF", "DI") and driver in ("LUT4", "CCU2C"):
        return BESIDE
    return WIRE + next((more for least, more in SPREAD if fanout >= least), 0)


class Paths:
    """A flat module of Yosys's `write_json` with the latest arrival at each net.

    arrival: bit to ps after the clock's edge, of nets that a register reaches; before: bit to the
    input from which the slowest path came, None at a register's output. Bits are Yosys's numbers.
    places: where the cells are, if they have been placed.

    Raises ValueError for cells without delays, for a loop without a register and for more than one
    clock.
    """

    def __init__(self, module: dict, places: Mapping[str, Place] | None = None):
        self.places = places
        self.cells: dict[str, dict] = module["cells"]
        self.fanout: Counter[int] = Counter()
        self.driver: dict[int, str] = {}
        self.arcs: dict[int, list[tuple[Point, int]]] = defaultdict(list)
        self.arrival: dict[int, int] = {}
        self.before: dict[int, Point | None] = {}
        self.captures: list[tuple[Point, int]] = []
        clocks = set()
        for name, cell in self.cells.items():
            pins, directions = cell["connections"], cell["port_directions"]
            used = [port for port, bits in pins.items() if nets(bits)]
            timing = delays(cell["type"], cell["parameters"], used)
            clocks.update(bit for port in timing.clocks for bit in pins[port])
            for port in used:
                for bit in nets(pins[port]):
                    if directions[port] == "output":
                        self.driver[bit] = name
                    else:
                        self.fanout[bit] += 1
            for port, ps in timing.launches:
                for bit in nets(pins[port]):
                    self.arrival[bit], self.before[bit] = ps, None
            for i, o, ps in timing.arcs:
                points = [Point(name, i, bit) for bit in nets(pins[i])]
                for bit in nets(pins[o]):
                    self.arcs[bit] += [(point, ps) for point in points]
            for port, ps in timing.captures:
                self.captures += [(Point(name, port, bit), ps) for bit in nets(pins[port])]
        if len(clocks) > 1:
            raise ValueError(f"expected one clock, got {len(clocks)}")
        self.names = names(module["netnames"])
        self._arrive()

    def _arrive(self) -> None:
        """The latest arrival at each net, in the order of the signal."""
        graph = {bit: {point.bit for point, _ in arcs} for bit, arcs in self.arcs.items()}
        try:
            order = list(TopologicalSorter(graph).static_order())
        except CycleError as error:
            loop = ", ".join(self.name(bit) for bit in error.args[1][:8])
            raise ValueError(f"a loop without a register: {loop}") from None
        for bit in order:
            for point, ps in self.arcs.get(bit, ()):
                if (at := self.at(point)) is not None and at + ps > self.arrival.get(bit, -1):
                    self.arrival[bit], self.before[bit] = at + ps, point

    def at(self, point: Point) -> int | None:
        """ps at which the signal is at an input; None if no register reaches it."""
        arrival = self.arrival.get(point.bit)
        if arrival is None:
            return None
        return arrival + self._wire(self.driver[point.bit], point)

    def _wire(self, driver: str, point: Point) -> int:
        kinds = self.cells[point.cell]["type"], self.cells[driver]["type"]
        ps = wire(kinds[0], point.port, kinds[1], self.fanout[point.bit])
        if self.places is None or ps == 0:
            return ps
        a, b = self.places[driver], self.places[point.cell]
        return BESIDE if ps == BESIDE and a == b else distance(a, b)

    def endpoints(self) -> list[Endpoint]:
        """Every input of a register that another one reaches, the slowest first."""
        found = [
            Endpoint(at + ps, point)
            for point, ps in self.captures
            if (at := self.at(point)) is not None
        ]
        return sorted(found, key=lambda e: (-e.ps, e.at.cell, e.at.port, e.at.bit))

    def path(self, endpoint: Endpoint) -> Iterator[Point]:
        """The inputs that the slowest path passes, from the endpoint back to the start."""
        point: Point | None = endpoint.at
        while point is not None:
            yield point
            point = self.before[point.bit]

    def name(self, bit: int) -> str:
        return self.names.get(bit, f"net {bit}")

    def register(self, point: Point) -> str:
        """What people call a register: the signal of a flip-flop, or the memory or multiplier; with
        the port, unless it is a flip-flop's data."""
        cell = self.cells[point.cell]
        if cell["type"] == "TRELLIS_FF":
            signal = re.sub(r"\[\d+\]$", "", self.name(cell["connections"]["Q"][0]))
            return signal if point.port in ("DI", "M") else f"{signal} {point.port}"
        return f"{SUFFIX.sub('', point.cell)} {cell['type']} {re.sub(r'[0-9]+$', '', point.port)}"

    def start(self, bit: int) -> str:
        """The register that drives a net."""
        driver = self.driver[bit]
        kind = self.cells[driver]["type"]
        return self.name(bit) if kind == "TRELLIS_FF" else f"{SUFFIX.sub('', driver)} {kind}"
