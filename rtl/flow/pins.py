"""The array's multipliers at fixed places of an ECP5-85k: `BEL` attributes for nextpnr.

Where nextpnr places the 8 x 16 multipliers by itself, the array alone takes three times the
wirelength (278,000 against 93,000): the operands of a row go to every column, the products of a
column to one adder tree. Here a column's multipliers stand side by side, and columns follow each
other as in the array.

The chip has its 156 multipliers in three rows of 13 groups of four. A group is two DSP tiles around
column x: MULT18_z, z in 0, 1, 4, 5, stands at X{x + z}.
"""

from __future__ import annotations

import re

from .netlist import nets

CELL = "MULT18X18D"
ROWS = (34, 10, 58)  # Y, the one in the middle of the chip first
GROUPS = (*range(4, 59, 9), *range(69, 115, 9))  # X of each group's first place
PLACES = (0, 1, 4, 5)
TERMS = re.compile(r"^(.*\.)?terms(\d+)$")  # of `rtl.parts.dot`: the products of a column


def products(module: dict) -> list[list[str]]:
    """The array's columns: names of the multipliers whose output register is a column's `terms`, by
    row. `rtl.flow.absorb` has made them that."""
    place = {
        bit: ((found[1] or "", int(found[2])), n)
        for name, net in module["netnames"].items()
        if (found := TERMS.match(name))
        for n, bit in enumerate(net["bits"])
    }
    columns: dict[tuple[str, int], list[tuple[int, str]]] = {}
    for name, cell in module["cells"].items():
        if cell["type"] != CELL:
            continue
        bits = [b for port, b in cell["connections"].items() if re.fullmatch(r"P\d+", port)]
        found = [place[bit] for pin in bits for bit in nets(pin) if bit in place]
        if found:
            column, n = min(found)
            columns.setdefault(column, []).append((n, name))
    return [[name for _, name in sorted(columns[c])] for c in sorted(columns)]


def pin(netlist: dict, top: str) -> int:
    """Give the array's multipliers in module `top` their places; how many that are, 0 if there is
    no array. Raises ValueError if the array is too large for the chip.
    """
    module = netlist["modules"][top]
    columns = products(module)
    if not columns:
        return 0
    rows = max(map(len, columns))
    groups = -(-rows // len(PLACES))  # of a column, side by side
    fit = len(GROUPS) // groups  # columns in a row of the chip
    used = -(-len(columns) // fit) if fit else len(ROWS) + 1
    if used > len(ROWS):
        raise ValueError(
            f"an array of {rows} x {len(columns)} multipliers has no place on an ECP5-85k: its "
            f"{len(ROWS)} rows hold {fit} columns each"
        )
    for n, y in enumerate(sorted(ROWS[:used])):
        here = columns[n * len(columns) // used : (n + 1) * len(columns) // used]
        if n % 2:
            here.reverse()  # the next row begins below the end of this one
        first = (len(GROUPS) - groups * len(here)) // 2  # in the middle
        for k, column in enumerate(here):
            for r, name in enumerate(column):
                x = GROUPS[first + k * groups + r // len(PLACES)]
                z = PLACES[r % len(PLACES)]
                module["cells"][name]["attributes"]["BEL"] = f"X{x + z}/Y{y}/MULT18_{z}"
    return sum(map(len, columns))
