"""sim.blocks.stream: packing, and what Source and Sink notice, against a made-up device."""

from __future__ import annotations

import random
from types import SimpleNamespace

import numpy as np
import pytest
from amaranth.hdl import signed, unsigned
from amaranth.lib import data

from fqvit_hw.sim.blocks.stream import Sink, Source, difference, pack, row_beats, unpack

LANE = data.StructLayout({"acc": signed(9), "shift": unsigned(3)})
LAYOUT = data.StructLayout(
    {"lanes": data.ArrayLayout(LANE, 3), "last": 1, "codes": data.ArrayLayout(signed(4), 2)}
)


def payload(rng) -> dict:
    return {
        "lanes": [
            {"acc": int(rng.integers(-256, 256)), "shift": int(rng.integers(8))} for _ in range(3)
        ],
        "last": int(rng.integers(2)),
        "codes": rng.integers(-8, 8, 2).tolist(),
    }


def test_round_trip():
    rng = np.random.default_rng(0)
    for _ in range(200):
        value = payload(rng)
        bits = pack(LAYOUT, value)
        assert 0 <= bits < 1 << LAYOUT.size
        assert unpack(LAYOUT, bits) == value


def test_bits_are_amaranth_s():
    """The packing is that of Amaranth's own constants."""
    rng = np.random.default_rng(1)
    for _ in range(20):
        value = payload(rng)
        assert pack(LAYOUT, value) == LAYOUT.const(value).as_bits()


@pytest.mark.parametrize("value", range(-8, 8))
def test_every_signed_number(value):
    bits = pack(signed(4), value)
    assert bits == value % 16 and unpack(signed(4), bits) == value


@pytest.mark.parametrize(
    ("shape", "value"),
    [(signed(4), 8), (signed(4), -9), (unsigned(4), 16), (unsigned(4), -1), (1, 2)],
)
def test_overflow(shape, value):
    with pytest.raises(OverflowError, match=f"{value} does not fit"):
        pack(shape, value)


def test_wrong_fields():
    value = payload(np.random.default_rng(2))
    with pytest.raises(KeyError, match="expected"):
        pack(LAYOUT, {name: value[name] for name in ("lanes", "last")})
    with pytest.raises(KeyError, match="expected"):
        pack(LAYOUT, value | {"more": 0})
    with pytest.raises(ValueError, match="array of 3, expected 2"):
        pack(LAYOUT, value | {"codes": [0, 0, 0]})


def test_row_beats():
    rows = np.arange(1, 11).reshape(2, 5)
    beats = row_beats(rows, 3, fill=-1)
    assert beats.tolist() == [[[1, 2, 3], [4, 5, -1]], [[6, 7, 8], [9, 10, -1]]]
    assert row_beats(rows, 5).shape == (2, 1, 5)


def test_difference_names_the_fields():
    value = payload(np.random.default_rng(3))
    other = unpack(LAYOUT, pack(LAYOUT, value))
    other["lanes"][2]["shift"] ^= 1
    other["last"] ^= 1
    found = list(difference(value, other))
    assert [line.split()[0] for line in found] == ["lanes[2].shift", "last"]


class Handle(SimpleNamespace):
    value = 0


class Device(dict):
    """Signals by name, as a cocotb handle gives them."""

    def __missing__(self, name):
        self[name] = Handle()
        return self[name]


def sink(expected, busy: float = 0.0) -> tuple[Device, Sink]:
    device = Device()
    s = Sink(device, "o", signed(8), expected, busy, random.Random(0))
    s.start()
    return device, s


def offer(device, s: Sink, valid: int, bits: int, taking: bool, cycle: int = 0) -> None:
    """One cycle in which the device offers `bits`."""
    s.taking = taking
    device["o_valid"].value, device["o_payload"].value = valid, bits
    s.step(cycle)


def test_sink_takes_what_it_expects():
    device, s = sink([5, 6])
    offer(device, s, 0, 99, True, 1)
    offer(device, s, 1, 5, False, 2)
    offer(device, s, 1, 5, True, 3)
    offer(device, s, 1, 6, True, 4)
    assert s.done and (s.received, s.first_cycle, s.last_cycle) == (2, 3, 4)


def test_sink_sees_a_wrong_beat():
    device, s = sink([5, 0xFF])
    offer(device, s, 1, 5, True)
    with pytest.raises(AssertionError, match=r"o: beat 1 differs: .*expected -1, got 127"):
        offer(device, s, 1, 0x7F, True)


def test_sink_sees_an_extra_beat():
    device, s = sink([5])
    offer(device, s, 1, 5, True)
    with pytest.raises(AssertionError, match="beat 1 after the last: 7"):
        offer(device, s, 1, 7, True)


def test_sink_sees_a_changed_payload():
    device, s = sink([5])
    offer(device, s, 1, 4, False)
    with pytest.raises(AssertionError, match="payload changed while valid and not ready"):
        offer(device, s, 1, 5, True)


def test_sink_sees_a_withdrawn_beat():
    device, s = sink([5])
    offer(device, s, 1, 5, False)
    with pytest.raises(AssertionError, match="valid fell before ready rose"):
        offer(device, s, 0, 5, True)


@pytest.mark.parametrize(("busy", "ready"), [(0.0, {1}), (0.5, {0, 1}), (1.0, {0})])
def test_sink_is_ready_at_random(busy, ready):
    device, s = sink([], busy)
    seen = set()
    for _ in range(50):
        s.step(0)
        seen.add(device["o_ready"].value)
    assert seen == ready


def test_source_holds_its_payload():
    device = Device()
    s = Source(device, "i", [3, 4], 0.0, random.Random(0))
    s.start()
    for cycle, ready in enumerate((0, 0, 1)):
        assert (device["i_valid"].value, device["i_payload"].value) == (1, 3)
        device["i_ready"].value = ready
        s.step(cycle)
    assert (device["i_valid"].value, device["i_payload"].value) == (1, 4)
    s.step(3)
    assert s.done and device["i_valid"].value == 0
    assert (s.sent, s.first_cycle, s.last_cycle) == (2, 2, 3)


def test_source_idles_but_never_withdraws():
    device = Device()
    s = Source(device, "i", range(100), 0.5, random.Random(0))
    s.start()
    rng, idle, previous = random.Random(1), 0, None
    for cycle in range(1000):
        valid, value = device["i_valid"].value, device["i_payload"].value
        ready = device["i_ready"].value = rng.randrange(2)
        idle += not valid
        assert previous in (None, (valid, value))
        previous = (1, value) if valid and not ready else None
        s.step(cycle)
    assert s.done and idle > 20
