"""STORE: lines of words of the activations or the stream, packed into beats and written to memory.

Words are read when the queue of beats has room for them; a burst is asked for when all its beats
are in the queue, so that the bus never waits for a beat.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from fqvit_hw.formats import INT8, INT16, ceil_log2
from fqvit_hw.machine.hardware import Hardware
from fqvit_hw.machine.isa import Opcode, Space

from ..parts.count_down import count_down
from ..parts.elastic import Elastic
from .burst import Burst
from .ports import ADDRESS, PROGRESS, instruction, memory_writer, reached, read_port
from .scratchpad import READ

BURSTS = 16  # asked for and not acknowledged; more than rtl.accelerator.axi_write takes


class Store(wiring.Component):
    """Carries out STOREs, one after another.

    Parameters
    ----------
    hw : Hardware
        the bus, the memories

    Members
    -------
    i : In, stream of STORE
        taken when memory has acknowledged the last line
    progress : In, PROGRESS
        counts of all units, for the waits
    acts, stream : Out, read_port
        the memories; may be refused
    writer : Out, memory_writer
        a client's side of the bus
    finished : Out, 1
        a line is acknowledged
    idle : Out, 1
        no instruction waits or is under way

    Latency
    -------
    The first word is read 4 cycles after the waits are satisfied. A read that is granted in cycle t
    puts its last beat into the queue in t + 3 (words of at most a beat) or, a beat a cycle, from
    t + 3 on; its burst is asked for 3 cycles later at the earliest.

    Throughput
    ----------
    One word or one beat a cycle, whichever is more.

    Back-pressure
    -------------
    A word is read when the queue has room for its beats; BURSTS bursts may be unacknowledged.
    """

    def __init__(self, hw: Hardware):
        self.hw = hw
        super().__init__(
            {
                "i": In(stream.Signature(instruction(Opcode.STORE))),
                "progress": In(PROGRESS),
                "acts": Out(read_port(hw.acts, hw.rows * INT8.width)),
                "stream": Out(read_port(hw.stream, hw.cols * INT16.width)),
                "writer": Out(memory_writer(hw)),
                "finished": Out(1),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        hw, i, writer = self.hw, self.i.payload, self.writer
        depth = 2 * hw.burst
        m.submodules.beats = beats = fifo.SyncFIFOBuffered(width=hw.bus, depth=depth + 1)
        # the queue's memory answers late, and so does the bus
        m.submodules.front = front = Elastic(hw.bus)
        begin, running, finish = Signal(), Signal(), Signal()
        waits = self.i.valid & ~running & ~begin
        waited = reached(
            m, "reached0", self.progress, i.wait0_unit, i.wait0_count, waits
        ) & reached(m, "reached1", self.progress, i.wait1_unit, i.wait1_count, waits)
        m.d.sync += begin.eq(waits & waited)
        m.d.comb += [
            self.i.ready.eq(finish),
            self.idle.eq(~self.i.valid),
            front.i.valid.eq(beats.r_rdy),
            front.i.payload.eq(beats.r_data),
            beats.r_en.eq(front.i.ready),
            writer.beats.valid.eq(front.o.valid),
            writer.beats.payload.data.eq(front.o.payload),
            writer.beats.payload.strobe.eq((1 << hw.bus_bytes) - 1),
            front.o.ready.eq(writer.beats.ready),
        ]
        with m.If(finish):
            m.d.sync += running.eq(0)
        with m.Elif(begin):
            m.d.sync += running.eq(1)
        self.read(m, begin, beats)
        self.ask(m, begin, beats, finish)
        return m

    def read(self, m: Module, begin: Value, beats) -> None:
        """Reads words and takes them apart, or puts them together, into beats."""
        hw, i = self.hw, self.i.payload
        depth = 2 * hw.burst
        ports = {Space.ACTS: self.acts, Space.STREAM: self.stream}
        bits = {Space.ACTS: hw.rows * 8, Space.STREAM: hw.stream_bytes * 8}
        widest = max(hw.bus, *bits.values())
        beats_of = {s: max(bits[s] // hw.bus, 1) for s in ports}  # in a word
        words_of = {s: max(hw.bus // bits[s], 1) for s in ports}  # in a beat

        reading, granted = Signal(), Signal()
        line, at = Signal.like(i.base), Signal.like(i.base)
        last_word = count_down(m, "last_word", begin, granted, i.words)
        last_line = count_down(m, "last_line", begin, granted & last_word, i.lines)
        gap = Signal(range(max(beats_of.values()) + 1))  # cycles until the next word
        room = Signal(range(depth + 1), init=depth)
        popped = beats.r_rdy & beats.r_en
        cost, spacing = Signal(range(max(beats_of.values()) + 1)), Signal.like(gap)
        fits = Signal()  # known a cycle late: there is room for the word read meanwhile, too
        first = {s: at_first(m, begin, granted, words_of[s], s) for s in ports}
        space = Signal.like(i.space)  # there two cycles before `begin`
        m.d.sync += space.eq(i.space)
        with m.Switch(space):
            for of, port in ports.items():
                with m.Case(of):
                    m.d.comb += [
                        port.valid.eq(reading & (gap == 0) & fits),
                        granted.eq(port.valid & port.ready),
                        spacing.eq(beats_of[of] - 1),
                        # The first word of a beat takes the room of the beat.
                        cost.eq(Mux(first[of], beats_of[of], 0)),
                    ]
                    m.d.sync += fits.eq(room >= 2 * beats_of[of])
        for port in ports.values():
            m.d.comb += port.addr.eq(at)
        m.d.sync += room.eq(room - Mux(granted, cost, 0) + popped)
        following = Signal.like(line)  # the next line's first word
        m.d.sync += following.eq(line + i.stride)
        with m.If(granted):  # `following` is there in the second cycle after a line's end
            m.d.sync += gap.eq(Mux((i.words == 1) & (spacing == 0), 1, spacing))
        with m.Elif(gap != 0):
            m.d.sync += gap.eq(gap - 1)
        with m.If(begin):
            m.d.sync += [reading.eq(1), line.eq(i.base), at.eq(i.base)]
        with m.Elif(granted):
            m.d.sync += at.eq(at + 1)
            with m.If(last_word):
                m.d.sync += [line.eq(following), at.eq(following), reading.eq(~last_line)]

        # The word read: its beats leave from the bottom; short words come in at the top.
        arrives, held = Signal(READ), Signal(widest)
        pending = Signal(range(max(beats_of.values()) + 1))
        gathered = Signal(range(max(words_of.values()) + 1))
        m.d.sync += arrives.eq(Cat(granted, arrives))
        m.d.comb += [beats.w_data.eq(held), beats.w_en.eq(pending != 0)]
        with m.If(pending != 0):
            m.d.sync += [held.eq(held >> hw.bus), pending.eq(pending - 1)]
        with m.If(arrives[-1]), m.Switch(space):
            for of, port in ports.items():
                n, whole = words_of[of], Signal(name=f"whole_{of.name.lower()}")
                m.d.comb += whole.eq(gathered == n - 1)
                with m.Case(of):
                    if n == 1:
                        m.d.sync += [held.eq(port.data), pending.eq(beats_of[of])]
                    else:
                        m.d.sync += [
                            held[: hw.bus].eq(Cat(held[bits[of] : hw.bus], port.data)),
                            gathered.eq(Mux(whole, 0, gathered + 1)),
                            pending.eq(whole),
                        ]

    def ask(self, m: Module, begin: Value, beats, finish: Value) -> None:
        """Asks for a burst when its beats are there, and counts the lines acknowledged."""
        hw, i, request = self.hw, self.i.payload, self.writer.request
        shift, depth = ceil_log2(hw.bus_bytes), 2 * hw.burst
        m.submodules.ends = ends = fifo.SyncFIFO(width=2, depth=BURSTS)  # of a line, of all
        asking, taken = Signal(), Signal()
        free = Signal(init=1)  # a place for the burst's end: two bursts are three cycles apart
        m.d.sync += free.eq(ends.level != BURSTS)
        there = Signal(range(2 * depth + 1))  # beats in the queue that no burst has been asked for
        line, at = Signal(ADDRESS - shift), Signal(ADDRESS - shift)
        left, whole = Signal(24), Signal(24)  # beats of the line
        sizes = {Space.ACTS: hw.rows, Space.STREAM: hw.stream_bytes}
        with m.Switch(i.space):
            for space, size in sizes.items():
                with m.Case(space):
                    m.d.comb += whole.eq((i.words * size) >> shift)
        following = Signal.like(line)
        m.d.sync += following.eq(line + (i.to0 >> shift))
        size = Burst.of(m, hw, at, left, there, begin | taken)
        line_end = taken & size.final
        last_line = count_down(m, "last_line_asked", begin, line_end, i.lines)
        m.d.comb += [
            request.payload.beats.eq(size.beats),
            request.payload.address.eq(at << shift),
            request.valid.eq(asking & size.ready & free),
            taken.eq(request.valid & request.ready),
            ends.w_en.eq(taken),
            ends.w_data.eq(Cat(size.final, size.final & last_line)),
            ends.r_en.eq(self.writer.done),
            self.finished.eq(self.writer.done & ends.r_data[0]),
            finish.eq(self.writer.done & ends.r_data[1]),
        ]
        m.d.sync += there.eq(there + beats.w_en - Mux(taken, size.beats, 0))
        first = i.address >> shift
        with m.If(begin):
            m.d.sync += [asking.eq(1), left.eq(whole), line.eq(first), at.eq(first)]
        with m.Elif(line_end):
            m.d.sync += [
                asking.eq(~last_line),
                left.eq(whole),
                line.eq(following),
                at.eq(following),
            ]
        with m.Elif(taken):
            m.d.sync += [at.eq(at + size.beats), left.eq(left - size.beats)]


def at_first(m: Module, begin: Value, granted: Value, words: int, space: Space) -> Value | int:
    """Is the next word read the first one of its beat of `words` words?"""
    if words == 1:
        return 1
    count = Signal(range(words), name=f"word_of_beat_{space.name.lower()}")
    with m.If(begin):
        m.d.sync += count.eq(0)
    with m.Elif(granted):
        m.d.sync += count.eq(count + 1)
    return count == 0
