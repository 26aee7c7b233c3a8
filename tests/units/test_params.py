"""The checks that every parameter dataclass shares: the error names the field."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from fqvit_hw.formats import INT8
from fqvit_hw.units.params import array_field, scalar_in


@dataclass(frozen=True)
class Thing:
    field: object


def test_array_field_converts_copies_and_freezes():
    mine = np.array([1, -128, 127], np.int64)
    thing = Thing(mine)
    assert array_field(thing, "field", INT8, (3,)) is thing.field
    assert thing.field.dtype == np.int8
    with pytest.raises(ValueError, match="read-only"):
        thing.field[0] = 2
    mine[0] = 100  # the caller's array is neither frozen nor shared
    assert thing.field.tolist() == [1, -128, 127]


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ([0.5], TypeError, "expected integers, got float64"),
        ([True], TypeError, "expected integers, got bool"),
        ([1, 2], ValueError, r"expected shape \(1,\), got \(2,\)"),
        ([128], ValueError, r"expected int8 \[-128, 127\], got \[128, 128\]"),
        ([-129], ValueError, r"expected int8 \[-128, 127\], got \[-129, -129\]"),
    ],
)
def test_array_field_refuses(value, error, message):
    with pytest.raises(error, match=f"Thing.field: {message}"):
        array_field(Thing(np.array(value)), "field", INT8, (1,))


@pytest.mark.parametrize("value", [-3, 5, np.int16(0)])
def test_scalar_in_takes_integers(value):
    thing = Thing(value)
    scalar_in(thing, "field", -3, 5)
    assert type(thing.field) is int and thing.field == value


@pytest.mark.parametrize("value", [1.0, True, "1", None, np.float32(1)])
def test_scalar_in_refuses_other_kinds(value):
    with pytest.raises(TypeError, match=r"Thing\.field: expected an integer"):
        scalar_in(Thing(value), "field", -3, 5)


@pytest.mark.parametrize("value", [-4, 6])
def test_scalar_in_refuses_other_ranges(value):
    with pytest.raises(ValueError, match=rf"Thing.field: expected -3..5, got {value}"):
        scalar_in(Thing(value), "field", -3, 5)
