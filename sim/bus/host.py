"""The host's side of a run: memory and registers (sim.bus.axi), stepped a cycle at a time.

Simulator-independent: who drives the device says what a cycle is.
"""

from __future__ import annotations

from collections.abc import Callable

from fqvit_hw.machine.registers import Counter, Register, bit, offset

from .axi import Memory, Registers

START, SOFT_RESET = (bit(Register.CONTROL, name) for name in ("start", "soft_reset"))
BUSY, DONE, FAILED = (bit(Register.STATUS, name) for name in ("busy", "done", "error"))
DONE_IRQ, ERROR_IRQ = (bit(Register.IRQ_STATUS, name) for name in ("done", "error"))


class Host:
    """`cycle()`, of a subclass, steps device, memory and registers and keeps `irq` up to date."""

    def __init__(self, memory: Memory, registers: Registers):
        self.memory, self.registers, self.irq = memory, registers, 0

    async def cycle(self) -> None:
        raise NotImplementedError

    async def until(self, condition: Callable[[], object], limit: int = 20_000) -> None:
        for _ in range(limit):
            if condition():
                return
            await self.cycle()
        raise TimeoutError(f"nothing happened in {limit} cycles")

    async def write(self, register: int, value: int, strobe: int = 15, order="together") -> None:
        self.registers.write(register, value, strobe, order)
        await self.until(lambda: self.registers.idle)

    async def get(self, register: int) -> int:
        self.registers.read(register)
        await self.until(lambda: self.registers.idle)
        return self.registers.results[-1][1]

    async def prepare(self, program: int, size: int | None = None) -> None:
        """The memory map is the whole memory, or its first `size` bytes; `program`: its offset."""
        base = self.memory.base
        await self.write(Register.BASE, base & 0xFFFFFFFF)
        await self.write(Register.BASE_HIGH, base >> 32)
        await self.write(Register.SIZE, len(self.memory.data) if size is None else size)
        await self.write(Register.PROGRAM, program)
        await self.write(Register.IRQ_ENABLE, DONE_IRQ | ERROR_IRQ)

    async def run(self) -> int:
        """Starts and waits for the interrupt; returns STATUS and clears the interrupt."""
        await self.write(Register.CONTROL, START)
        await self.until(lambda: self.irq)
        pending = await self.get(Register.IRQ_STATUS)
        status = await self.get(Register.STATUS)
        assert not status & BUSY
        assert pending == (ERROR_IRQ if status & FAILED else DONE_IRQ)
        await self.write(Register.IRQ_STATUS, pending)
        await self.cycle()
        assert not self.irq
        return status

    async def soft_reset(self) -> None:
        await self.write(Register.CONTROL, SOFT_RESET)
        while await self.get(Register.STATUS) & BUSY:
            await self.cycle()

    async def counters(self) -> list[int]:
        """All of them; a Counter is an index."""
        return [
            await self.get(offset(counter)) | await self.get(offset(counter) + 4) << 32
            for counter in Counter
        ]
