"""Streams weights and the epilogue's parameters from memory, ahead of the array."""

from __future__ import annotations

from itertools import pairwise

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, fifo, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from fqvit_hw.machine.hardware import Hardware
from fqvit_hw.machine.isa import Opcode
from fqvit_hw.machine.layouts import COLUMN

from ..parts.elastic import Elastic
from .ports import ADDRESS, instruction, memory_reader
from .tiles import weight_writer

JOB = ("k_tiles", "k_groups", "outer")  # what both machines need of a GEMM
INSTRUCTION = instruction(Opcode.GEMM, *JOB, "resident", "address")
RELEASE = 2  # cycles for which a released tile may still be read
JOBS = 2  # GEMMs whose beats may be requested before the oldest one is unpacked


def weight_ring(hw: Hardware) -> wiring.Signature:
    """The array's side: `loaded`: tiles loaded completely and not released; `release`: how many
    of the oldest ones it gives back. A tile may be read up to RELEASE cycles after its release.
    """
    return wiring.Signature({"loaded": In(range(hw.ring + 1)), "release": Out(range(hw.ring + 1))})


def param_reader(hw: Hardware) -> wiring.Signature:
    """The epilogue's side: parameters of the oldest column tile, E columns at a time.

    ready: they are all there; addr: which E columns; data: those of the last cycle's `addr`, 64
    bits a column as in memory; release: the column tile is done with (only while `ready`).
    """
    return wiring.Signature(
        {
            "ready": In(1),
            "addr": Out(range(max(hw.cols // hw.lanes, 2))),
            "data": In(COLUMN.width * hw.lanes),
            "release": Out(1),
        }
    )


class Weights(wiring.Component):
    """Takes GEMMs; those with `resident` = 1 are dropped, a cycle each.

    For each GEMM: outer times C parameters and k_groups * k_tiles tiles, in order. Two machines
    with a queue of beats between them: one requests, up to hw.prefetch beats ahead and also for the
    next GEMM (`JOBS`); the other unpacks, into parameter memory while it has room for a column
    tile, into tiles 0..hw.ring-1 while one of them is free.

    Parameters
    ----------
    hw : Hardware
        the bus and its queue, the array's size, the ring

    Members
    -------
    i : In, stream of GEMM
        the instructions
    memory : Out, memory_reader
        a client's side of the bus
    tiles : Out, weight_writer
        the tile memory; may be refused
    ring : In, weight_ring
        the other side: tiles loaded, tiles given back
    params : In, param_reader
        the other side: parameters of the oldest column tile

    Latency
    -------
    A beat that memory delivers in cycle t can be written in cycle t + 3, into a tile in t + 4;
    `loaded` and `ready` count what was written up to the last cycle.

    Throughput
    ----------
    A beat a cycle is unpacked. A burst every 3 cycles at most is asked for, plus a cycle for each
    group of tiles.

    Back-pressure
    -------------
    A burst waits until the queue has room for it; a beat while the parameter memory is full, all
    tiles of the ring are loaded or `tiles` refuses it.
    """

    def __init__(self, hw: Hardware):
        self.hw = hw
        super().__init__(
            {
                "i": In(stream.Signature(INSTRUCTION)),
                "memory": Out(memory_reader(hw)),
                "tiles": Out(weight_writer(hw)),
                "ring": In(weight_ring(hw)),
                "params": In(param_reader(hw)),
            }
        )

    @property
    def job(self) -> data.StructLayout:
        """What both machines need of a GEMM, each number less 1."""
        return instruction(Opcode.GEMM, *JOB)

    def elaborate(self, platform):
        m = Module()
        m.submodules.beats = beats = fifo.SyncFIFOBuffered(
            width=self.hw.bus,
            depth=self.hw.prefetch + 1,  # one of them at the output
        )
        m.submodules.jobs = jobs = fifo.SyncFIFO(width=self.job.size, depth=JOBS)
        m.d.comb += [beats.w_data.eq(self.memory.data), beats.w_en.eq(self.memory.valid)]
        self._request(m, jobs, beats)
        # the queue's memory answers late, and who unpacks decides late
        m.submodules.front = front = Elastic(self.hw.bus)
        m.d.comb += [
            front.i.valid.eq(beats.r_rdy),
            front.i.payload.eq(beats.r_data),
            beats.r_en.eq(front.i.ready),
        ]
        self._unpack(m, jobs, front.o)
        return m

    def _request(self, m: Module, jobs, beats) -> None:
        """`wanted` beats are known to be needed: a group of tiles is added whenever they are fewer
        than the next burst could take. So no product of sizes is ever computed.
        """
        hw, gemm, request = self.hw, self.i.payload, self.memory.request
        most_beats = hw.tile_beats << len(gemm.k_tiles)  # of a group
        group_beats = Signal(range(most_beats + 1))
        job = Signal(self.job)
        group, outer = Signal.like(job.k_groups), Signal.like(job.outer)
        group_last = Signal()
        m.d.comb += group_last.eq(group == job.k_groups)
        wanted = Signal(range(hw.burst + hw.param_beats + most_beats + 1))
        more = Signal()  # groups to come
        room = Signal(range(hw.prefetch + 1), init=hw.prefetch)  # of the queue, not yet asked for
        address = Signal(ADDRESS)
        index = (address >> (hw.bus_bytes.bit_length() - 1))[: hw.burst.bit_length() - 1]
        most = Signal(range(hw.burst + 1))  # beats to the next boundary
        m.d.comb += most.eq(hw.burst - index)
        burst, asked = Signal(range(hw.burst + 1)), Signal(range(hw.burst + 1))
        enough = Signal()  # room for the burst: it only grows while one asks
        m.d.sync += room.eq(room + (beats.r_rdy & beats.r_en) - asked)

        new = Cat((gemm[name] - 1)[: len(gemm[name])] for name in JOB)
        m.d.comb += jobs.w_data.eq(new)
        busy, asking = Signal(), Signal()  # with a GEMM; for a burst
        with m.If(~busy):
            m.d.comb += [
                self.i.ready.eq(gemm.resident | jobs.w_rdy),
                jobs.w_en.eq(self.i.valid & ~gemm.resident),
            ]
            m.d.sync += [
                job.eq(new),
                address.eq(gemm.address),
                group_beats.eq(gemm.k_tiles * hw.tile_beats),
                Cat(group, outer).eq(0),
                more.eq(1),
                busy.eq(jobs.w_en & jobs.w_rdy),
            ]
        with m.Elif(asking):
            m.d.comb += request.valid.eq(enough)
            with m.If(request.valid & request.ready):
                m.d.comb += asked.eq(burst)
                m.d.sync += [
                    wanted.eq(wanted - burst),
                    address.eq(address + burst * hw.bus_bytes),
                    asking.eq(0),
                ]
        with m.Elif(more & (wanted < most)):
            m.d.sync += [
                wanted.eq(wanted + group_beats + Mux(group == 0, hw.param_beats, 0)),
                group.eq(Mux(group_last, 0, group + 1)),
                outer.eq(outer + group_last),
                more.eq(~(group_last & (outer == job.outer))),
            ]
        with m.Else():
            m.d.sync += [
                burst.eq(Mux(wanted < most, wanted, most)),
                asking.eq(wanted != 0),
                busy.eq(wanted != 0),
            ]
        m.d.sync += enough.eq(asking & (asked == 0) & (burst <= room))
        m.d.comb += [request.payload.address.eq(address), request.payload.beats.eq(burst)]

    def _unpack(self, m: Module, jobs, beats) -> None:
        hw, tiles, ring, params = self.hw, self.tiles, self.ring, self.params
        job = Signal(self.job, name="unpacked")  # the queue's memory answers late
        m.d.sync += job.eq(jobs.r_data)
        k = Signal.like(job.k_tiles)
        group, outer = Signal.like(job.k_groups), Signal.like(job.outer)
        in_tiles = Signal()  # the parameters of this column tile are through
        param_beat = Signal(range(max(hw.param_beats, 2)))
        beat = Signal(range(max(hw.tile_beats, 2)))
        # the beat at hand ends a tile, a group of tiles, a column tile, the GEMM
        ends = {name: Signal(name=f"ends_{name}") for name in ("tile", "group", "column", "job")}
        newest = Signal(range(hw.ring))  # the tile being loaded
        occupied = Signal.like(ring.loaded)  # tiles that are loaded or may still be read
        full = Signal()  # all are; a release shows a cycle late

        param_step, tile_step = Signal(), Signal()
        # two registers away from the tiles, which are all over the chip
        written = data.StructLayout(
            {"tile": range(hw.ring), "beat": beat.shape(), "data": hw.bus, "ends": 1}
        )
        m.submodules.made = made = Elastic(written)
        i, o = made.i, made.o
        m.d.comb += [
            i.payload.tile.eq(newest),
            i.payload.beat.eq(beat),
            i.payload.data.eq(beats.payload),
            i.payload.ends.eq(ends["tile"]),
            i.valid.eq(in_tiles & beats.valid & ~full),
            tile_step.eq(i.valid & i.ready),
            beats.ready.eq(param_step | tile_step),
            tiles.valid.eq(o.valid),
            o.ready.eq(tiles.ready),
            tiles.tile.eq(o.payload.tile),
            tiles.beat.eq(o.payload.beat),
            tiles.data.eq(o.payload.data),
        ]
        param_end, tile_end, loaded = Signal(), Signal(), Signal()
        m.d.comb += [
            param_end.eq(param_step & (param_beat == hw.param_beats - 1)),
            tile_end.eq(tile_step & ends["tile"]),
            loaded.eq(o.valid & o.ready & o.payload.ends),
        ]
        with m.If(param_step):
            m.d.sync += param_beat.eq(Mux(param_end, 0, param_beat + 1))
        with m.If(param_end):
            m.d.sync += in_tiles.eq(1)
        with m.If(tile_step):
            m.d.sync += beat.eq(Mux(ends["tile"], 0, beat + 1))
        # is it the last tile of its group, of its column tile, of the GEMM?
        in_group = k == job.k_tiles
        in_column = in_group & (group == job.k_groups)
        in_job = in_column & (outer == job.outer)
        last_tile = {"tile": Const(1), "group": in_group, "column": in_column, "job": in_job}
        if hw.tile_beats == 1:
            m.d.comb += [ends[name].eq(last) for name, last in last_tile.items()]
        else:
            with m.If(tile_step):  # registers, of the next beat
                before = beat == hw.tile_beats - 2
                m.d.sync += [ends[name].eq(before & last) for name, last in last_tile.items()]
        m.d.comb += jobs.r_en.eq(tile_step & ends["job"])
        with m.If(tile_end):
            m.d.sync += newest.eq(Mux(newest == hw.ring - 1, 0, newest + 1))
            m.d.sync += k.eq(Mux(ends["group"], 0, k + 1))
        with m.If(tile_step & ends["group"]):
            m.d.sync += group.eq(Mux(ends["column"], 0, group + 1))
        with m.If(tile_step & ends["column"]):
            m.d.sync += [in_tiles.eq(0), outer.eq(Mux(ends["job"], 0, outer + 1))]
        released = [ring.release] + [Signal.like(ring.release) for _ in range(RELEASE - 1)]
        m.d.sync += [after.eq(before) for before, after in pairwise(released)]
        m.d.sync += [
            ring.loaded.eq(ring.loaded + loaded - ring.release),
            occupied.eq(occupied + tile_end - released[-1]),
            full.eq(Mux(tile_end, occupied >= hw.ring - 1, occupied == hw.ring)),
        ]

        # parameters: a memory word is a bus beat or E columns, whichever is more
        chunk = COLUMN.width * hw.lanes
        word = max(chunk, hw.bus)
        column_words = COLUMN.width * hw.cols // word
        m.submodules.params = ram = memory.Memory(
            shape=word, depth=hw.params * column_words, init=[]
        )
        write, read = ram.write_port(granularity=hw.bus), ram.read_port()
        held = Signal(range(hw.params + 1))  # column tiles loaded completely and not released
        some = Signal()  # more than none
        slot = Signal(range(hw.params))
        oldest = Signal.like(slot)
        piece = (word // hw.bus).bit_length() - 1  # bits of the address inside a word
        part = (word // chunk).bit_length() - 1
        within = Cat(param_beat[piece:][: column_words.bit_length() - 1], slot)
        m.d.comb += [
            param_step.eq(~in_tiles & beats.valid & (held != hw.params)),
            write.addr.eq(within),
            write.data.eq(beats.payload.replicate(word // hw.bus)),
            write.en.eq(Mux(param_step, 1 << param_beat[:piece] if piece else 1, 0)),
            params.ready.eq(some),
            read.addr.eq(Cat(params.addr[part:][: column_words.bit_length() - 1], oldest)),
        ]
        m.d.sync += [
            slot.eq(slot + param_end),
            oldest.eq(oldest + params.release),
            held.eq(held + param_end - params.release),
            some.eq(param_end | Mux(params.release, held > 1, held != 0)),
        ]
        if part:
            chosen = Signal(part)
            m.d.sync += chosen.eq(params.addr[:part])
            m.d.comb += params.data.eq(read.data.word_select(chosen, chunk))
        else:
            m.d.comb += params.data.eq(read.data)
