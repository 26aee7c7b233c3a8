"""The writing half of LOAD: beats taken apart into chunks, a chunk a cycle to memory or table.

    queue of beats -> chunk of the beat -> registers -> acts, stream, GELU_TABLE, SOFTMAX_TABLE
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

from ..parts.count_down import count_down
from ..parts.elastic import Elastic
from .layouts import struct
from .nest import Nest
from .ports import LOAD


def widest_chunk(hw: Hardware) -> int:
    """Bytes of the widest chunk: a beat, or the widest word if that is less."""
    return min(hw.bus_bytes, max(hw.rows, hw.stream_bytes, hw.norm_lanes * NORM.bytes))


def chunk_layout(hw: Hardware) -> data.StructLayout:
    """A chunk on its way: the lowest of `bytes`, for byte `place` of the space; does it end a line,
    an outer step, the instruction?
    """
    return data.StructLayout(
        {
            "bytes": widest_chunk(hw) * 8,
            "place": LOAD["base"].width,
            "line": 1,
            "outer": 1,
            "all": 1,
        }
    )


@dataclass(frozen=True)
class Held:
    """The chunk that is to be written, if `valid`: `chunk` repeats its bytes, `place` is where the
    first one goes; within: how many there are less 1, ones: a bit for each of them; `written`: it
    leaves in this cycle; `ends_line`: it is the line's last one.
    """

    valid: Value
    written: Value
    chunk: Value
    place: Value
    within: Value
    ones: Value
    ends_line: Value

    def spread(self, width: int) -> Value:
        """`width` bits of the chunk over and over."""
        return self.chunk.replicate(-(-width // len(self.chunk)))[:width]

    def mask(self, m: Module, name: str, word: int) -> Value:
        """The bytes of the chunk in a word of `word` bytes."""
        among = Signal(word, name=name)
        m.d.comb += among.eq(self.ones << self.place[: ceil_log2(word)])
        return among


def write_chunks(m: Module, load: wiring.Component, begin: Value, beats) -> Value:
    """begin: the first cycle of the instruction of `load`; beats: the stream of beats.

    Returns: the instruction's last chunk was written in the cycle before.
    """
    m.submodules.chunks = chunks = Elastic(chunk_layout(load.hw))
    widest = widest_chunk(load.hw)
    within, ones = Signal(range(widest)), Signal(widest)  # size - 1; a bit for each byte
    m.d.sync += within.eq((1 << load.i.payload.chunk) - 1)  # known long before `begin`
    m.d.sync += ones.eq(Cat(C(1, 1), *(within >= n for n in range(1, widest))))
    walk(m, load, begin, beats, within, chunks.i)
    held, finish = hold(m, load, within, ones, chunks.o)
    to_memories(m, load, held)
    to_tables(m, load, held)
    to_norm_table(m, load, held)
    return finish


def walk(m: Module, load: wiring.Component, begin: Value, beats, within: Value, chunks) -> None:
    """Line by line, piece by piece, chunk by chunk, through the beats and the space."""
    hw, i = load.hw, load.i.payload
    shift = ceil_log2(hw.bus_bytes)
    writing, go = Signal(), Signal()
    offset = Signal(shift)  # of the chunk in its beat
    to, to_piece = Signal.like(i.base), Signal.like(i.base)
    piece = Signal.like(i.piece)  # chunks of it
    line_end, beat_end = Signal(), Signal()
    next_line = go & line_end
    turn, turning = Signal(), Signal()  # one cycle after `next_line` or `begin`, one or two
    m.d.sync += piece.eq(i.piece >> i.chunk)
    piece_end = count_down(m, "piece_end", begin, go, piece)
    last_piece = count_down(m, "last_piece", begin, go & piece_end, i.pieces)
    moved = Signal()  # to the next line
    source = Nest.build(
        m, "source", i, begin, moved, i.address[:shift],
        [step[:shift] for step in (i.from0, i.from1, i.from2)],
    )  # fmt: skip
    target = Nest.build(m, "target", i, begin, moved, i.base, [i.to0, i.to1, i.to2])
    # What comes after this line, in registers: true from its third cycle on. A line of one or two
    # chunks waits for it (`turn`).
    next_offset, next_to = Signal.like(offset), Signal.like(to)
    outer_last, all_last = Signal(), Signal()
    m.d.sync += [
        next_offset.eq(source.after),
        next_to.eq(target.after),
        outer_last.eq(target.last[1]),
        all_last.eq(target.last[2]),
        moved.eq(next_line),
        turn.eq(begin | next_line),
        turning.eq(begin | next_line | turn),
    ]
    m.d.comb += [
        line_end.eq(piece_end & last_piece),
        beat_end.eq((offset | within[:shift]) == hw.bus_bytes - 1),
        chunks.valid.eq(writing & beats.valid & ~(turning & line_end)),
        go.eq(chunks.valid & chunks.ready),
        beats.ready.eq(go & (beat_end | line_end)),
        chunks.payload.place.eq(to),
        chunks.payload.line.eq(line_end),
        chunks.payload.outer.eq(line_end & outer_last),
        chunks.payload.all.eq(line_end & all_last),
    ]
    with m.If(begin):
        m.d.sync += [writing.eq(1), offset.eq(i.address[:shift])]
        m.d.sync += [to.eq(i.base), to_piece.eq(i.base)]
    with m.Elif(go):
        following = to_piece + i.to_piece
        m.d.sync += [
            offset.eq(Mux(line_end, next_offset, offset + within + 1)),
            to.eq(Mux(line_end, next_to, Mux(piece_end, following, to + within + 1))),
        ]
        with m.If(line_end):
            m.d.sync += [writing.eq(~all_last), to_piece.eq(next_to)]
        with m.Elif(piece_end):
            m.d.sync += to_piece.eq(following)

    width = widest_chunk(hw) * 8
    m.d.comb += chunks.payload.bytes.eq((beats.payload >> Cat(C(0, 3), offset))[:width])


def hold(
    m: Module, load: wiring.Component, within: Value, ones: Value, chunks
) -> tuple[Held, Value]:
    """The chunk in front of the memories, which may refuse it."""
    i, ends, widest = load.i.payload, chunks.payload, widest_chunk(load.hw)
    chunk, refused, written, last_written = Signal(widest * 8), Signal(), Signal(), Signal()
    size, flip = Signal.like(i.chunk), Signal.like(i.flip)  # known long before the first chunk
    m.d.sync += [size.eq(i.chunk), flip.eq(i.flip)]
    with m.Switch(size):
        for n in range(ceil_log2(widest) + 1):
            part = ends.bytes[: 8 << n] ^ Cat(C(0, 7), flip).replicate(1 << n)
            with m.Case(n):
                m.d.comb += chunk.eq(part.replicate(widest >> n))
    m.d.comb += [
        refused.eq((load.acts.valid & ~load.acts.ready) | (load.stream.valid & ~load.stream.ready)),
        chunks.ready.eq(~refused),
        written.eq(chunks.valid & chunks.ready),
    ]
    m.d.sync += [
        load.credit.eq(Mux(written & ends.outer, i.credit, 0)),
        last_written.eq(written & ends.all),
    ]
    return Held(chunks.valid, written, chunk, ends.place, within, ones, ends.line), last_written


def goes_to(m: Module, load: wiring.Component, space: Space) -> Signal:
    """Is this the space of the instruction? A register: known long before its first chunk."""
    found = Signal(name=f"to_{space.name.lower()}")
    m.d.sync += found.eq(load.i.payload.space == space)
    return found


def to_memories(m: Module, load: wiring.Component, held: Held) -> None:
    """ACTS and STREAM, whose ports may refuse."""
    hw = load.hw
    stream_mask = held.mask(m, "stream_mask", hw.stream_bytes)
    m.d.comb += [
        load.acts.valid.eq(held.valid & goes_to(m, load, Space.ACTS)),
        load.acts.addr.eq(held.place >> ceil_log2(hw.rows)),
        load.acts.data.eq(held.spread(hw.rows * 8)),
        load.acts.mask.eq(held.mask(m, "acts_mask", hw.rows)),
        load.stream.valid.eq(held.valid & goes_to(m, load, Space.STREAM)),
        load.stream.addr.eq(held.place >> ceil_log2(hw.stream_bytes)),
        load.stream.data.eq(held.spread(hw.stream_bytes * 8)),
        load.stream.mask.eq(Cat(stream_mask[2 * n] for n in range(hw.cols))),
    ]


def to_tables(m: Module, load: wiring.Component, held: Held) -> None:
    """GELU_TABLE and SOFTMAX_TABLE: a chunk is an entry, there a cycle later."""
    entry = data.View(struct(SOFTMAX), held.spread(SOFTMAX.width))
    m.d.sync += [
        load.gelu_table.valid.eq(held.written & goes_to(m, load, Space.GELU_TABLE)),
        load.gelu_table.payload.addr.eq(held.place),
        load.gelu_table.payload.data.eq(held.chunk),
        load.softmax_table.valid.eq(held.written & goes_to(m, load, Space.SOFTMAX_TABLE)),
        load.softmax_table.payload.addr.eq(held.place >> ceil_log2(SOFTMAX.bytes)),
        load.softmax_table.payload.data.eq(entry.entry),
    ]


def to_norm_table(m: Module, load: wiring.Component, held: Held) -> None:
    """NORM_TABLE: the entries of a beat of channels are collected, then written together."""
    entry = load.hw.norm_lanes * NORM.bytes
    collected, number = Signal(entry * 8), Signal.like(load.norm_table.payload.addr)
    full = Signal()
    here = held.written & goes_to(m, load, Space.NORM_TABLE)
    at_end = (held.place[: ceil_log2(entry)] | held.within) == entry - 1
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
