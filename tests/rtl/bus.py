"""Runs a memory-side unit in Amaranth's simulator against sim.axi, a cycle at a time."""

from __future__ import annotations

from amaranth.sim import Simulator

from sim.axi import Memory


def channels(axi, outputs: bool, names) -> dict:
    """The signals of `axi` that a model samples (`names`) or drives (all others)."""
    names = set(names)
    return {n: getattr(axi, n) for n in axi.signature.members if (n in names) == outputs}


async def memory_cycle(ctx, axi, memory: Memory) -> None:
    """One cycle of the channels that `axi` has, between two clock edges."""
    inputs = memory.drive()
    for name, signal in channels(axi, False, Memory.OUTPUTS).items():
        ctx.set(signal, inputs[name])
    memory.sample({n: ctx.get(s) for n, s in channels(axi, True, Memory.OUTPUTS).items()})


def simulate(dut, process, limit: int = 100_000) -> None:
    """Runs `process(ctx)` to its end. Raises TimeoutError after `limit` cycles."""
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    done = []

    async def run(ctx):
        await process(ctx)
        done.append(True)

    simulator.add_testbench(run)
    simulator.run_until(limit * 1e-6)
    if not done:
        raise TimeoutError(f"not finished after {limit} cycles")
