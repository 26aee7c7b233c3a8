"""A Liberty file: areas, capacitances and energies of a standard-cell library.

LIBRARY is the one that Debian ships as qflow-tech-osu018: Oklahoma State University's cells for a
process of 0.18 um at 1.8 V, typical, 25 degrees. Areas are in um2, capacitances in pF, times in ns,
energies in pJ: what the file's units make of V * V * pF.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from fqvit_hw.errors import ToolError

LIBRARY = Path("/usr/share/qflow/tech/osu018/osu018_stdcells.lib")
NAND2 = "NAND2X1"  # its area is one gate equivalent
FLIP_FLOP = "DFFPOSX1"  # what every register becomes
VOLTS = 1.8
TOKEN = re.compile(r'"[^"]*"|[{}();:]|[^\s{}();:"]+')
AND = re.compile(r"(?<=[\w)])\s+(?=[\w(!])")
INDICES = ("index_1", "index_2")
IGNORED = re.compile(r"/\*.*?\*/|\\\n", re.DOTALL)


@dataclass
class Group:
    """`kind(name) { ... }`: its attributes, simple and complex, and the groups in it."""

    kind: str
    name: str
    attributes: dict[str, str] = field(default_factory=dict)
    groups: list[Group] = field(default_factory=list)

    def all(self, kind: str) -> list[Group]:
        return [group for group in self.groups if group.kind == kind]


def parse(text: str) -> Group:
    """The library's group. Raises ValueError where the text is none."""
    tokens = [match[0].strip('"') for match in TOKEN.finditer(IGNORED.sub(" ", text))]
    stream = iter(tokens)
    outside = Group("", "")
    try:
        statements(stream, outside)
    except StopIteration:
        raise ValueError("a Liberty file that ends in the middle") from None
    if [group.kind for group in outside.groups] != ["library"]:
        raise ValueError("a Liberty file holds one library")
    return outside.groups[0]


def statements(stream: Iterator[str], group: Group) -> None:
    """Reads into `group` until it is closed, or the text ends outside of all groups."""
    for word in stream:
        if word == "}":
            return
        if word == ";":
            continue
        after = next(stream)
        if after == ":":
            group.attributes[word] = until(stream, ";")
        elif after == "(":
            inside = until(stream, ")")
            following = next(stream)
            if following == "{":
                group.groups.append(Group(word, inside))
                statements(stream, group.groups[-1])
            elif following == ";":
                group.attributes[word] = inside
            else:
                raise ValueError(f"{word}({inside}): expected {{ or ;, got {following!r}")
        else:
            raise ValueError(f"{word}: expected : or (, got {after!r}")
    if group.kind:
        raise StopIteration


def until(stream: Iterator[str], end: str) -> str:
    words = []
    while (word := next(stream)) != end:
        words.append(word)
    return " ".join(words)


def numbers(text: str) -> list[float]:
    return [float(n) for n in re.split(r"[\s,]+", text.strip()) if n]


@dataclass(frozen=True)
class Table:
    """Energy of one transition, over the transition time alone or over load and transition time."""

    loads: list[float]  # pF; empty: of an input
    slews: list[float]  # ns
    values: np.ndarray  # pJ, (loads, slews)

    @classmethod
    def of(cls, group: Group) -> Table:
        indices = [numbers(group.attributes[i]) for i in INDICES if i in group.attributes]
        loads = indices[0] if len(indices) == 2 else []
        values = np.array(numbers(group.attributes["values"]))
        return cls(loads, indices[-1], values.reshape(max(len(loads), 1), -1))

    def __call__(self, load: float, slew: float) -> float:
        """Interpolated; beyond the table its edge."""
        rows = [float(np.interp(slew, self.slews, row)) for row in self.values]
        return float(np.interp(load, self.loads, rows)) if self.loads else rows[0]


@dataclass(frozen=True)
class Cell:
    """area: um2; inputs: pF of each input pin; outputs: what each output pin is, in Verilog, of a
    register what it becomes at the next rise of `clock`; tables: of each pin, the energy of its
    transitions inside the cell, rising and falling, for each input it depends on."""

    area: float
    inputs: dict[str, float]
    outputs: dict[str, str]
    tables: dict[str, list[Table]]
    clock: str = ""

    def energy(self, pin: str, load: float, slew: float) -> float:
        """pJ inside the cell when the pin toggles: the mean of its tables; 0 if it has none."""
        tables = self.tables[pin]
        return sum(table(load, slew) for table in tables) / len(tables) if tables else 0.0


def expression(function: str) -> str:
    """A function of Liberty in Verilog: a blank between two operands is an AND."""
    return AND.sub("&", function.strip()).replace("!", "~").replace("+", "|")


def cell(group: Group) -> Cell:
    inputs, outputs, tables, clock = {}, {}, {}, ""
    states = {}  # the register's own name of what it holds
    for register in group.all("ff"):
        states[register.name.split(",")[0]] = register.attributes["next_state"]
        clock = register.attributes["clocked_on"]
    for pin in group.all("pin"):
        if pin.attributes["direction"] == "input":
            inputs[pin.name] = float(pin.attributes["capacitance"])
        else:
            function = pin.attributes.get("function", "")
            outputs[pin.name] = expression(states.get(function, function))
        tables[pin.name] = [
            Table.of(table)
            for power in pin.all("internal_power")
            for table in power.groups
            if table.kind in ("rise_power", "fall_power")
        ]
    return Cell(float(group.attributes["area"]), inputs, outputs, tables, clock)


@cache
def library(path: Path = LIBRARY) -> dict[str, Cell]:
    """The cells by name. Raises ToolError if the file is not there."""
    try:
        text = path.read_text()
    except OSError:
        raise ToolError(
            f"{path} is missing: run `make asic`, or install qflow-tech-osu018"
        ) from None
    return {group.name: cell(group) for group in parse(text).all("cell")}
