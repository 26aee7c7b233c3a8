"""`make sim`: every block in every bench configuration on Icarus Verilog, two at a time.

Ends with a table and writes build/sim/results.xml (JUnit). Exit status 0: all benches passed;
1: a mismatch, or a bench that compared nothing; 2: a mistake in the call, or no usable simulator.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import traceback
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import redirect_stdout
from pathlib import Path

from fqvit_hw.blocks import BLOCKS
from fqvit_hw.command_line import Parser, program
from fqvit_hw.errors import UserError
from fqvit_hw.places import BUILD

from .blocks.runner import Result, block_module, configurations, require_icarus, run_bench

WORKERS = 2
NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd]")  # escape codes of a simulator's log
Job = tuple[str, str]  # block, configuration


def choose(options: argparse.Namespace) -> list[Job]:
    """The benches asked for; UserError if a name is unknown."""
    if options.case and not options.block:
        raise UserError("a case needs its block: --block BLOCK (make sim: BLOCK=...)")
    if options.block:
        block_module(options.block)
    blocks = [options.block] if options.block else BLOCKS
    size = "full" if options.config else options.size
    jobs = [(block, config) for block in blocks for config in configurations(block, size)]
    if options.config:
        known = sorted({config for _, config in jobs})
        jobs = [job for job in jobs if job[1] == options.config]
        if not jobs:
            where = f" of {options.block}" if options.block else ""
            names = ", ".join(known)
            raise UserError(f"unknown configuration {options.config!r}{where}; there are {names}")
    if options.case:
        cases = {job: case_names(*job, options.size) for job in jobs}
        jobs = [job for job in jobs if options.case in cases[job]]
        if not jobs:
            names = ", ".join(dict.fromkeys(name for found in cases.values() for name in found))
            raise UserError(f"unknown case {options.case!r} of {options.block}; there are {names}")
    return jobs


def case_names(block: str, config: str, size: str) -> list[str]:
    module = block_module(block)
    return [t.name for t in module.transactions(module.CONFIGURATIONS[config], size)]


def run(job: Job, out: Path, size: str, case: str | None, waves: bool) -> Result:
    """One bench in a worker process; what cocotb's runner prints goes to a file."""
    block, config = job
    folder = out / block / config
    folder.parent.mkdir(parents=True, exist_ok=True)
    output = folder.parent / f"{config}.runner.txt"
    with output.open("w") as file, redirect_stdout(file):
        try:
            result = run_bench(block, config, size, case=case, waves=waves, folder=folder)
        except Exception as error:
            traceback.print_exc(file=file)
            failure = f"{type(error).__name__}: {error}; see {output}"
            return Result(block, config, failure=failure)
    if output.stat().st_size == 0:
        output.unlink()
    log = folder / "log.txt"
    if result.failure is not None and str(log) not in result.failure:
        result.failure += f"; log {log if log.exists() else output}"
    return result


def run_all(jobs: list[Job], options: argparse.Namespace, report: Callable[[Result], None]) -> None:
    """Run the jobs in worker processes; report(result) as each one ends."""
    with ProcessPoolExecutor(WORKERS) as pool:
        chosen = (options.out, options.size, options.case, options.waves)
        # attention, the longest, is the last block: start it first
        futures = {pool.submit(run, job, *chosen): job for job in reversed(jobs)}
        try:
            for future in as_completed(futures):
                try:
                    result = future.result()
                except BrokenProcessPool as error:
                    result = Result(*futures[future], failure=f"the worker process died: {error}")
                report(result)
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            raise


def table(results: list[Result]) -> str:
    rows = [("block", "configuration", "vectors", "cycles", "seconds", "result")]
    rows += [
        (r.block, r.config, f"{r.beats}", f"{r.cycles}", f"{r.seconds:.1f}", verdict(r))
        for r in results
    ]
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    left = (0, 1, 5)
    return "\n".join(
        "  ".join(
            cell.ljust(width) if n in left else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def left_out(results: list[Result]) -> list[str]:
    """One line for each bench that did not run all of its cases: nothing is skipped in silence."""
    return [
        f"left out of {r.block} {r.config} (run one with CASE=): "
        + ", ".join(f"{name} ({reason})" for name, reason in r.left_out.items())
        for r in results
        if r.left_out
    ]


def verdict(result: Result) -> str:
    return "pass" if result.passed else "FAIL"


def write_junit(results: list[Result], path: Path) -> None:
    """One test suite a block, one test case a configuration; the file appears whole or not."""
    root = ET.Element("testsuites", name="fqvit_hw benches")
    for block in dict.fromkeys(r.block for r in results):
        mine = [r for r in results if r.block == block]
        suite = ET.SubElement(root, "testsuite", name=block)
        totals(suite, mine)
        for r in mine:
            case = ET.SubElement(
                suite, "testcase", classname=f"sim.{block}", name=r.config, time=f"{r.seconds:.3f}"
            )
            if r.failure is not None:
                text = NOT_XML.sub("?", r.failure)
                first = text.splitlines()[0] if text else "failed"
                ET.SubElement(case, "failure", message=first).text = text
            counted = f"{r.beats} vectors (output beats) compared, {r.cycles} cycles"
            ET.SubElement(case, "system-out").text = counted
    totals(root, results)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    ET.indent(root)
    ET.ElementTree(root).write(draft, encoding="utf-8", xml_declaration=True)
    os.replace(draft, path)


def totals(element: ET.Element, results: list[Result]) -> None:
    element.set("tests", str(len(results)))
    element.set("failures", str(sum(not r.passed for r in results)))
    element.set("errors", "0")
    element.set("skipped", "0")
    element.set("time", f"{sum(r.seconds for r in results):.3f}")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(prog="python -m fqvit_hw.sim", description=__doc__)
    parser.add_argument("--block", help=f"one of {', '.join(BLOCKS)}; default: all")
    parser.add_argument("--config", help="one bench configuration; default: all of the size")
    parser.add_argument("--case", help="one case of the block; default: all")
    parser.add_argument(
        "--size", default="full", help="full: all configurations and cases; small: as `make test`"
    )
    parser.add_argument("--waves", action="store_true", help="keep the waveforms (FST)")
    parser.add_argument("--out", type=Path, default=BUILD, metavar="DIR", help="build folder")
    return parser.parse_args(arguments)


@program("sim")
def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    options.out = options.out.resolve()
    if options.size not in ("full", "small"):
        raise UserError(f"unknown size {options.size!r}; there are full, small")
    require_icarus()
    jobs = choose(options)
    results: dict[Job, Result] = {}

    def report(r: Result) -> None:
        results[r.block, r.config] = r
        count = f"[{len(results)}/{len(jobs)}]"
        print(f"{count} {r.block} {r.config}: {verdict(r)} ({r.seconds:.1f} s)", flush=True)
        if not r.passed:
            print(f"  {r.failure}", flush=True)
        waves = options.out / r.block / r.config / f"{r.block}.fst"
        if options.waves and waves.exists():
            print(f"  waveform {waves}", flush=True)

    run_all(jobs, options, report)
    ordered = [results[job] for job in jobs]
    failed = sum(not r.passed for r in ordered)
    print(f"\n{table(ordered)}\n")
    for line in left_out(ordered):
        print(line)
    junit = options.out / "results.xml"
    write_junit(ordered, junit)
    print(f"{len(ordered) - failed} benches passed, {failed} failed; {junit}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
