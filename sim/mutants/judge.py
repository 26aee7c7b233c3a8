"""`make mutants`: does the simulation notice when the RTL is wrong?

Each mutant (sim/mutants/operators.py) is one changed operator or constant in one file of rtl/. All
of them are in one machine, of which one at a time is made to live (sim/mutants/schemata.py); two
networks run on it, and something must fail: a bus rule, an error code, no end, a wrong value in the
trace, a wrong logit. What no network shows, a bench of the project must find in a copy of the
sources. Verdicts stay in build/mutants.json and are used again as long as no source changes; when
all are known, docs/mutants.md is written. Exit status 0: all were caught, or are the same machine
for a reason that the list gives; 1: one survived; 2: a mistake, or the machine fails without a
mutation.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from fqvit_hw.command_line import Parser, positive, program
from fqvit_hw.compiler import Program, compile_network
from fqvit_hw.errors import ToolError, UserError
from fqvit_hw.files import write_atomically
from fqvit_hw.machine.isa import INSTRUCTION_BYTES, Epilogue, Instruction, Opcode
from fqvit_hw.model import QuantizedModel
from fqvit_hw.places import BUILD, CHECKOUT

from ..networks import by_hand, compare
from ..networks import known as networks
from ..networks.by_hand import Answer
from ..networks.compare import expected_results, first_logit_difference, first_trace_difference
from ..networks.micro import MICRO, wide_network
from ..networks.random_networks import random_network
from ..networks.simulated import Job, Run, simulate
from ..networks.verilated import TOP, sources
from . import schemata
from .operators import MUTANTS, Mutant
from .schemata import MODULE, instrument

ROOT = CHECKOUT or Path.cwd()
OUT = BUILD / "mutants"
KNOWN = BUILD / "mutants.json"
DOCUMENT = ROOT / "docs" / "mutants.md"
JOBS = Job(0, latency=20), Job(1, latency=1, stall=0.3, seed=1), Job(1, 100, stall=0.6, seed=2)
RANDOM = range(8)  # seeds of random networks
COPIED = ("fqvit_hw", "rtl", "sim", "tests")  # the rest of the project is linked


@dataclass(frozen=True)
class Verdict:
    """check: which one caught it (bus, trace, logits or bench), None if none did."""

    check: str | None
    where: str


def cut(program: Program, end: int) -> Program:
    """The program with END in place of instruction `end` and no wait for those before it."""
    instructions = [*program.instructions[:end], Instruction(Opcode.END, {})]
    image, at = program.filled.copy(), program.entry + end * INSTRUCTION_BYTES
    image[at : at + INSTRUCTION_BYTES] = memoryview(instructions[-1].encode())
    return replace(program, instructions=instructions, image=image)


def after(program: Program, epilogue: Epilogue) -> int:
    """The number after the first such GEMM."""
    gemms = [i.opcode is Opcode.GEMM and i.epilogue == epilogue for i in program.instructions]
    return gemms.index(True) + 1


class Workload:
    """A program on images with what is to come out of it.

    answers: what each image gives; outputs: False: what lies in the output means nothing.
    """

    def __init__(
        self, name: str, program: Program, images: np.ndarray, answers: list[Answer],
        jobs: Sequence[Job] = JOBS, outputs: bool = True,
    ):  # fmt: skip
        self.name, self.program, self.images = name, program, images
        self.answers, self.jobs, self.outputs = answers, jobs, outputs
        self.limit: int | None = None  # cycles

    @classmethod
    def network(cls, name: str, qm: QuantizedModel, images: np.ndarray) -> Workload:
        program = compile_network(qm.network, MICRO)
        images = images[: 1 + max(job.image for job in JOBS)]
        logits = qm.run(images)
        answers = [
            Answer(expected_results(qm, program, image), want)
            for image, want in zip(images, logits, strict=True)
        ]
        return cls(name, program, images, answers)

    @classmethod
    def of_program(cls, name: str, program: Program) -> Workload:
        images = by_hand.images(1 + max(job.image for job in by_hand.JOBS))
        answers = [by_hand.answer(program, image) for image in images]
        return cls(name, program, images, answers, by_hand.JOBS)

    def up_to(self, epilogue: Epilogue) -> Workload:
        """Its start: up to the first such GEMM."""
        end = after(self.program, epilogue)
        answers = [
            replace(answer, results=[r for r in answer.results if r.index < end])
            for answer in self.answers
        ]
        name, program = f"{self.name} up to {epilogue.name}", cut(self.program, end)
        return Workload(name, program, self.images, answers, self.jobs, outputs=False)

    def run(self, machine: Path, mutant: int) -> Verdict:
        """The first run that shows something. Mutant 0 must show nothing and sets the limit."""
        longest = 0
        for job in self.jobs:
            outcome = simulate(
                machine, self.program, self.images, [job], mutant=mutant, timeout=self.limit
            )
            verdict = self.judge(outcome.runs[0])
            if verdict.check:
                return verdict
            longest = max(longest, outcome.runs[0].host_cycles)
        if mutant == 0:
            self.limit = 3 * longest
        return Verdict(None, "nothing noticed")

    def judge(self, run: Run) -> Verdict:
        n, answer = run.job.image, self.answers[run.job.image]
        pause = f", pause {run.job.pause}" if run.job.pause else ""
        setting = f"{self.name}, latency {run.job.latency}{pause}, seed {run.job.seed}"
        wrong = first_trace_difference(self.program, answer.results, run.trace)
        if wrong:
            stopped = f"; then {run.failure}" if run.failure else ""
            return Verdict("trace", f"{setting}: {wrong}{stopped}")
        if run.failure:
            return Verdict("bus", f"{setting}: {run.failure}")
        if not self.outputs:
            return Verdict(None, "")
        wrong = first_logit_difference(answer.output, run.logits, n)
        return Verdict("logits", f"{setting}: {wrong}") if wrong else Verdict(None, "")


def mutated(mutant: Mutant) -> str:
    """The file's new text. Raises ValueError if the old text is not there, or is there twice."""
    text = (ROOT / mutant.file).read_text()
    found = text.count(mutant.old)
    if found != 1:
        raise UserError(f"mutant {mutant.name}: {mutant.old!r} is {found} times in {mutant.file}")
    return text.replace(mutant.old, mutant.new)


def make_copy(folder: Path, changed: dict[str, str]) -> None:
    """The project in `folder`, with other text in some files."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in ROOT.iterdir():
        target = folder / path.name
        if path.name in COPIED:
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(
                path, target, symlinks=True, ignore=shutil.ignore_patterns("__pycache__")
            )
        elif path.name not in (".git", "build") and not target.exists():
            target.symlink_to(path)
    for name, text in changed.items():
        (folder / name).write_text(text)


def in_copy(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Python with the copy's packages in place of the project's."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": f"{folder}", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )


def build_all() -> Path:
    """The machine with all mutants but those that are `alone`, made if anything has changed."""
    machine, known, key = OUT / "machine", OUT / "key", checksum()
    if machine.exists() and known.exists() and known.read_text() == key:
        return machine
    known.unlink(missing_ok=True)
    shutil.copy2(build_one(OUT / "all", instrumented()), machine)
    known.write_text(key)
    return machine


def instrumented() -> dict[str, str]:
    """The sources with all mutants but those that are `alone`, by file."""
    changed = {}
    for file in sorted({mutant.file for mutant in MUTANTS}):
        theirs = [
            (n, mutated(m)) for n, m in enumerate(MUTANTS, 1) if m.file == file and not m.alone
        ]
        changed[file], refused = instrument((ROOT / file).read_text(), theirs)
        for number, reason in refused.items():
            raise UserError(f"mutant {MUTANTS[number - 1].name}: {reason}")
    return changed | {"rtl/mutant.py": MODULE}


def build_one(folder: Path, changed: dict[str, str]) -> Path:
    """A machine from the sources with other text in some files, `rtl/mutant.py` among them."""
    make_copy(folder, changed)
    made = in_copy(folder, "-m", "fqvit_hw.sim.mutants.schemata", f"{folder / 'build'}", MICRO.name)
    if made.returncode:
        said = made.stderr.strip().splitlines() or ["it says nothing"]
        raise ToolError(f"{folder}: {said[-1]}")
    return folder / "build" / "obj" / f"V{TOP}"


def checksum() -> str:
    """Of all that the machine with all mutants is made from."""
    changes = [(n, m.file, m.old, m.new) for n, m in enumerate(MUTANTS) if not m.alone]
    sha = hashlib.sha256(repr((changes, MICRO)).encode())
    for path in [*sources(), Path(schemata.__file__)]:
        sha.update(path.read_bytes())
    return sha.hexdigest()


def key(mutant: Mutant, workloads: list[Workload]) -> str:
    """Of everything that a verdict depends on."""
    sha = hashlib.sha256(repr((mutant, JOBS, MICRO)).encode())
    for workload in workloads:
        sha.update(workload.program.filled.tobytes())
    for path in [*sources(), Path(compare.__file__)]:
        sha.update(path.read_bytes())
    if mutant.bench:
        sha.update((ROOT / mutant.bench.split("::")[0]).read_bytes())
    return sha.hexdigest()


def judge(mutant: Mutant, number: int, machine: Path, workloads: list[Workload]) -> Verdict:
    """The first check that notices the mutant."""
    folder = OUT / mutant.name
    if mutant.alone:
        machine = build_one(folder, {mutant.file: mutated(mutant)})
    for workload in workloads:
        verdict = workload.run(machine, number)
        if verdict.check:
            break
    if mutant.alone:
        shutil.rmtree(folder)
    if verdict.check:
        return verdict
    if not mutant.bench:
        return Verdict(None, "nothing noticed")
    make_copy(folder, {mutant.file: mutated(mutant)})
    bench = in_copy(folder, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", mutant.bench)
    shutil.rmtree(folder)
    if bench.returncode == 1:  # tests ran and failed
        failed = [line for line in bench.stdout.splitlines() if line.startswith("FAILED")]
        where = failed[0].removeprefix("FAILED ").split(" - ")[0] if failed else mutant.bench
        return Verdict("bench", where)
    if bench.returncode:
        raise ToolError(f"{mutant.bench}: {(bench.stdout + bench.stderr).strip()[-200:]}")
    return Verdict(None, f"nothing noticed, nor did {mutant.bench}")


def make_workloads() -> list[Workload]:
    wide = Workload.network("wide", *wide_network())
    return [
        wide,
        Workload.network("digits", *networks.built_in()),
        *(wide.up_to(op) for op in (Epilogue.RESIDUAL, Epilogue.KEYS, Epilogue.SCORES)),
        *(Workload.of_program(name, make(MICRO, 0)) for name, make in by_hand.PROGRAMS.items()),
        *(Workload.network(f"random {n}", *random_network(n, modes=MICRO.modes)) for n in RANDOM),
    ]


def load_known() -> dict:
    return json.loads(KNOWN.read_text()) if KNOWN.exists() else {}


def run(mutants: list[Mutant], workers: int, say: Callable[[str], None]) -> dict[str, Verdict]:
    """All verdicts by name. Raises RuntimeError if the machine fails without a mutation."""
    for mutant in MUTANTS:
        mutated(mutant)  # a list that is out of date is found before anything is built
    numbers = {mutant.name: number for number, mutant in enumerate(MUTANTS, 1)}
    workloads = make_workloads()
    known, verdicts = load_known(), {}
    keys = {mutant.name: key(mutant, workloads) for mutant in mutants}
    todo = []
    for mutant in mutants:
        entry = known.get(mutant.name)
        if entry and entry["key"] == keys[mutant.name]:
            verdicts[mutant.name] = Verdict(entry["check"], entry["where"])
        else:
            todo.append(mutant)
    if not todo:
        return verdicts
    say(f"building the machine with all {len(MUTANTS)} mutants")
    machine = build_all()
    for workload in workloads:
        start = time.monotonic()
        verdict = workload.run(machine, 0)
        if verdict.check:
            raise ToolError(f"the machine without a mutation: {verdict.where}")
        say(f"no mutation, {workload.name}: all equal, {time.monotonic() - start:.1f} s")
    with ThreadPoolExecutor(workers) as pool:
        futures = {pool.submit(judge, m, numbers[m.name], machine, workloads): m for m in todo}
        for future in as_completed(futures):
            mutant, verdict = futures[future], future.result()
            verdicts[mutant.name] = verdict
            known[mutant.name] = asdict(verdict) | {"key": keys[mutant.name]}
            write_atomically(KNOWN, json.dumps(known, indent=1).encode())
            say(f"[{len(verdicts)}/{len(mutants)}] {mutant.name}: {fate(mutant, verdict)}, "
                f"{verdict.where}")  # fmt: skip
    return verdicts


def fate(mutant: Mutant, verdict: Verdict) -> str:
    if verdict.check:
        return verdict.check
    return "equivalent" if mutant.equivalent else "**survived**"


def summary(mutants: list[Mutant], verdicts: dict[str, Verdict]) -> str:
    files = {mutant.file for mutant in mutants}
    counts = Counter(fate(mutant, verdicts[mutant.name]) for mutant in mutants)
    caught = sum(verdicts[mutant.name].check is not None for mutant in mutants)
    by = ", ".join(f"{counts[check]} by {check}" for check in ("trace", "bus", "logits", "bench"))
    return (
        f"{len(mutants)} of {len(MUTANTS)} listed mutants were run, in {len(files)} files of rtl/: "
        f"{caught} caught ({by}), {counts['equivalent']} equivalent, "
        f"{counts['**survived**']} survived."
    )


def table(mutants: list[Mutant], verdicts: dict[str, Verdict]) -> str:
    """Markdown."""
    lines = ["| mutant | what it breaks | mutation | caught by | where |", "|---|---|---|---|---|"]
    for m in mutants:
        verdict = verdicts[m.name]
        where = verdict.where if verdict.check or not m.equivalent else m.equivalent
        mutation = " ".join(f"`{m.old}` -> `{m.new}`".split())
        cells = (f"`{m.file}` {m.name}", m.breaks, mutation, fate(m, verdict), where)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def document(verdicts: dict[str, Verdict]) -> str:
    """docs/mutants.md."""
    jobs = "; ".join(f"latency {j.latency}, stalls {j.stall}, seed {j.seed}" for j in JOBS)
    size = f"{MICRO.rows} x {MICRO.cols}"
    return f"""# Mutants of the RTL

Made by `make mutants` from `sim/mutants/operators.py`: one changed operator or constant each, all
in one machine of which one at a time lives (`sim/mutants/schemata.py`); what changes the
connections is built for itself. The machine is `micro` ({size}, `sim/networks/micro.py`). The
networks are `wide`, a part of the digits network (16-bit stream, three heads, tails everywhere),
the digits network (8-bit stream, spilled to memory, K in groups), beginnings of `wide` that END
without a wait and {len(RANDOM)} networks of random integers with extreme parameters
(`sim/networks/random_networks.py`), each with {jobs}; and programs that no compiler makes
(`sim/networks/by_hand.py`), one of their memories with a slow W.

*trace*: an instruction made a value that is not the integer model's; the first one is named. *bus*:
a rule of the bus was broken, the machine stopped with an error or did not stop, or its counters
disagree with the harness or the program. *logits*: only the result is wrong. *bench*: no network
shows it, a test of the unit does.

{summary(list(MUTANTS), verdicts)}

{table(list(MUTANTS), verdicts)}
"""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(prog="python -m fqvit_hw.sim.mutants", description=__doc__)
    parser.add_argument("--only", action="append", metavar="NAME", help="may be repeated")
    parser.add_argument("--workers", type=positive, default=2, metavar="N")
    return parser.parse_args(arguments)


@program("mutants")
def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    if CHECKOUT is None:
        raise UserError("mutants are made in a checkout: the tests that judge them are not here")
    known = {mutant.name: mutant for mutant in MUTANTS}
    if unknown := set(options.only or ()) - set(known):
        raise UserError(f"no mutant {min(unknown)!r}; there are {', '.join(known)}")
    mutants = [known[name] for name in options.only or known]
    verdicts = run(mutants, options.workers, lambda line: print(line, flush=True))
    if len(mutants) == len(MUTANTS):
        DOCUMENT.write_text(document(verdicts))
    for mutant in mutants:
        if fate(mutant, verdicts[mutant.name]) == "**survived**":
            print(f"SURVIVED: {mutant.name} ({mutant.file}): {mutant.breaks}")
    print(summary(mutants, verdicts))
    return 1 if any(fate(m, verdicts[m.name]) == "**survived**" for m in mutants) else 0


if __name__ == "__main__":
    sys.exit(main())
