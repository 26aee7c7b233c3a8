"""Programs that no compiler makes, on small machines with nonsense in all memories."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from fqvit_hw.compiler import races
from fqvit_hw.cycles import predict
from fqvit_hw.machine.hardware import TINY
from fqvit_hw.machine.isa import Opcode
from fqvit_hw.sim.bus.axi import bases
from fqvit_hw.sim.networks import by_hand
from fqvit_hw.sim.networks.draft import Draft
from fqvit_hw.sim.networks.micro import MICRO
from fqvit_hw.sim.networks.simulated import Job, simulate
from fqvit_hw.sim.networks.verilated import INITIAL, TOP, build
from tests.sim.networks.machines import MACHINES, OBLONG, SQUARE

needs_verilator = pytest.mark.skipif(
    shutil.which("verilator") is None or shutil.which("g++") is None,
    reason="verilator or g++ is missing: run `make setup`",
)


@needs_verilator
@pytest.mark.parametrize("hw", MACHINES)
@pytest.mark.parametrize("name", by_hand.PROGRAMS)
def test_on_the_machine(hw, name):
    """Every value of every instruction and every byte stored, from two different power-ons."""
    machine = build(hw, trace=True, quick=True)
    for seed in range(2):
        program = by_hand.PROGRAMS[name](hw, seed)
        pictures = by_hand.images(1 + max(job.image for job in by_hand.JOBS), seed)
        assert not by_hand.check(machine, program, pictures, power_on=100 * seed)


@needs_verilator
def test_a_wrong_byte_is_caught():
    """Whether it is computed with or only copied."""
    machine = build(MICRO, trace=True, quick=True)
    for name, said in (("scores", "instruction 2"), ("long lines", "output word of image")):
        program = by_hand.PROGRAMS[name](MICRO, 0)
        pictures = by_hand.images(2)
        wrong = by_hand.answer(program, pictures[1])
        (run,) = simulate(machine, program, pictures, [Job(0)]).runs
        assert said in by_hand.wrong(program, wrong, run)


@needs_verilator
@pytest.mark.parametrize("name", ["short bursts", "long lines"])
def test_the_cycle_model_counts_copies(name):
    """Bursts of a beat, more of them than may be unacknowledged, and a full queue of beats."""
    machine = build(MICRO, trace=True, quick=True)
    program = by_hand.PROGRAMS[name](MICRO, 0)
    jobs = [Job(0, latency) for latency in (1, 20, 100, 200)]
    outcome = simulate(machine, program, by_hand.images(1), jobs)
    assert outcome.failure is None and len(outcome.runs) == len(jobs)
    for run in outcome.runs:
        predicted = predict(program.instructions, MICRO, run.job.latency).cycles
        assert predicted == pytest.approx(run.counters["cycles"], abs=5)


@needs_verilator
def test_every_base():
    """The same program wherever its memory map lies."""
    machine = build(MICRO, trace=True, quick=True)
    program = by_hand.PROGRAMS["second waits"](MICRO, 0)
    jobs = [Job(0, 20, base=base) for base in bases(program.size)]
    assert not by_hand.check(machine, program, by_hand.images(1), jobs)


def test_bases():
    """On a burst's boundary, inside 40 bits, nothing at 0, and two across a multiple of 4 GiB."""
    for size in (1 << 12, 36_096, (1 << 32) - 256):
        found = bases(size)
        assert all(base % 256 == 0 and base > 0 and base + size <= 1 << 40 for base in found)
        across = [base >> 32 != (base + size - 1) >> 32 for base in found]
        assert across[1] and across[2]
        assert {base >> 32 for base in found} >= {0, 0x12}


@pytest.mark.parametrize("hw", [TINY, MICRO, SQUARE, OBLONG], ids=lambda hw: hw.name)
@pytest.mark.parametrize("name", by_hand.PROGRAMS)
def test_the_programs_are_legal(hw, name):
    """No two units touch a word in an order that no wait guarantees; images make a difference."""
    program = by_hand.PROGRAMS[name](hw, 1)
    races.check(program.instructions, hw, program.size)
    one, other = (by_hand.answer(program, image) for image in by_hand.images(2))
    assert not np.array_equal(one.output, other.output)


def test_the_programs_are_what_they_are_for():
    hw = MICRO

    def of(name: str, opcode: Opcode) -> list:
        found = by_hand.PROGRAMS[name](hw, 0).instructions
        return [p for p in found if p.opcode is opcode]

    scores = [p for p in of("scores", Opcode.GEMM) if p.columns and p.epilogue == 5]
    assert scores[0].rows == hw.max_tokens and len({(p.columns, p.row_norm) for p in scores}) > 4
    for opcode in (Opcode.LOAD, Opcode.STORE, Opcode.NORM, Opcode.GEMM):
        assert any(p.wait1_unit and not p.wait0_unit for p in of("second waits", opcode))
    assert all(p.pieces * p.piece > 8192 for p in of("long lines", Opcode.LOAD))
    assert all(p.lines > 50 for p in of("short bursts", Opcode.STORE))


@needs_verilator
def test_memories_start_at_random():
    """What nobody wrote is nonsense, the same for the same seed."""
    machine = build(MICRO, trace=True, quick=True)
    assert not INITIAL.search((machine.parent / f"{TOP}.v").read_text())
    draft = Draft(MICRO)
    draft.store(0, 512)
    program, image = draft.program(), by_hand.images(1)
    one, again, other = (
        simulate(machine, program, image, [Job()], power_on=seed).runs[0].logits
        for seed in (0, 0, 1)
    )
    size = 512 * MICRO.rows // 4
    assert len(np.unique(one[:size])) > 0.9 * size
    assert np.array_equal(one, again) and (one[:size] != other[:size]).mean() > 0.9
