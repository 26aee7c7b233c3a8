"""LOAD: affine copies from memory into the chip, three nested loops of lines cut into pieces.

Two halves carry out the same instruction. The asking half walks the lines and asks for the beats
that cover them, as long as there is room; the writing half, behind the queue of beats, takes them
apart into chunks and writes a chunk a cycle. So the bus works on while the writing half lags
behind.

Timing: the bytes of a line (pieces * piece) are multiplied bit by bit, so the first burst is asked
for LATENCY cycles after the instruction has come, or one cycle after its waits are satisfied if
that is later; then a burst a cycle, without a gap between lines. A beat that arrives in cycle t is
taken apart from t + 2 on; a chunk taken in t is written in t + 1, or later where it is refused. Two
cycles after the last chunk is written the next instruction may begin.
"""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import C, Cat, Module, Mux, Signal, Value
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from fqvit_hw.machine.hardware import EXP_BYTES, NORM_BYTES, Hardware
from fqvit_hw.machine.isa import Opcode, Space

from ..blocks.layernorm import LayerNormConfig
from .ports import PROGRESS, instruction, memory_reader, reached, write_port

PIECES = 12  # bits of the field `pieces`
LATENCY = PIECES + 1
TO = 24  # bits of a byte address in a space


def log2(value: int) -> int:
    return value.bit_length() - 1


def gelu_table() -> data.StructLayout:
    return data.StructLayout({"addr": 12, "data": 8})


def exp_table() -> data.StructLayout:
    return data.StructLayout({"addr": 8, "data": 24})


def norm_table(hw: Hardware) -> data.StructLayout:
    return LayerNormConfig(hw.norm_lanes, hw.max_channels).params


@dataclass
class Nest:
    """Three nested loops over lines: last: is this the last line of loop 0, of 1 and 0, of all?
    after: the address of the next line.
    """

    last: list[Value]
    after: Value

    @classmethod
    def build(cls, m: Module, name: str, i, load: Value, go: Value, base: Value, steps) -> Nest:
        """`load` sets it to the first line at `base`, `go` moves it on by a line."""
        counts = [i.count0, i.count1, i.count2]
        left = [Signal(12, name=f"{name}_left{n}") for n in range(3)]
        start = [
            Signal(len(base), name=f"{name}_start{n}") for n in range(3)
        ]  # of each loop's turn
        last = [Signal(name=f"{name}_last{n}") for n in range(3)]
        after = Signal(len(base), name=f"{name}_after")
        for n in range(3):
            m.d.comb += last[n].eq((left[n] == 1) & (last[n - 1] if n else 1))
        turns = [start[n] + steps[n] for n in range(3)]
        m.d.comb += after.eq(Mux(last[1], turns[2], Mux(last[0], turns[1], turns[0])))
        with m.If(load):
            m.d.sync += [start[n].eq(base) for n in range(3)]
            m.d.sync += [left[n].eq(counts[n]) for n in range(3)]
        with m.Elif(go):
            for n in range(3):
                with m.If(last[n - 1] if n else 1):
                    m.d.sync += start[n].eq(after)
                    m.d.sync += left[n].eq(Mux(last[n], counts[n], left[n] - 1))
        return cls(last, after)


class Load(wiring.Component):
    """Members:
    - `i`: stream of instructions, taken when carried out.
    - `progress`: counts of all units, for the waits.
    - `reader`: a client's side of the memory bus, which asks for what `hw.prefetch` beats can hold.
    - `acts`, `stream`: write ports; may be refused. Chunks of STREAM have at least 2 bytes.
    - `norm_table`, `gelu_table`, `exp_table`: streams {addr, data}, always ready. A norm table
      entry is written when its last byte has come, or at the end of a line. A chunk of GELU_TABLE
      is a byte, of EXP_TABLE 4 bytes; all chunks have at most the bytes of the bus and of the word.
    - `credit`: `credit` of the instruction in the cycle after an outer step is written, else 0.
    - `idle`: no instruction waits or is under way.
    """

    def __init__(self, hw: Hardware):
        if hw.prefetch < hw.burst:
            raise ValueError(
                f"Load: prefetch {hw.prefetch} has no room for a burst of {hw.burst} beats"
            )
        self.hw = hw
        super().__init__(
            {
                "i": In(stream.Signature(instruction(Opcode.LOAD))),
                "progress": In(PROGRESS),
                "reader": Out(memory_reader(hw)),
                "acts": Out(write_port(hw.acts, hw.rows * 8, 8)),
                "stream": Out(write_port(hw.stream, hw.cols * 16, 16)),
                "norm_table": Out(stream.Signature(norm_table(hw))),
                "gelu_table": Out(stream.Signature(gelu_table())),
                "exp_table": Out(stream.Signature(exp_table())),
                "credit": Out(12),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        hw, i = self.hw, self.i.payload
        m.submodules.beats = beats = fifo.SyncFIFOBuffered(width=hw.bus, depth=hw.prefetch + 1)
        m.d.comb += [
            beats.w_en.eq(self.reader.valid),
            beats.w_data.eq(self.reader.data),
            self.idle.eq(~self.i.valid),
        ]

        # Multiply, wait, then let both halves run until the writing half is done.
        length, bit = Signal(range(1 << 32)), Signal(range(PIECES + 1))
        waited = Signal()
        begin, running, finish = Signal(), Signal(), Signal()
        m.d.comb += [
            waited.eq(
                reached(m, "reached0", self.progress, i.wait0_unit, i.wait0_count)
                & reached(m, "reached1", self.progress, i.wait1_unit, i.wait1_count)
            ),
            begin.eq(self.i.valid & ~running & (bit == PIECES) & waited),
            self.i.ready.eq(finish),
        ]
        with m.If(finish):
            m.d.sync += [running.eq(0), bit.eq(0), length.eq(0)]
        with m.Elif(begin):
            m.d.sync += running.eq(1)
        with m.Elif(self.i.valid & (bit != PIECES)):
            m.d.sync += bit.eq(bit + 1)
            with m.If(i.pieces.bit_select(bit, 1)):
                m.d.sync += length.eq(length + (i.piece << bit))

        self.ask(m, begin, length, beats.r_en)
        self.write(m, begin, beats, finish)
        return m

    def ask(self, m: Module, begin: Value, length: Value, popped: Value) -> None:
        """The asking half: bursts of beats `at`.. of the line, `left` beats of it to come."""
        hw, i = self.hw, self.i.payload
        shift, burst = log2(hw.bus_bytes), hw.burst
        asking, line, burst_taken = Signal(), Signal(), Signal()
        room = Signal(range(hw.prefetch + 1), init=hw.prefetch)
        at, left = Signal(32 - shift), Signal(range(1 << (33 - shift)))
        nest = Nest.build(m, "ask", i, begin, line, i.address, [i.from0, i.from1, i.from2])

        here, request = Signal(range(burst + 1)), self.reader.request
        m.d.comb += [
            here.eq(burst - at[: log2(burst)]),
            request.payload.beats.eq(Mux(left < here, left, here)),
            request.payload.address.eq(at << shift),
            request.valid.eq(asking & (room >= request.payload.beats)),
            burst_taken.eq(request.valid & request.ready),
            line.eq(burst_taken & (left <= here)),
        ]
        m.d.sync += room.eq(room - Mux(burst_taken, request.payload.beats, 0) + popped)
        with m.If(begin | line):
            first = Mux(begin, i.address, nest.after)
            m.d.sync += [
                asking.eq(begin | ~nest.last[2]),
                at.eq(first >> shift),
                left.eq((first[:shift] + length + hw.bus_bytes - 1) >> shift),
            ]
        with m.Elif(burst_taken):
            m.d.sync += [at.eq(at + here), left.eq(left - here)]

    def write(self, m: Module, begin: Value, beats, finish: Value) -> None:
        """The writing half: chunk by chunk, through a register in front of the memories."""
        hw, i = self.hw, self.i.payload
        shift = log2(hw.bus_bytes)
        widest = min(hw.bus_bytes, max(hw.rows, hw.stream_bytes, hw.norm_lanes * NORM_BYTES))
        writing, go, advance = Signal(), Signal(), Signal()

        # Where the chunk comes from: a byte of the beat. Where it goes: a byte of the space.
        size = Signal(range(widest + 1))
        offset = Signal(shift)
        to, to_piece = Signal(TO), Signal(TO)
        pieces, left = Signal.like(i.pieces), Signal.like(i.piece)
        piece_end, line_end, beat_end = Signal(), Signal(), Signal()
        next_line = go & line_end
        source = Nest.build(
            m, "source", i, begin, next_line, i.address[:shift],
            [step[:shift] for step in (i.from0, i.from1, i.from2)],
        )  # fmt: skip
        target = Nest.build(m, "target", i, begin, next_line, i.base, [i.to0, i.to1, i.to2])
        m.d.comb += [
            size.eq(1 << i.chunk),
            go.eq(writing & beats.r_rdy & advance),
            piece_end.eq(left == size),
            line_end.eq(piece_end & (pieces == 1)),
            beat_end.eq(Cat(offset, C(0, 1)) + size == hw.bus_bytes),
            beats.r_en.eq(go & (beat_end | line_end)),
        ]
        with m.If(begin | next_line):
            m.d.sync += [
                writing.eq(begin | ~target.last[2]),
                offset.eq(Mux(begin, i.address[:shift], source.after)),
                to.eq(Mux(begin, i.base, target.after)),
                to_piece.eq(Mux(begin, i.base, target.after)),
                pieces.eq(i.pieces),
                left.eq(i.piece),
            ]
        with m.Elif(go):
            m.d.sync += offset.eq(offset + size)
            with m.If(piece_end):
                following = to_piece + i.to_piece
                m.d.sync += [to.eq(following), to_piece.eq(following)]
                m.d.sync += [pieces.eq(pieces - 1), left.eq(i.piece)]
            with m.Else():
                m.d.sync += [to.eq(to + size), left.eq(left - size)]

        # The register: the chunk, repeated over `widest` bytes, and where it goes.
        valid, chunk = Signal(), Signal(widest * 8)
        place, chunk_size = Signal(TO), Signal.like(size)
        ends = Signal(data.StructLayout({"line": 1, "outer": 1, "all": 1}))
        written = Signal()
        with m.If(advance):
            m.d.sync += valid.eq(go)
        with m.If(go):
            shifted = (beats.r_data >> Cat(C(0, 3), offset))[: widest * 8]
            with m.Switch(i.chunk):
                for n in range(log2(widest) + 1):
                    part = shifted[: 8 << n] ^ Cat(C(0, 7), i.flip).replicate(1 << n)
                    with m.Case(n):
                        m.d.sync += chunk.eq(part.replicate(widest >> n))
            m.d.sync += [
                place.eq(to),
                chunk_size.eq(size),
                ends.line.eq(line_end),
                ends.outer.eq(line_end & target.last[1]),
                ends.all.eq(line_end & target.last[2]),
            ]
        refused = Signal()
        m.d.comb += [
            advance.eq(~valid | written),
            written.eq(valid & ~refused),
            refused.eq(
                (self.acts.valid & ~self.acts.ready) | (self.stream.valid & ~self.stream.ready)
            ),
        ]
        m.d.sync += self.credit.eq(Mux(written & ends.outer, i.credit, 0))
        last_written = Signal()
        m.d.sync += last_written.eq(written & ends.all)
        m.d.comb += finish.eq(last_written)
        self.deliver(m, valid, written, place, chunk, chunk_size, ends.line)

    def deliver(self, m: Module, valid, written, place, chunk, size, line_end) -> None:
        """The register's chunk to the memory or table of its space."""
        hw, space = self.hw, self.i.payload.space

        def spread(width: int) -> Value:
            copies = -(-width // len(chunk))
            return chunk.replicate(copies)[:width]

        def mask(name: str, word: int) -> Value:
            """The bytes of the chunk among `word`."""
            among = Signal(word, name=name)
            m.d.comb += among.eq(((1 << size) - 1) << place[: log2(word)])
            return among

        words = mask("stream_mask", hw.stream_bytes)
        m.d.comb += [
            self.acts.valid.eq(valid & (space == Space.ACTS)),
            self.acts.addr.eq(place >> log2(hw.rows)),
            self.acts.data.eq(spread(hw.rows * 8)),
            self.acts.mask.eq(mask("acts_mask", hw.rows)),
            self.stream.valid.eq(valid & (space == Space.STREAM)),
            self.stream.addr.eq(place >> log2(hw.stream_bytes)),
            self.stream.data.eq(spread(hw.stream_bytes * 8)),
            self.stream.mask.eq(Cat(words[2 * n] for n in range(hw.cols))),
            self.gelu_table.valid.eq(written & (space == Space.GELU_TABLE)),
            self.gelu_table.payload.addr.eq(place),
            self.gelu_table.payload.data.eq(chunk),
            self.exp_table.valid.eq(written & (space == Space.EXP_TABLE)),
            self.exp_table.payload.addr.eq(place >> log2(EXP_BYTES)),
            self.exp_table.payload.data.eq(chunk),
        ]

        # LayerNorm parameters: an entry is collected, then written.
        entry = hw.norm_lanes * NORM_BYTES
        collected, number = Signal(entry * 8), Signal.like(self.norm_table.payload.addr)
        full = Signal()
        here = written & (space == Space.NORM_TABLE)
        m.d.sync += full.eq(here & (line_end | (place[: log2(entry)] + size == entry)))
        with m.If(here):
            every = Cat(bit.replicate(8) for bit in mask("norm_mask", entry))
            m.d.sync += [
                collected.eq((collected & ~every) | (spread(entry * 8) & every)),
                number.eq(place >> log2(entry)),
            ]
        m.d.comb += [self.norm_table.valid.eq(full), self.norm_table.payload.addr.eq(number)]
        for n, lane in enumerate(self.norm_table.payload.data):
            channel = collected[n * NORM_BYTES * 8 : (n + 1) * NORM_BYTES * 8]
            m.d.comb += [
                lane.gamma.eq(channel[:16]),
                lane.beta.eq(channel[16:48]),
                lane.factor.eq(channel[48:]),
            ]
