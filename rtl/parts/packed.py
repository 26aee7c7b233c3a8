"""Wide signals assigned as a whole.

An array assigned element by element becomes a Verilog process of partial assignments, of which
Icarus copies the whole signal for each one: a 16 x 16 array then simulates ten times slower.
"""

from __future__ import annotations

from collections.abc import Iterable

from amaranth.hdl import C, Cat, Value


def extend(value, width: int) -> Value:
    """The bits of `value`, extended by its own sign (or 0) or cut to `width`."""
    value = Value.cast(value)
    missing = width - len(value)
    if missing <= 0:
        return value[:width]
    return Cat(value, value[-1].replicate(missing) if value.shape().signed else C(0, missing))


def packed(values: Iterable, width: int) -> Value:
    """`values` side by side, `width` bits each, the first in the lowest bits."""
    return Cat(extend(v, width) for v in values)
