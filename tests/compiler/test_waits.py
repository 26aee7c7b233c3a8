"""The fewest waits: stepped where rows follow rows, left out where another one implies them."""

import numpy as np

from fqvit_hw.compiler.emitter import Emitter
from fqvit_hw.compiler.hazards import Access, Tracker
from fqvit_hw.compiler.memory_map import MemoryMap
from fqvit_hw.compiler.patterns import Lines, Place, Rows
from fqvit_hw.compiler.waits import Wait, advance, find
from fqvit_hw.machine.hardware import TINY
from fqvit_hw.machine.isa import Opcode, Unit


def tracker() -> Tracker:
    return Tracker({place: 100 for place in Place})


def written(t: Tracker, unit: Unit, pattern: Rows, rows: int, waits=()) -> None:
    """`unit` writes rows of a pattern, one a count."""
    access = Access.of(pattern, rows, True)
    access.done = int(t.counts[unit]) + np.arange(rows) + 1
    advance(t, unit, rows, waits, rows)
    t.touch(unit, access)


ROWS = Rows(Place.ACTS, 0, 2, 2)


def wanted(t: Tracker, unit: Unit, patterns, rows: int, write: bool = False) -> list[Wait]:
    return find(t, [Access.of(p, rows, write) for p in patterns], rows, t.now(unit))


def test_row_after_row():
    t = tracker()
    written(t, Unit.NORM, ROWS, 5)
    assert wanted(t, Unit.ARRAY, [ROWS], 5) == [Wait(Unit.NORM, 1, 1)]
    assert wanted(t, Unit.ARRAY, [ROWS.at(2)], 3) == [Wait(Unit.NORM, 3, 1)]
    backwards = Rows(Place.ACTS, 8, -2, 2)
    assert wanted(t, Unit.ARRAY, [backwards], 5) == [Wait(Unit.NORM, 5)]


def test_nothing_to_wait_for():
    t = tracker()
    written(t, Unit.NORM, ROWS, 5)
    assert wanted(t, Unit.ARRAY, [ROWS.at(10)], 5) == []  # nobody wrote there
    assert wanted(t, Unit.NORM, [ROWS], 5, True) == []  # its own rows stay in order


def test_a_writer_waits_for_readers():
    t = tracker()
    read = Access.of(ROWS, 3, False)
    read.done = np.arange(3) + 1
    advance(t, Unit.STORE, 3, [])
    t.touch(Unit.STORE, read)
    assert wanted(t, Unit.NORM, [ROWS], 3, True) == [Wait(Unit.STORE, 1, 1)]
    assert wanted(t, Unit.NORM, [ROWS], 3) == []


def test_what_another_wait_implies():
    """LOAD waited for the LayerNorm; whoever waits for that LOAD need not wait for the norm."""
    t = tracker()
    written(t, Unit.NORM, ROWS, 4)
    written(t, Unit.LOAD, ROWS.at(20), 1, [Wait(Unit.NORM, 4)])
    both = [ROWS, Rows(Place.ACTS, 40, 0, 2)]
    assert wanted(t, Unit.STORE, both, 4) == [Wait(Unit.LOAD, 1)]


def test_more_waits_than_fields():
    """Four units wrote what a NORM reads: a LOAD that does nothing else waits for two of them."""
    emitter = Emitter(TINY, MemoryMap())
    stream = Rows(Place.STREAM, 0, 1, 1)
    for n, unit in enumerate((Unit.EPILOGUE, Unit.CODES, Unit.ARRAY)):
        written(emitter.tracker, unit, stream.at(n), 1)
    emitter.norm("x", None, 3, 4, stream, Rows(Place.ACTS, 0, 1, 1), eps=1)
    load, norm = emitter.instructions
    assert (load.opcode, norm.opcode) == (Opcode.LOAD, Opcode.NORM)
    assert {load.wait0_unit, load.wait1_unit, norm.wait0_unit} == {
        Unit.EPILOGUE, Unit.CODES, Unit.ARRAY,
    }  # fmt: skip
    assert (norm.wait1_unit, norm.wait1_count) == (Unit.LOAD, 1)


def test_through_spilled_memory():
    """A LOAD waits for the STORE of its lines, not of later ones; who stores again for the LOAD."""
    rows = Rows(Place.ACTS, 0, 4, 4)
    size = rows.words * TINY.rows
    memory_map = MemoryMap()
    spill = memory_map.region("spill", "spill", 5 * size)
    emitter = Emitter(TINY, memory_map, (spill, 5 * size))
    emitter.store_rows("out", 5, rows, Lines(spill, size, size))
    emitter.load_rows("in", 2, rows.at(10), Lines(spill + size, size, size))
    emitter.store_rows("again", 2, rows.at(20), Lines(spill, size, size))
    _, load, store = emitter.instructions
    assert (load.wait0_unit, load.wait0_count) == (Unit.STORE, 3)
    assert (store.wait0_unit, store.wait0_count) == (Unit.LOAD, 1)
    assert memory_map.address("spill") == spill and not store.wait1_unit
