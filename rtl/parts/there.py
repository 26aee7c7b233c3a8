"""A queue that says from a register that something is in it."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib.fifo import SyncFIFO


def there(m: Module, queue: SyncFIFO) -> Signal:
    """Is something in the queue? In every cycle what its `r_rdy` says, which is a comparison of its
    level: too long in front of a handshake with much behind it."""
    some, written, taken = Signal(), Signal(), Signal()
    m.d.comb += [written.eq(queue.w_en & queue.w_rdy), taken.eq(queue.r_en & some)]
    m.d.sync += some.eq(written | Mux(taken, queue.level > 1, queue.level != 0))
    return some
