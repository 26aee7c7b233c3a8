"""Drives the streams of a component in Amaranth's simulator, steady or stalled."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from amaranth.hdl import Value
from amaranth.sim import Simulator

from fqvit_hw.sim.blocks.stream import pack, unpack

QUIET_CYCLES = 16  # watched after the last output beat


@dataclass
class Record:
    """Of one stream: the beats that were transferred and the cycles of their handshakes."""

    beats: list = field(default_factory=list)
    cycles: list[int] = field(default_factory=list)


def payload_layout(member):
    return member.payload.shape()


def drive(
    dut,
    inputs: Mapping[str, Sequence],
    counts: Mapping[str, int],
    *,
    constants: Mapping[str, dict] | None = None,
    tables: Mapping[str, Sequence] | None = None,
    stall: float = 0.0,
    seed: int = 0,
    limit: int = 20_000,
) -> dict[str, Record]:
    """Feed `inputs` (stream name -> payloads, as sim.blocks.stream.pack takes them) to `dut`.

    counts: beats to expect on each output stream; constants: plain ports, set a cycle before the
    first beat; tables: write streams, fed before the inputs; stall: probability of an idle cycle on
    every input and of a busy one on every output. Returns a Record of every stream. Raises
    AssertionError for a missing beat within `limit` cycles, an extra one, and for a payload that
    changes before it is taken.
    """
    tables = tables or {}
    records = {name: Record() for name in [*inputs, *counts, *tables]}
    pending = set(tables) | ({"constants"} if constants else set())
    sim = Simulator(dut)
    sim.add_clock(1e-6)

    def source(name, payloads, wait: bool, idle: float):
        port, record = getattr(dut, name), records[name]
        rng = random.Random(f"{name} {seed}")

        async def testbench(ctx):
            cycle, sent = 0, 0
            while wait and pending:
                await ctx.tick()
                cycle += 1
            while sent < len(payloads):
                offering = ctx.get(port.valid) or rng.random() >= idle
                ctx.set(port.valid, int(offering))
                bits = pack(payload_layout(port), payloads[sent])
                ctx.set(port.payload.as_value(), bits)
                _, _, ready = await ctx.tick().sample(port.ready)
                if offering and ready:
                    record.beats.append(payloads[sent])
                    record.cycles.append(cycle)
                    sent += 1
                    ctx.set(port.valid, 0)
                cycle += 1
                assert cycle < limit, f"{name}: {sent} of {len(payloads)} beats were taken"
            pending.discard(name)

        return testbench

    def sink(name, count):
        port, record = getattr(dut, name), records[name]
        rng = random.Random(f"{name} {seed}")

        async def testbench(ctx):
            cycle, held, quiet = 0, None, 0
            while len(record.beats) < count or quiet < QUIET_CYCLES:
                taking = rng.random() >= stall
                ctx.set(port.ready, int(taking))
                _, _, valid, bits = await ctx.tick().sample(port.valid, port.payload.as_value())
                assert held in (None, bits if valid else None), f"{name}: a beat changed or fell"
                held = bits if valid and not taking else None
                if valid and taking:
                    assert len(record.beats) < count, f"{name}: a beat after the last"
                    record.beats.append(unpack(payload_layout(port), bits))
                    record.cycles.append(cycle)
                quiet = quiet + 1 if len(record.beats) == count else 0
                cycle += 1
                assert cycle < limit, f"{name}: {len(record.beats)} of {count} beats arrived"

        return testbench

    async def set_constants(ctx):
        for name, value in (constants or {}).items():
            port = getattr(dut, name)
            ctx.set(Value.cast(port), pack(port.shape(), value))
        await ctx.tick()
        pending.discard("constants")

    sim.add_testbench(set_constants)
    for name, payloads in tables.items():
        sim.add_testbench(source(name, payloads, wait=False, idle=0.0))
    for name, payloads in inputs.items():
        sim.add_testbench(source(name, payloads, wait=True, idle=stall))
    for name, count in counts.items():
        sim.add_testbench(sink(name, count))
    sim.run()
    return records
