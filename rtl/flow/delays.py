"""Delays of an ECP5's cells at speed grade 6, in ps: what `rtl.flow.timing` adds up.

The figures are those of prjtrellis-db (YosysHQ, ECP5/timing/speed_6/cells.json), slow corner:
those that nextpnr-ecp5 uses. They are given by port; a key is a regular expression, as
`A[0-9]+` of all bits of an operand. `delays` finds the table of a cell, by its type and by which of
its registers are in use, and refuses what is in no table: a cell or a port that nobody times would
make a design faster than it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache

LUT = 236  # from each input
MUX_DATA, MUX_SELECT = 165, 256  # PFUMX: A to OFX0 is 401, the LUT included


@dataclass(frozen=True)
class Delays:
    """One kind of cell. arcs: (input, output) to ps; launches: output to ps from the clock's edge;
    captures: input to its set-up time in ps; clocks: inputs of a clock.
    """

    arcs: Mapping[tuple[str, str], int] = field(default_factory=dict)
    launches: Mapping[str, int] = field(default_factory=dict)
    captures: Mapping[str, int] = field(default_factory=dict)
    clocks: str = ""


CELLS = {
    "LUT4": Delays({("[ABCD]", "Z"): LUT}),
    "PFUMX": Delays({("[AB]LUT", "Z"): MUX_DATA, ("C0", "Z"): MUX_SELECT}),
    "L6MUX21": Delays({("D[01]", "Z"): 242, ("SD", "Z"): 252}),
    "CCU2C": Delays(
        {
            ("[ABCD][01]", "COUT"): 447,
            ("CIN", "COUT"): 71,
            ("[ABCD]0", "S0"): LUT,
            ("[ABCD]1", "S1"): LUT,
            ("[ABCD]0", "S1"): 714,
            ("CIN", "S0"): 443,
            ("CIN", "S1"): 474,
        }
    ),
    "TRELLIS_FF": Delays(launches={"Q": 525}, captures={"DI|M|CE": 0, "LSR": 424}, clocks="CLK"),
    # a word that is written appears at the output, if its address is read: DO is launched, too
    "TRELLIS_DPR16X4": Delays(
        {("RAD", "DO"): LUT}, {"DO": 929}, {"DI|WAD": 0, "WRE": 392}, clocks="WCK"
    ),
    "$scopeinfo": Delays(),
}


def multiplier(parameters: Mapping[str, str]) -> Delays:
    """MULT18X18D: with registers for both operands, or for the product, or both, or none.

    One operand's register alone counts for nothing, as in nextpnr. The way from register to
    register inside is not published; it is shorter than the 3864 ps without the second one.
    """
    inputs = all(parameters.get(f"REG_INPUT{port}_CLK", "NONE") != "NONE" for port in "AB")
    output = parameters.get("REG_OUTPUT_CLK", "NONE") != "NONE"
    operands, signs = "[AB][0-9]+", "SIGNED[AB]"
    if not inputs and not output:
        arcs = {(operands, "P[0-9]+"): 3927, (signs, "P[0-9]+"): 3728}
        return Delays(arcs)
    captures = {"CE[0-3]": 252, "RST[0-3]": 95}
    captures |= {operands: 84, signs: 0} if inputs else {operands: 3486, signs: 3287}
    launches = {"P[0-9]+": 735 if output else 3864}
    return Delays({}, launches, captures, "CLK[0-3]")


def block_ram(parameters: Mapping[str, str]) -> Delays:
    """DP16KD: with or without the output register of each half."""
    slow, fast = {"A": 5609, "B": 5830}, {"A": 973, "B": 956}
    launches = {
        f"DO{half}[0-9]+": (
            fast if parameters.get(f"REGMODE_{half}", "NOREG") == "OUTREG" else slow
        )[half]
        for half in "AB"
    }
    captures = {"ADA[0-9]+": 251, "CEA": 211, "CSA[0-2]": 20, "DIA[0-9]+": 218}
    captures |= {"ADB[0-9]+": 205, "CEB": 340, "CSB[0-2]": 0, "DIB[0-9]+": 134}
    captures |= {"OCEA": 226, "OCEB": 253, "RSTA": 579, "RSTB": 585, "WEA": 139}
    return Delays({}, launches, captures | {"WEB": 0}, "CLK[AB]")


REGISTERED = {"MULT18X18D": multiplier, "DP16KD": block_ram}


@dataclass(frozen=True)
class Ports:
    """`Delays` of the very ports of a cell."""

    arcs: tuple[tuple[str, str, int], ...]
    launches: tuple[tuple[str, int], ...]
    captures: tuple[tuple[str, int], ...]
    clocks: tuple[str, ...]


@cache
def resolved(kind: str, modes: tuple[tuple[str, str], ...], ports: tuple[str, ...]) -> Ports:
    """The patterns of a kind of cell matched with its ports; ValueError for one that is in none."""
    table = REGISTERED[kind](dict(modes)) if kind in REGISTERED else CELLS[kind]

    def these(pattern: str) -> list[str]:
        return [port for port in ports if re.fullmatch(pattern, port)]

    arcs = tuple(
        (i, o, ps) for (a, b), ps in table.arcs.items() for i in these(a) for o in these(b)
    )
    launches = tuple((port, ps) for p, ps in table.launches.items() for port in these(p))
    captures = tuple((port, ps) for p, ps in table.captures.items() for port in these(p))
    known = {port for i, o, _ in arcs for port in (i, o)}
    known.update(port for port, _ in launches + captures)
    known.update(these(table.clocks))
    # an arc's one end may be left open: then the other is in no arc
    known.update(port for pair in table.arcs for end in pair for port in these(end))
    if missing := sorted(set(ports) - known):
        raise ValueError(f"{kind}: no delays for {', '.join(missing)}")
    return Ports(arcs, launches, captures, tuple(these(table.clocks)))


def delays(kind: str, parameters: Mapping[str, str], ports: Iterable[str]) -> Ports:
    """What a cell of a netlist adds, by the ports that it has connected.

    Raises ValueError for a kind of cell or a port that has no delays here.
    """
    if kind not in CELLS and kind not in REGISTERED:
        raise ValueError(f"no delays for cells of type {kind}")
    modes = ()
    if kind in REGISTERED:
        modes = tuple((k, str(v).strip()) for k, v in parameters.items() if k.startswith("REG"))
    return resolved(kind, modes, tuple(sorted(ports)))
