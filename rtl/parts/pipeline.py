"""The valid chain of a pipeline that stalls as a whole."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal


def pipeline(m: Module, i, o, stages: int) -> Signal:
    """Connect the handshakes of streams `i` and `o` through `stages` registers.

    Returns `advance`: every register of the pipeline moves in the cycles in which it is 1. A bubble
    at the output is enough to advance, so that nothing waits for a consumer without need; bubbles
    inside are kept, which makes the latency without back pressure exactly `stages`.
    """
    valid = Signal(stages)
    advance = Signal()
    m.d.comb += [
        o.valid.eq(valid[-1]),
        advance.eq(o.ready | ~valid[-1]),
        i.ready.eq(advance),
    ]
    with m.If(advance):
        m.d.sync += valid.eq(Cat(i.valid, valid))
    return advance


def saturate(value, fmt):
    """Clamp an Amaranth value to the IntFormat `fmt`, as `fqvit_hw.formats.saturate` does."""
    low = Mux(value < fmt.min, fmt.min, value)
    return Mux(value > fmt.max, fmt.max, low)
