"""Blocks placed and routed on an ECP5-85k: `make pnr`, `python -m fqvit_hw.rtl.flow.pnr`.

A block in its harness (`rtl.flow.pin_harness`: shift register in, XORs out, four pins) is mapped,
registers go into multipliers and block RAMs (`rtl.flow.mapped`), the array's multipliers and their
block RAMs to fixed places (`rtl.flow.pins`); nextpnr-ecp5 places and routes the netlist, all pins
but the clock's where it likes, once for each seed, and ecppack makes a bitstream of it. Reported as
placed, harness included, whose flip-flops are also given alone; of several seeds the worst and the
median too:

- COMBs: LUT4 sites taken, carry chains and distributed RAM included; FFs; DSPs: MULT18X18D;
  BRAMs: DP16KD;
- Fmax of the clock; the harness's own paths pass one LUT at most. from, to: the signals
  (flip-flop, RAM or multiplier) between which the slowest path runs.

The seed's folder also holds paths.txt, the slowest path to each register as the placement lets one
expect them, before the router.

What does not fit the chip or the tool, or is not routed after LIMIT seconds, is a line with the
reason and how far the tool came, and exit status 1.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from argparse import BooleanOptionalAction
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from fqvit_hw.command_line import Parser, program
from fqvit_hw.places import BUILD

from .configs import BLOCKS, CONFIGS, component, select
from .estimate import describe, grouped
from .mapped import netlist
from .paths import Paths
from .pin_harness import Harness
from .pins import pin
from .placed import places
from .tools import aligned, run, run_all, save
from .verilog import convert

OUT = BUILD / "pnr"
DEFAULT = "ecp5_85k"
TOP = "harness"
CHIP = ["--85k", "--package", "CABGA756"]
PLACERS = ("static", "heap")
CLOCK = 'LOCATE COMP "clk" SITE "C17";\n'  # PCLKT0_0: dedicated wires lead to the clock buffers
LIMIT = 5400  # seconds of placing and routing
WORKERS = 2
CELL = re.compile(r"_(?:TRELLIS_FF|DP16KD|MULT18X18D)\w*$")  # what Yosys adds to a signal's name
EXPECTED = re.compile(r"Max frequency for clock.*?: ([\d.]+) MHz")
SITES_TAKEN = re.compile(r"^Info:\s+(\w+):\s*(\d+)/\s*(\d+)", re.MULTILINE)
OVERUSED = re.compile(r"iter=(\d+) wires=\d+ overused=(\d+)")
SITES = {"combs": "TRELLIS_COMB", "ffs": "TRELLIS_FF", "dsps": "MULT18X18D", "brams": "DP16KD"}


@dataclass(frozen=True)
class Settings:
    """How nextpnr is to do it.

    speed: grade of the chip; freq: MHz that it tries to reach, a slower result is a result; ripup:
    routes that miss it are torn up again (`--tmg-ripup`: slower, and faster clocks); pinned: the
    array's multipliers and their block RAMs stand where `rtl.flow.pins` says; placer: one of
    PLACERS. `static` spreads cells by their density: of the accelerator it needs a fifth less wire
    than `heap`. timed: the router looks at the clock, too, not the placer alone: the more a path
    decides the clock, the less it minds that others have its wires (router2.cc), and on a full chip
    some may never give way.
    """

    speed: int = 6
    freq: float = 100
    ripup: bool = False
    pinned: bool = True
    placer: str = PLACERS[0]
    timed: bool = True

    @property
    def arguments(self) -> list[str]:
        found = [*CHIP, "--speed", str(self.speed), "--freq", f"{self.freq:g}"]
        found += ["--placer", self.placer]
        return found + (["--tmg-ripup"] if self.ripup else [])


def usual(block: str) -> Settings:
    """What a block is placed and routed with unless told otherwise."""
    return Settings(freq=75, ripup=True) if block == "accelerator" else Settings()


@dataclass
class Routed:
    """One block, placed and routed; failure: None, or the tool's reason and where the log is."""

    block: str
    config: str
    fmax: float = 0.0  # MHz
    combs: int = 0
    ffs: int = 0
    dsps: int = 0
    brams: int = 0
    harness_ffs: int = 0
    slowest_from: str = ""
    slowest_to: str = ""
    seed: int = 1
    speed: int = 6
    bitstream: str = ""  # the file
    seconds_mapped: float = 0.0
    seconds_routed: float = 0.0
    failure: str | None = None


def ends(path: list[dict]) -> tuple[str, str]:
    """Names of the signals that the first and the last cell of a path stand for."""
    first, last = path[0]["from"]["cell"], path[-1]["to"]["cell"]
    return CELL.sub("", first), CELL.sub("", last)


def read_report(report: dict, routed: Routed) -> None:
    """Fill in what nextpnr reports; ValueError if there is not one clock."""
    clocks = report["fmax"]
    if len(clocks) != 1:
        raise ValueError(f"expected one clock, got {', '.join(clocks) or 'none'}")
    ((clock, found),) = clocks.items()
    routed.fmax = round(found["achieved"], 2)
    for kind, cell in SITES.items():
        setattr(routed, kind, report["utilization"].get(cell, {"used": 0})["used"])
    for path in report["critical_paths"]:
        if path["from"] == path["to"] == f"posedge {clock}":
            routed.slowest_from, routed.slowest_to = ends(path["path"])


def how_far(log: str) -> str:
    """What nextpnr had found before it stopped: "; ..." for people, or "" if it had not placed."""
    found = ""
    if expected := EXPECTED.findall(log):
        found += f"; placed, {expected[-1]} MHz expected before routing"
    if overused := OVERUSED.findall(log):
        found += "; {} passes of the router left {} wires with more than one net".format(
            *overused[-1]
        )
    return found


def too_large(log: str) -> str | None:
    """What nextpnr has counted more of than the chip has, for people; None if all fits.

    Its static placer looks for places for ever, where `heap` ends with an error.
    """
    found = [(kind, int(used), int(there)) for kind, used, there in SITES_TAKEN.findall(log)]
    over = [
        f"{used} {kind} and the chip has {there}" for kind, used, there in found if used > there
    ]
    return f"nextpnr: the block takes {', '.join(over)}" if over else None


def prepare(block: str, config: str, settings: Settings, build: Path = OUT) -> Routed:
    """Map one block: the folder holds source, log and `netlist.json`; nothing is routed yet."""
    folder, harness = build / config / block, Harness(component(block, config))
    routed = Routed(block, config, harness_ffs=harness.ffs, speed=settings.speed)
    start = time.monotonic()
    try:
        found, _ = netlist(block, convert(harness, TOP), TOP, folder)
        if settings.pinned:
            pin(found, TOP)
        (folder / "netlist.json").write_text(json.dumps(found))
        (folder / "pins.lpf").write_text(CLOCK)
    except (RuntimeError, ValueError) as error:
        routed.failure = str(error)
    routed.seconds_mapped = round(time.monotonic() - start, 1)
    return routed


def finish(placed: Path, timed: bool) -> None:
    """Settings of a placed design for its routing: those in the file go before the arguments."""
    found = json.loads(placed.read_text())
    (module,) = found["modules"].values()
    module["settings"] |= {"router": "router2", "timing_driven": f"{int(timed):032b}"}
    placed.write_text(json.dumps(found))


def placed_paths(netlist: Path, placed: Path, budget: float) -> str:
    """A line for each register, the slowest path to it first; over: more than `budget` ns."""
    module = json.loads(netlist.read_text())["modules"][TOP]
    (found,) = json.loads(placed.read_text())["modules"].values()
    return "\n".join(map(describe, grouped(Paths(module, places(module, found)), budget)))


def route(mapped: Routed, seed: int, settings: Settings, build: Path = OUT) -> Routed:
    """Place and route a mapped block; a folder for the seed holds logs, report and bitstream."""
    routed = replace(mapped, seed=seed)
    if routed.failure:
        return routed
    folder = build / mapped.config / mapped.block
    made = f"seed{seed}"
    shutil.rmtree(folder / made, ignore_errors=True)
    (folder / made).mkdir()
    start = time.monotonic()
    packed = f"{made}/packed.txt"
    design = ["--json", "netlist.json", "--lpf", "pins.lpf", "--lpf-allow-unconstrained"]
    routed.failure = run("nextpnr", [*design, *settings.arguments, "--pack-only"], folder, packed)
    if not routed.failure:
        routed.failure = too_large((folder / packed).read_text(errors="replace"))
    if routed.failure:
        return routed
    seeded = [*settings.arguments, "--seed", str(seed), "--timing-allow-fail"]
    placed = f"{made}/placed.json"
    place = [*design, *seeded, "--no-route", "--write", placed]
    routed.failure = run("nextpnr", place, folder, f"{made}/place.txt", LIMIT)
    if not routed.failure:
        slowest = placed_paths(folder / "netlist.json", folder / placed, 1000 / settings.freq)
        (folder / made / "paths.txt").write_text(f"{slowest}\n")
        finish(folder / placed, settings.timed)
        done = ["--no-pack", "--no-place", "--json", placed]
        files = ["--report", f"{made}/report.json", "--textcfg", f"{made}/chip.config"]
        left = LIMIT - (time.monotonic() - start)
        routed.failure = run("nextpnr", [*done, *seeded, *files], folder, f"{made}/route.txt", left)
        (folder / placed).unlink()
    routed.seconds_routed = round(time.monotonic() - start, 1)
    if routed.failure:
        logs = (folder / made / f"{step}.txt" for step in ("place", "route"))
        said = "".join(log.read_text(errors="replace") for log in logs if log.exists())
        routed.failure += how_far(said)
        return routed
    report = folder / made / "report.json"
    try:
        read_report(json.loads(report.read_text()), routed)
    except (OSError, KeyError, ValueError) as error:
        routed.failure = f"{report}: {error!r}"
        return routed
    pack = ["--compress", f"{made}/chip.config", f"{made}/chip.bit"]
    routed.failure = run("ecppack", pack, folder, f"{made}/ecppack.txt")
    routed.bitstream = "" if routed.failure else str(folder / made / "chip.bit")
    return routed


def summary(results: list[Routed]) -> list[str]:
    """Of each block with several seeds: the worst and the median of those that were routed."""
    lines = []
    for block, config in dict.fromkeys((r.block, r.config) for r in results):
        seeds = [r for r in results if (r.block, r.config) == (block, config)]
        found = [r.fmax for r in seeds if not r.failure]
        if len(seeds) > 1 and found:
            lines.append(
                f"{block} {config}: {len(found)} of {len(seeds)} seeds routed, worst "
                f"{min(found):.1f} MHz, median {median(found):.1f} MHz"
            )
    return lines


def table(results: list[Routed]) -> str:
    """The results as aligned text, one line a block."""
    head = (
        "block",
        "configuration",
        "seed",
        "Fmax MHz",
        "COMBs",
        "FFs",
        "of harness",
        "DSPs",
        "BRAMs",
    )
    rows: list[tuple[str, ...]] = [(*head, "map s", "route s")]
    for r in results:
        figures = (f"{r.fmax:.1f}", *map(str, (r.combs, r.ffs, r.harness_ffs, r.dsps, r.brams)))
        seconds = (f"{r.seconds_mapped:.0f}", f"{r.seconds_routed:.0f}")
        rows.append(
            (
                *(r.block, r.config, str(r.seed)),
                *(("failed", *[""] * 5) if r.failure else figures),
                *seconds,
            )
        )
    return aligned(rows, 2)


def say(r: Routed) -> str:
    seconds = f"({r.seconds_mapped:.0f} + {r.seconds_routed:.0f} s)"
    done = r.failure or (f"{r.fmax:.1f} MHz, seed {r.seed}" if r.fmax else "mapped")
    return f"{r.block} {r.config}: {done} {seconds}"


@program("pnr")
def main(arguments: Sequence[str] | None = None) -> int:
    parser = Parser(prog="python -m fqvit_hw.rtl.flow.pnr", description=__doc__)
    parser.add_argument("--config", help=f"one of {', '.join(CONFIGS)}; default: {DEFAULT}")
    parser.add_argument("--block", help=f"one of {', '.join(BLOCKS)}; default: all of them")
    parser.add_argument("--seed", type=int, nargs="+", default=[1], metavar="N", help="default: 1")
    parser.add_argument("--speed", type=int, choices=(6, 7, 8), default=6, help="grade of the chip")
    parser.add_argument(
        "--freq", type=float, metavar="MHZ", help="target; default: 100, 75 for the accelerator"
    )
    parser.add_argument(
        "--tmg-ripup",
        action=BooleanOptionalAction,
        help="tear up routes that are too slow; default: of the accelerator alone",
    )
    parser.add_argument(
        "--timed",
        action=BooleanOptionalAction,
        default=True,
        help="the router looks at the clock, too, not the placer alone; default: yes",
    )
    parser.add_argument(
        "--no-pins", action="store_true", help="multipliers, block RAMs where nextpnr likes"
    )
    parser.add_argument("--json", type=Path, default=BUILD / "pnr.json", metavar="FILE")
    parser.add_argument("--placer", choices=PLACERS, default=PLACERS[0], help="default: static")
    options = parser.parse_args(arguments)
    told: dict = {"speed": options.speed, "placer": options.placer}
    told |= {"pinned": not options.no_pins, "timed": options.timed}
    told |= {"freq": options.freq} if options.freq is not None else {}
    told |= {"ripup": options.tmg_ripup} if options.tmg_ripup is not None else {}
    jobs = [
        (block, config, replace(usual(block), **told))
        for block, config in select(options.config, options.block, (DEFAULT,))
    ]
    print(f"{len(jobs)} blocks, {WORKERS} at a time; the large ones take minutes", flush=True)
    mapped = run_all(prepare, jobs, WORKERS, say)
    settings = {(block, config): found for block, config, found in jobs}
    routes = [
        (made, seed, settings[made.block, made.config])
        for made in mapped
        for seed in dict.fromkeys(options.seed)
    ]
    results = run_all(route, routes, WORKERS, say)
    print("\n".join(["", table(results), *summary(results)]))
    save(results, options.json)
    for r in results:
        if r.failure:
            print(f"pnr: {r.block} {r.config}: {r.failure}", file=sys.stderr)
    return 1 if any(r.failure for r in results) else 0


if __name__ == "__main__":
    sys.exit(main())
