"""Cycles between an event in one unit and its effect in another, as built in rtl/.

`tests/cycles/test_cycles.py` holds them equal to the constants of the RTL.
"""

from __future__ import annotations

from ..attention_codes import UNIFORM8, has_exponentials
from ..formats import ceil_log2
from ..machine.hardware import Hardware

START = 2  # the first cycle with a request of the sequencer
REQUEST = 5  # a request taken to its address on the bus
ASK = 2  # a request of a client to its next one
FETCH = 2  # a beat read to the sequencer's instruction register
DECODE = 2  # an instruction is whole to it is sent
QUEUE = 2  # an instruction sent to the cycle in which its unit may take it
SHOWN = 1  # instruction that a unit sees, beside hw.queue waiting ones
ISSUE = 5  # a GEMM taken to its first beat
ROW = 3  # a count seen to the row that waited for it; one more for the first row
CHUNK = 3  # an instruction taken by the epilogue to its first chunk
READ = 10  # a chunk entering the epilogue to its read of the stream
WRITE = 20  # a chunk entering the epilogue to its write
ROOM = 16  # rows of accumulators between the array and the epilogue
WEIGHTS_ASK = 2  # beats of weights are wanted to the request of their burst
JOBS = 2  # GEMMs whose weights may be asked for before the oldest one is unpacked
UNPACK = 3  # a beat of weights read to its write
LOADED = 2  # a tile's last beat unpacked to the tile that counts as loaded
LOAD_START = 17  # a LOAD there to its first request
LOAD_WAIT = 6  # a count seen to the first request of the LOAD that waited for it
LOAD_ASK = 3  # a burst of a LOAD to the next one
LOAD_BEAT = 3  # a beat read to its first chunk taken; written a cycle later
LOAD_POP = 3  # a beat makes room for another one to its last chunk written
OUTSTANDING = 32  # bursts under way on the bus
SCORES = 1  # a score written to its handshake with the softmax
SCORES_WAITING = 32  # beats of scores between the epilogue and the softmax
NORM_START = 5  # a NORM taken to its first word read
NORM_FEED = 3  # a word read to its beat in the LayerNorm
NORM_WRITE = 1  # a beat out of the LayerNorm to its write
NORM_WAIT = 3  # a count seen to the row that waited for it
ROW_RATE = 9  # least cycles of a softmax row
NORM_RATE = 10  # ... of a LayerNorm row
STORE_START = 4  # a count seen to the first word read by the STORE that waited for it
STORE = 12  # the last word of a burst read to its first beat on the bus
STORE_ASK = 3  # a burst of a STORE to the next one
WRITES = 8  # bursts written that memory has not acknowledged
WRITE_AGAIN = 4  # one of them acknowledged to the first beat of the burst that waited for it


def tree_levels(terms: int) -> int:
    """Of an adder tree, four terms a node."""
    levels = 0
    while terms > 1:
        levels, terms = levels + 1, -(-terms // 4)
    return levels


def array_latency(hw: Hardware) -> int:
    """Cycles from the beat that completes a row to the row at the epilogue."""
    return (10 if hw.wide_multipliers else 8) + max(ceil_log2(hw.rows), 1)


def norm_latency(hw: Hardware) -> int:
    """Cycles from the last beat of a row in the LayerNorm to its first one out."""
    return 58 + tree_levels(hw.norm_lanes)


def softmax_latency(hw: Hardware, beats: int) -> int:
    """Cycles from the last score of a row of so many beats to its first code."""
    maximum = 4 + ceil_log2(hw.lanes)
    if not has_exponentials(hw.attention):
        return maximum + 5
    # once more through the row, and the stages of the slowest mode
    sums = beats + 7 + tree_levels(hw.lanes)
    return maximum + sums + (10 if UNIFORM8 in hw.attention else 7)


def reciprocal_latency(hw: Hardware) -> int:
    """Cycles from the last code of a row to its reciprocal."""
    return 20 + tree_levels(hw.lanes)
