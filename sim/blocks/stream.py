"""Payload packing, and stream drivers that move one clock cycle at a time.

`Source` and `Sink` are plain objects stepped by one loop (`sim.blocks.bench`): one Python wake-up a
cycle serves every stream of a block, which is what limits the speed of a bench.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

import numpy as np
from amaranth.hdl import Shape
from amaranth.lib import data


def pack(layout, value) -> int:
    """Pack nested dicts (structs) and sequences (arrays) of ints into the bits of `layout`.

    Raises OverflowError for a number that its field cannot hold, KeyError for a missing field.
    """
    if isinstance(layout, data.StructLayout):
        if set(value) != set(layout.members):
            raise KeyError(f"payload fields {sorted(value)}, expected {sorted(layout.members)}")
        fields = ((field, value[name]) for name, field in layout)
        return sum(pack(field.shape, v) << field.offset for field, v in fields)
    if isinstance(layout, data.ArrayLayout):
        if len(value) != layout.length:
            raise ValueError(f"payload array of {len(value)}, expected {layout.length}")
        width = Shape.cast(layout.elem_shape).width
        return sum(pack(layout.elem_shape, v) << (n * width) for n, v in enumerate(value))
    shape, value = Shape.cast(layout), int(value)
    low, high = (-(1 << (shape.width - 1)), 1 << (shape.width - 1)) if shape.signed else (
        0, 1 << shape.width)  # fmt: skip
    if not low <= value < high:
        raise OverflowError(f"{value} does not fit {shape!r}")
    return value & ((1 << shape.width) - 1)


def unpack(layout, bits: int):
    """The inverse of `pack`, for messages."""
    if isinstance(layout, data.StructLayout):
        return {name: unpack(field.shape, bits >> field.offset) for name, field in layout}
    if isinstance(layout, data.ArrayLayout):
        width = Shape.cast(layout.elem_shape).width
        return [unpack(layout.elem_shape, bits >> (n * width)) for n in range(layout.length)]
    shape = Shape.cast(layout)
    value = bits & ((1 << shape.width) - 1)
    return value - (1 << shape.width) if shape.signed and value >> (shape.width - 1) else value


def row_beats(rows, lanes: int, fill: int = 0) -> np.ndarray:
    """rows: (N, length) -> beats (N, ceil(length / lanes), lanes), tails filled with `fill`."""
    n, length = rows.shape
    beats = -(-length // lanes)
    padded = np.full((n, beats * lanes), fill, rows.dtype)
    padded[:, :length] = rows
    return padded.reshape(n, beats, lanes)  # (N, beats * lanes) -> (N, beats, lanes)


class Source:
    """Offers payloads on stream `name` of the device; idles at random with probability `idle`."""

    def __init__(self, dut, name: str, payloads: Sequence[int], idle: float, rng: random.Random):
        self.valid, self.ready = dut[f"{name}_valid"], dut[f"{name}_ready"]
        self.payload = dut[f"{name}_payload"]
        self.payloads, self.idle, self.rng = payloads, idle, rng
        self.sent = 0
        self.first_cycle: int | None = None  # of the first handshake
        self.last_cycle: int | None = None
        self.offering = False

    @property
    def done(self) -> bool:
        return self.sent == len(self.payloads)

    def start(self) -> None:
        self._offer()

    def step(self, cycle: int) -> None:
        """Called after a rising edge, with the values from before it."""
        if self.offering:
            if not self.ready.value:
                return  # a payload stays until it is taken
            self.first_cycle = cycle if self.first_cycle is None else self.first_cycle
            self.last_cycle = cycle
            self.sent += 1
        self._offer()

    def _offer(self) -> None:
        self.offering = not self.done and self.rng.random() >= self.idle
        self.valid.value = int(self.offering)
        if self.offering:
            self.payload.value = self.payloads[self.sent]


class Sink:
    """Takes payloads from stream `name` and compares each beat with `expected`, bit for bit.

    Refuses at random with probability `busy`. Checks the stream rules too: what is offered and not
    taken must stay.
    """

    def __init__(self, dut, name, layout, expected: Sequence[int], busy: float, rng: random.Random):
        self.valid, self.ready = dut[f"{name}_valid"], dut[f"{name}_ready"]
        self.payload = dut[f"{name}_payload"]
        self.name, self.layout, self.expected, self.busy, self.rng = (
            name,
            layout,
            expected,
            busy,
            rng,
        )
        self.received = 0
        self.first_cycle: int | None = None
        self.last_cycle: int | None = None
        self.taking = False
        self.pending: int | None = None

    @property
    def done(self) -> bool:
        return self.received == len(self.expected)

    def start(self) -> None:
        self._take()

    def step(self, cycle: int) -> None:
        if self.valid.value:
            got = int(self.payload.value)
            if self.pending not in (None, got):
                raise AssertionError(f"{self.name}: payload changed while valid and not ready")
            self.pending = None if self.taking else got
            if self.taking:
                self._compare(got)
                self.first_cycle = cycle if self.first_cycle is None else self.first_cycle
                self.last_cycle = cycle
                self.received += 1
        elif self.pending is not None:
            raise AssertionError(f"{self.name}: valid fell before ready rose")
        self._take()

    def _take(self) -> None:
        self.taking = self.rng.random() >= self.busy
        self.ready.value = int(self.taking)

    def _compare(self, got: int) -> None:
        if self.done:
            raise AssertionError(
                f"{self.name}: beat {self.received} after the last: {unpack(self.layout, got)}"
            )
        if got != self.expected[self.received]:
            where = ", ".join(
                difference(
                    unpack(self.layout, self.expected[self.received]), unpack(self.layout, got)
                )
            )
            raise AssertionError(f"{self.name}: beat {self.received} differs: {where}")


def difference(expected, got, path: str = "") -> Iterable[str]:
    """Name the fields in which two unpacked payloads differ."""
    if isinstance(expected, dict):
        for name in expected:
            yield from difference(expected[name], got[name], f"{path}.{name}" if path else name)
    elif isinstance(expected, list):
        for n, (e, g) in enumerate(zip(expected, got, strict=True)):
            yield from difference(e, g, f"{path}[{n}]")
    elif expected != got:
        yield f"{path} expected {expected}, got {got}"
