"""The epilogue and the codes unit together, cycle by cycle, against the numpy units."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.sim import Simulator

from fqvit_hw.attention_codes import MODES, entry_bits
from fqvit_hw.formats import UNIT_ROW
from fqvit_hw.machine.hardware import BASE, ECP5_85K, TINY
from fqvit_hw.machine.isa import INSTRUCTIONS, Epilogue, Opcode, Unit
from fqvit_hw.rtl.accelerator.codes import Codes
from fqvit_hw.rtl.accelerator.epilogue import LATENCY, EpilogueUnit
from fqvit_hw.rtl.accelerator.epilogue_math import PARAMS
from fqvit_hw.rtl.accelerator.ports import WAIT
from fqvit_hw.rtl.accelerator.scratchpad import READ
from fqvit_hw.sim.blocks.stream import pack
from fqvit_hw.units import (
    Gelu,
    Requantize,
    Residual,
    Softmax,
    gelu,
    requantize,
    residual,
    row_reciprocal,
    softmax,
)
from fqvit_hw.units.attention import normalize_rows
from tests.rtl.instructions import fields_of

SIZES = {
    "tiny": TINY, "ecp5": ECP5_85K, "base": BASE,
    "wide": replace(ECP5_85K, wide_multipliers=True),
}  # fmt: skip
BETWEEN = LATENCY + 3  # cycles from an instruction's last chunk to the next one's first
GELU_TABLE = np.random.default_rng(1).integers(-128, 128, 4096)
# for every mode: exponentials, whose low bits are codes, 0 the first of them
TABLE = np.sort(np.random.default_rng(2).integers(0, 1 << 24, 256))[::-1].copy()
TABLE[0] &= -1 << 8


@dataclass
class Case:
    """acc (rows, columns); params: of the columns, (columns,) each; ins: the fields."""

    ins: dict
    acc: np.ndarray
    params: dict = field(default_factory=dict)

    def __getattr__(self, name):
        return self.ins[name]


class Memory:
    """Words of lanes; starts with random content."""

    def __init__(self, depth: int, lanes: int, bits: int):
        self.bits = bits
        half = 1 << (bits - 1)
        rng = np.random.default_rng(depth)
        self.lanes = rng.integers(-half, half, (depth, lanes))

    def word(self, addr: int) -> int:
        m = (1 << self.bits) - 1
        return sum((int(v) & m) << (k * self.bits) for k, v in enumerate(self.lanes[addr]))

    def write(self, addr: int, word: int, mask: int, signed: bool = True) -> None:
        for k in range(self.lanes.shape[1]):
            if mask >> k & 1:
                v = (word >> (k * self.bits)) & ((1 << self.bits) - 1)
                self.lanes[addr, k] = v - (1 << self.bits) if signed and v >> (self.bits - 1) else v


class Machine:
    """The memories, what is expected in them, and a program for the two units."""

    def __init__(self, hw, seed: int = 0):
        self.hw, self.rng = hw, np.random.default_rng(seed)
        self.memories = {
            "acts": Memory(hw.acts, hw.rows, 8),
            "stream": Memory(hw.stream, hw.cols, 16),
            "codes": Memory(hw.codes, hw.rows, hw.code_bits),
            "tiles": Memory(hw.tiles, hw.tile_bytes, 8),
        }
        self.memories["codes"].lanes %= 1 << hw.code_bits
        self.expected = {name: memory.lanes.copy() for name, memory in self.memories.items()}
        self.base, self.tile = 5, 7  # where the next case may write: no two in one place
        self.cases: list[Case] = []
        self.trace: list[np.ndarray] = []  # (rows, columns) of each case
        self.codes: list[np.ndarray] = []
        self.reciprocals: list[tuple[np.ndarray, np.ndarray]] = []  # and shifts

    def add(self, op: Epilogue, rows: int, columns: int, scalar=False, **more) -> None:
        hw, rng = self.hw, self.rng
        tiles = -(-columns // hw.cols)
        words = -(-2 * columns // hw.rows) + 1  # enough for whatever is written
        group = int(rng.integers(1, rows + 1))
        ins = {f.name: 0 for f in INSTRUCTIONS[Opcode.GEMM]} | {
            "opcode": Opcode.GEMM, "epilogue": op, "rows": rows, "columns": columns,
            "row_group": group, "to_base": self.base, "to_stride": words,
            "to_jump": words * group + int(rng.integers(3)), "scalar": int(scalar),
            "inner": tiles if scalar else 1, "outer": 1 if scalar else tiles,
            "multiplier": int(rng.integers(1 << 15, 1 << 16)), "shift": 28,
            "zero": int(rng.integers(-128, 128)),
        } | more  # fmt: skip
        if op in (Epilogue.KEYS, Epilogue.VALUES):
            ins["to_stride"] = -(-columns // hw.rows)
            ins["to_jump"] = int(rng.integers(0, 40))
            ins["to_base"] = self.tile
            tokens = ins["to_jump"] + rows
            self.tile += (tokens // hw.rows + 1) * ins["to_stride"]
        else:
            self.base += rows * (words + 3) + int(rng.integers(9))
        most = 1 << 21
        if ins["codes"] and ins["row_norm"]:  # a mean of v stays within 128
            reciprocal, shift = self.reciprocals[0]
            most = np.minimum((1 << shift + 21) // reciprocal, 1 << 27)
        acc = rng.integers(-most, most, (rows, columns))
        params = {
            "bias": rng.integers(-(1 << 20), 1 << 20, columns),
            "multiplier": rng.integers(1 << 15, 1 << 16, columns),
            "shift": rng.integers(26, 31, columns),
            "x_factor": rng.integers(0, 4 if not more.get("x16") else 1, columns),
            "factor": rng.integers(0, 4 if not ins["stream16"] else 1, columns),
        }
        ins.pop("x16", None)
        case = Case(ins, acc, params)
        self.expect(case)
        self.cases.append(case)

    def row_words(self, case: Case):
        r = np.arange(case.rows)
        group = case.row_group
        return case.to_base + r // group * case.to_jump + r % group * case.to_stride

    def lanes(self, case: Case, memory: str, count: int):
        """Word and lane of every column of every row, as an index of the memory's array."""
        lanes = self.expected[memory].shape[1]
        c = np.arange(count)
        return self.row_words(case)[:, None] + c // lanes, np.broadcast_to(
            c % lanes, (case.rows, count)
        )

    def requantized(self, case: Case, bits: int):
        acc = case.acc
        if case.scalar:
            if case.row_norm and case.codes:
                acc = normalize_rows(acc, *self.reciprocals.pop(0))
            elif case.codes:
                self.reciprocals.pop(0)
            multiplier, shift = case.multiplier, case.shift
        else:
            acc = acc + case.params["bias"]
            multiplier, shift = case.params["multiplier"], case.params["shift"]
        return requantize(acc, Requantize(multiplier, shift, case.zero, bits)).astype(np.int64)

    def expect(self, case: Case) -> None:
        hw, op, columns = self.hw, case.epilogue, case.columns
        if op in (Epilogue.CODES8, Epilogue.KEYS, Epilogue.VALUES, Epilogue.SCORES):
            y = self.requantized(case, 8)
        elif op == Epilogue.GELU:
            linear = Requantize(case.x_multiplier, case.add_shift, case.add_zero, 8)
            y = gelu(self.requantized(case, 16), Gelu(12, GELU_TABLE, linear)).astype(np.int64)
        elif op == Epilogue.RESIDUAL:
            at = self.lanes(case, "stream", columns)
            width = 16 if case.x_zero == 0 and not case.params["x_factor"].any() else 8
            if width == 8:  # an int8 stream: sign-extended
                top = 1 << 7
                x = self.rng.integers(-top, top, (case.rows, columns))
                self.memories["stream"].lanes[at] = x
            x = self.memories["stream"].lanes[at]
            p = Residual(
                width, case.x_zero, case.params["x_factor"], case.x_multiplier,
                16 if case.wide else 8, case.zero, case.y_multiplier, case.add_shift,
                16 if case.stream16 else 8, case.add_zero, case.params["factor"],
            )  # fmt: skip
            y = residual(x, self.requantized(case, 16 if case.wide else 8), p).astype(np.int64)
            self.expected["stream"][at] = y
        else:
            y = self.requantized(case, 32)
        self.trace.append(y)
        if op in (Epilogue.CODES8, Epilogue.GELU):
            self.expected["acts"][self.lanes(case, "acts", columns)] = y
        elif op == Epilogue.LOGITS:
            halves = np.stack([((y & 0xFFFF) ^ 0x8000) - 0x8000, y >> 16], -1)
            at = self.lanes(case, "stream", 2 * columns)
            self.expected["stream"][at] = halves.reshape(case.rows, -1)
        elif op == Epilogue.SCORES:
            mode = list(MODES.values())[case.mode]
            table = TABLE & mode.format.max if mode.of_maximum else TABLE
            codes = softmax(y, Softmax(table, mode.name, bool(case.row_norm)))
            self.codes.append(codes)
            one = tuple(np.full((case.rows, 1), value) for value in UNIT_ROW)
            self.reciprocals.append(row_reciprocal(codes, mode) if case.row_norm else one)
            whole = -(-columns // hw.rows) * hw.rows
            padded = np.full((case.rows, whole), mode.zero_code)
            padded[:, :columns] = codes
            self.expected["codes"][self.lanes(case, "codes", whole)] = padded
        elif op in (Epilogue.KEYS, Epilogue.VALUES):
            C, R = hw.cols, hw.rows
            t, c = case.to_jump + np.arange(case.rows)[:, None], np.arange(columns)
            if op == Epilogue.KEYS:
                tile, byte = t // C * case.to_stride + c // R, (t % C) * R + c % R
            else:
                tile, byte = t // R * case.to_stride + c // C, (c % C) * R + t % R
            self.expected["tiles"][case.to_base + tile, byte] = y

    def chunks(self, case: Case) -> list[int]:
        """Cycles that the chunks of each of the case's passes take."""
        tiles = np.arange(0, case.columns, self.hw.cols)
        chunks = -(-np.minimum(case.columns - tiles, self.hw.cols) // self.hw.lanes)
        starts = range(0, len(tiles), case.inner)
        return [case.rows * int(chunks[n : n + case.inner].sum()) for n in starts]

    def beats(self):
        """Rows of accumulators in the array's order, and the column tiles' parameters."""
        C = self.hw.cols
        rows, params = [], []
        for case in self.cases:
            tiles = case.inner * case.outer
            padded = self.rng.integers(-99, 99, (case.rows, tiles * C))
            padded[:, : case.columns] = case.acc
            split = padded.reshape(case.rows, case.outer, case.inner, C).transpose(1, 0, 2, 3)
            rows += list(split.reshape(-1, C))
            if not case.scalar:
                values = {n: np.zeros(tiles * C, np.int64) for n in PARAMS.members}
                for name, v in case.params.items():
                    values[name][: case.columns] = v
                params += [
                    [
                        pack(PARAMS, {n: int(v[k]) for n, v in values.items()})
                        for k in range(o * C, (o + 1) * C)
                    ]
                    for o in range(tiles)
                ]
        return rows, params

    def run(self, stall: float = 0.0, limit: int = 8_000):
        """Returns the cycles in which the epilogue wrote; checks everything that was written."""
        hw, rng = self.hw, self.rng
        m = Module()
        m.submodules.epilogue = unit = EpilogueUnit(hw)
        m.submodules.codes = codes = Codes(hw)
        wiring.connect(m, unit.job, codes.job)
        wiring.connect(m, unit.scores, codes.scores)
        wiring.connect(m, codes.reciprocals, unit.reciprocals)
        m.d.comb += unit.score_taken.eq(codes.score_taken)
        rows, params = self.beats()
        programs = [
            pack(unit.i.payload.shape(), fields_of(unit.i.payload.shape(), case.ins))
            for case in self.cases
        ]
        written, finished, made, code_made, code_finished = [], 0, [], [], 0
        goal = sum(case.rows * case.outer for case in self.cases)
        code_goal = sum(case.rows for case in self.cases if case.epilogue == Epilogue.SCORES)

        async def bench(ctx):
            nonlocal finished, code_finished
            get, put = ctx.get, ctx.set
            used = {case.epilogue for case in self.cases}
            for port, op, table in (
                (unit.table, Epilogue.GELU, GELU_TABLE),
                (codes.table, Epilogue.SCORES, TABLE & (1 << entry_bits(hw.attention)) - 1),
            ):
                for n, v in enumerate(table if op in used else ()):
                    put(port.payload, {"addr": n, "data": int(v)})
                    put(port.valid, 1)
                    await ctx.tick()
                put(port.valid, 0)
            await ctx.tick().repeat(3)
            for port in (unit.acts, unit.stream, unit.stream_read, codes.codes):
                put(port.ready, 1)
            at_i = at_row = at_params = 0
            E = hw.lanes
            load, words = 0, [0] * READ  # read in the last cycles
            for cycle in range(limit):
                if finished == goal and code_finished == code_goal:
                    return
                ready = {n: rng.random() >= stall for n in ("i", "rows", "params", "load")}
                offer_i = at_i < len(programs) and (get(unit.i.valid) or ready["i"])
                put(unit.i.valid, int(offer_i))
                if offer_i:
                    put(unit.i.payload.as_value(), programs[at_i])
                offer_row = at_row < len(rows) and (get(unit.rows.valid) or ready["rows"])
                put(unit.rows.valid, int(offer_row))
                if offer_row:
                    bits = pack(unit.rows.payload.shape(), {"data": rows[at_row]})
                    put(unit.rows.payload.as_value(), bits)
                there = at_params < len(params) and (get(unit.params_ready) or ready["params"])
                put(unit.params_ready, int(there))
                load += int(cycle % 50 == 0)
                put(unit.progress.load, load)

                # this cycle's handshakes
                took_i, took_row = offer_i and get(unit.i.ready), offer_row and get(unit.rows.ready)
                next_params = 0
                if there:
                    chunk = params[at_params][get(unit.params_addr) * E :][:E]
                    next_params = sum(v << (64 * k) for k, v in enumerate(chunk))
                release = get(unit.params_release)
                assert there or not release
                words.append(12345 * cycle)
                if get(unit.stream_read.valid):
                    words[-1] = self.memories["stream"].word(get(unit.stream_read.addr))
                for name, port in (("acts", unit.acts), ("stream", unit.stream)):
                    if get(port.valid):
                        memory = self.memories[name]
                        memory.write(get(port.addr), get(port.data), get(port.mask))
                if get(codes.codes.valid):
                    port = codes.codes
                    memory = self.memories["codes"]
                    memory.write(get(port.addr), get(port.data), get(port.mask), signed=False)
                if get(unit.tiles.valid):
                    self.write_tile(get, unit.tiles)
                if get(unit.trace.valid):
                    written.append(cycle)
                    mask, values = get(unit.trace.mask), get(unit.trace.data)
                    made.extend(values[k] for k in range(E) if mask >> k & 1)
                if get(codes.trace.valid):
                    mask, values = get(codes.trace.mask), get(codes.trace.data)
                    code_made.extend(values[k] for k in range(E) if mask >> k & 1)
                if get(unit.finished):
                    assert written[-1] == cycle
                finished += get(unit.finished)
                code_finished += get(codes.finished)
                assert not get(codes.error)
                await ctx.tick()
                at_i += took_i
                at_row += took_row
                at_params += release
                if release:
                    put(unit.params_ready, 0)
                if took_i:
                    put(unit.i.valid, 0)
                if took_row:
                    put(unit.rows.valid, 0)
                put(unit.params_data.as_value(), next_params)
                put(unit.stream_read.data, words[-READ] & ((1 << (16 * hw.cols)) - 1))
            raise AssertionError(f"{finished} of {goal} rows, {code_finished} of {code_goal}")

        sim = Simulator(m)
        sim.add_clock(1e-6)
        sim.add_testbench(bench)
        sim.run()
        assert made == self.order()
        assert code_made == [int(c) for codes_ in self.codes for c in codes_.ravel()]
        for name, memory in self.memories.items():
            assert np.array_equal(memory.lanes, self.expected[name]), name
        return written

    def order(self) -> list[int]:
        """All results in the order in which they leave: pass, row, column."""
        values = []
        for case, y in zip(self.cases, self.trace, strict=True):
            step = case.inner * self.hw.cols
            for o in range(case.outer):
                values += [int(v) for v in y[:, o * step : (o + 1) * step].ravel()]
        return values

    def write_tile(self, get, port) -> None:
        lane, at, data, mask = (get(getattr(port, n)) for n in ("lane", "at", "data", "mask"))
        for k, value in enumerate(data):
            if mask >> k & 1:
                row, column = (lane, at + k) if get(port.kind) else (at + k, lane)
                signed = value - 256 if value > 127 else value
                self.memories["tiles"].lanes[get(port.tile), column * self.hw.rows + row] = signed


def program(machine: Machine, op: str, rows: int, columns: int) -> None:
    """One epilogue, or scores with the attention that follows them."""
    rng = machine.rng
    adds = {
        "x_zero": int(rng.integers(-128, 128)), "add_zero": int(rng.integers(-128, 128)),
        "x_multiplier": 50_000, "y_multiplier": 100_000, "add_shift": 17,
    }  # fmt: skip
    if op.startswith("scores"):
        _, mode, *plain = op.split()
        scores = {"scalar": True, "row_norm": int(not plain), "mode": list(MODES).index(mode)}
        machine.add(Epilogue.SCORES, rows, columns, **scores)
        context = scores | {"codes": 1}
        machine.add(Epilogue.CODES8, rows, min(columns, 37), **context)
    elif op == "gelu":
        machine.add(Epilogue.GELU, rows, columns, x_multiplier=40_000, add_shift=24,
                    add_zero=adds["add_zero"])  # fmt: skip
    elif op == "residual":  # int8 everywhere
        machine.add(Epilogue.RESIDUAL, rows, columns, **adds)
    elif op == "embedding":  # wide branch to an int16 stream
        machine.add(Epilogue.RESIDUAL, rows, columns, wide=1, stream16=1,
                    **adds | {"add_zero": 0}, zero=0)  # fmt: skip
    elif op == "residual16":
        machine.add(Epilogue.RESIDUAL, rows, columns, wide=1, stream16=1, x16=True, zero=0,
                    **adds | {"add_zero": 0, "x_zero": 0})  # fmt: skip
    elif op == "logits":
        machine.add(Epilogue.LOGITS, rows, columns, zero=0)
    else:
        machine.add(Epilogue[op.upper()], rows, columns)


OPS = ["codes8", "keys", "values", "gelu", "residual", "embedding", "residual16", "logits"]
ATTENTION = ["scores max4", "scores lis4", "scores lis4 plain", "scores uniform8 plain"]


def ops(hw) -> list[str]:
    return OPS + [op for op in ATTENTION if op.split()[1] in hw.modes]


@pytest.mark.parametrize("stall", [0.0, 0.4], ids=["steady", "stalls"])
@pytest.mark.parametrize(
    "size, columns, op",
    [
        (size, columns, op)
        for size, columns in (("tiny", 13), ("ecp5", 53), ("base", 35), ("wide", 37))
        for op in ops(SIZES[size])
    ],
)
def test_epilogues(size, op, columns, stall):
    machine = Machine(SIZES[size], seed=columns)
    program(machine, op, rows=7, columns=columns)
    program(machine, op, rows=1, columns=1)
    machine.run(stall)


@pytest.mark.parametrize("size", ["tiny", "ecp5"])
def test_programs(size):
    """All epilogues after one another, in a random order; only the first has a wait."""
    machine = Machine(SIZES[size], seed=5)
    for op in machine.rng.permutation(ops(machine.hw) * 2):
        rows, columns = int(machine.rng.integers(1, 6)), int(machine.rng.integers(1, 40))
        program(machine, op, rows, columns)
    machine.run(0.2)


@pytest.mark.parametrize("size", SIZES)
def test_cycles(size):
    """Chunks without a bubble between rows and tiles, one between passes that give parameters back;
    BETWEEN cycles between GEMMs."""
    machine = Machine(SIZES[size])
    for op in ("codes8", "gelu", "values", "logits"):
        program(machine, op, rows=3, columns=2 * machine.hw.cols + 3)
    written = machine.run()
    cycle, expected = written[0], []
    for case in machine.cases:
        for chunks in machine.chunks(case):
            expected += range(cycle, cycle + chunks)
            cycle += chunks + (not case.scalar)
        cycle = expected[-1] + BETWEEN
    assert written == expected
    assert cycle - LATENCY > 0


def test_wait():
    """The first row waits for a count; the rest follows."""
    machine = Machine(TINY)
    machine.add(Epilogue.CODES8, 3, 4, wait2_unit=Unit.LOAD, wait2_count=4)
    written = machine.run()
    assert written == list(range(150 + WAIT + LATENCY, 150 + WAIT + LATENCY + 12))
