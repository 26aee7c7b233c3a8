"""`make perf`: how long each configuration takes for an image, and what its array does meanwhile.

Runs networks on the simulated accelerator (sim/verilated.py, with trace ports) and reports what the
hardware's own counters say. Every run is checked as well:

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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from threading import Lock

import numpy as np

from fqvit_hw.cli import USER_ERRORS, Parser, one_line
from fqvit_hw.compiler import Program, compile_network
from fqvit_hw.cycles import Prediction, predict
from fqvit_hw.hardware import HARDWARE, Hardware, hardware
from fqvit_hw.outputs import check_file, write_file

from . import networks
from .compare import first_logit_difference
from .perf_chart import STALLS, layers_png
from .simulated import Job, Run, array_beats, simulate
from .verilated import ROOT, build

NETWORKS = ("digits", "deit_tiny", "deit_small")
CLOCK = 100.0  # MHz, assumed where nothing was placed and routed
LATENCY = 100  # cycles of the AXI memory
MODEL_ERROR = 0.01  # of the cycle model, at most
WORKERS = 2
BUILD = ROOT / "build"
TOO_LONG = {("deit_small", "tiny"): "about 300 million cycles, more than ten minutes"}


@dataclass(frozen=True)
class Case:
    """One network on one machine; `name` is the machine's key in the report."""

    network: str
    hw: Hardware
    latency: int = LATENCY

    @property
    def name(self) -> str:
        return self.hw.name + ("" if self.latency == LATENCY else f" latency {self.latency}")


def variants(network: str) -> list[Case]:
    """DeiT-Tiny on base once more: with half the bus, with a nearer and a farther memory."""
    base = hardware("base")
    narrow = replace(base, name="base bus 64", bus=64)
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


# --- networks


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


# --- one run


@dataclass(frozen=True, eq=False)
class Measured:
    """A run, what was expected of it, and what is wrong with it (one line each)."""

    case: Case
    program: Program
    run: Run
    model: Prediction
    clock: tuple[float, str]
    seconds: float

    @cached_property
    def report(self) -> dict:
        """The run's entry in perf.json."""
        hw, counters, (mhz, source) = self.case.hw, self.run.counters, self.clock
        cycles = counters["cycles"]
        return {
            "cycles": cycles,
            "model_cycles": self.model.cycles,
            "model_error": self.model.cycles / cycles - 1,
            "utilization": self.program.macs / (hw.rows * hw.cols * cycles),
            "macs": self.program.macs,
            "busy": counters["array_busy"],
            "stalled": {name: counters[name] for name in STALLS},
            "bytes_read": counters["bytes_read"],
            "bytes_written": counters["bytes_written"],
            "bytes_weights": counters["weight_bytes"],
            "rows": hw.rows,
            "cols": hw.cols,
            "bus": hw.bus,
            "latency": self.case.latency,
            "memory_bytes": hw.memory_bytes,
            "clock_mhz": mhz,
            "clock_source": source,
            "images_per_s": mhz * 1e6 / cycles,
            "kilocycles_per_s": cycles / self.seconds / 1000,
        }


def measure(case: Case, qm, image: np.ndarray, machine: Path, clock) -> Measured:
    """One image on a machine that was built with trace ports. Raises RuntimeError if it fails."""
    program = compile_network(qm.network, case.hw)
    outcome = simulate(machine, program, image[None], [Job(0, case.latency)])
    if outcome.failure:
        raise RuntimeError(outcome.failure)
    model = predict(program.instructions, case.hw, case.latency)
    return Measured(case, program, outcome.runs[0], model, clock, outcome.seconds)


def problems(measured: Measured, logits: np.ndarray) -> list[str]:
    """What is wrong with a run, one line each."""
    run, program, model = measured.run, measured.program, measured.model
    found = []
    wrong = first_logit_difference(logits, run.logits, run.job.image)
    if wrong is not None:
        found.append(f"{wrong}")
    counters, beats = run.counters, array_beats(program)
    for name, got, source, want in (
        ("busy", counters["array_busy"], "compiler's beats", beats),
        ("bytes read", counters["bytes_read"], "model's", model.bytes_read),
        ("bytes written", counters["bytes_written"], "model's", model.bytes_written),
        ("bytes of weights", counters["weight_bytes"], "model's", model.bytes_weights),
    ):
        if got != want:
            found.append(f"{name}: the counter says {got}, the {source} {want}")
    traced = np.sum(run.array, axis=0)[1:]
    counted = [counters[name] for name in ("array_busy", *list(STALLS)[:-1])]
    for name, got, want in zip(("busy", *STALLS), counted, traced, strict=False):
        if got != want:
            found.append(f"{name}: the counter says {got}, the trace ports {want}")
    error = measured.report["model_error"]
    if abs(error) > MODEL_ERROR:
        found.append(f"the cycle model says {model.cycles}, {error:+.2%} off")
    return found


def clock_of(config: str, given: float | None) -> tuple[float, str]:
    """MHz, and where they come from: the option, `make pnr`, or an assumption."""
    if given is not None:
        return given, "given"
    routed = BUILD / "pnr.json"
    if routed.exists():
        for entry in json.loads(routed.read_text()):
            whole = entry["block"] == "accelerator" and entry["config"] == config
            if whole and not entry["failure"]:
                return entry["fmax"], "make pnr"
    return CLOCK, "assumed"


# --- the report

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
        except RuntimeError as error:
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
            picture = f"{case.network}_{case.name.replace(' ', '_')}.png"
            write_file(options.pictures / picture, layers_png(measured))

    print(line(HEAD), flush=True)
    with ThreadPoolExecutor(options.workers) as pool:
        list(pool.map(one, cases))
    for problem in failed:
        print(f"perf: {problem}", file=sys.stderr)
    return not failed


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = Parser(prog="python -m sim.perf", description=__doc__.split("\n")[0])
    parser.add_argument("--network", choices=NETWORKS, help="default: digits")
    parser.add_argument("--config", choices=tuple(HARDWARE), help="default: base")
    parser.add_argument("--all", action="store_true", help="all networks and configurations")
    parser.add_argument("--bus", type=int, choices=(64, 128), help="another AXI data bus, in bits")
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
        raise ValueError(f"--all and --{chosen[0]} exclude each other")
    if options.weights and options.network not in ("deit_tiny", "deit_small"):
        raise ValueError("--weights belongs to --network deit_tiny or deit_small")
    for name in ("latency", "clock", "workers"):
        value = getattr(options, name)
        if value is not None and not 1 <= value < float("inf"):
            raise ValueError(f"--{name}: expected at least 1, got {value:g}")
    check_file(options.json)
    return options


def chosen(options: argparse.Namespace) -> list[Case]:
    if options.all:
        for (network, config), reason in TOO_LONG.items():
            print(f"left out: {network} on {config} ({reason})")
        return everything()
    hw = hardware(options.config or "base")
    if options.bus not in (None, hw.bus):
        hw = replace(hw, name=f"{hw.name} bus {options.bus}", bus=options.bus)
    return [Case(options.network or "digits", hw, options.latency or LATENCY)]


def main(arguments: list[str] | None = None) -> int:
    start = time.monotonic()
    try:
        options = parse(arguments)
        good = run(chosen(options), options)
        print(
            f"{options.json} and pictures in {options.pictures}, {time.monotonic() - start:.0f} s"
        )
    except USER_ERRORS as error:
        print(f"perf: {one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("perf: interrupted", file=sys.stderr)
        return 130
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
