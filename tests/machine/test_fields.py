"""Words of fields: integers, arrays and bytes, at the ends of every field's range."""

from __future__ import annotations

import numpy as np
import pytest

from fqvit_hw.machine.fields import UNUSED, Field, Layout

WORD = Layout(
    "word",
    Field("low", 3, ""),
    Field("signed", 5, "", signed=True),
    Field(UNUSED, 4, ""),
    Field("wide", 32, "", signed=True),
    Field("top", 4, ""),
)


def test_positions():
    assert WORD.offset == {"low": 0, "signed": 3, UNUSED: 8, "wide": 12, "top": 44}
    assert (WORD.width, WORD.bytes) == (48, 6)
    assert WORD.mask("signed") == 0xF8
    assert WORD.mask() == (1 << 48) - 1 - 0xF00


def test_words():
    values = {"low": 5, "signed": -16, "wide": -2, "top": 9}
    word = WORD.word(values)
    assert word == 5 | 0b10000 << 3 | 0xFFFFFFFE << 12 | 9 << 44
    assert WORD.values(word) == values
    assert WORD.values(word | 0xF00) == values  # nobody looks at unused bits
    assert WORD.word({}) == 0


def test_arrays_are_the_words_in_a_row():
    rng = np.random.default_rng(0)
    columns = {}
    for field in WORD:
        if field.name != UNUSED:
            fmt = field.format
            column = rng.integers(fmt.min, fmt.max, 50, endpoint=True)
            column[:2] = fmt.min, fmt.max
            columns[field.name] = column
    raw = WORD.pack(**columns)
    assert raw.shape == (50, 6) and raw.dtype == np.uint8
    for n, entry in enumerate(raw):
        word = WORD.word({name: int(column[n]) for name, column in columns.items()})
        assert entry.tobytes() == word.to_bytes(6, "little")
    for flat in (raw, raw.reshape(-1)):
        back = WORD.unpack(flat)
        assert back.keys() == columns.keys()
        for name, column in columns.items():
            assert np.array_equal(back[name], column)
            assert back[name].dtype == WORD.fields[name].format.dtype


def test_a_number_stands_for_all():
    assert np.array_equal(WORD.pack(low=np.arange(3), top=1), WORD.pack(low=[0, 1, 2], top=[1] * 3))


@pytest.mark.parametrize("value", [-17, 16])
def test_what_does_not_fit_is_refused(value):
    with pytest.raises(OverflowError, match=rf"word\.signed: {value} does not fit int5"):
        WORD.word({"signed": value})
    with pytest.raises(OverflowError, match=rf"word\.signed: {value} does not fit int5"):
        WORD.pack(signed=[0, value, 0])


def test_other_names_are_refused():
    with pytest.raises(ValueError, match="word has no field 'high'"):
        WORD.word({"high": 0})
    with pytest.raises(ValueError, match="word has no field 'high'"):
        WORD.pack(high=[0])
    with pytest.raises(ValueError, match="two fields bear the same name"):
        Layout("twice", Field("a", 1, ""), Field("a", 1, ""))
