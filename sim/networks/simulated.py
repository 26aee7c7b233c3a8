"""Runs of the compiled accelerator: files for the harness, its results as arrays."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fqvit_hw.compiler import Program
from fqvit_hw.errors import ToolError
from fqvit_hw.machine.gemm import gemms
from fqvit_hw.machine.hardware import BURST_BYTES, Hardware
from fqvit_hw.machine.registers import REGISTERS, Register, shape

from ..bus.axi import bases

TRACES = {  # file and type of each unit's values
    "epilogue": ("epilogue.i32", "<i4"),
    "codes": ("codes.u8", "u1"),
    "norm": ("norm.i8", "i1"),
}
TOGGLED = re.compile(r"^C '[^']*\x01o\x02([^\x01']*)[^']*' (\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class Job:
    """image: its index; latency, stall, seed, pause: of memory and host
    (sim/networks/harness/base.h); base: bus address of the memory map, a multiple of 256; None:
    one of `bases`, by the seed.
    """

    image: int = 0
    latency: int = 100
    stall: float = 0.0
    seed: int = 0
    pause: int = 0
    base: int | None = None


@dataclass
class Run:
    """What came of a job. failure: None, or why it did not end with `done`.

    logits: int32 (classes,); counters: the machine's; array: for every GEMM the cycles in each of
    the array's eight states; trace: for every unit its values in order (both only with trace).
    """

    job: Job
    failure: str | None
    logits: np.ndarray
    counters: dict[str, int]
    host_cycles: int  # from the host's start to the interrupt
    instructions: int  # fetched
    array: list[list[int]] = field(default_factory=list)
    trace: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass
class Outcome:
    runs: list[Run]  # ends with the first that failed
    cycles: int = 0  # simulated
    seconds: float = 0.0
    toggles: dict[str, int] = field(default_factory=dict)  # of a net; by a machine that counts them

    @property
    def failure(self) -> str | None:
        return next((run.failure for run in self.runs if run.failure), None)


def simulate(
    machine: Path,
    program: Program,
    images: np.ndarray,
    jobs: list[Job],
    *,
    content: np.ndarray | None = None,
    flip: int | None = None,
    mutant: int = 0,
    timeout: int | None = None,
    workers: int = 1,
    power_on: int = 0,
) -> Outcome:
    """Runs the jobs, shared out to `workers` processes.

    machine: from verilated.build; images: uint8 (B, C, H, W); power_on: seed of what memories and
    registers hold at first, in process n the seed is power_on + n. A failure says which it was.
    For negative controls: content: the memory map's content instead of the program's; flip:
    the number of a bit of it to invert; mutant: the mutation that is alive.
    timeout: cycles a run may take.
    """
    with tempfile.TemporaryDirectory(prefix="fqvit_hw-") as name:
        folder = Path(name)
        (folder / "memory.bin").write_bytes(
            (program.filled if content is None else content).tobytes()
        )
        packed = [program.pack(image) for image in images]
        (folder / "images.bin").write_bytes(b"".join(packed))
        options = {
            "--memory": folder / "memory.bin",
            "--size": program.size,
            "--program": program.entry,
            "--images": folder / "images.bin",
            "--input": program.input_address,
            "--input-bytes": len(packed[0]),
            "--output": program.output_address,
            "--output-bytes": program.output_bytes,
            "--writable": writable(program),
            "--timeout": timeout or patience(program, jobs),
        }
        if flip is not None:
            options["--flip"] = flip
        if mutant:
            options["--mutant"] = mutant
        shares = [jobs[n::workers] for n in range(workers) if jobs[n::workers]]

        def share(n: int) -> Outcome:
            more = {"--power-on": power_on + n}
            return one_process(machine, program, shares[n], options | more, folder / f"{n}")

        with ThreadPoolExecutor(workers) as pool:
            parts = list(pool.map(share, range(len(shares))))
    runs = sorted((run for part in parts for run in part.runs), key=lambda r: jobs.index(r.job))
    cycles, seconds = sum(p.cycles for p in parts), sum(p.seconds for p in parts)
    return Outcome(runs, cycles, seconds, parts[0].toggles)


def toggles(coverage: str) -> dict[str, int]:
    """How often each net changed, of a file of Verilator's coverage."""
    return {net: int(count) for net, count in TOGGLED.findall(coverage)}


def writable(program: Program) -> str:
    """Where the machine may write, "first-end,first-end,...": up to whole bursts."""
    regions = [r for r in program.regions.values() if r.kind in ("logits", "spill")]
    ends = [r.address + -(-r.size // BURST_BYTES) * BURST_BYTES for r in regions]
    return ",".join(f"{r.address}-{end}" for r, end in zip(regions, ends, strict=True))


def array_beats(program: Program) -> int:
    """Cycles for which the program keeps the array busy: a K tile of a row in each."""
    return sum(gemm.beats for gemm in gemms(program.instructions, program.hardware))


def patience(program: Program, jobs: list[Job]) -> int:
    """Cycles after which a run is given up: far more than the array needs, whatever the memory."""
    array = array_beats(program)
    waits = max(job.latency for job in jobs) * 100 * len(program.instructions)
    return round((20 * array + waits + 200_000) / (1 - max(job.stall for job in jobs)))


def one_process(machine: Path, program: Program, jobs, options, folder: Path) -> Outcome:
    folder.mkdir()
    places = bases(program.size)
    lines = [
        f"{job.image} {job.latency} {job.stall} {job.seed} {job.pause} "
        f"{places[job.seed % len(places)] if job.base is None else job.base}\n"
        for job in jobs
    ]
    (folder / "jobs.txt").write_text("".join(lines))
    options = options | {"--jobs": folder / "jobs.txt", "--out": folder}
    command = [f"{machine}", *(f"{part}" for option in options.items() for part in option)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        said = done.stderr.strip() or f"exit status {done.returncode}"
        raise ToolError(f"the harness failed: {said}")
    result = json.loads((folder / "result.json").read_text())
    check_shape(result["shape"], program.hardware)
    traces = {
        unit: np.fromfile(folder / name, dtype)
        for unit, (name, dtype) in TRACES.items()
        if (folder / name).exists()
    }
    logits = (folder / "logits.bin").read_bytes()
    runs, start = [], dict.fromkeys(traces, 0)
    for n, (job, entry) in enumerate(zip(jobs, result["runs"], strict=False)):
        raw = logits[n * program.output_bytes : (n + 1) * program.output_bytes]
        failure = entry["failure"] or disagreement(entry, program)
        run = Run(
            job,
            failure and f"{failure}, power-on {options['--power-on']}",
            program.unpack(raw),
            entry["counters"],
            entry["host_cycles"],
            entry["instructions"],
            entry["array"],
        )
        for unit, values in traces.items():
            end = start[unit] + entry["trace"][unit]
            run.trace[unit], start[unit] = values[start[unit] : end], end
        runs.append(run)
    counted = folder / "coverage.dat"
    found = toggles(counted.read_text()) if counted.exists() else {}
    return Outcome(runs, result["cycles"], result["seconds"], found)


def check_shape(got: int, hardware: Hardware) -> None:
    """The register SHAPE says what was built."""
    if got != shape(hardware):
        layout = REGISTERS[Register.SHAPE].layout
        says, wanted = layout.values(got), layout.values(shape(hardware))
        raise RuntimeError(f"the register SHAPE says {says}, the configuration {wanted}")


def disagreement(entry: dict, program: Program) -> str | None:
    """The machine's counters against the harness's and the program, or None if they agree."""
    counters = entry["counters"]
    for counter, seen, beyond in (
        # the program is read ahead, beyond its end, by two bursts that may come after it
        ("bytes_read", entry["memory_bytes_read"], 2 * BURST_BYTES),
        ("bytes_written", entry["memory_bytes_written"], 0),
    ):
        if not counters[counter] <= seen <= counters[counter] + beyond:
            return f"the counter {counter} says {counters[counter]}, the memory saw {seen}"
    weights = sum(gemm.weight_bytes for gemm in gemms(program.instructions, program.hardware))
    for counter, want in (("array_busy", array_beats(program)), ("weight_bytes", weights)):
        if counters[counter] != want:
            return f"the counter {counter} says {counters[counter]}, the program {want}"
    if not counters["array_busy"] <= counters["cycles"] <= entry["host_cycles"]:
        return f"counters: {counters}, and the host saw {entry['host_cycles']} cycles"
    return None
