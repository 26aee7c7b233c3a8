"""Small pieces of arithmetic in Amaranth's simulator, one value a cycle."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import ClockDomain, Module, Signal, Value
from amaranth.sim import Simulator


def results(
    m: Module,
    inputs: Sequence[tuple[Signal, Sequence[int]]],
    output: Value,
    latency: int,
    enable: Signal | None = None,
) -> list[int]:
    """`output` for each of the inputs' values, `latency` cycles with `enable` after it was given;
    every other cycle is one without."""
    got = []
    count = len(inputs[0][1])
    shown = Signal(output.shape())
    m.d.comb += shown.eq(output)
    m.domains.sync = ClockDomain()  # there are pieces without a register

    async def bench(ctx):
        for n in range(count + latency):
            for value, numbers in inputs:
                ctx.set(value, numbers[min(n, count - 1)])
            if enable is not None:
                ctx.set(enable, 0)
                await ctx.tick()
                ctx.set(enable, 1)
            if n >= latency:
                got.append(ctx.get(shown))
            await ctx.tick()

    simulator = Simulator(m)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()
    return got
