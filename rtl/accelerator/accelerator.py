"""The whole accelerator: pixels in, logits out. Nothing is computed here, everything is connected.

docs/accelerator.md has the picture; `fqvit_hw.machine.hardware` the sizes, `fqvit_hw.machine.isa`
the instructions.
"""

from __future__ import annotations

from amaranth.hdl import (
    Cat,
    ClockDomain,
    ClockSignal,
    DomainRenamer,
    Module,
    Mux,
    ResetSignal,
    Signal,
)
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from fqvit_hw.formats import INT8, INT16, IntFormat
from fqvit_hw.machine.hardware import Hardware
from fqvit_hw.machine.isa import Error
from fqvit_hw.machine.registers import Counter

from .axi import axi_lite, read_channels, write_channels
from .axi_read import AxiRead
from .axi_write import AxiWrite
from .clear import Clear
from .codes import Codes
from .control import WATCHDOG, Control
from .epilogue import EpilogueUnit
from .gemm import STATES, Gemm
from .load import Load
from .norm import Norm
from .ports import PROGRESS
from .scratchpad import Scratchpad
from .sequencer import Sequencer
from .store import Store
from .tiles import Tiles
from .weights import Weights

IDLE = int(Counter.IDLE)  # of the cycles in which the array has nothing to do


def flat(prefix: str, signature: wiring.Signature) -> dict:
    """The members of a bus under the names that they have outside: m_axi_araddr, ..."""
    return {f"{prefix}_{name}": member for name, member in signature.members.items()}


class Accelerator(wiring.Component):
    """The machine between memory and host: an AXI4 master, an AXI4-Lite slave, an interrupt.

    Parameters
    ----------
    hw : Hardware
        the sizes
    trace : bool
        adds outputs for test benches, lets the memories spoil what is read while it is
        written (`Scratchpad`, `Tiles`), and leaves in them what they hold at power-on (`Clear`)
    watchdog : int
        cycles without progress after which the machine stops with Error.STUCK

    Members
    -------
    m_axi_* : AXI4 master
        `read_channels` and `write_channels` of `rtl.accelerator.axi`
    s_axil_* : AXI4-Lite slave
        the registers (`fqvit_hw.machine.registers`)
    irq : Out, 1
        1 while an enabled bit of IRQ_STATUS is set
    trace_array_state : Out, 3
        of every cycle, with `trace`; an index of `gemm.STATES`
    trace_array_count : Out, 16
        the number of the GEMM that the array is at, with `trace`
    trace_epilogue_*, trace_codes_*, trace_norm_* : Out, traces
        what these units write, lane by lane, with `trace` (`rtl.accelerator.trace`)

    Errors
    ------
    The first error of a run stops the machine: STATUS shows its code
    (`fqvit_hw.machine.isa.Error`).
    """

    def __init__(self, hw: Hardware, trace: bool = False, watchdog: int = WATCHDOG):
        self.hw, self.trace, self.watchdog = hw, trace, watchdog
        self.epilogue, self.codes, self.norm = EpilogueUnit(hw), Codes(hw), Norm(hw)
        members = flat("m_axi", read_channels(hw)) | flat("m_axi", write_channels(hw))
        members |= flat("s_axil", axi_lite()) | {"irq": Out(1)}
        if trace:
            members |= {"trace_array_state": Out(3), "trace_array_count": Out(16)}
            for unit in ("epilogue", "codes", "norm"):
                for name, member in getattr(self, unit).trace.signature.members.items():
                    members[f"trace_{unit}_{name}"] = Out(member.shape)
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        hw = self.hw
        m.submodules.control = control = Control(hw, self.watchdog)
        m.submodules.read = read = AxiRead(hw, clients=3)
        m.submodules.write = write = AxiWrite(hw)
        for prefix, side in (("m_axi", read.axi), ("m_axi", write.axi), ("s_axil", control.axil)):
            self.expose(m, prefix, side)
        m.submodules.clear = clear = Clear(hw, skip=self.trace)
        m.d.comb += self.irq.eq(control.irq)

        # Everything else is in reset unless the machine runs, by this register alone: it leads to
        # more than a thousand others all over the chip.
        m.domains.units = ClockDomain(local=True)
        m.d.comb += [
            ClockSignal("units").eq(ClockSignal()),
            ResetSignal("units").eq(control.reset),
        ]
        m.submodules.units = DomainRenamer("units")(units := Module())
        units.submodules.sequencer = sequencer = Sequencer(hw)
        units.submodules.weights = weights = Weights(hw)
        units.submodules.array = array = Gemm(hw)
        units.submodules.epilogue = epilogue = self.epilogue
        units.submodules.codes = codes = self.codes
        units.submodules.norm = norm = self.norm
        units.submodules.load = load = Load(hw)
        units.submodules.store = store = Store(hw)
        for name in ("weights", "array", "epilogue", "norm", "load", "store"):
            unit = getattr(units.submodules, name)
            wiring.connect(units, getattr(sequencer, name), unit.i)

        self.memories(units, array, epilogue, codes, norm, load, store, weights, clear)
        self.datapath(units, weights, array, epilogue, codes, norm, load)
        progress = Signal(PROGRESS)
        finished = {
            "load": load.credit,
            "store": store.finished,
            "norm": norm.finished,
            "array": array.finished,
            "epilogue": epilogue.finished,
            "codes": codes.finished,
        }
        for name, n in finished.items():
            with units.If(n.any()):  # an enable, not an addend: what says so comes late
                units.d.sync += progress[name].eq(progress[name] + (n if len(n) > 1 else 1))
        for unit in (array, epilogue, norm, load, store):
            units.d.comb += unit.progress.eq(progress)

        for client, unit in enumerate((sequencer.reader, weights.memory, load.reader)):
            wiring.connect(units, unit, read.clients[client])
        wiring.connect(units, store.writer, write.client)
        busy = epilogue.busy | codes.busy | norm.busy  # the epilogue ends after the array
        m.d.comb += [
            sequencer.start.eq(control.start),
            sequencer.program.eq(control.program),
            sequencer.size.eq(control.size),
            sequencer.idle.eq(~busy & load.idle & store.idle),
            control.done.eq(sequencer.done),
            control.fetched.eq(sequencer.fetched),
            control.errors.eq(
                sequencer.errors | read.errors | write.errors | codes.error << Error.SOFTMAX
            ),
            control.array_state.eq(Mux(array.state == 0, IDLE, array.state)),
            control.read_idle.eq(read.idle & clear.done),  # the first run begins after it
            control.write_idle.eq(write.idle),
            control.read_beat.eq(read.beats.any()),
            control.weights_beat.eq(read.beats[1]),
            control.write_beat.eq(write.beat),
            control.moved.eq(
                Cat(
                    array.state == STATES.index("busy"),
                    read.beats.any(),
                    write.beat,
                    *(n.any() for n in finished.values()),
                )
            ),
        ]
        for bus in (read, write):
            m.d.comb += [
                bus.base.eq(control.base),
                bus.size.eq(control.size),
                bus.drain.eq(control.drain),
            ]
        if self.trace:
            m.d.comb += [
                self.trace_array_state.eq(array.state),
                self.trace_array_count.eq(array.count),
            ]
            for name in ("epilogue", "codes", "norm"):
                self.expose(m, f"trace_{name}", getattr(self, name).trace)
        return m

    def expose(self, m: Module, prefix: str, side) -> None:
        """Connect a submodule's bus to the ports that bear its members' names."""
        for name, member in side.signature.members.items():
            inner, outer = getattr(side, name), getattr(self, f"{prefix}_{name}")
            inner, outer = (value.as_value() if hasattr(value, "as_value") else value
                            for value in (inner, outer))  # fmt: skip
            m.d.comb += outer.eq(inner) if member.flow is Out else inner.eq(outer)

    def memories(self, m, array, epilogue, codes, norm, load, store, weights, clear) -> None:
        """Every memory and who reads and writes it; the first of a list is never refused."""
        hw = self.hw
        code = IntFormat(hw.code_bits, False)
        pads = {
            "acts": (hw.acts, hw.rows, INT8, 8, (array, store), (epilogue, norm, load, clear)),
            "stream": (
                *(hw.stream, hw.cols, INT16, 16),
                (epilogue, norm, store),
                (epilogue, load, clear),
            ),
            "code_memory": (hw.codes, hw.rows, code, hw.code_bits, (array,), (codes,)),
        }
        for name, (depth, lanes, fmt, granularity, readers, writers) in pads.items():
            ports = len(readers), len(writers)
            pad = Scratchpad(depth, lanes * fmt.width, granularity, *ports, poison=self.trace)
            m.submodules[name] = pad
            name = {"code_memory": "codes"}.get(name, name)
            for port, unit in zip(pad.readers, readers, strict=True):
                reads = f"{name}_read" if hasattr(unit, f"{name}_read") else name
                wiring.connect(m, getattr(unit, reads), port)
            for port, unit in zip(pad.writers, writers, strict=True):
                wiring.connect(m, getattr(unit, name), port)
        m.submodules.tiles = tiles = Tiles(hw, poison=self.trace)
        wiring.connect(m, epilogue.tiles, tiles.epilogue)
        wiring.connect(m, weights.tiles, tiles.weights)
        wiring.connect(m, clear.tiles, tiles.clear)
        wiring.connect(m, array.tile, tiles.array)

    def datapath(self, m, weights, array, epilogue, codes, norm, load) -> None:
        """What passes between the units themselves."""
        wiring.connect(m, array.ring, weights.ring)
        wiring.connect(m, array.o, epilogue.rows)
        wiring.connect(m, epilogue.job, codes.job)
        wiring.connect(m, epilogue.scores, codes.scores)
        wiring.connect(m, codes.reciprocals, epilogue.reciprocals)
        wiring.connect(m, load.norm_table, norm.params)
        wiring.connect(m, load.gelu_table, epilogue.table)
        wiring.connect(m, load.softmax_table, codes.table)
        m.d.comb += [
            epilogue.score_taken.eq(codes.score_taken),
            epilogue.params_ready.eq(weights.params.ready),
            epilogue.params_data.eq(weights.params.data),
            weights.params.addr.eq(epilogue.params_addr),
            weights.params.release.eq(epilogue.params_release),
        ]
