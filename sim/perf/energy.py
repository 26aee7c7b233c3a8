"""Energy of an image on a standard-cell library: `make energy`.

The accelerator is mapped (`rtl.flow.asic`), its netlist runs the digits network in Verilator, with
all logits equal to the integer model's, and Verilator counts how often nets change between the
host's start and the interrupt: one net in ONE_IN, drawn by lot, as each costs code to compile. They
stand for all. Counted are

- nets: a change of a net charges or discharges the pins that hang on it, C V^2 / 2;
- cells: what the library says that a cell takes inside for a change of its output, and a flip-flop
  for one of its input, at the net's load and at SLEW;
- clock: pin and inside of every flip-flop, in every cycle: no clock is gated.

Not counted: wires, the clock's tree, memories, the bus's pins, leakage (the file says below 0.01 %
of the rest), and glitches, changes within a cycle that are taken back, of which the simulation
without delays sees none: adders and multipliers have many. So it is a lower bound before layout.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fqvit_hw.command_line import Parser, program
from fqvit_hw.compiler import compile_network
from fqvit_hw.errors import ToolError
from fqvit_hw.machine.hardware import HARDWARE, Hardware, hardware
from fqvit_hw.places import BUILD
from fqvit_hw.rtl.flow import asic, rams
from fqvit_hw.rtl.flow.liberty import FLIP_FLOP, VOLTS
from fqvit_hw.rtl.flow.sta import require
from fqvit_hw.rtl.flow.structural import Bit, Netlist
from fqvit_hw.rtl.flow.tools import save
from fqvit_hw.rtl.flow.verilog import emit

from ..networks import known
from ..networks.compare import first_logit_difference
from ..networks.simulated import Job, simulate
from ..networks.verilated import QUICK, TOP, compile_verilog, header

OUT = BUILD / "energy"
SLEW = 0.15  # ns; what OpenSTA shows along the slowest paths
CLOCK_SLEW = 0.06  # ns; the library's fastest: a clock that arrives is driven well
ONE_IN = 8
# The header of a hundred thousand nets is read once for each file: few files.
# -fno-const-bit-op-tree: else Verilator 5.006 computes wrong values here (docs/asic.md).
COUNTING = ("--coverage-toggle", "--output-split", "100000", "-fno-const-bit-op-tree")


@dataclass
class Energy:
    """One image on one configuration, in nJ; macs: useful multiplications of the network."""

    config: str
    network: str
    cycles: int
    macs: int
    nets: float
    cells: float
    clock: float
    toggles: int  # of the nets that were counted
    counted: int  # how many those are
    seconds: float = 0.0

    @property
    def total(self) -> float:
        return self.nets + self.cells + self.clock


def chosen(mapped: Netlist) -> set[Bit]:
    """The nets whose toggles are counted: one in ONE_IN of those that cells drive, by lot."""
    driven = [pins[pin] for _, kind, pins in mapped.cells for pin in mapped.library[kind].outputs]
    return set(random.Random(0).sample(driven, -(-len(driven) // ONE_IN)))


def simulated(mapped: Netlist, counted: Collection[Bit]) -> str:
    """The netlist as Verilator shall simulate it, with models of the memories."""
    shapes = sorted({ram for _, ram, _ in mapped.rams}, key=lambda ram: ram.name)
    return "\n".join([mapped.behaviour(TOP, counted), *map(rams.model, shapes)])


def spent(mapped: Netlist, toggles: Mapping[Bit, int], cycles: int) -> dict[str, float]:
    """nJ in nets, cells and clock; toggles: of the nets that were counted, which stand for all.

    What a flip-flop takes for its input is counted with the net. Raises ValueError if nothing was.
    """
    loads, library = mapped.loads(), mapped.library
    inputs = Counter(pins["D"] for _, kind, pins in mapped.cells if kind == FLIP_FLOP)
    nets = cells = 0.0
    counted = driven = 0
    for _, kind, pins in mapped.cells:
        for pin in library[kind].outputs:
            driven += 1
            net = pins[pin]
            if net not in toggles:
                continue
            counted += 1
            load, count = loads.get(net, 0.0), toggles[net]
            nets += count * load * VOLTS**2 / 2
            cells += count * library[kind].energy(pin, load, SLEW)
            cells += count * inputs[net] * library[FLIP_FLOP].energy("D", 0, SLEW)
    if not counted:
        raise ValueError("the simulation counted no net of the netlist")
    flip_flop = library[FLIP_FLOP]
    edge = flip_flop.inputs["CLK"] * VOLTS**2 / 2 + flip_flop.energy("CLK", 0, CLOCK_SLEW)
    count = sum(kind == FLIP_FLOP for _, kind, _ in mapped.cells)
    share = driven / counted
    pj = {"nets": nets * share, "cells": cells * share, "clock": 2 * cycles * count * edge}
    return {name: round(energy / 1000, 1) for name, energy in pj.items()}


def measure(hw: Hardware, image: int = 0, build: Path = OUT) -> Energy:
    """Map, simulate, count. Raises ToolError if a logit differs or a tool fails."""
    start, folder = time.monotonic(), (build / hw.name).resolve()
    try:
        mapped = asic.netlist(TOP, emit(TOP, hw.name), folder)
    except RuntimeError as error:
        raise ToolError(str(error)) from error
    counted = chosen(mapped)
    (folder / f"{TOP}.v").write_text(simulated(mapped, counted))
    (folder / "machine.h").write_text(header(hw, trace=False))
    compile_verilog(folder, QUICK, COUNTING)
    qm, images = known.built_in()
    program = compile_network(qm.network, hw)
    outcome = simulate(folder / "obj" / f"V{TOP}", program, images, [Job(image)])
    (run,) = outcome.runs
    wrong = run.failure or first_logit_difference(
        qm.run(images[image : image + 1])[0], run.logits, image
    )
    if wrong:
        raise ToolError(f"the netlist of {hw.name} does not compute the network: {wrong}")
    cycles = run.counters["cycles"]
    toggles = {net: outcome.toggles[f"n{net}"] for net in counted}
    return Energy(
        hw.name,
        "digits",
        cycles,
        program.macs,
        **spent(mapped, toggles, cycles),
        toggles=sum(toggles.values()),
        counted=len(counted),
        seconds=round(time.monotonic() - start, 1),
    )


def report(e: Energy) -> str:
    rate = e.toggles / e.counted / e.cycles
    return (
        f"{e.network} on {e.config}: {e.total / 1000:.1f} uJ an image before layout (clock "
        f"{e.clock / e.total:.0%}, cells {e.cells / e.total:.0%}, nets {e.nets / e.total:.0%}), "
        f"{1000 * e.total / e.macs:.1f} pJ a MAC; {e.cycles} cycles, in each of which "
        f"{rate:.1%} of {e.counted} nets change; logits equal"
    )


@program("energy")
def main(arguments: Sequence[str] | None = None) -> int:
    parser = Parser(prog="python -m fqvit_hw.sim.perf.energy", description=__doc__)
    parser.add_argument(
        "--config", default="tiny", help=f"one of {', '.join(HARDWARE)}; default: tiny"
    )
    parser.add_argument("--json", type=Path, default=BUILD / "energy.json", metavar="FILE")
    options = parser.parse_args(arguments)
    require()
    found = measure(hardware(options.config))
    print(report(found))
    save([found], options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
