"""rtl.accelerator.control by itself: what two things at once may not do to each other."""

from __future__ import annotations

import random

import pytest

from fqvit_hw.machine.hardware import TINY
from fqvit_hw.machine.isa import Error
from fqvit_hw.machine.registers import Register, shape
from fqvit_hw.rtl.accelerator.control import Control
from fqvit_hw.sim.bus.host import BUSY, DONE, DONE_IRQ, ERROR_IRQ, FAILED, SOFT_RESET, START
from tests.rtl.bus import simulate

WATCHDOG = 30


class Overlapping:
    """An AXI4-Lite master that offers every channel's next payload without waiting for answers.

    Each channel waits at random, its answers too. `writes`, `reads`: how many were answered;
    `values`: of the reads, in order.
    """

    def __init__(self, ctx, control: Control, idle=(0.0, 0.0), seed: int = 0):
        self.ctx, self.axil, self.rng = ctx, control.axil, random.Random(seed)
        self.idle = idle  # probability that a request, that an answer waits
        self.aw, self.w, self.ar = [], [], []
        self.writes, self.values = 0, []

    def write(self, register: int, value: int) -> None:
        self.aw.append(register)
        self.w.append(value)

    def read(self, register: int) -> None:
        self.ar.append(register)

    async def cycle(self) -> None:
        ctx, axil = self.ctx, self.axil
        requests, answers = self.idle
        for queue, name, payload in ((self.aw, "aw", "addr"), (self.w, "w", "data"),
                                     (self.ar, "ar", "addr")):  # fmt: skip
            valid = getattr(axil, f"{name}valid")
            offer = bool(queue) and (ctx.get(valid) or self.rng.random() >= requests)
            ctx.set(valid, int(offer))
            if offer:
                ctx.set(getattr(axil, f"{name}{payload}"), queue[0])
        ctx.set(axil.wstrb, 15)
        for name in ("b", "r"):
            ctx.set(getattr(axil, f"{name}ready"), int(self.rng.random() >= answers))
        taken = [
            name for name in ("aw", "w", "ar")
            if ctx.get(getattr(axil, f"{name}valid")) and ctx.get(getattr(axil, f"{name}ready"))
        ]  # fmt: skip
        if ctx.get(axil.bvalid) and ctx.get(axil.bready):
            self.writes += 1
        if ctx.get(axil.rvalid) and ctx.get(axil.rready):
            self.values.append(ctx.get(axil.rdata))
        await ctx.tick()
        for name in taken:
            getattr(self, name).pop(0)
            ctx.set(getattr(axil, f"{name}valid"), 0)

    async def until(self, condition, limit: int = 500) -> None:
        for _ in range(limit):
            if condition():
                return
            await self.cycle()
        raise AssertionError(f"{self.writes} writes, {len(self.values)} reads were answered")

    async def set(self, register: int, value: int) -> None:
        want = self.writes + len(self.w) + 1
        self.write(register, value)
        await self.until(lambda: self.writes == want)

    async def get(self, register: int) -> int:
        want = len(self.values) + len(self.ar) + 1
        self.read(register)
        await self.until(lambda: len(self.values) == want)
        return self.values[-1]


async def started(ctx, control: Control) -> Overlapping:
    """A machine that runs, on a bus that is idle."""
    host = Overlapping(ctx, control)
    ctx.set(control.read_idle, 1)
    ctx.set(control.write_idle, 1)
    await host.set(Register.IRQ_ENABLE, DONE_IRQ | ERROR_IRQ)
    await host.set(Register.CONTROL, START)
    await host.until(lambda: not ctx.get(control.reset))
    return host


def run(bench) -> None:
    control = Control(TINY, WATCHDOG)

    async def process(ctx):
        await bench(ctx, control)

    simulate(control, process)


@pytest.mark.parametrize("idle", [(0.0, 0.0), (0.0, 0.8), (0.5, 0.3)])
def test_every_access_is_answered(idle):
    """Requests come before the answers of those before them are taken."""

    async def bench(ctx, control):
        host = Overlapping(ctx, control, idle)
        values = [0x1000 * n + 0x123 for n in range(12)]
        for value in values:
            host.write(Register.SIZE, value)
            host.read(Register.SHAPE)
            host.read(Register.IRQ_STATUS)
        await host.until(lambda: host.writes == len(values) and len(host.values) == 24)
        assert host.values == [shape(TINY), 0] * 12
        host.idle = (0.0, 0.0)
        for _ in range(20):
            await host.cycle()
        assert host.writes == len(values) and len(host.values) == 24  # nothing more comes
        assert await host.get(Register.SIZE) == values[-1]

    run(bench)


def test_writes_keep_their_order():
    """The next write takes effect only after the answer of the one before it was taken."""

    async def bench(ctx, control):
        host = Overlapping(ctx, control, idle=(0.0, 1.0))
        host.write(Register.SIZE, 1)
        host.write(Register.SIZE, 2)
        for _ in range(10):
            await host.cycle()
        assert ctx.get(control.size) == 1 and ctx.get(control.axil.bvalid)
        host.idle = (0.0, 0.0)
        await host.until(lambda: host.writes == 2)
        assert ctx.get(control.size) == 2

    run(bench)


@pytest.mark.parametrize("reset", [False, True])
def test_a_soft_reset_while_an_error_drains(reset):
    """It takes back the error: no interrupt, no code."""

    async def bench(ctx, control):
        host = await started(ctx, control)
        ctx.set(control.read_idle, 0)
        ctx.set(control.errors, 1 << Error.READ)
        await host.cycle()
        ctx.set(control.errors, 0)
        assert await host.get(Register.STATUS) == BUSY and ctx.get(control.drain)
        if reset:
            await host.set(Register.CONTROL, SOFT_RESET)
            assert await host.get(Register.STATUS) == BUSY
        ctx.set(control.read_idle, 1)
        await host.until(lambda: not ctx.get(control.busy))
        await host.cycle()
        assert ctx.get(control.irq) == (not reset)
        assert await host.get(Register.STATUS) == (0 if reset else FAILED | Error.READ << 8)
        assert await host.get(Register.IRQ_STATUS) == (0 if reset else ERROR_IRQ)

    run(bench)


@pytest.mark.parametrize("after", range(7))
def test_an_interrupt_in_the_cycle_that_clears_it(after):
    """Set and cleared at once, it is set: else the host would wait for ever."""

    async def bench(ctx, control):
        host = await started(ctx, control)
        host.write(Register.IRQ_STATUS, DONE_IRQ)
        cleared = 1  # AW and W are taken in cycle 0, the register is written in cycle 1
        for cycle in range(10):
            ctx.set(control.done, int(cycle == after))
            await host.cycle()
        assert not host.aw and not host.w
        pending = DONE_IRQ if after >= cleared else 0
        assert await host.get(Register.IRQ_STATUS) == pending
        assert ctx.get(control.irq) == (pending != 0)
        assert await host.get(Register.STATUS) == DONE

    run(bench)


@pytest.mark.parametrize("side", ["read_idle", "write_idle"])
def test_a_slow_memory_is_not_stuck(side):
    """The watchdog counts only cycles in which memory owes nothing."""

    async def bench(ctx, control):
        host = await started(ctx, control)
        ctx.set(getattr(control, side), 0)
        for _ in range(4 * WATCHDOG):
            await host.cycle()
        assert await host.get(Register.STATUS) == BUSY
        ctx.set(getattr(control, side), 1)
        for _ in range(WATCHDOG - 4):
            await host.cycle()
        assert await host.get(Register.STATUS) == BUSY
        ctx.set(control.moved, 1)
        await host.cycle()
        ctx.set(control.moved, 0)
        for _ in range(WATCHDOG - 4):
            await host.cycle()
        assert await host.get(Register.STATUS) == BUSY
        for _ in range(8):
            await host.cycle()
        assert await host.get(Register.STATUS) == FAILED | Error.STUCK << 8

    run(bench)
