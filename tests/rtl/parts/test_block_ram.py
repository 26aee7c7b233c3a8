"""rtl.parts.block_ram: the attribute that Yosys looks for is in the Verilog."""

from __future__ import annotations

from amaranth.back import verilog
from amaranth.hdl import Module

from fqvit_hw.rtl.parts.block_ram import block_ram


def test_yosys_is_told():
    m = Module()
    m.submodules.memory = ram = block_ram(8, 16)
    write, read = ram.write_port(), ram.read_port()
    ports = [write.addr, write.data, write.en, read.addr, read.data, read.en]
    assert "no_rw_check" in verilog.convert(m, ports=ports)
