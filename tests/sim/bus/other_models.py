"""Other people's bus models on the accelerator's ports; cocotb runs this inside the simulator.

cocotbext-axi's RAM is the memory, its AXI4-Lite master the host, each attached by the ports' prefix
alone. Both hold up their channels now and then.
"""

from __future__ import annotations

from itertools import cycle
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge, with_timeout
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRam

from fqvit_hw.machine.registers import REGISTERS, Register, bit
from fqvit_hw.sim.blocks.accelerator import program
from fqvit_hw.sim.networks.smallest import SMALLEST

IMAGES = 2
BASE = 0x1_2345_6700  # of the memory map on the bus
RAM_BYTES = 1 << 20  # the RAM looks at so many bits of an address
TIMEOUT_US = 500


def hold_up(ram: AxiRam, host: AxiLiteMaster) -> None:
    """No two channels with the same rhythm."""
    sides = (ram.read_if, ram.write_if, host.read_if, host.write_if)
    channels = [
        getattr(side, name)
        for side in sides
        for name in ("ar_channel", "r_channel", "aw_channel", "w_channel", "b_channel")
        if hasattr(side, name)
    ]
    assert len(channels) == 10
    for n, channel in enumerate(channels):
        channel.set_pause_generator(cycle([1] + [0] * (n % 5 + 1)))


@cocotb.test()
async def pixels_to_logits(dut: Any) -> None:
    compiled, images, logits = program(SMALLEST)
    ram = AxiRam(AxiBus.from_prefix(dut, "m_axi"), dut.clk, dut.rst, size=RAM_BYTES)
    host = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk, dut.rst)
    hold_up(ram, host)
    dut.rst.value = 1
    Clock(dut.clk, 10, unit="ns").start()
    await ClockCycles(dut.clk, 3)
    dut.rst.value = 0
    await ClockCycles(dut.clk, 1)

    at = BASE % RAM_BYTES
    settings = {
        Register.BASE: BASE & 0xFFFFFFFF,
        Register.BASE_HIGH: BASE >> 32,
        Register.SIZE: compiled.size,
        Register.PROGRAM: compiled.entry,
        Register.IRQ_ENABLE: bit(Register.IRQ_STATUS, "done") | bit(Register.IRQ_STATUS, "error"),
    }
    for image, expected in zip(images[:IMAGES], logits[:IMAGES], strict=True):
        ram.write(at, compiled.memory(image).tobytes())
        ram.write(at + compiled.output_address, b"\xa5" * compiled.output_bytes)
        for register, value in settings.items():
            await host.write_dword(register, value)
        await host.write_dword(Register.CONTROL, bit(Register.CONTROL, "start"))
        await with_timeout(RisingEdge(dut.irq), TIMEOUT_US, "us")
        status = REGISTERS[Register.STATUS].layout.values(await host.read_dword(Register.STATUS))
        assert (status["done"], status["error"], status["code"]) == (1, 0, 0)
        got = compiled.unpack(ram.read(at + compiled.output_address, compiled.output_bytes))
        assert list(got) == list(expected)
        await host.write_dword(Register.IRQ_STATUS, settings[Register.IRQ_ENABLE])
        assert not dut.irq.value
