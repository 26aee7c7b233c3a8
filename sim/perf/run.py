"""One run for `make perf`: its counters, and what compiler, cycle model and trace say to them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from fqvit_hw.compiler import Program, compile_network
from fqvit_hw.cycles import Prediction, predict
from fqvit_hw.errors import ToolError
from fqvit_hw.machine.hardware import Hardware
from fqvit_hw.places import BUILD

from ..networks.compare import first_logit_difference
from ..networks.simulated import Job, Run, array_beats, simulate
from .chart import STALLS

CLOCK = 100.0  # MHz, assumed where nothing was placed and routed
LATENCY = 100  # cycles of the AXI memory
MODEL_ERROR = 0.01  # of the cycle model, at most


@dataclass(frozen=True)
class Case:
    """One network on one machine; `name` is the machine's key in the report."""

    network: str
    hw: Hardware
    latency: int = LATENCY

    @property
    def name(self) -> str:
        return self.hw.name + ("" if self.latency == LATENCY else f"_latency{self.latency}")


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
    """One image on a machine that was built with trace ports. Raises ToolError if it fails."""
    program = compile_network(qm.network, case.hw)
    outcome = simulate(machine, program, image[None], [Job(0, case.latency)])
    if outcome.failure:
        raise ToolError(outcome.failure)
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
