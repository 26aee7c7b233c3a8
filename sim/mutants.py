"""`make mutants`: does the simulation notice when the RTL is wrong?

Each mutant (sim/mutant_list.py) is one changed operator or constant in one file of rtl/. It is
built in a copy of the sources and run on a few images; the run must fail: a bus rule broken, an
error code, no end, a wrong value in the trace, a wrong logit, or Amaranth or Verilator refuses it.
What only another bench of the project can see is caught by that. A table says where each was
caught. Results stay in build/mutants/ and are used again as long as no source changes. Exit status
0: all were caught; 1: one survived; 2: a mistake, or the machine fails without a mutation.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

from fqvit_hw.cli import USER_ERRORS, Parser, one_line
from fqvit_hw.compiler import compile_network
from fqvit_hw.hardware import TINY
from fqvit_hw.netfile import write_atomically

from . import networks
from .compare import expected_results, first_logit_difference, first_trace_difference
from .mutant_list import MUTANTS, Mutant
from .simulated import Job, simulate
from .verilated import ROOT, build, sources

BUILD = ROOT / "build" / "mutants"
HARDWARE = TINY
JOBS = [Job(0, latency=20), Job(1, latency=1, stall=0.3, seed=1)]
COPIED = ("fqvit_hw", "rtl", "sim", "tests")  # the rest of the project is linked


@dataclass(frozen=True)
class Verdict:
    """check: which one caught it (build, bus, trace, logits or a bench), None if none did."""

    check: str | None
    where: str


class Workload:
    """One network with what is to come out of it."""

    def __init__(self, name: str, qm, images):
        self.name = name
        self.program = compile_network(qm.network, HARDWARE)
        self.images = images[: 1 + max(job.image for job in JOBS)]
        self.logits = qm.run(self.images)
        self.results = [expected_results(qm, self.program, i) for i in self.images]

    def run(self, machine: Path, timeout: int | None = None) -> tuple[Verdict, int]:
        """-> what was found, and the cycles of the longest run."""
        outcome = simulate(machine, self.program, self.images, JOBS, timeout=timeout)
        cycles = max(run.host_cycles for run in outcome.runs)
        for run in outcome.runs:
            n = run.job.image
            wrong = first_trace_difference(self.program, self.results[n], run.trace)
            if wrong:
                stopped = f"; then {run.failure}" if run.failure else ""
                return Verdict("trace", f"{self.name}: {wrong}{stopped}"), cycles
            if run.failure:
                return Verdict("bus", f"{self.name}: {run.failure}"), cycles
            wrong = first_logit_difference(self.logits[n], run.logits, n)
            if wrong:
                return Verdict("logits", f"{self.name}: {wrong}"), cycles
        return Verdict(None, "nothing noticed"), cycles


def mutated(mutant: Mutant) -> str:
    """The file's new text. Raises ValueError if the old text is not there, or is there twice."""
    text = (ROOT / mutant.file).read_text()
    found = text.count(mutant.old)
    if found != 1:
        raise ValueError(f"mutant {mutant.name}: {mutant.old!r} is {found} times in {mutant.file}")
    return text.replace(mutant.old, mutant.new)


def make_copy(mutant: Mutant, folder: Path) -> None:
    """The project in `folder`, with the mutation."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in ROOT.iterdir():
        target = folder / path.name
        if path.name in COPIED:
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(path, target, ignore=shutil.ignore_patterns("__pycache__"))
        elif path.name not in (".git", "build") and not target.exists():
            target.symlink_to(path)
    (folder / mutant.file).write_text(mutated(mutant))


def in_copy(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Python with the copy's packages in place of the project's."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": f"{folder}", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )


def judge(mutant: Mutant, folder: Path, workloads: list[Workload], limits: list[int]) -> Verdict:
    """Builds and runs one mutant: the first check that notices it."""
    make_copy(mutant, folder)
    built = in_copy(folder, "-m", "sim.verilated", HARDWARE.name, "--trace", "--quick")
    if built.returncode:
        said = built.stderr.strip().splitlines() or ["it says nothing"]
        return Verdict("build", said[-1])
    machine = Path(built.stdout.strip())
    for workload, limit in zip(workloads, limits, strict=True):
        verdict, _ = workload.run(machine, timeout=limit)
        if verdict.check:
            return verdict
    if mutant.bench:
        bench = in_copy(folder, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", mutant.bench)
        if bench.returncode == 1:  # tests ran and failed
            failed = [line for line in bench.stdout.splitlines() if line.startswith("FAILED")]
            return Verdict("bench", failed[0] if failed else mutant.bench)
        return Verdict(None, f"nothing noticed, nor did {mutant.bench}")
    return verdict


def key(mutant: Mutant, workloads: list[Workload]) -> str:
    """Of everything that a verdict depends on."""
    sha = hashlib.sha256(repr((mutant, JOBS)).encode())
    for workload in workloads:
        sha.update(bytes(workload.program.image))
    for path in [*sources(), ROOT / "sim" / "compare.py", Path(__file__).resolve()]:
        sha.update(path.read_bytes())
    return sha.hexdigest()


def judge_or_recall(mutant, workloads: list[Workload], limits: list[int]) -> Verdict:
    folder = BUILD / mutant.name
    known, wanted = folder / "verdict.json", key(mutant, workloads)
    if known.exists():
        saved = json.loads(known.read_text())
        if saved.pop("key") == wanted:
            return Verdict(**saved)
    verdict = judge(mutant, folder, workloads, limits)
    write_atomically(known, json.dumps(asdict(verdict) | {"key": wanted}).encode())
    shutil.rmtree(folder / "build", ignore_errors=True)  # 20 MB each
    return verdict


def run(mutants: list[Mutant], workers: int, say: Callable[[str], None]) -> dict[str, Verdict]:
    """All verdicts by name. Raises RuntimeError if the machine fails without a mutation."""
    for mutant in mutants:
        mutated(mutant)  # a list that is out of date is found before anything is built
    workloads = [Workload("digits", *networks.built_in())]
    machine = build(HARDWARE, trace=True)
    limits = []
    for workload in workloads:
        verdict, cycles = workload.run(machine)
        if verdict.check:
            raise RuntimeError(f"the machine without a mutation: {verdict.where}")
        limits.append(3 * cycles)
    verdicts = {}
    with ThreadPoolExecutor(workers) as pool:
        futures = {pool.submit(judge_or_recall, m, workloads, limits): m for m in mutants}
        for future in as_completed(futures):
            mutant, verdict = futures[future], future.result()
            verdicts[mutant.name] = verdict
            caught = f"caught by {verdict.check}" if verdict.check else "SURVIVED"
            say(f"[{len(verdicts)}/{len(mutants)}] {mutant.name}: {caught}, {verdict.where}")
    return verdicts


def table(mutants: list[Mutant], verdicts: dict[str, Verdict]) -> str:
    """Markdown."""
    lines = ["| mutant | file | what it breaks | caught by | where |", "|---|---|---|---|---|"]
    for m in mutants:
        verdict = verdicts[m.name]
        cells = (m.name, m.file, m.breaks, verdict.check or "**nothing**", verdict.where)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = Parser(prog="python -m sim.mutants", description=__doc__.split("\n")[0])
    parser.add_argument("--only", action="append", metavar="NAME", help="may be repeated")
    parser.add_argument("--workers", type=int, default=2, metavar="N")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    try:
        options = parse(arguments)
        known = {mutant.name: mutant for mutant in MUTANTS}
        if unknown := set(options.only or ()) - set(known):
            raise ValueError(f"no mutant {min(unknown)!r}; there are {', '.join(known)}")
        mutants = [known[name] for name in options.only or known]
        verdicts = run(mutants, options.workers, lambda line: print(line, flush=True))
    except (*USER_ERRORS, RuntimeError) as error:
        print(f"mutants: {one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("mutants: interrupted", file=sys.stderr)
        return 130
    print(f"\n{table(mutants, verdicts)}\n")
    survivors = [name for name, verdict in verdicts.items() if verdict.check is None]
    files = {mutant.file for mutant in mutants}
    print(f"{len(mutants) - len(survivors)} of {len(mutants)} mutants of {len(files)} files caught")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
