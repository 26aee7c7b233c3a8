"""`make perf`: how long each configuration takes for an image, and what its array does meanwhile.

Runs networks on the simulated accelerator (sim/networks/verilated.py, with trace ports) and reports
what the hardware's own counters say. Every run is checked as well:

- its logits are those of the integer model, bit for bit;
- its busy counter is the compiler's own count of the array's beats, and its counts of stalled
  cycles are those that the trace ports show, summed over the GEMMs;
- its bytes are those of the cycle model (fqvit_hw.cycles), whose cycles are at most 1 % off.

Utilization is useful MACs / (R C cycles), from start to done: the network's own multiplications and
shifts, without padding. Exit status 0: all of it holds; 1: something does not, and a line says
what; 2: a mistake in the call, or nothing could be built.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Lock

from fqvit_hw.command_line import Parser, one_line, program
from fqvit_hw.errors import ToolError, UserError
from fqvit_hw.files import check_file, write_file
from fqvit_hw.machine.hardware import BUSES, HARDWARE, hardware
from fqvit_hw.places import BUILD

from ..networks import known as networks
from ..networks.verilated import build
from .chart import layers_png
from .run import CLOCK, LATENCY, Case, Measured, clock_of, measure, problems

NETWORKS = ("digits", "deit_tiny", "deit_small")
WORKERS = 2
TOO_LONG = {("deit_small", "tiny"): "about 300 million cycles, more than ten minutes"}


def variants(network: str) -> list[Case]:
    """DeiT-Tiny on base once more: with half the bus, with a nearer and a farther memory."""
    base = hardware("base")
    narrow = replace(base, name="base_bus64", bus=64)
    return [Case(network, base, 20), Case(network, base, 200), Case(network, narrow)]


def everything() -> list[Case]:
    """The short runs first, and runs of the same machine one after another: it is built once."""
    order = ("base", "large", "ecp5_85k", "tiny")
    cases = [
        Case(network, hardware(config))
        for config in order
        for network in NETWORKS
        if (network, config) not in TOO_LONG
    ]
    at = 1 + cases.index(Case("deit_tiny", hardware("base")))
    return cases[:at] + variants("deit_tiny") + cases[at:]


class Networks:
    """What runs: every network is made once, and its logits are computed once."""

    def __init__(self, weights: Path | None = None):
        self.weights, self.made, self.lock = weights, {}, Lock()

    def get(self, name: str):
        """-> (quantized network, image uint8 (C, H, W), logits int32 (classes,))"""
        with self.lock:
            if name not in self.made:
                qm, images = self.load(name)
                self.made[name] = qm, images[0], qm.run(images[:1])[0]
            return self.made[name]

    def load(self, name: str):
        if name == "digits":
            return networks.built_in()
        return networks.cached(name, self.weights, BUILD / "networks")


HEAD = ("network", "configuration", "array", "bus", "latency", "cycles", "model", "off", "busy",
        "utilization", "read MB", "written kB", "chip KiB", "MHz", "images/s")  # fmt: skip
WIDTHS = (10, 16, 7, 4, 7, 10, 10, 7, 10, 11, 8, 10, 8, 11, 8)


def line(cells) -> str:
    """Of the table: text on the left, numbers on the right."""
    return "  ".join(
        cell.ljust(width) if n < 2 else cell.rjust(width)
        for n, (cell, width) in enumerate(zip(cells, WIDTHS, strict=True))
    ).rstrip()


def row(measured: Measured) -> str:
    case, r = measured.case, measured.report
    mhz = f"{r['clock_mhz']:.4g}{' assumed' if r['clock_source'] == 'assumed' else ''}"
    return line(
        (
            case.network,
            case.name,
            f"{r['rows']} x {r['cols']}",
            f"{r['bus']}",
            f"{r['latency']}",
            f"{r['cycles']}",
            f"{r['model_cycles']}",
            f"{r['model_error']:+.2%}",
            f"{r['busy']}",
            f"{r['utilization']:.2%}",
            f"{r['bytes_read'] / 1e6:.3f}",
            f"{r['bytes_written'] / 1e3:.1f}",
            f"{r['memory_bytes'] / 1024:.1f}",
            mhz,
            f"{r['images_per_s']:.2f}",
        )
    )


def run(cases: list[Case], options: argparse.Namespace) -> bool:
    """Two runs at a time; prints each and adds it to the report when it is there."""
    nets, writing, report = Networks(options.weights), Lock(), {}
    failed = []

    def one(case: Case) -> None:
        place = f"{case.network} on {case.name}"
        try:
            machine = build(case.hw, trace=True)
            qm, image, logits = nets.get(case.network)
            clock = clock_of(case.hw.name, options.clock)
            measured = measure(case, qm, image, machine, clock)
            wrong = problems(measured, logits)
        except ToolError as error:
            with writing:
                failed.append(f"{place}: {one_line(error)}")
                print(failed[-1], flush=True)
            return
        with writing:
            for problem in wrong:
                failed.append(f"{place}: {problem}")
                print(failed[-1], flush=True)
            print(row(measured), flush=True)
            report.setdefault(case.network, {})[case.name] = measured.report
            write_file(options.json, (json.dumps(report, indent=1) + "\n").encode())
            picture = f"{case.network}_{case.name}.png"
            write_file(options.pictures / picture, layers_png(measured))

    print(line(HEAD), flush=True)
    with ThreadPoolExecutor(options.workers) as pool:
        list(pool.map(one, cases))
    for problem in failed:
        print(f"perf: {problem}", file=sys.stderr)
    return not failed


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(prog="python -m fqvit_hw.sim.perf", description=__doc__)
    parser.add_argument("--network", choices=NETWORKS, help="default: digits")
    parser.add_argument("--config", choices=tuple(HARDWARE), help="default: base")
    parser.add_argument("--all", action="store_true", help="all networks and configurations")
    parser.add_argument("--bus", type=int, choices=BUSES, help="another AXI data bus, in bits")
    parser.add_argument("--latency", type=int, metavar="N", help=f"cycles; default {LATENCY}")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="of a DeiT; default: random")
    parser.add_argument("--clock", type=float, metavar="MHZ", help="default: Fmax of `make pnr`, "
                        f"or {CLOCK:g}")  # fmt: skip
    parser.add_argument("--workers", type=int, default=WORKERS, metavar="N", help="runs at a time")
    parser.add_argument("--json", type=Path, default=BUILD / "perf.json", metavar="FILE")
    parser.add_argument("--pictures", type=Path, default=BUILD / "perf", metavar="DIR")
    options = parser.parse_args(arguments)
    chosen = [n for n in ("network", "config", "bus", "latency") if getattr(options, n) is not None]
    if options.all and chosen:
        raise UserError(f"--all and --{chosen[0]} exclude each other")
    if options.weights and options.network not in ("deit_tiny", "deit_small"):
        raise UserError("--weights belongs to --network deit_tiny or deit_small")
    for name in ("latency", "clock", "workers"):
        value = getattr(options, name)
        if value is not None and not 1 <= value < float("inf"):
            raise UserError(f"--{name}: expected at least 1, got {value:g}")
    check_file(options.json)
    return options


def chosen(options: argparse.Namespace) -> list[Case]:
    if options.all:
        for (network, config), reason in TOO_LONG.items():
            print(f"left out: {network} on {config} ({reason})")
        return everything()
    hw = hardware(options.config or "base")
    if options.bus not in (None, hw.bus):
        hw = replace(hw, name=f"{hw.name}_bus{options.bus}", bus=options.bus)
    return [Case(options.network or "digits", hw, options.latency or LATENCY)]


@program("perf")
def main(arguments: Sequence[str] | None = None) -> int:
    start = time.monotonic()
    options = parse(arguments)
    good = run(chosen(options), options)
    print(f"{options.json} and pictures in {options.pictures}, {time.monotonic() - start:.0f} s")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
