"""The accelerator's bus interfaces: an AXI4 master for memory, an AXI4-Lite slave for registers.

One ID, so answers come in order; the IDs of answers are not looked at. A signature holds the
members of one side without prefixes; the top gives them their names (m_axi_araddr, s_axil_awaddr,
...).
"""

from __future__ import annotations

from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from fqvit_hw.machine.hardware import BUS_ADDRESS, Hardware
from fqvit_hw.machine.isa import Error
from fqvit_hw.machine.registers import REGISTER_BITS

INCR = 1  # axburst
ID_BITS = 1  # the fewest that a port can have
CACHE = 0b0011  # axcache: normal memory, not cacheable, bufferable
ERRORS = len(Error)  # bits of a unit's `errors`: bit n is set in a cycle in which Error n happens
LITE_ADDRESS = 8
LITE_DATA = REGISTER_BITS


def address_channel(name: str) -> dict[str, wiring.Member]:
    """AR or AW, the master's side. Some members are the same in every burst, as no unit sets them:
    ID 0, no exclusive access, no priority, an unprivileged, secure access to data.
    """
    members = {
        "id": Out(ID_BITS),
        "addr": Out(BUS_ADDRESS),
        "len": Out(8),
        "size": Out(3),
        "burst": Out(2),
        "lock": Out(1),
        "cache": Out(4, init=CACHE),
        "prot": Out(3),
        "qos": Out(4),
        "valid": Out(1),
        "ready": In(1),
    }
    return {f"{name}{member}": flow for member, flow in members.items()}


def read_channels(hw: Hardware) -> wiring.Signature:
    """AR and R, the master's side."""
    return wiring.Signature(
        {
            **address_channel("ar"),
            "rid": In(ID_BITS),
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
            **address_channel("aw"),
            "wdata": Out(hw.bus),
            "wstrb": Out(hw.bus_bytes),
            "wlast": Out(1),
            "wvalid": Out(1),
            "wready": In(1),
            "bid": In(ID_BITS),
            "bresp": In(2),
            "bvalid": In(1),
            "bready": Out(1),
        }
    )


def axi_lite() -> wiring.Signature:
    """The slave's side; every access is permitted: the prots are not looked at."""
    return wiring.Signature(
        {
            "awaddr": In(LITE_ADDRESS),
            "awprot": In(3),
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
            "arprot": In(3),
            "arvalid": In(1),
            "arready": Out(1),
            "rdata": Out(LITE_DATA),
            "rresp": Out(2),
            "rvalid": Out(1),
            "rready": In(1),
        }
    )
