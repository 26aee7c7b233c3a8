"""The one cocotb test module: every case of a block, steady, stalled, and after a reset.

It runs inside the simulator, started by `sim.blocks.runner`. `sim/blocks/<block>.py` says which
cases there are; a `Bench` runs them: `sim.blocks.stream_bench` for all blocks between streams.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from fqvit_hw.blocks import BLOCKS, load

from .request import Request

STREAM_BENCH = "fqvit_hw.sim.blocks.stream_bench:StreamBench"


class Bench:
    """A device and its clock; `beats` counts what was compared, `cycles` all cycles simulated.

    dut: cocotb's handle; block: the module of the block's cases; mode: steady, stalls or reset;
    cases: all that will be run. A subclass says what idle inputs are and how a case is run.
    """

    def __init__(self, dut: Any, block: Any, request: Request, mode: str, cases: list):
        self.dut, self.request, self.mode, self.cases = dut, request, mode, cases
        self.config = block.CONFIGURATIONS[request.config]
        self.cycles = self.beats = 0

    def idle(self) -> None:
        """Nothing is offered and nothing is taken."""
        raise NotImplementedError

    async def run_case(self, number: int, case: Any) -> int:
        """Case number `number` of `cases`, in this mode; returns the cycles it took.

        Raises AssertionError or TimeoutError for what differs.
        """
        raise NotImplementedError

    async def start(self) -> None:
        Clock(self.dut.clk, 10, unit="ns").start()
        self.idle()
        await self.reset()

    async def reset(self) -> None:
        self.dut.rst.value = 1
        for _ in range(2):
            await self.tick()
        self.dut.rst.value = 0
        await self.tick()

    async def tick(self) -> None:
        await RisingEdge(self.dut.clk)
        self.cycles += 1


@cache
def chosen() -> tuple[Request, Any, list, dict[str, str]]:
    """Request, module and cases of the block, and why others are not run: once for all tests."""
    request = Request.from_environment()
    block = load(BLOCKS[request.block].bench)
    cases, left_out = [], {}
    for case in block.transactions(block.CONFIGURATIONS[request.config], request.size):
        if case.name == request.case if request.case else case.left_out is None:
            cases.append(case)
        elif not request.case:
            left_out[case.name] = case.left_out
    return request, block, cases, left_out


async def run_all(dut: Any, mode: str) -> None:
    request, block, cases, left_out = chosen()
    bench: Bench = load(getattr(block, "BENCH", STREAM_BENCH))(dut, block, request, mode, cases)
    await bench.start()
    done = []
    for number, case in enumerate(cases):
        try:
            cycles = await bench.run_case(number, case)
        except (AssertionError, TimeoutError) as error:
            raise AssertionError(f"{case.name}: {error}") from error
        done.append({"case": case.name, "cycles": cycles})
    if not done or not bench.beats:
        raise AssertionError("the bench compared nothing")
    line = {"mode": mode, "beats": bench.beats, "cycles": bench.cycles, "cases": done}
    with Path(request.results).open("a") as file:
        file.write(json.dumps(line | {"left_out": left_out}) + "\n")


@cocotb.test()
async def steady(dut: Any) -> None:
    """Every input offered and every output taken at once; exact cycle counts where stated."""
    await run_all(dut, "steady")


@cocotb.test()
async def stalls(dut: Any) -> None:
    """Random idle cycles on every input and random back pressure on every output."""
    await run_all(dut, "stalls")


@cocotb.test()
async def reset_in_mid_row(dut: Any) -> None:
    """Each case is cut off by a reset half way, then run whole."""
    await run_all(dut, "reset")
