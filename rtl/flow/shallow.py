"""Distributed RAMs of fewer than 16 words: their spare address bits follow a used one, in a netlist
of Yosys for an ECP5.

Of a TRELLIS_DPR16X4's addresses a queue of four words needs two bits; Yosys ties the others to 0,
and nextpnr brings that 0 from a single LUT to five pins for each such bit: 3,900 pins all over the
chip for the accelerator. A used bit of the same address is at hand there. A word then stands at an
address of its own as before, writes and reads agree on it.
"""

from __future__ import annotations

CELL, ADDRESS, WORD = "TRELLIS_DPR16X4", 4, 4  # bits


def follow(netlist: dict, top: str) -> int:
    """Change module `top` of what `write_json` wrote, in place; gives the number of bits that
    follow another one.

    A bit that is 0 for one side alone stays, and so does a RAM with a single word.
    """
    freed = 0
    for cell in netlist["modules"][top]["cells"].values():
        if cell["type"] != CELL:
            continue
        write, read = (cell["connections"][port] for port in ("WAD", "RAD"))
        spare = [n for n in range(ADDRESS) if write[n] == read[n] == "0"]
        used = [n for n in range(ADDRESS) if n not in spare]
        if not used:
            continue
        for n in spare:
            for bits in (write, read):
                bits[n] = bits[used[-1]]
        if spare:
            moved(cell, sum(1 << n for n in used))
        freed += len(spare)
    return freed


def moved(cell: dict, mask: int) -> None:
    """Give the words their values at the start wherever they may stand now; mask: the bits of an
    address that say which word it is."""
    first = str(cell["parameters"].get("INITVAL", "x"))[::-1]
    if set(first) <= {"x"}:
        return
    words = [first[WORD * n :][:WORD] for n in range(1 << ADDRESS)]
    cell["parameters"]["INITVAL"] = "".join(words[n & mask] for n in range(1 << ADDRESS))[::-1]
