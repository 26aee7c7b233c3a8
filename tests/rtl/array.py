"""The accelerator's array side in Amaranth's simulator, and what it has to do, loop by loop."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field

import numpy as np
from amaranth.hdl import Module, Signal
from amaranth.lib import memory, wiring
from amaranth.sim import Simulator

from fqvit_hw.attention_codes import MODES
from fqvit_hw.machine.hardware import Hardware
from fqvit_hw.machine.isa import Instruction, Opcode, Unit
from fqvit_hw.rtl.accelerator.gemm import STATES, Gemm
from fqvit_hw.rtl.accelerator.tiles import Tiles
from fqvit_hw.rtl.accelerator.weights import Weights
from tests.rtl.instructions import fields_of

MEMORY_BYTES = 1 << 15


def size(rows: int, cols: int, lanes: int, bus: int, **more) -> Hardware:
    return Hardware(
        "test", rows=rows, cols=cols, lanes=lanes, norm_lanes=rows, bus=bus, acts=256, stream=16,
        codes=256, tiles=32, ring=9, sums=8, max_tokens=16, max_channels=64, params=2, prefetch=40,
        **more,
    )  # fmt: skip


def gemm(**fields) -> Instruction:
    """Loops are 1 unless named."""
    once = {name: 1 for name in ("rows", "row_group", "k_tiles", "k_groups", "inner", "outer")}
    return Instruction(Opcode.GEMM, once | fields)


@dataclass
class Chip:
    """What the units find: acts (words, R) int8, codes (words, R), tiles, bytes of the memory."""

    hw: Hardware
    acts: np.ndarray
    codes: np.ndarray
    tiles: np.ndarray
    memory: np.ndarray

    @classmethod
    def random(cls, hw: Hardware, seed: int = 0) -> Chip:
        rng = np.random.default_rng(seed)
        acts = rng.integers(-128, 128, (hw.acts, hw.rows))
        acts[::5] = -128
        tiles = rng.integers(-128, 128, (hw.tiles, hw.rows, hw.cols))
        memory = rng.integers(0, 256, MEMORY_BYTES, np.uint8)
        memory[::3] = 128
        return cls(hw, acts, rng.integers(0, 1 << hw.code_bits, (hw.codes, hw.rows)), tiles, memory)


@dataclass
class Beat:
    """One cycle of the array: the word it reads and the counts that must be reached."""

    codes: bool
    word: int
    needs: list[tuple[int, int]]


@dataclass
class Expected:
    beats: list[Beat] = field(default_factory=list)
    rows: list[np.ndarray] = field(default_factory=list)
    params: list[bytes] = field(default_factory=list)  # of every column tile


def reference(chip: Chip, program: list[Instruction]) -> Expected:
    """docs/accelerator.md, "A GEMM", word for word."""
    hw, out = chip.hw, Expected()
    for g in program:
        at = g.address
        for o in range(g.outer):
            if not g.resident:
                out.params.append(chip.memory[at : at + 8 * hw.cols].tobytes())
                at += 8 * hw.cols
            sums = np.zeros((g.rows, g.inner, hw.cols), int)
            for group in range(g.k_groups):
                streamed = chip.memory[at : at + g.k_tiles * hw.tile_bytes].view(np.int8)
                at += 0 if g.resident else len(streamed)
                for r in range(g.rows):
                    word = g.from_base + r // g.row_group * g.from_jump
                    word += r % g.row_group * g.from_stride + group * g.k_tiles
                    needs = [(g.wait0_unit, g.wait0_count + r * g.wait0_step)]
                    needs += [(g.wait1_unit, g.wait1_count)]
                    for j in range(g.inner):
                        for k in range(g.k_tiles):
                            if g.resident:
                                column = (o * g.inner + j) * g.tile_inner
                                tile = chip.tiles[g.tile_base + column + k * g.tile_k]
                            else:
                                tile = streamed.reshape(-1, hw.cols, hw.rows)[k].T.astype(int)
                            if g.codes:
                                mode = list(MODES.values())[g.mode]
                                row = np.array(mode.values)[chip.codes[word + k] % len(mode.values)]
                            else:
                                row = chip.acts[word + k]
                            sums[r, j] += row @ tile
                            out.beats.append(Beat(bool(g.codes), word + k, needs))
                        if group == g.k_groups - 1:
                            out.rows.append(sums[r, j].copy())
    return out


@dataclass
class Pace:
    """Probabilities, each cycle: a GEMM may come, a row is taken, memory takes a request and
    answers, parameters are read, every unit's count grows.
    """

    gemm: float = 1.0
    row: float = 1.0
    request: float = 1.0
    answer: float = 1.0
    params: float = 1.0
    count: float = 1.0
    latency: int = 3  # of memory


@dataclass
class Trace:
    """Cycles in which things happened, and the state of every cycle."""

    latency: int = 0
    taken: list[int] = field(default_factory=list)  # GEMMs, by the array
    beats: list[int] = field(default_factory=list)
    finished: list[int] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    states: list[str] = field(default_factory=list)


def progress_name(unit: int) -> str:
    return Unit(unit).name.lower()


def run(chip: Chip, program: list[Instruction], pace: Pace | None = None, seed: int = 0,
        counts=None, writes=(), limit: int = 20_000, quiet: int = 12) -> Trace:  # fmt: skip
    """Carry out a program and compare all that it does with `reference`.

    counts(cycle) -> {Unit: count}; by default all units count up at random. writes: fields of the
    tile memory's `epilogue` port, a cycle each, before everything else.
    """
    hw, pace, rng = chip.hw, pace or Pace(), random.Random(seed)
    expected, trace = reference(chip, program), Trace()
    array, tiles, weights = Gemm(hw), Tiles(hw), Weights(hw)
    trace.latency = array.latency
    m = Module()
    m.submodules.array, m.submodules.tiles, m.submodules.weights = array, tiles, weights
    wiring.connect(m, array.tile, tiles.array)
    wiring.connect(m, array.ring, weights.ring)
    wiring.connect(m, weights.tiles, tiles.weights)
    for name, words, bits in (("acts", chip.acts, 8), ("codes", chip.codes, hw.code_bits)):
        packed = [sum((int(x) & (2**bits - 1)) << n * bits for n, x in enumerate(w)) for w in words]
        port = getattr(array, name)
        m.submodules[name] = ram = memory.Memory(
            shape=len(port.data), depth=len(words), init=packed
        )
        read = ram.read_port()
        m.d.comb += [read.addr.eq(port.addr), read.en.eq(port.valid), port.ready.eq(1)]
        word = Signal.like(port.data, name=f"{name}_word")  # as a Scratchpad answers
        m.d.sync += word.eq(read.data)
        m.d.comb += port.data.eq(word)

    async def bench(ctx):
        for write in writes:
            for name, value in write.items():
                ctx.set(getattr(tiles.epilogue, name), value)
            ctx.set(tiles.epilogue.valid, 1)
            await ctx.tick()
        ctx.set(tiles.epilogue.valid, 0)
        sent = {"array": 0, "weights": 0}
        now = {unit: 0 for unit in Unit if unit is not Unit.NONE}
        pending: deque[tuple[int, int]] = deque()  # (cycle, address) of beats under way
        columns, chunk, idle = 0, 0, 0
        asked, received = 0, 0
        for cycle in range(limit):
            # what this cycle offers
            for name, unit in (("array", array), ("weights", weights)):
                offer = sent[name] < len(program)
                offer = offer and (ctx.get(unit.i.valid) or rng.random() < pace.gemm)
                if offer:
                    ctx.set(
                        unit.i.payload,
                        fields_of(unit.i.payload.shape(), program[sent[name]].fields),
                    )
                ctx.set(unit.i.valid, offer)
            if counts:
                now |= counts(cycle)
            for unit in now:
                if not counts:
                    now[unit] += rng.random() < pace.count
                ctx.set(getattr(array.progress, progress_name(unit)), now[unit])
            ctx.set(array.o.ready, rng.random() < pace.row)
            ctx.set(weights.memory.request.ready, rng.random() < pace.request)
            answer = bool(pending) and pending[0][0] <= cycle and rng.random() < pace.answer
            ctx.set(weights.memory.valid, answer)
            if answer:
                _, address = pending.popleft()
                beat = chip.memory[address : address + hw.bus_bytes].tobytes()
                ctx.set(weights.memory.data, int.from_bytes(beat, "little"))
                trace.answers.append(cycle)
            received += answer
            read_params = ctx.get(weights.params.ready) and rng.random() < pace.params
            ctx.set(weights.params.addr, chunk)
            release = bool(read_params) and chunk == hw.cols // hw.lanes - 1
            ctx.set(weights.params.release, release)

            # what it does
            await ctx.delay(0)
            for name, unit in (("array", array), ("weights", weights)):
                if ctx.get(unit.i.valid) and ctx.get(unit.i.ready):
                    sent[name] += 1
                    if name == "array":
                        trace.taken.append(cycle)
            trace.states.append(STATES[ctx.get(array.state)])
            reads = ctx.get(array.acts.valid), ctx.get(array.codes.valid)
            if any(reads):
                number = len(trace.beats)
                assert number < len(expected.beats), "a beat after the last"
                beat = expected.beats[number]
                assert reads == (not beat.codes, beat.codes), f"beat {number}"
                word = ctx.get(array.codes.addr if beat.codes else array.acts.addr)
                assert word == beat.word, f"beat {number}"
                for unit, count in beat.needs:
                    assert unit == Unit.NONE or now[Unit(unit)] >= count, f"beat {number}"
                trace.beats.append(cycle)
            if ctx.get(array.finished):
                trace.finished.append(cycle)
            if ctx.get(array.o.valid) and ctx.get(array.o.ready):
                number = len(trace.rows)
                assert number < len(expected.rows), "a row after the last"
                row = [ctx.get(array.o.payload.data[c]) for c in range(hw.cols)]
                assert row == expected.rows[number].tolist(), f"row {number}"
                trace.rows.append(cycle)
            request = weights.memory.request
            if ctx.get(request.valid) and ctx.get(request.ready):
                address = ctx.get(request.payload.address)
                beats = ctx.get(request.payload.beats)
                assert address // 256 == (address + beats * hw.bus_bytes - 1) // 256
                pending += [
                    (cycle + pace.latency, address + n * hw.bus_bytes) for n in range(beats)
                ]
                asked += beats
            await ctx.tick()
            if read_params:
                width = 8 * hw.lanes
                wanted = expected.params[columns][chunk * width : (chunk + 1) * width]
                assert ctx.get(weights.params.data).to_bytes(width, "little") == wanted
                columns, chunk = (columns + 1, 0) if release else (columns, chunk + 1)
            done = len(trace.rows) == len(expected.rows) and columns == len(expected.params)
            done = done and min(sent.values()) == len(program) and asked == received
            idle = idle + 1 if done else 0
            if idle == quiet:
                break
        else:
            raise AssertionError(
                f"{len(trace.beats)} of {len(expected.beats)} beats, {len(trace.rows)} of "
                f"{len(expected.rows)} rows after {limit} cycles"
            )
        assert ctx.get(array.count) == len(program)

    sim = Simulator(m)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    assert len(trace.beats) == len(expected.beats)
    assert len(trace.finished) == sum(g.outer * g.k_groups * g.rows for g in program)
    return trace
