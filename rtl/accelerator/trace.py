"""What a unit has made, lane by lane, for test benches."""

from __future__ import annotations

from amaranth.lib import data, wiring
from amaranth.lib.wiring import Out


def trace(lanes: int, shape) -> wiring.Signature:
    """`data` of the lanes with a `mask` bit, if `valid`; a row is its beats in order."""
    return wiring.Signature(
        {"valid": Out(1), "mask": Out(lanes), "data": Out(data.ArrayLayout(shape, lanes))}
    )
