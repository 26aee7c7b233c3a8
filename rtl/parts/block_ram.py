"""A memory in block RAM: one writer, one reader, which never meet."""

from __future__ import annotations

from amaranth.hdl import ShapeLike
from amaranth.lib.memory import Memory


def block_ram(shape: ShapeLike, depth: int) -> Memory:
    """A memory of which no word is read, and then used, in the cycle in which it is written.

    What such a read delivers is nobody's business: Yosys need not build the comparator, the
    registers and the multiplexer that would deliver the old word on every chip, and the flip-flops
    behind the read port can be the block RAM's own. The user owes the proof.
    """
    return Memory(shape=shape, depth=depth, init=[], attrs={"no_rw_check": 1})
