"""The accelerator's bus interfaces: an AXI4 master for memory, an AXI4-Lite slave for registers.

One ID, so answers come in order and ID signals are left out. A signature holds the members of one
side without prefixes; the top gives them their names (m_axi_araddr, s_axil_awaddr, ...).
"""

from __future__ import annotations

from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from fqvit_hw.machine.hardware import BUS_ADDRESS, Hardware
from fqvit_hw.machine.isa import Error
from fqvit_hw.machine.registers import REGISTER_BITS

INCR = 1  # axburst
ERRORS = len(Error)  # bits of a unit's `errors`: bit n is set in a cycle in which Error n happens
LITE_ADDRESS = 8
LITE_DATA = REGISTER_BITS


def read_channels(hw: Hardware) -> wiring.Signature:
    """AR and R, the master's side."""
    return wiring.Signature(
        {
            "araddr": Out(BUS_ADDRESS),
            "arlen": Out(8),
            "arsize": Out(3),
            "arburst": Out(2),
            "arvalid": Out(1),
            "arready": In(1),
            "rdata": In(hw.bus),
            "rresp": In(2),
            "rlast": In(1),
            "rvalid": In(1),
            "rready": Out(1),
        }
    )


def write_channels(hw: Hardware) -> wiring.Signature:
    """AW, W and B, the master's side."""
    return wiring.Signature(
        {
            "awaddr": Out(BUS_ADDRESS),
            "awlen": Out(8),
            "awsize": Out(3),
            "awburst": Out(2),
            "awvalid": Out(1),
            "awready": In(1),
            "wdata": Out(hw.bus),
            "wstrb": Out(hw.bus_bytes),
            "wlast": Out(1),
            "wvalid": Out(1),
            "wready": In(1),
            "bresp": In(2),
            "bvalid": In(1),
            "bready": Out(1),
        }
    )


def axi_lite() -> wiring.Signature:
    """The slave's side."""
    return wiring.Signature(
        {
            "awaddr": In(LITE_ADDRESS),
            "awvalid": In(1),
            "awready": Out(1),
            "wdata": In(LITE_DATA),
            "wstrb": In(LITE_DATA // 8),
            "wvalid": In(1),
            "wready": Out(1),
            "bresp": Out(2),
            "bvalid": Out(1),
            "bready": In(1),
            "araddr": In(LITE_ADDRESS),
            "arvalid": In(1),
            "arready": Out(1),
            "rdata": Out(LITE_DATA),
            "rresp": Out(2),
            "rvalid": Out(1),
            "rready": In(1),
        }
    )
