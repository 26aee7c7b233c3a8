"""The table of attention modes: books, widths, and the order that files count on."""

import pytest

from fqvit_hw.attention_codes import BOOKS, LIS4, MODES, UNIFORM8
from fqvit_hw.formats import MAX_TOKENS, IntFormat

OF_MAXIMUM = [mode for mode in MODES.values() if mode.of_maximum]


def test_the_order_is_that_of_golden_vectors_and_instructions():
    assert list(MODES) == ["max4", "lis4", "uniform8", "max3", "max5", "max8"]
    assert all(mode.name == name for name, mode in MODES.items())
    assert MODES["lis4"] is LIS4 and MODES["uniform8"] is UNIFORM8


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_every_code_has_a_value_and_one_is_nothing(mode):
    assert mode.format == IntFormat(mode.bits, False)
    assert len(mode.values) == 1 << mode.bits == len(set(mode.values))
    assert mode.values[mode.zero_code] == 0 <= min(mode.values)
    assert 1 << mode.value_bits - 1 <= max(mode.values) < 1 << mode.value_bits


@pytest.mark.parametrize("mode", OF_MAXIMUM, ids=lambda mode: mode.name)
def test_a_book_falls_from_255_to_0(mode):
    """So that the distance 0 has code 0, a masked pair the last one, and values are uint8."""
    assert mode.values == BOOKS[mode.bits] == tuple(sorted(mode.values, reverse=True))
    assert (mode.values[0], mode.zero_code) == (255, (1 << mode.bits) - 1)
    assert mode.unit is None


@pytest.mark.parametrize("mode", OF_MAXIMUM, ids=lambda mode: mode.name)
def test_the_widths_hold_the_largest_row_and_no_bit_is_idle(mode):
    largest = MAX_TOKENS * 255
    assert mode.row_sum.max >= largest > IntFormat(mode.row_sum.width - 1, False).max
    assert -mode.accumulator.min >= 128 * largest > -IntFormat(mode.accumulator.width - 1).min


def test_the_modes_of_the_paper():
    assert LIS4.values == (*(2**14 / 2**code for code in range(15)), 0)
    assert (LIS4.unit, LIS4.zero_code) == (2**14, 15)
    assert UNIFORM8.values == tuple(range(256))
    assert (UNIFORM8.unit, UNIFORM8.zero_code, UNIFORM8.row_sum) == (255, 0, None)
    assert not LIS4.of_maximum and not UNIFORM8.of_maximum
