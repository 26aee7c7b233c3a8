"""`make sim-net`, `make sim-deit`: whole networks on the accelerator, every logit bit for bit.

Compiles the network's program, makes the accelerator's simulation (sim/networks/verilated.py) and
runs every image with other latencies of the memory and other random stalls. The logits must equal
those of the integer model; with --trace every result of every instruction must, too. Exit status 0:
all is equal; 1: something differs, stopped or hung; 2: a mistake in the call, or nothing could be
built.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from fqvit_hw.command_line import Parser, program
from fqvit_hw.compiler import compile_network
from fqvit_hw.errors import UserError
from fqvit_hw.files import write_file
from fqvit_hw.machine.hardware import HARDWARE, Hardware, hardware

from . import known as networks
from .compare import expected_results, first_logit_difference, first_trace_difference
from .simulated import Job, Run, simulate
from .verilated import OUT, build

LATENCIES = (1, 20, 100, 200)  # cycles
STALLS = (0.05, 0.3, 0.6)  # of the seeds 1, 2, 3, 4, ... in turn; seed 0 never stalls
SEEDS = 8


@dataclass
class Report:
    """What was run on one configuration. differences: one line each, of every image that failed."""

    config: str
    network: str
    trace: bool
    images: int = 0
    equal: int = 0  # images with all logits equal
    values: int = 0  # traced and compared
    differences: list[str] = field(default_factory=list)
    runs: list[dict] = field(default_factory=list)
    cycles: int = 0  # simulated
    seconds: float = 0.0  # of simulation, all workers together
    wall: float = 0.0

    @property
    def passed(self) -> bool:
        return self.images > 0 and self.equal == self.images and not self.differences


def jobs_for(images: int, latencies: Iterable[int], seeds: int) -> list[Job]:
    """A job for each image; latency and seed change from image to image, all pairs come up."""
    latencies = list(latencies)
    jobs = []
    for n in range(images):
        seed = n % (seeds + 1)
        latency = latencies[(seed + n // (seeds + 1)) % len(latencies)]
        jobs.append(Job(n, latency, STALLS[(seed - 1) % len(STALLS)] if seed else 0.0, seed))
    return jobs


def check(
    qm,
    images: np.ndarray,
    hw: Hardware,
    jobs: list[Job],
    *,
    trace: bool = False,
    network: str = "digits",
    workers: int = 1,
    machine: Path | None = None,
    program=None,
    **control,
) -> Report:
    """Runs the jobs and compares. images: uint8 (B, C, H, W).

    machine: an executable instead of the one of this source tree; program: the compiled network;
    control: for negative controls, what `simulate` takes.
    """
    report = Report(hw.name, network, trace)
    start = time.monotonic()
    program = program or compile_network(qm.network, hw)
    machine = machine or build(hw, trace)
    outcome = simulate(machine, program, images, jobs, workers=workers, **control)
    used = sorted({job.image for job in jobs})
    logits = dict(zip(used, qm.run(images[used]), strict=True))
    report.images = len(jobs)
    report.cycles, report.seconds = outcome.cycles, outcome.seconds
    for run in outcome.runs:
        compare_run(report, qm, program, images, run, logits[run.job.image], trace)
    if len(outcome.runs) < len(jobs):
        report.differences.append(f"{len(jobs) - len(outcome.runs)} runs were not made")
    report.wall = time.monotonic() - start
    return report


def compare_run(report: Report, qm, program, images, run: Run, logits, trace: bool) -> None:
    """Adds one run to the report, with the first thing that is wrong with it."""
    place = (
        f"{report.config}, image {run.job.image}, latency {run.job.latency}, seed {run.job.seed}"
    )
    wrong = first_logit_difference(logits, run.logits, run.job.image)
    if run.failure is None and wrong is None:
        report.equal += 1
    if trace:
        report.values += sum(len(values) for values in run.trace.values())
        results = expected_results(qm, program, images[run.job.image])
        wrong = first_trace_difference(program, results, run.trace) or wrong
    for problem in (run.failure, wrong):
        if problem is not None:
            report.differences.append(f"{place}: {problem}")
    entry = asdict(run.job) | {"failure": run.failure, "difference": wrong and str(wrong)}
    report.runs.append(entry | {"counters": run.counters, "array": run.array})


def table(reports: list[Report]) -> str:
    """One line for each configuration."""
    rows = [("network", "configuration", "runs", "latencies", "stall seeds", "cycles an image",
             "traced values", "logits", "k cycles/s", "seconds", "result")]  # fmt: skip
    for r in reports:
        cycles = [run["counters"].get("cycles", 0) for run in r.runs] or [0]
        latencies = sorted({run["latency"] for run in r.runs})
        seeds = {run["seed"] for run in r.runs if run["stall"]}
        rows.append(
            (
                r.network,
                r.config,
                f"{len(r.runs)}",
                ", ".join(f"{n}" for n in latencies),
                f"{len(seeds)}",
                f"{min(cycles)}" if min(cycles) == max(cycles) else f"{min(cycles)}..{max(cycles)}",
                f"{r.values}" if r.trace else "-",
                f"{r.equal} of {r.images} equal",
                f"{r.cycles / max(r.seconds, 1e-9) / 1000:.0f}",
                f"{r.wall:.1f}",
                "pass" if r.passed else "FAIL",
            )
        )
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(prog="python -m fqvit_hw.sim.networks", description=__doc__)
    parser.add_argument("--network", type=Path, metavar="FILE", help="default: built-in digits")
    parser.add_argument("--model", metavar="NAME", help="a timm ViT or DeiT instead (needs torch)")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="of --model; default: random")
    parser.add_argument("--image", type=Path, metavar="FILE", help="of --model; default: random")
    parser.add_argument("--data", type=Path, metavar="DIR", help="images for --network")
    parser.add_argument(
        "--config", action="append", metavar="NAME", help=f"{', '.join(HARDWARE)}; may be repeated"
    )
    parser.add_argument("--images", default="all", metavar="N", help="so many, or all (default)")
    parser.add_argument(
        "--latency", type=int, action="append", metavar="N",
        help=f"of the memory, cycles; may be repeated (default: {', '.join(map(str, LATENCIES))})",
    )  # fmt: skip
    parser.add_argument("--seeds", type=int, metavar="N", help=f"of stalls; default {SEEDS}")
    parser.add_argument("--trace", action="store_true", help="compare every instruction's result")
    parser.add_argument(
        "--power-on", type=int, default=0, metavar="SEED", help="of what memories hold at first"
    )
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1), metavar="N")
    parser.add_argument("--json", type=Path, default=OUT / "result.json", metavar="FILE")
    options = parser.parse_args(arguments)
    if options.network and options.model:
        raise UserError("--network and --model are two networks: give one of them")
    if (options.weights or options.image) and not options.model:
        raise UserError("--weights and --image belong to --model")
    if options.data and not options.network:
        raise UserError("--data belongs to --network")
    if options.images != "all" and not (options.images.isdecimal() and int(options.images)):
        raise UserError(f"--images: expected a number or all, got {options.images!r}")
    options.seeds = SEEDS if options.seeds is None else options.seeds
    for name, least, values in (
        ("--latency", 1, options.latency or []),
        ("--seeds", 0, [options.seeds]),
        ("--power-on", 0, [options.power_on]),
        ("--workers", 1, [options.workers]),
    ):
        if any(value < least for value in values):
            raise UserError(f"{name}: expected at least {least}, got {min(values)}")
    return options


def choose(options: argparse.Namespace) -> tuple[str, object, np.ndarray]:
    """Name, network and images that were asked for."""
    if options.model:
        return options.model, *networks.from_timm(options.model, options.weights, options.image)
    if options.network:
        return options.network.name, *networks.from_file(options.network, options.data)
    return "digits", *networks.built_in()


def run(options: argparse.Namespace, say: Callable[[str], None]) -> list[Report]:
    configurations = [hardware(name) for name in options.config or ["tiny"]]
    name, qm, images = choose(options)
    if options.images != "all":
        images = images[: int(options.images)]
    # one image alone: without stalls, at the latency of the project's figures
    latencies = options.latency or (LATENCIES if len(images) > 1 else (100,))
    jobs = jobs_for(len(images), latencies, options.seeds)
    reports = []
    for hw in configurations:
        report = check(
            qm, images, hw, jobs, trace=options.trace, network=name, workers=options.workers,
            power_on=options.power_on,
        )  # fmt: skip
        reports.append(report)
        for line in report.differences[:10]:
            say(line)
    return reports


@program("sim-net")
def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    reports = run(options, lambda line: print(line, flush=True))
    print(table(reports))
    entries = [asdict(report) | {"passed": report.passed} for report in reports]
    write_file(options.json, json.dumps(entries, indent=1).encode())
    return 0 if all(report.passed for report in reports) else 1


if __name__ == "__main__":
    sys.exit(main())
