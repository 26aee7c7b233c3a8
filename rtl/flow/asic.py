"""Blocks on a standard-cell library: `make asic`, `python -m fqvit_hw.rtl.flow.asic`.

Yosys and abc map the Verilog of `rtl.flow.verilog` to the cells of `rtl.flow.liberty`, a process of
0.18 um that Debian ships; attention and the accelerator by modules, the rest flat. Before layout.
Reported are

- area: that of the cells, in um2 and in NAND2s of the same library; no wires, no clock tree, no
  memories;
- memories, by shape: what is read by a clock and has more than SMALL words. Smaller ones and those
  that are read without a clock are flip-flops, constant ones are gates: both are in the area;
- the clock: the slowest path by OpenSTA (`rtl.flow.sta`): wires and clock ideal, memories answer
  at once. from, to: the signals that it runs between.

Products are Booth's. No clock is gated: an enable is a multiplexer in front of its flip-flop. What
a register holds after power-on is left open, as on a chip. --bitshift compares the ways of a
`mac_array` to multiply with attention codes of `lis4`.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fqvit_hw.command_line import Parser, program
from fqvit_hw.places import BUILD

from . import rams
from .configs import BLOCKS, CONFIGS, load, parameters, select
from .liberty import FLIP_FLOP, LIBRARY, NAND2, library
from .sta import analyze, require
from .structural import Netlist
from .tools import WORKERS, aligned, run, run_all, save
from .verilog import convert

OUT = BUILD / "asic"
DEFAULT = ("tiny", "ecp5_85k", "base")
SMALL = 32  # words
BY_MODULES = ("attention", "accelerator")
# Arrays that multiply, and what BitShift costs beside it: `parts.dot`
BITSHIFT = {
    "products alone": {"bitshift": False, "shifters": False},
    "BitShift by the multipliers": {"bitshift": True, "shifters": False},
    "BitShift by shifters beside them": {"bitshift": True, "shifters": True},
    "shifters alone": {"multiply": False, "bitshift": True},
}
# What stands in front of a gate whose driver abc does not see, and behind the last one: without
# them it would put in no buffers. 1 ps: as fast as its sizes of gates get.
DRIVE = "set_driving_cell BUFX2\nset_load 0.02\n"
MAPPING = """read_verilog {top}.v
hierarchy -check -top {top}
proc
setattr -unset init w:*
synth -top {top} {flatten} -booth -run begin:fine
select -set rams t:$mem_v2 r:SIZE>{small} %i r:WR_PORTS>0 %i r:RD_CLK_ENABLE>0 %i
memory_map t:$mem_v2 @rams %d
opt -undriven -fine
techmap
opt -full
simplemap
dfflibmap -liberty cells.lib
opt -full
abc -liberty cells.lib -constr drive.txt -D 1
flatten
opt_clean
write_json mapped.json
"""


@dataclass
class Memories:
    """`count` memories of one shape; of each: words, bits of a word, ports that read and write."""

    count: int
    words: int
    width: int
    reads: int
    writes: int = 1

    @property
    def bits(self) -> int:
        return self.count * self.words * self.width


@dataclass
class Chip:
    """One block; area in um2, nand2 the same in NAND2s; failure: None, or the reason."""

    block: str
    config: str
    area: float = 0.0
    nand2: int = 0
    cells: int = 0
    ffs: int = 0
    ns: float = 0.0
    mhz: float = 0.0
    slowest_from: str = ""
    slowest_to: str = ""
    memory_bits: int = 0
    memories: list[Memories] = field(default_factory=list)
    seconds: float = 0.0
    failure: str | None = None


def netlist(block: str, text: str, folder: Path) -> Netlist:
    """Map the Verilog of a block; the folder keeps text and log.

    Raises RuntimeError with Yosys's reason, ValueError for a memory that is no macro.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{block}.v").write_text(text)
    shutil.copyfile(LIBRARY, folder / "cells.lib")  # Yosys sees this folder alone
    (folder / "drive.txt").write_text(DRIVE)
    flatten = "" if block in BY_MODULES else "-flatten"
    (folder / "map.ys").write_text(MAPPING.format(top=block, flatten=flatten, small=SMALL))
    if failure := run("yosys", ["map.ys"], folder, "yosys.txt"):
        raise RuntimeError(failure)
    found = json.loads((folder / "mapped.json").read_text())
    return Netlist(found["modules"][block], library())


def measure(chip: Chip, mapped: Netlist, folder: Path) -> None:
    """Fill in area, memories and clock. Raises as `sta.analyze`."""
    chip.area = mapped.area
    chip.nand2 = round(chip.area / mapped.library[NAND2].area)
    chip.cells = len(mapped.cells)
    chip.ffs = sum(kind == FLIP_FLOP for _, kind, _ in mapped.cells)
    shapes = Counter(ram for _, ram, _ in mapped.rams)
    chip.memories = [Memories(n, r.words, r.width, r.reads) for r, n in shapes.items()]
    chip.memories.sort(key=lambda m: (-m.bits, m.words))
    chip.memory_bits = sum(m.bits for m in chip.memories)
    (folder / "netlist.v").write_text(mapped.structure(chip.block))
    if shapes:
        (folder / "rams.lib").write_text(rams.liberty(set(shapes)))
    slowest = analyze(chip.block, mapped.ports, folder, bool(shapes))
    chip.ns, chip.mhz = slowest.ns, round(1000 / slowest.ns, 1)
    chip.slowest_from = mapped.called(slowest.start)
    chip.slowest_to = mapped.called(slowest.end)


def map_block(
    block: str, config: str, label: str = "", changes: dict[str, Any] | None = None,
    build: Path = OUT,
) -> Chip:  # fmt: skip
    """One block; changes: of its parameters, called `label` behind the configuration's name."""
    chip, start = Chip(block, f"{config} {label}".strip()), time.monotonic()
    folder = build / chip.config.replace(" ", "-") / block
    try:
        made = replace(parameters(block, config), **(changes or {}))
        text = convert(load(BLOCKS[block].component)(made), block)
        measure(chip, netlist(block, text, folder), folder)
    except (RuntimeError, ValueError) as error:
        chip.failure = str(error)
    chip.seconds = round(time.monotonic() - start, 1)
    return chip


def table(chips: list[Chip]) -> str:
    """The results as aligned text, one line a block and configuration."""
    head = ("block", "configuration", "um2", "NAND2s", "cells", "FFs", "memory bits", "ns", "MHz")
    rows: list[tuple[str, ...]] = [(*head, "seconds")]
    for c in chips:
        figures = (f"{c.area:.0f}", *map(str, (c.nand2, c.cells, c.ffs, c.memory_bits)))
        figures += (f"{c.ns:.2f}", f"{c.mhz:.0f}")
        shown = ("failed", *[""] * 6) if c.failure else figures
        rows.append((c.block, c.config, *shown, f"{c.seconds:.0f}"))
    return aligned(rows, 2)


def details(chip: Chip) -> list[str]:
    """Memories and slowest path of a block, a line each."""
    lines = [
        f"  {m.count} of {m.words} x {m.width} bits, {m.reads} read, {m.writes} write"
        for m in chip.memories
    ]
    path = f"  {chip.ns:.2f} ns from {chip.slowest_from} to {chip.slowest_to}"
    return [f"{chip.block} {chip.config}:", *lines, path]


@program("asic")
def main(arguments: Sequence[str] | None = None) -> int:
    parser = Parser(prog="python -m fqvit_hw.rtl.flow.asic", description=__doc__)
    parser.add_argument(
        "--config", help=f"one of {', '.join(CONFIGS)}; default: {', '.join(DEFAULT)}"
    )
    parser.add_argument("--block", help=f"one of {', '.join(BLOCKS)}; default: all of them")
    parser.add_argument(
        "--bitshift", action="store_true", help="the ways of a mac_array to compute BitShift"
    )
    parser.add_argument("--json", type=Path, default=BUILD / "asic.json", metavar="FILE")
    options = parser.parse_args(arguments)
    require()
    if options.bitshift:
        pairs = select(options.config, "mac_array", DEFAULT)
        jobs: list[tuple] = [(*pair, *way) for pair in pairs for way in BITSHIFT.items()]
    else:
        jobs = [*select(options.config, options.block, DEFAULT)]
    print(f"{len(jobs)} runs, {WORKERS} at a time; the large ones take minutes", flush=True)
    chips = run_all(
        map_block,
        jobs,
        WORKERS,
        lambda c: f"{c.block} {c.config}: {c.failure or f'{c.nand2} NAND2s, {c.mhz:.0f} MHz'}",
    )
    print(f"\n{table(chips)}\n")
    for chip in chips:
        if chip.failure:
            print(f"asic: {chip.block} {chip.config}: {chip.failure}", file=sys.stderr)
        else:
            print("\n".join(details(chip)))
    save(chips, options.json)
    return 1 if any(chip.failure for chip in chips) else 0


if __name__ == "__main__":
    sys.exit(main())
