"""What can go wrong in a run of the whole accelerator. accelerator_bench.py makes it happen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from fqvit_hw.compiler import Program, compile_network
from fqvit_hw.machine import isa
from fqvit_hw.machine.hardware import Hardware
from fqvit_hw.machine.isa import INSTRUCTION_BYTES, Epilogue, Error, Instruction, Opcode, Unit
from fqvit_hw.rtl.accelerator.accelerator import Accelerator

from ..networks.smallest import SMALLEST, smallest_network

BENCH = "fqvit_hw.sim.blocks.accelerator_bench:AcceleratorBench"
CONFIGURATIONS = {SMALLEST.name: SMALLEST}
SMALL = (SMALLEST.name,)
QUICK = ("no error", "write error in mid-run", "a wait for nothing")  # size "small"
WATCHDOG = 500  # cycles; the real one would be most of the simulation


@dataclass(frozen=True)
class Scenario:
    """A run that ends with `error`. A clean run follows, with the logits and counters of always.

    patch: bytes at an offset of the memory map; bad_reads, bad_writes: offsets of bursts that
    memory answers with an error; size: of the memory map, as the machine is told.
    """

    name: str
    error: Error = Error.NONE
    patch: tuple[int, bytes] = (0, b"")
    bad_reads: tuple[int, ...] = ()
    bad_writes: tuple[int, ...] = ()
    size: int | None = None
    left_out: str | None = None


def component(hw: Hardware) -> Accelerator:
    return Accelerator(hw, watchdog=WATCHDOG)


@cache
def program(hw: Hardware) -> tuple[Program, np.ndarray, np.ndarray]:
    """The compiled network, two images and their logits."""
    qm, images = smallest_network()
    return compile_network(qm.network, hw), images[:2], qm.run(images[:2])


def transactions(hw: Hardware, size: str) -> list[Scenario]:
    compiled = program(hw)[0]
    code = compiled.instructions

    def find(opcode: Opcode, last: bool = False, **fields) -> int:
        found = [n for n, p in enumerate(code) if p.opcode is opcode
                 and all(p.fields[name] == value for name, value in fields.items())]  # fmt: skip
        return found[-1 if last else 0]

    def place(n: int) -> int:
        return compiled.entry + n * INSTRUCTION_BYTES

    def changed(n: int, **fields) -> tuple[int, bytes]:
        return place(n), Instruction(code[n].opcode, code[n].fields | fields).encode()

    gelu = find(Opcode.GEMM, epilogue=Epilogue.GELU)
    table = find(Opcode.LOAD, space=isa.Space.GELU_TABLE)
    first, last = find(Opcode.STORE), find(Opcode.STORE, last=True)
    norm = find(Opcode.NORM)
    middle = place(len(code) // 2) // 256 * 256
    logits = code[last].address
    cases = [
        Scenario("no error"),
        Scenario("read error of the program", Error.READ, bad_reads=(middle,)),
        Scenario("read error of weights", Error.READ, bad_reads=(code[gelu].address,)),
        Scenario("read error of a table", Error.READ, bad_reads=(code[table].address,)),
        Scenario("write error in mid-run", Error.WRITE, bad_writes=(code[first].address,)),
        Scenario("write error of the logits", Error.WRITE, bad_writes=(logits,)),
        Scenario("a write beyond the map", Error.ADDRESS, patch=changed(last, address=1 << 31)),
        Scenario("weights beyond the map", Error.ADDRESS, patch=changed(gelu, address=1 << 31)),
        Scenario("weights not aligned", Error.ADDRESS,
                 patch=changed(gelu, address=code[gelu].address + 4)),
        Scenario("a store of no words", Error.ADDRESS, patch=changed(first, words=0)),
        Scenario("a load of no bytes", Error.ADDRESS, patch=changed(table, pieces=0)),
        Scenario("a map too small for the program", Error.ADDRESS, size=middle),
        Scenario("no such opcode", Error.OPCODE, patch=(place(gelu), b"\x0f")),
        Scenario("empty memory", Error.OPCODE,
                 patch=(place(len(code) - 1), bytes(INSTRUCTION_BYTES))),
        Scenario("a wait for nothing", Error.STUCK,
                 patch=changed(norm, wait1_unit=Unit.CODES, wait1_count=1 << 20)),
    ]  # fmt: skip
    if size == "full":
        return cases
    reason = "the size is small"
    return [case if case.name in QUICK else replace(case, left_out=reason) for case in cases]
