"""The array's multipliers and their memory at fixed places of an ECP5-85k: `BEL` attributes for
nextpnr.

Where nextpnr places the 8 x 16 multipliers by itself, the array alone takes three times the
wirelength (278,000 against 93,000): the operands of a row go to every column, the products of a
column to one adder tree. Here a column's multipliers stand side by side, columns follow each other
as in the array, and a block RAM whose words go to multipliers stands above them.

The chip has its 156 multipliers in three rows of 13 groups of four. A group is two DSP tiles around
column x: MULT18_z, z in 0, 1, 4, 5, stands at X{x + z}. Twelve rows further up are four block RAMs
over each group, EBRn at X{x + 2 n}. What no array takes of a row of groups is in the row's middle,
for what works on the sums of all columns.
"""

from __future__ import annotations

import re
from collections import Counter

from .netlist import nets

CELL, RAM = "MULT18X18D", "DP16KD"
ROWS = (34, 10, 58)  # Y, the one in the middle of the chip first
GROUPS = (*range(4, 59, 9), *range(69, 115, 9))  # X of each group's first place
PLACES = (0, 1, 4, 5)
RAMS = (0, 2, 4, 6)  # X of a group's block RAMs, from its own
RAM_ROW = 12  # Y of them, from the multipliers'
TERMS = re.compile(r"^(.*\.)?terms(\d+)$")  # of `rtl.parts.dot`: the products of a column

Group = tuple[int, int]  # X, Y


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


def stand(columns: list[list[str]]) -> dict[str, tuple[Group, int]]:
    """A group for each multiplier of the columns, and which of its places.

    Raises ValueError if the array is too large for the chip.
    """
    rows = max(map(len, columns))
    groups = -(-rows // len(PLACES))  # of a column, side by side
    fit = len(GROUPS) // groups  # columns in a row of the chip
    used = -(-len(columns) // fit) if fit else len(ROWS) + 1
    if used > len(ROWS):
        raise ValueError(
            f"an array of {rows} x {len(columns)} multipliers has no place on an ECP5-85k: its "
            f"{len(ROWS)} rows hold {fit} columns each"
        )
    found = {}
    for n, y in enumerate(sorted(ROWS[:used])):
        here = columns[n * len(columns) // used : (n + 1) * len(columns) // used]
        if n % 2:
            here.reverse()  # the next row begins below the end of this one
        free = len(GROUPS) - groups * len(here)
        for k, column in enumerate(here):
            first = k * groups + (free if 2 * k >= len(here) else 0)
            for r, name in enumerate(column):
                x = GROUPS[first + r // len(PLACES)]
                found[name] = (x, y), r % len(PLACES)
    return found


def feeders(module: dict, groups: dict[str, Group]) -> dict[str, Group]:
    """The block RAMs whose words go to multipliers, and the group that takes the most of each."""
    source = {
        bit: name
        for name, cell in module["cells"].items()
        if cell["type"] == RAM
        for port, bits in cell["connections"].items()
        if port.startswith("DO")
        for bit in nets(bits)
    }
    taken: dict[str, Counter[Group]] = {}
    for name, group in groups.items():
        for port, bits in module["cells"][name]["connections"].items():
            if re.fullmatch(r"[AB]\d+", port):
                for bit in nets(bits):
                    if bit in source:
                        taken.setdefault(source[bit], Counter())[group] += 1
    return {name: max(sorted(found), key=found.__getitem__) for name, found in taken.items()}


def pin(netlist: dict, top: str) -> int:
    """Give the array's multipliers in module `top` their places, and their block RAMs; how many
    multipliers that are, 0 if there is no array. Raises ValueError if the array is too large for
    the chip.
    """
    module = netlist["modules"][top]
    columns = products(module)
    if not columns:
        return 0
    places = stand(columns)
    for name, ((x, y), n) in places.items():
        z = PLACES[n]
        module["cells"][name]["attributes"]["BEL"] = f"X{x + z}/Y{y}/MULT18_{z}"
    groups = {name: group for name, (group, _) in places.items()}
    here: Counter[Group] = Counter()
    for name, (x, y) in feeders(module, groups).items():
        n = here[x, y]
        here[x, y] += 1
        if n < len(RAMS):  # a fifth one stands where nextpnr likes
            bel = f"X{x + RAMS[n]}/Y{y + RAM_ROW}/EBR{n}"
            module["cells"][name]["attributes"]["BEL"] = bel
    return len(places)
