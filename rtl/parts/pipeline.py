"""The valid chain of a pipeline that stalls as a whole."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value

from fqvit_hw.formats import IntFormat


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


def delayed(
    m: Module, advance: Value, value: Value, stages: int, name: str, reset: bool = False
) -> Value:
    """`value` after so many registers, which move in the cycles with `advance`.

    reset: they are 0 after a reset, as valid bits must be; others need none.
    """
    for n in range(stages):
        register = Signal.like(value, name=f"{name}_{n}", reset_less=not reset)
        with m.If(advance):
            m.d.sync += register.eq(value)
        value = register
    return value


def half_up(doubled: Value, addend: Value) -> Value:
    """((doubled + 1) >> 1) + addend, both signed: one adder, whose lowest bit makes the carry."""
    return (doubled + Cat(Const(1, 1), addend).as_signed()) >> 1


def saturate(value: Value, fmt: IntFormat) -> Value:
    """Clamp a signed value to the signed `fmt`, as `fqvit_hw.formats.saturate` does.

    What does not fit has a bit above `fmt` that is not its sign: gates see that, no subtraction.
    """
    sign, kept = value[-1], value[: fmt.width]
    if len(value) <= fmt.width:
        return value
    above = value[fmt.width - 1 :]
    limit = Cat((~sign).replicate(fmt.width - 1), sign)
    return Mux(above.any() & ~above.all(), limit, kept).as_signed()
