"""Runs a memory-side unit in Amaranth's simulator against sim.bus.axi, a cycle at a time."""

from __future__ import annotations

from amaranth.lib.wiring import In
from amaranth.sim import Simulator

from fqvit_hw.sim.bus.axi import Memory


def memory_cycle(ctx, sides, memory: Memory) -> None:
    """One cycle, between two clock edges, of the AXI interfaces that share the memory."""
    inputs, outputs = memory.drive(), {}
    for axi in sides:
        for name, member in axi.signature.members.items():
            if member.flow is In:
                ctx.set(getattr(axi, name), inputs[name])
    for axi in sides:
        for name in axi.signature.members:
            if name in Memory.OUTPUTS:
                outputs[name] = ctx.get(getattr(axi, name))
    memory.sample(outputs)


def simulate(dut, process, limit: int = 100_000) -> None:
    """Runs `process(ctx)` to its end. Raises TimeoutError after `limit` cycles."""
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(process)
    for _ in range(4 * limit):
        if not simulator.advance():
            return
    raise TimeoutError(f"not finished after {limit} cycles")
