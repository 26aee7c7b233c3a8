"""The bench of a block between streams: transactions in, every beat out compared."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from amaranth.hdl import ShapeLike

from fqvit_hw.rtl.flow.verilog import KEYWORD

from .bench import Bench
from .request import Request
from .stream import Sink, Source, pack
from .transaction import Transaction

QUIET_CYCLES = 64  # watched after the last beat
TIMEOUT_CYCLES = 20_000  # without a single handshake
STALL = 0.4  # probability of an idle cycle, and of a busy one
Streams = Mapping[str, Sequence]


class StreamBench(Bench):
    """Sources and sinks on the streams of the device, stepped together."""

    def __init__(self, dut: Any, block: Any, request: Request, mode: str, cases: list[Transaction]):
        super().__init__(dut, block, request, mode, cases)
        self.component = block.component(self.config)  # for its port layouts
        self.stall = STALL if mode == "stalls" else 0.0
        self.rng = random.Random(f"{request.block} {mode}")
        self.flipped = cases[len(cases) // 2] if request.flip and cases else None

    def layout(self, name: str) -> ShapeLike:
        member = getattr(self.component, name)
        return getattr(member, "payload", member).shape()

    def port(self, name: str) -> Any:
        """A plain port; in Verilog a name that is a keyword has another end."""
        return self.dut[name if hasattr(self.dut, name) else f"{name}{KEYWORD}"]

    def idle(self) -> None:
        for name, member in self.component.signature.members.items():
            if member.is_signature:
                flow = "ready" if member.flow.name == "Out" else "valid"
                self.dut[f"{name}_{flow}"].value = 0

    async def run_case(self, number: int, case: Transaction) -> int:
        if self.mode == "reset":
            await self.load(case)
            await self.interrupt(case)
        if case.resets or self.mode == "reset":
            await self.reset()
        await self.load(case)
        cycles = await self.transfer(case)
        if self.mode == "steady" and case.cycles is not None and cycles != case.cycles:
            raise AssertionError(f"took {cycles} cycles, expected exactly {case.cycles}")
        return cycles

    async def load(self, t: Transaction) -> None:
        """Set the layer constants and write the tables."""
        for name, value in t.constants.items():
            self.port(name).value = pack(self.layout(name), value)
        for name, writes in t.tables.items():
            layout = self.layout(name)
            await self.stream(
                [Source(self.dut, name, [pack(layout, w) for w in writes], 0, self.rng)]
            )

    async def stream(self, streams: list, until: Callable[[], bool] | None = None) -> None:
        """Step the streams until all are done, or until `until()`."""
        for s in streams:
            s.start()
        moved = self.cycles
        while not (until or (lambda: all(s.done for s in streams)))():
            await self.tick()
            for s in streams:
                s.step(self.cycles)
                moved = max(moved, s.last_cycle or 0)
            if self.cycles - moved > TIMEOUT_CYCLES:
                state = ", ".join(
                    f"{type(s).__name__} at {getattr(s, 'sent', None) or getattr(s, 'received', 0)}"
                    for s in streams
                )
                raise AssertionError(f"no handshake in {TIMEOUT_CYCLES} cycles ({state})")

    def packed(self, streams: Streams) -> dict[str, list[int]]:
        return {
            name: [pack(self.layout(name), payload) for payload in payloads]
            for name, payloads in streams.items()
        }

    def streams(self, t: Transaction) -> tuple[list[Source], list[Sink]]:
        inputs, outputs = self.packed(t.inputs), self.packed(t.outputs)
        if t is self.flipped:
            first = next(iter(outputs.values()))
            first[len(first) // 2] ^= 1
        sources = [
            Source(self.dut, name, payloads, self.stall, self.rng)
            for name, payloads in inputs.items()
        ]
        sinks = [
            Sink(self.dut, name, self.layout(name), payloads, self.stall, self.rng)
            for name, payloads in outputs.items()
        ]
        return sources, sinks

    async def transfer(self, t: Transaction) -> int:
        """One transaction from first input to last output; returns the cycles it took."""
        sources, sinks = self.streams(t)
        await self.stream(sources + sinks)
        first = min(s.first_cycle for s in sources if s.first_cycle is not None)
        cycles = max(s.last_cycle for s in sinks if s.last_cycle is not None) - first
        quiet = self.cycles + QUIET_CYCLES
        await self.stream(sinks, until=lambda: self.cycles >= quiet)  # nothing may follow the last
        for s in sinks:
            s.ready.value = 0
        self.beats += sum(s.received for s in sinks)
        for name, value in t.flags.items():
            if int(self.port(name).value) != value:
                raise AssertionError(f"{name}: expected {value}, got {self.port(name).value}")
        return cycles

    async def interrupt(self, t: Transaction) -> None:
        """Reset in the middle of a row of input; nothing of the half transaction may be left."""
        sources, sinks = self.streams(t)
        for s in sinks:
            s.busy = 0.5
        longest = max(sources, key=lambda s: len(s.payloads))
        # one past the half: between two rows there would be little to forget
        cut = min(len(longest.payloads) // 2 + 1, len(longest.payloads))
        await self.stream(sources + sinks, until=lambda: longest.sent >= cut)
        for s in sources:
            s.valid.value = 0
        await self.reset()
        for s in sinks:
            if s.valid.value:
                raise AssertionError(f"{s.name}: still valid after reset")
