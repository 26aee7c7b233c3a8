"""The one cocotb test module: runs the transactions of a block's bench, steady and stalled.

It runs inside the simulator. `sim.blocks.runner` starts it and says in the environment which block,
configuration and size; `sim/<block>.py` says what goes in and what must come out.
"""

from __future__ import annotations

import json
import os
import random
from importlib import import_module
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from .stream import Sink, Source, pack
from .transaction import Transaction

BLOCK = import_module(f"fqvit_hw.sim.blocks.{os.environ['FQVIT_BLOCK']}")
CONFIG = BLOCK.CONFIGURATIONS[os.environ["FQVIT_CONFIG"]]
SIZE = os.environ["FQVIT_SIZE"]
ONLY = os.environ.get("FQVIT_CASE")
FLIP = os.environ.get("FQVIT_FLIP") == "1"  # negative control: one wrong bit in the expectation
RESULTS = Path(os.environ["FQVIT_RESULTS"])

QUIET_CYCLES = 64  # watched after the last beat
TIMEOUT_CYCLES = 20_000  # without a single handshake


def transactions() -> list[Transaction]:
    every = BLOCK.transactions(CONFIG, SIZE)
    chosen = [t for t in every if (t.name == ONLY if ONLY else t.left_out is None)]
    if FLIP:
        chosen[len(chosen) // 2].flip_one_bit()
    return chosen


class Bench:
    """Device, clock and cycle counter; knows the port layouts from the Amaranth component."""

    def __init__(self, dut, mode: str):
        self.dut, self.mode, self.cycle = dut, mode, 0
        self.component = BLOCK.component(CONFIG)
        self.stall = 0.4 if mode == "stalls" else 0.0
        self.rng = random.Random(f"{BLOCK.__name__} {mode}")
        self.beats = 0

    def layout(self, name: str):
        member = getattr(self.component, name)
        return getattr(member, "payload", member).shape()

    async def start(self) -> None:
        Clock(self.dut.clk, 10, unit="ns").start()
        for name, member in self.component.signature.members.items():
            if member.is_signature:
                flow = "ready" if member.flow.name == "Out" else "valid"
                self.dut[f"{name}__{flow}"].value = 0
        await self.reset()

    async def reset(self) -> None:
        self.dut.rst.value = 1
        for _ in range(2):
            await self.tick()
        self.dut.rst.value = 0
        await self.tick()

    async def tick(self) -> None:
        await RisingEdge(self.dut.clk)
        self.cycle += 1

    async def load(self, t: Transaction) -> None:
        """Set the layer constants and write the tables."""
        for name, value in t.constants.items():
            self.dut[name].value = pack(self.layout(name), value)
        for name, writes in t.tables.items():
            layout = self.layout(name)
            await self.stream(
                [Source(self.dut, name, [pack(layout, w) for w in writes], 0, self.rng)]
            )

    async def stream(self, streams: list, until=None) -> None:
        """Step the streams until all are done, or until `until()`."""
        for s in streams:
            s.start()
        moved = self.cycle
        while not (until or (lambda: all(s.done for s in streams)))():
            await self.tick()
            for s in streams:
                s.step(self.cycle)
                moved = max(moved, s.last_cycle or 0)
            if self.cycle - moved > TIMEOUT_CYCLES:
                state = ", ".join(
                    f"{type(s).__name__} at {getattr(s, 'sent', None) or getattr(s, 'received', 0)}"
                    for s in streams
                )
                raise AssertionError(f"no handshake in {TIMEOUT_CYCLES} cycles ({state})")

    def streams(self, t: Transaction) -> tuple[list[Source], list[Sink]]:
        sources = [
            Source(self.dut, name, payloads, self.stall, self.rng)
            for name, payloads in t.packed(t.inputs, self.layout).items()
        ]
        sinks = [
            Sink(self.dut, name, self.layout(name), payloads, self.stall, self.rng)
            for name, payloads in t.packed(t.outputs, self.layout).items()
        ]
        return sources, sinks

    async def run(self, t: Transaction) -> int:
        """One transaction from first input to last output; returns the cycles it took."""
        sources, sinks = self.streams(t)
        await self.stream(sources + sinks)
        first = min(s.first_cycle for s in sources if s.payloads)
        cycles = max(s.last_cycle for s in sinks if s.expected) - first
        quiet = self.cycle + QUIET_CYCLES
        await self.stream(sinks, until=lambda: self.cycle >= quiet)  # nothing may follow the last
        for s in sinks:
            s.ready.value = 0
        self.beats += sum(s.received for s in sinks)
        for name, value in t.flags.items():
            if int(self.dut[name].value) != value:
                raise AssertionError(f"{name}: expected {value}, got {self.dut[name].value}")
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


async def run_all(dut, mode: str) -> None:
    bench = Bench(dut, mode)
    await bench.start()
    done = []
    for t in transactions():
        if mode == "reset":
            await bench.load(t)
            await bench.interrupt(t)
        if t.resets or mode == "reset":
            await bench.reset()
        await bench.load(t)
        try:
            cycles = await bench.run(t)
        except AssertionError as error:
            raise AssertionError(f"{t.name}: {error}") from None
        if mode == "steady" and t.cycles is not None and cycles != t.cycles:
            raise AssertionError(f"{t.name}: took {cycles} cycles, expected exactly {t.cycles}")
        done.append({"case": t.name, "cycles": cycles})
    if not bench.beats:
        raise AssertionError("the bench compared nothing")
    every = BLOCK.transactions(CONFIG, SIZE)
    left_out = {} if ONLY else {t.name: t.left_out for t in every if t.left_out}
    line = {"mode": mode, "beats": bench.beats, "cycles": bench.cycle, "cases": done}
    line["left_out"] = left_out
    with RESULTS.open("a") as file:
        file.write(json.dumps(line) + "\n")


@cocotb.test()
async def steady(dut):
    """Every input offered and every output taken at once; exact cycle counts where stated."""
    await run_all(dut, "steady")


@cocotb.test()
async def stalls(dut):
    """Random idle cycles on every input and random back pressure on every output."""
    await run_all(dut, "stalls")


@cocotb.test()
async def reset_in_mid_row(dut):
    """Each transaction is cut off by a reset half way, then run whole."""
    await run_all(dut, "reset")
