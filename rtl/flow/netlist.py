"""Yosys's `write_json`: a module's cells and names. A net is a number, a constant a string.

{"cells": {name: {"type", "parameters", "port_directions", "connections": {port: bits}}},
 "netnames": {name: {"bits", "hide_name"}}, "ports": {name: {"direction", "bits"}}}
"""

from __future__ import annotations

from collections.abc import Iterable

Bit = int | str


def nets(bits: Iterable[Bit]) -> list[int]:
    """The nets among the bits of a port."""
    return [bit for bit in bits if isinstance(bit, int)]


def names(netnames: dict) -> dict[int, str]:
    """The best name of each bit: one of the source, and of these the shortest."""
    best: dict[int, tuple[int, int, str]] = {}
    for name, net in netnames.items():
        for n, bit in enumerate(net["bits"]):
            full = name if len(net["bits"]) == 1 else f"{name}[{n}]"
            rank = (net.get("hide_name", 0), len(full), full)
            if type(bit) is int and (bit not in best or rank < best[bit]):
                best[bit] = rank
    return {bit: rank[-1] for bit, rank in best.items()}
