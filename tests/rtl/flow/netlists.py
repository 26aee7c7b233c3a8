"""Netlists by hand, as Yosys writes them: for the tests of what reads and changes netlists."""

from __future__ import annotations

OUTPUTS = ("Z", "COUT", "S0", "S1", "Q", "DO")
CLOCK = 2


def is_output(port: str) -> bool:
    """Of the cells that the tests use."""
    return port in OUTPUTS or port.startswith(("DOA", "DOB")) or (port[0] == "P" and len(port) < 4)


class Maker:
    """A module that grows by a cell a call; nets are numbers, 2 is the clock, 0 and 1 are "0", "1".

    A port's value is a net, a constant or a list of them.
    """

    def __init__(self):
        self.cells: dict[str, dict] = {}
        self.netnames: dict[str, dict] = {}
        self.ports: dict[str, dict] = {}

    def cell(self, kind: str, name: str, parameters: dict | None = None, **pins) -> None:
        connections = {p: list(b) if isinstance(b, list) else [b] for p, b in pins.items()}
        self.cells[name] = {
            "hide_name": 0,
            "type": kind,
            "parameters": parameters or {},
            "attributes": {},
            "port_directions": {p: "output" if is_output(p) else "input" for p in pins},
            "connections": connections,
        }

    def lut(self, z: int, *inputs: int | str, init: str = "0110100110010110") -> None:
        """An XOR of up to four inputs."""
        pins = dict(zip("ABCD", (*inputs, *"0000"), strict=False))
        self.cell("LUT4", f"lut{z}", {"INIT": init}, Z=z, **pins)

    def ff(self, q: int, d: int | str, ce: int | str = "1", lsr: int | str = "0", **other) -> None:
        """A flip-flop; other: parameters that are not the usual ones."""
        parameters = {"CEMUX": "CE", "CLKMUX": "CLK", "GSR": "DISABLED", "LSRMUX": "LSR"}
        parameters |= {"REGSET": "RESET", "SRMODE": "LSR_OVER_CE"} | other
        if ce == "1":
            parameters["CEMUX"] = "1 "
        pins = {"DI": d, "Q": q, "CLK": CLOCK, "LSR": lsr} | ({"CE": ce} if ce != "1" else {})
        self.cell("TRELLIS_FF", f"ff{q}", parameters, **pins)

    def name(self, name: str, *bits: int) -> None:
        self.netnames[name] = {"hide_name": 0, "bits": list(bits), "attributes": {}}

    def port(self, name: str, direction: str, *bits: int) -> None:
        self.ports[name] = {"direction": direction, "bits": list(bits)}
        self.name(name, *bits)

    @property
    def module(self) -> dict:
        return {"cells": self.cells, "netnames": self.netnames, "ports": self.ports}


def chain() -> Maker:
    """Two bits of `sum` behind three LUTs, and its source."""
    made = Maker()
    made.ff(10, 20)
    made.lut(11, 10)
    made.lut(12, 11)
    made.ff(30, 12)
    made.ff(31, 11)
    made.name("first", 10)
    made.name("block.sum", 30, 31)
    made.name("middle", 11)
    return made
