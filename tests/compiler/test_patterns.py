"""Address patterns: the words that each row touches, written out."""

import numpy as np
import pytest

from fqvit_hw.compiler.patterns import Lines, Place, ResidentTiles, Rows, Table, TokenTiles
from fqvit_hw.compiler.swin.patterns import Merged, Tokens, WindowTiles, plain
from fqvit_hw.machine.hardware import TINY
from fqvit_hw.machine.isa import Space


def test_rows():
    rows = Rows(Place.ACTS, 10, 5, 2)
    assert rows.addresses(3).tolist() == [[10, 11], [15, 16], [20, 21]]
    assert rows.at(2).part(1, 1).addresses(2).tolist() == [[21], [26]]


def test_tokens_of_tiles():
    """Three tiles along the channels; a tile holds four tokens."""
    keys = TokenTiles(100, 3, 4)
    assert keys.addresses(5).tolist() == [[100, 101, 102]] * 4 + [[103, 104, 105]]
    assert keys.at(3).addresses(2).tolist() == [[100, 101, 102], [103, 104, 105]]


def test_what_is_written_is_what_is_read():
    """Keys and values, whole tiles of them: the array takes all that the epilogue wrote."""
    tokens = 8
    keys = TokenTiles(0, 2, TINY.cols)
    read = ResidentTiles(0, tokens // TINY.cols, keys.stride, keys.stride, 1)
    assert set(read.addresses(1)[0]) == set(keys.addresses(tokens).ravel())
    values = TokenTiles(50, 2, TINY.rows)
    read = ResidentTiles(50, values.stride, 1, tokens // TINY.rows, values.stride)
    assert set(read.addresses(1)[0]) == set(values.addresses(tokens).ravel())


def test_windows():
    """Two windows of three tokens, a tile holds two: the third token has one of its own."""
    tiles = WindowTiles(10, 1, 2, window=3, each=4)
    assert tiles.addresses(6).ravel().tolist() == [10, 10, 11, 14, 14, 15]


def test_tokens_in_an_order_of_their_own():
    order = np.array([4, 0, 2])
    tokens = Tokens(Place.STREAM, 1, 10, 2, order)
    assert tokens.addresses(3).tolist() == [[41, 42], [1, 2], [21, 22]]
    assert tokens.at(1).addresses(2).tolist() == tokens.addresses(3)[1:].tolist()
    merged = Merged(Place.STREAM, 0, 2, 2, np.array([[0, 1, 4, 5]]))
    assert merged.addresses(1).tolist() == [[0, 1, 2, 3, 8, 9, 10, 11]]


def test_lines():
    assert Lines(7, 10, 4).starts(3).tolist() == [7, 17, 27]
    assert Lines(7, 10, 4, np.array([2, 0])).starts(2).tolist() == [27, 7]


def test_places():
    assert Place.ACTS.space is Space.ACTS and Place.ACTS.word_bytes(TINY) == TINY.rows
    assert Place.TILES.words(TINY) == TINY.tiles and Place.SOFTMAX_TABLE.words(TINY) == 1
    assert Table(Place.SOFTMAX_TABLE).addresses(5).shape == (1, 1)
    assert plain(Place.CODES, 3).addresses(2).ravel().tolist() == [0, 1, 2, 3, 4, 5]
    with pytest.raises(ValueError, match="codes"):
        _ = Place.CODES.space
