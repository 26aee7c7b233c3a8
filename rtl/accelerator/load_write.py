"""The writing half of LOAD: beats taken apart into chunks, a chunk a cycle to memory or table.

    queue of beats -> chunk of the beat -> register -> acts, stream, GELU_TABLE, SOFTMAX_TABLE
                                                    -> entry of NORM_TABLE, collected

Everything here is built into the module of a `Load`, whose ports it drives.
"""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import C, Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring

from fqvit_hw.formats import ceil_log2
from fqvit_hw.machine.hardware import Hardware
from fqvit_hw.machine.isa import Space
from fqvit_hw.machine.layouts import NORM, SOFTMAX

from .layouts import struct
from .nest import Nest


def widest_chunk(hw: Hardware) -> int:
    """Bytes of the widest chunk: a beat, or the widest word if that is less."""
    return min(hw.bus_bytes, max(hw.rows, hw.stream_bytes, hw.norm_lanes * NORM.bytes))


@dataclass(frozen=True)
class Taken:
    """A chunk in the cycle in which it is taken from its beat (`go`): `size` bytes of the beat from
    `offset` on, for byte `to` of the space; does it end a line, an outer step, the instruction?
    """

    go: Value
    offset: Value
    size: Value
    to: Value
    line: Value
    outer: Value
    all: Value


@dataclass(frozen=True)
class Held:
    """The chunk in the register, if `valid`: `chunk` repeats its `size` bytes, `place` is the byte
    of the space; `written`: it leaves in this cycle; `ends_line`: it is the line's last one.
    """

    valid: Value
    written: Value
    chunk: Value
    place: Value
    size: Value
    ends_line: Value

    def spread(self, width: int) -> Value:
        """`width` bits of the chunk over and over."""
        return self.chunk.replicate(-(-width // len(self.chunk)))[:width]

    def mask(self, m: Module, name: str, word: int) -> Value:
        """The bytes of the chunk in a word of `word` bytes."""
        among = Signal(word, name=name)
        m.d.comb += among.eq(((1 << self.size) - 1) << self.place[: ceil_log2(word)])
        return among


def write_chunks(m: Module, load: wiring.Component, begin: Value, beats) -> Value:
    """begin: the first cycle of the instruction of `load`; beats: the queue's output.

    Returns: the instruction's last chunk was written in the cycle before.
    """
    advance, finish = Signal(), Signal()  # the register takes a chunk
    taken = walk(m, load, begin, beats, advance)
    held = hold(m, load, beats, taken, advance, finish)
    to_memories(m, load, held)
    to_tables(m, load, held)
    to_norm_table(m, load, held)
    return finish


def walk(m: Module, load: wiring.Component, begin: Value, beats, advance: Value) -> Taken:
    """Line by line, piece by piece, chunk by chunk, through the beats and the space."""
    hw, i = load.hw, load.i.payload
    shift = ceil_log2(hw.bus_bytes)
    writing, go = Signal(), Signal()
    size = Signal(range(widest_chunk(hw) + 1))
    offset = Signal(shift)
    to, to_piece = Signal.like(i.base), Signal.like(i.base)
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
    outer, all_ = (line_end & last for last in target.last[1:])
    return Taken(go, offset, size, to, line_end, outer, all_)


def hold(
    m: Module, load: wiring.Component, beats, taken: Taken, advance: Signal, finish: Signal
) -> Held:
    """The register in front of the memories, which may refuse what it holds."""
    i, widest = load.i.payload, widest_chunk(load.hw)
    valid, chunk = Signal(), Signal(widest * 8)
    place, chunk_size = Signal.like(taken.to), Signal.like(taken.size)
    ends = Signal(data.StructLayout({"line": 1, "outer": 1, "all": 1}))
    written, refused, last_written = Signal(), Signal(), Signal()
    with m.If(advance):
        m.d.sync += valid.eq(taken.go)
    with m.If(taken.go):
        shifted = (beats.r_data >> Cat(C(0, 3), taken.offset))[: widest * 8]
        with m.Switch(i.chunk):
            for n in range(ceil_log2(widest) + 1):
                part = shifted[: 8 << n] ^ Cat(C(0, 7), i.flip).replicate(1 << n)
                with m.Case(n):
                    m.d.sync += chunk.eq(part.replicate(widest >> n))
        m.d.sync += [
            place.eq(taken.to),
            chunk_size.eq(taken.size),
            ends.line.eq(taken.line),
            ends.outer.eq(taken.outer),
            ends.all.eq(taken.all),
        ]
    m.d.comb += [
        advance.eq(~valid | written),
        written.eq(valid & ~refused),
        refused.eq((load.acts.valid & ~load.acts.ready) | (load.stream.valid & ~load.stream.ready)),
        finish.eq(last_written),
    ]
    m.d.sync += [
        load.credit.eq(Mux(written & ends.outer, i.credit, 0)),
        last_written.eq(written & ends.all),
    ]
    return Held(valid, written, chunk, place, chunk_size, ends.line)


def to_memories(m: Module, load: wiring.Component, held: Held) -> None:
    """ACTS and STREAM, whose ports may refuse."""
    hw, space = load.hw, load.i.payload.space
    stream_mask = held.mask(m, "stream_mask", hw.stream_bytes)
    m.d.comb += [
        load.acts.valid.eq(held.valid & (space == Space.ACTS)),
        load.acts.addr.eq(held.place >> ceil_log2(hw.rows)),
        load.acts.data.eq(held.spread(hw.rows * 8)),
        load.acts.mask.eq(held.mask(m, "acts_mask", hw.rows)),
        load.stream.valid.eq(held.valid & (space == Space.STREAM)),
        load.stream.addr.eq(held.place >> ceil_log2(hw.stream_bytes)),
        load.stream.data.eq(held.spread(hw.stream_bytes * 8)),
        load.stream.mask.eq(Cat(stream_mask[2 * n] for n in range(hw.cols))),
    ]


def to_tables(m: Module, load: wiring.Component, held: Held) -> None:
    """GELU_TABLE and SOFTMAX_TABLE: a chunk is an entry."""
    space = load.i.payload.space
    entry = data.View(struct(SOFTMAX), held.spread(SOFTMAX.width))
    m.d.comb += [
        load.gelu_table.valid.eq(held.written & (space == Space.GELU_TABLE)),
        load.gelu_table.payload.addr.eq(held.place),
        load.gelu_table.payload.data.eq(held.chunk),
        load.softmax_table.valid.eq(held.written & (space == Space.SOFTMAX_TABLE)),
        load.softmax_table.payload.addr.eq(held.place >> ceil_log2(SOFTMAX.bytes)),
        load.softmax_table.payload.data.eq(entry.entry),
    ]


def to_norm_table(m: Module, load: wiring.Component, held: Held) -> None:
    """NORM_TABLE: the entries of a beat of channels are collected, then written together."""
    entry = load.hw.norm_lanes * NORM.bytes
    collected, number = Signal(entry * 8), Signal.like(load.norm_table.payload.addr)
    full = Signal()
    here = held.written & (load.i.payload.space == Space.NORM_TABLE)
    at_end = held.place[: ceil_log2(entry)] + held.size == entry
    m.d.sync += full.eq(here & (held.ends_line | at_end))
    with m.If(here):
        every = Cat(bit.replicate(8) for bit in held.mask(m, "norm_mask", entry))
        m.d.sync += [
            collected.eq((collected & ~every) | (held.spread(entry * 8) & every)),
            number.eq(held.place >> ceil_log2(entry)),
        ]
    m.d.comb += [load.norm_table.valid.eq(full), load.norm_table.payload.addr.eq(number)]
    channels = data.View(data.ArrayLayout(struct(NORM), load.hw.norm_lanes), collected)
    for lane, channel in zip(load.norm_table.payload.data, channels, strict=True):
        m.d.comb += [
            lane.gamma.eq(channel.gamma),
            lane.beta.eq(channel.beta),
            lane.factor.eq(channel.factor),
        ]
