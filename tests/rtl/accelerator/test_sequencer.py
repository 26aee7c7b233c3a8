"""rtl.accelerator.sequencer by itself: how far ahead it reads."""

from __future__ import annotations

import pytest

from fqvit_hw.cycles.timing import SHOWN
from fqvit_hw.machine.hardware import BASE, BURST_BYTES, TINY
from fqvit_hw.machine.isa import INSTRUCTION_BYTES, Instruction, Opcode
from fqvit_hw.rtl.accelerator.sequencer import OUTSTANDING, UNITS, Sequencer
from tests.rtl.bus import simulate


@pytest.mark.parametrize("hw", [TINY, BASE], ids=lambda hw: hw.name)
@pytest.mark.parametrize("pause", [0, 5])
def test_bursts_have_room(hw, pause):
    """A burst is asked for when all its beats have a place, not one beat sooner: each beat comes
    alone, `pause` cycles apart, so that every number of free places is there for a while.
    """
    dut = Sequencer(hw)
    program = [Instruction(Opcode.NORM, {"rows": n}) for n in range(1, 20)]
    code = b"".join(i.encode() for i in program)
    beats = [code[n : n + hw.bus_bytes] for n in range(0, len(code), hw.bus_bytes)]
    depth = OUTSTANDING * hw.burst

    async def process(ctx):
        ctx.set(dut.size, 1 << 20)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        for name in UNITS:
            ctx.set(getattr(dut, name).ready, 1)
        ctx.set(dut.reader.request.ready, 1)
        asked, sent, seen = 0, 0, []
        for cycle in range((1 + pause) * len(beats)):
            come = sent < len(beats) and sent < asked and cycle % (1 + pause) == 0
            ctx.set(dut.reader.valid, int(come))
            if come:
                ctx.set(dut.reader.data, int.from_bytes(beats[sent], "little"))
            asks = ctx.get(dut.reader.request.valid)
            if ctx.get(dut.norm.valid):
                seen.append(ctx.get(dut.norm.payload.rows))
            await ctx.tick()
            sent += come
            if asks:
                asked += hw.burst
                assert asked - sent <= depth, f"{asked} beats asked for when {sent} had come"
        per_burst = BURST_BYTES // INSTRUCTION_BYTES
        assert seen == list(range(1, len(seen) + 1)) and len(seen) > 2 * per_burst

    simulate(dut, process)


@pytest.mark.parametrize("hw", [TINY, BASE], ids=lambda hw: hw.name)
def test_instructions_wait_before_a_unit(hw):
    """As many as the cycle model says; the next one is decoded and stays."""
    dut = Sequencer(hw)
    program = [Instruction(Opcode.NORM, {"rows": n}) for n in range(1, 20)]
    code = b"".join(i.encode() for i in program)
    beats = [code[n : n + hw.bus_bytes] for n in range(0, len(code), hw.bus_bytes)]

    async def process(ctx):
        ctx.set(dut.size, len(code))
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        ctx.set(dut.reader.request.ready, 1)
        ctx.set(dut.reader.valid, 1)
        for beat in beats[: OUTSTANDING * hw.burst]:
            ctx.set(dut.reader.data, int.from_bytes(beat, "little"))
            await ctx.tick()
        ctx.set(dut.reader.valid, 0)
        await ctx.tick().repeat(len(beats))
        assert ctx.get(dut.fetched) == hw.queue + SHOWN + 1

    simulate(dut, process)
