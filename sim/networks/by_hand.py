"""Programs that no compiler makes, for corners of the machine that no network reaches.

Each is a legal program (every wait is there, `compiler.races` agrees) for any small machine, with
the instruction-level simulator as its answer. Images are bytes that it multiplies or copies; all
that it makes goes to one output region.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fqvit_hw.attention_codes import MODES
from fqvit_hw.compiler import Program
from fqvit_hw.compiler.pack import pack_norm, pack_softmax
from fqvit_hw.machine.hardware import BURST_BYTES, NORM_BYTES, SOFTMAX_BYTES, Hardware
from fqvit_hw.machine.interpreter import Machine
from fqvit_hw.machine.isa import Epilogue, Opcode, Space, Unit
from fqvit_hw.machine.state import Result
from fqvit_hw.units import LayerNorm

from .compare import first_logit_difference, first_trace_difference
from .draft import SIDE, Draft
from .simulated import Job, Run, simulate

UNTOUCHED = 0xA5  # what the harness fills the output with


def images(count: int, seed: int = 0) -> np.ndarray:
    """Noise, uint8 (count, 1, SIDE, SIDE)."""
    return np.random.default_rng(seed).integers(0, 256, (count, 1, SIDE, SIDE), np.uint8)


# --- the programs


def scores(hw: Hardware, seed: int = 0) -> Program:
    """SCORES back to back with other `columns`, modes, `row_norm` and rows, their attention only
    later.

    The first fills the queue of scores (the softmax takes longer for its short rows) and that of
    the reciprocals, in front of which the second one's must wait until the first attention goes.
    """
    d = Draft(hw, seed)
    R, C, rng = hw.rows, hw.cols, d.rng
    tokens, deep = min(hw.max_tokens, 30), 2  # keys; words of a query
    channels = deep * R
    queries = hw.max_tokens + 2
    d.load(Space.SOFTMAX_TABLE, 0, d.constant(table(rng)), 256 * SOFTMAX_BYTES)
    # the queries, and something where results will lie: a STORE takes more than rows, whole beats
    d.load(Space.ACTS, 0, 0, 2 * (queries + 20) * channels)
    key_tiles, value_tiles = -(-tokens // C) * deep, -(-channels // C)
    keys, values = hw.ring, hw.ring + key_tiles
    outer = {"outer": -(-channels // C)}
    loaded = d.after(0, Unit.LOAD)
    d.gemm(Epilogue.KEYS, tokens, deep, channels, address=d.weights(channels, deep),
           to_base=keys, to_stride=deep, **loaded, **outer)  # fmt: skip
    d.gemm(Epilogue.VALUES, tokens, deep, channels, address=d.weights(channels, deep),
           to_base=values, to_stride=value_tiles, **outer)  # fmt: skip
    ready = d.after(0, Unit.EPILOGUE)
    to = queries * deep  # a word of acts
    # Columns that make less than half the beats in which the softmax makes a reciprocal.
    short = min(8 * hw.lanes, R * ((hw.codes - 2 * -(-tokens // R)) // hw.max_tokens))
    for turn in (
        [(hw.max_tokens, short), (2, tokens)],
        [(int(rng.integers(1, 4)), int(rng.integers(1, tokens + 1))) for _ in range(5)],
    ):
        at, later = 0, []  # a word of codes, whose old ones the array has read
        read = d.after(2, Unit.ARRAY)
        for n, (rows, columns) in enumerate(turn):
            words = -(-columns // R)
            codes = hw.attention[n % len(hw.attention)]
            mode = list(MODES).index(codes.name)
            norm = int(codes.of_maximum or (codes.row_sum is not None and n % 4 < 2))
            d.gemm(Epilogue.SCORES, rows, deep, columns, resident=1, tile_base=keys,
                   tile_inner=deep, tile_k=1, inner=-(-columns // C), to_base=at, to_stride=words,
                   scalar=1, multiplier=int(rng.integers(1 << 15, 1 << 16)), shift=23,
                   row_norm=norm, mode=mode, **ready, **read)  # fmt: skip
            later.append((rows, columns, mode, norm, at, d.done[Unit.CODES]))
            at += rows * words
        # what takes long after the first ones' codes, so that the others' reciprocals are there
        d.load(Space.ACTS, (hw.acts - 64) * R, 0, 64 * R, pieces=16, to_piece=0,
               wait0_unit=Unit.CODES, wait0_count=later[0][-1])  # fmt: skip
        slow = d.after(1, Unit.LOAD)
        for rows, columns, mode, norm, source, made in later:
            d.gemm(Epilogue.CODES8, rows, -(-columns // R), channels, codes=1, resident=1,
                   tile_base=values, tile_inner=1, tile_k=value_tiles, inner=value_tiles,
                   from_base=source, to_base=to, to_stride=deep, scalar=1, mode=mode, row_norm=norm,
                   multiplier=int(rng.integers(1 << 15, 1 << 16)), shift=28 + norm,
                   wait0_unit=Unit.CODES, wait0_count=made, **slow)  # fmt: skip
            written = d.beats(rows * deep)
            d.store(to, written, **d.after(0, Unit.EPILOGUE))
            to += written
    return d.program()


def table(rng: np.random.Generator) -> np.ndarray:
    """For every attention mode, 4 bytes each (256,): exponentials that fall from 2^24 to 0, whose
    low bits are any codes, 0 the first."""
    steps = np.sort(rng.integers(0, 25 << 8, 256))
    exponentials = ((1 << 24) - 1) >> (steps >> 8)
    exponentials[0] &= -1 << 8
    exponentials = np.minimum(exponentials, exponentials[0])
    return pack_softmax(exponentials)


def second_waits(hw: Hardware, seed: int = 0) -> Program:
    """Every unit waits for what only its second (the epilogue: its third) wait names."""
    d = Draft(hw, seed)
    R, rng = hw.rows, d.rng
    words = 64
    rows, deep = words // 2, 2
    apart = max(words, rows * hw.cols // R)  # of operand and result
    channels = min(2 * hw.cols, hw.max_channels)
    table = pack_norm(
        LayerNorm(
            factor=np.zeros(channels, np.uint8), zero=0, width=16, eps=0,
            gamma=rng.integers(-(1 << 15), 1 << 15, channels), gamma_shift=10,
            beta=rng.integers(-(1 << 16), 1 << 16, channels), zero_out=0,
        )
    )  # fmt: skip
    weights, norm_table = d.weights(hw.cols, deep), d.constant(table)
    d.load(Space.ACTS, 0, 0, words * R)
    d.store(0, words, **d.after(1, Unit.LOAD))
    for turn in range(1, 4):
        d.load(Space.ACTS, 0, turn * 1024, words * R, **d.after(1, Unit.STORE))
        d.store(0, d.beats(1), lines=words // d.beats(1), **d.after(1, Unit.LOAD))
    # the array, and the epilogue over words that are still being stored
    d.load(Space.ACTS, apart * R, 5120, words * R)
    stored = d.after(2, Unit.STORE)
    d.gemm(Epilogue.CODES8, rows, deep, hw.cols, address=weights, from_base=apart, to_base=0,
           to_stride=hw.cols // R, **d.after(1, Unit.LOAD), **stored)  # fmt: skip
    d.store(0, rows * hw.cols // R, **d.after(1, Unit.EPILOGUE))
    # the stream and the LayerNorm, whose rows lie where the array has read
    d.load(Space.STREAM, 0, 8192, 4 * channels * 2)
    d.load(Space.NORM_TABLE, 0, norm_table, channels * NORM_BYTES)
    d.add(Opcode.NORM, rows=4, row_group=4, from_base=0, from_stride=channels // hw.cols,
          to_base=2 * apart, to_stride=channels // R, channels=channels,
          eps=int(rng.integers(1 << 20)), gamma_shift=10, **d.after(1, Unit.LOAD))  # fmt: skip
    d.store(2 * apart, 4 * channels // R, **d.after(1, Unit.NORM))
    return d.program()


def long_lines(hw: Hardware, seed: int = 0) -> Program:
    """A LOAD of lines longer than 8 KiB, whose pieces lie over each other."""
    d = Draft(hw, seed)
    word = max(hw.rows, hw.bus_bytes)
    piece, pieces, step = 128 * word, -(-9 * 1024 // (128 * word)), 8 * word
    chunk = min(hw.rows, hw.bus_bytes)
    whole = (pieces - 1) * step + piece
    for offset in (0, BURST_BYTES - chunk):
        d.load(Space.ACTS, 0, offset, 0, pieces=pieces, piece=piece, to_piece=step,
               **(d.after(0, Unit.STORE) if offset else {}))  # fmt: skip
        d.store(0, whole // hw.rows, **d.after(0, Unit.LOAD))
    return d.program()


def short_bursts(hw: Hardware, seed: int = 0) -> Program:
    """STORE of many lines of a beat or two: more bursts than may be under way."""
    d = Draft(hw, seed)
    words, lines = d.beats(1), 60
    d.load(Space.ACTS, 0, 0, 2 * lines * words * hw.rows)
    d.store(0, words, lines=lines, **d.after(0, Unit.LOAD))
    d.store(0, 2 * words, lines=lines, gap=hw.bus_bytes)
    d.store(1, words, lines=lines, gap=3 * hw.bus_bytes)
    return d.program()


PROGRAMS: dict[str, Callable[[Hardware, int], Program]] = {
    "scores": scores,
    "second waits": second_waits,
    "long lines": long_lines,
    "short bursts": short_bursts,
}
# A memory that is never busy; one with a slow W and a prompt AW; stalls everywhere.
JOBS = Job(0, latency=1), Job(1, 1, seed=1, pause=40), Job(2, 60, stall=0.4, seed=2)


@dataclass(frozen=True)
class Answer:
    """What one image must give. results: of all instructions; output: int32 (OUTPUT // 4,)."""

    results: list[Result]
    output: np.ndarray


def answer(program: Program, image: np.ndarray) -> Answer:
    """image: uint8 (1, SIDE, SIDE)."""
    memory, results = program.memory(image), []
    memory[program.output_address :][: program.output_bytes] = UNTOUCHED
    Machine(program.hardware, memory, results.append).run(program.entry)
    return Answer(results, program.unpack(memory[program.output_address :]))


def wrong(program: Program, want: Answer, run: Run) -> str | None:
    """The first thing that is wrong with a run, or None."""
    seen = first_trace_difference(program, want.results, run.trace)
    if seen or run.failure:
        return "; then ".join(f"{what}" for what in (seen, run.failure) if what)
    seen = first_logit_difference(want.output, run.logits, run.job.image)
    return seen and str(replace(seen, layer="by hand", tensor="output word of image"))


def check(
    machine: Path,
    program: Program,
    pictures: np.ndarray,
    jobs: Sequence[Job] = JOBS,
    **control: Any,
) -> list[str]:
    """What is wrong, run by run. machine: with trace; control: what `simulate` takes."""
    outcome = simulate(machine, program, pictures, list(jobs), **control)
    found = [
        f"latency {run.job.latency}, pause {run.job.pause}, seed {run.job.seed}: {said}"
        for run in outcome.runs
        if (said := wrong(program, answer(program, pictures[run.job.image]), run))
    ]
    return found or ["runs are missing"] * (len(outcome.runs) < len(jobs))
