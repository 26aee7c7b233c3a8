"""The accelerator's sizes: what the compiler, the cycle model and the RTL agree on.

Every memory is addressed in its own words; `docs/accelerator.md` has the picture.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from ..attention_codes import MODES, AttentionCodes, entry_bits, has_exponentials
from ..errors import UserError
from ..formats import (
    ACC,
    BETA,
    GAMMA,
    INT8,
    INT16,
    MAX_CHANNELS,
    MAX_TOKENS,
    PTF_BITS,
    RECIPROCAL,
    ROW_SHIFT,
    ceil_log2,
)
from .layouts import COLUMN, GELU, GELU_ENTRIES, SOFTMAX_ENTRIES, STREAM
from .layouts import NORM_BYTES as NORM_BYTES
from .layouts import PARAM_BYTES as PARAM_BYTES
from .layouts import SOFTMAX_BYTES as SOFTMAX_BYTES

BURST_BYTES = 256  # bursts never cross a multiple of it (nor, with it, of 4 KiB)
BUSES = (64, 128, 256, 512)  # bits; not less than a column's parameters, or a NORM_TABLE entry
BUS_ADDRESS = 40  # bits of an address on the bus: BASE + 32 bits
SHAPE_BITS = 8  # of rows, cols and lanes in the register SHAPE


@dataclass(frozen=True)
class Hardware:
    """One size of the machine.

    rows x cols: the MAC array (R x C); lanes: of the epilogue and the softmax (E);
    norm_lanes: of the LayerNorm (L); bus: bits of the AXI data bus
    acts: words of R int8, activations; stream: words of C int16, the residual stream;
    codes: words of R attention codes; tiles: words of R x C int8, of which the first
    `ring` hold weights and the rest keys and values; sums: rows of C int32, partial sums
    params: column tiles whose epilogue parameters may wait; prefetch: bus beats each of the two
    readers (weights, loads) may have under way; queue: instructions waiting before each unit,
    beside the one that it sees
    max_tokens: longest softmax row; max_channels: longest LayerNorm row
    modes: the attention modes that are built; shifters: BitShift of lis4 by a shifter in every cell
    of the array, instead of a power of two as the operand of its multiplier; wide_multipliers: they
    have 27 x 18 bits, not 18 x 18, and one of the array serves two columns, without lis4
    """

    name: str
    rows: int
    cols: int
    lanes: int
    norm_lanes: int
    bus: int
    acts: int
    stream: int
    codes: int
    tiles: int
    ring: int
    sums: int
    max_tokens: int
    max_channels: int
    params: int = 16
    prefetch: int = 256
    queue: int = 4
    modes: tuple[str, ...] = ("max4",)
    shifters: bool = False
    wide_multipliers: bool = False

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type == "int" and (type(value) is not int or value < 1):
                raise ValueError(f"Hardware.{field.name}: expected at least 1, got {value!r}")
        object.__setattr__(self, "modes", tuple(self.modes))  # a file has a list
        if not self.modes or not set(self.modes) <= set(MODES):
            raise ValueError(
                f"Hardware.modes: expected some of {', '.join(MODES)}, got {self.modes!r}"
            )
        if self.wide_multipliers and "lis4" in self.modes:
            raise ValueError(
                "Hardware.wide_multipliers: two products with the powers of two of lis4 do not fit "
                f"in 27 x 18 bits: expected modes without lis4, got {', '.join(self.modes)}"
            )
        for name in ("rows", "cols", "lanes", "norm_lanes", "params"):
            if getattr(self, name) & (getattr(self, name) - 1):
                raise ValueError(
                    f"Hardware.{name}: expected a power of two, got {getattr(self, name)}"
                )
        ordered = (
            ("lanes", self.lanes, "half of cols", self.cols // 2),
            ("lanes", self.lanes, "rows", self.rows),
            ("norm_lanes", self.norm_lanes, "rows", self.rows),
            ("rows", self.rows, "cols", self.cols),
            ("cols", self.cols, "the register SHAPE can tell", (1 << SHAPE_BITS) - 1),
            ("ring", self.ring, "half of tiles", self.tiles // 2),
            ("max_tokens", self.max_tokens, "the proven limit", MAX_TOKENS),
            ("max_channels", self.max_channels, "the proven limit", MAX_CHANNELS),
        )
        for name, value, what, limit in ordered:
            if value > limit:
                raise ValueError(f"Hardware.{name}: {value} is more than {what}, {limit}")
        if self.bus not in BUSES:
            *most, last = BUSES
            some = ", ".join(map(str, most))
            raise ValueError(f"Hardware.bus: expected {some} or {last} bits, got {self.bus}")
        if self.prefetch < self.burst:
            raise ValueError(
                f"Hardware.prefetch: {self.prefetch} beats have no room for a burst, "
                f"{self.burst} of {self.bus} bits"
            )
        if self.tile_bytes < self.bus_bytes:
            raise ValueError(
                f"Hardware.rows, cols: {self.rows} x {self.cols} bytes of a tile are less than a "
                f"beat of the bus, {self.bus_bytes}"
            )

    @property
    def bus_bytes(self) -> int:
        return self.bus // 8

    @property
    def attention(self) -> tuple[AttentionCodes, ...]:
        """The attention modes that are built."""
        return tuple(MODES[name] for name in self.modes)

    @property
    def code_bits(self) -> int:
        """Bits of an attention code in the code memory."""
        return max(codes.bits for codes in self.attention)

    @property
    def tile_bytes(self) -> int:
        return self.rows * self.cols

    @property
    def stream_bytes(self) -> int:
        """Bytes of a word of the residual stream."""
        return STREAM.bytes * self.cols

    @property
    def param_bytes(self) -> int:
        """Bytes in memory of the parameters of a column tile."""
        return self.cols * COLUMN.bytes

    def column_tile_bytes(self, k_tiles: int) -> int:
        """Bytes in memory of a column tile: its parameters, then k_tiles tiles (of all groups)."""
        return self.param_bytes + k_tiles * self.tile_bytes

    @property
    def param_beats(self) -> int:
        """Beats of the bus for the parameters of a column tile."""
        return self.param_bytes // self.bus_bytes

    @property
    def tile_beats(self) -> int:
        """Beats of the bus for a tile."""
        return self.tile_bytes // self.bus_bytes

    @property
    def burst(self) -> int:
        """Beats of the longest burst."""
        return BURST_BYTES // self.bus_bytes

    @property
    def multipliers(self) -> int:
        """`*` in the RTL between two values that are not constants.

        The array: R C, operand x tile (attention codes take the same ones); half as many that are
        wide. An epilogue lane: 5,
        row normalization, requantize, the GELU's linear part, both sides of the residual add. A
        LayerNorm lane: 4, X^2, C X, D R and T gamma; one more makes the variance of a row. The
        softmax has none: what it looks up comes from a table, its reciprocal from a division.
        """
        array = self.rows * self.cols // (2 if self.wide_multipliers else 1)
        return array + 5 * self.lanes + 4 * self.norm_lanes + 1

    @property
    def memories(self) -> dict[str, int]:
        """Bits of every on-chip memory of more than a few words, by name."""
        wait = 64  # beats that a LayerNorm row waits for its statistics, about
        norm_beats = -(-self.max_channels // self.norm_lanes)
        channel = GAMMA.width + BETA.width + PTF_BITS
        entry = entry_bits(self.attention)
        beat = 9 + (entry if has_exponentials(self.attention) else 0)  # score, mask, exponential
        score_beats = 1 << ceil_log2(-(-self.max_tokens // self.lanes) + 8)
        return {
            "acts": self.acts * self.rows * INT8.width,
            "stream": self.stream * self.cols * INT16.width,
            "codes": self.codes * self.rows * self.code_bits,
            "tiles": self.tiles * self.tile_bytes * INT8.width,
            "sums": self.sums * self.cols * ACC.width,
            "params": self.params * self.cols * COLUMN.width,
            "prefetch": 2 * self.prefetch * self.bus,
            "norm rows": (1 << ceil_log2(norm_beats + wait)) * self.norm_lanes * INT16.width,
            "norm parameters": norm_beats * self.norm_lanes * channel,
            "softmax tables": SOFTMAX_ENTRIES * entry * self.lanes,
            "gelu tables": GELU_ENTRIES * GELU.width * -(-self.lanes // 2),
            "softmax rows": score_beats * self.lanes * beat,
            "reciprocals": self.max_tokens * (RECIPROCAL.width + ROW_SHIFT.width),
        }

    @property
    def memory_bytes(self) -> int:
        return sum(self.memories.values()) // 8


# Small enough to read the waveforms of; runs every network, slowly.
TINY = Hardware(
    "tiny", rows=4, cols=4, lanes=1, norm_lanes=4, bus=64,
    acts=16384, stream=4096, codes=16384, tiles=4096, ring=1024, sums=256,
    max_tokens=256, max_channels=1024, prefetch=64,
    modes=("max4", "lis4", "uniform8"), shifters=True,
)  # fmt: skip

# An ECP5-85k: 156 multipliers, 208 block RAMs of 18 Kbit. 8,192 words of activations are 32 block
# RAMs of 2 bits each, 4,096 of the stream 64 of 4 bits: side by side, none behind another one, so
# that no multiplexer stands between a RAM and its output register.
ECP5_85K = Hardware(
    "ecp5_85k", rows=8, cols=16, lanes=2, norm_lanes=2, bus=64,
    acts=8192, stream=4096, codes=8192, tiles=512, ring=256, sums=256,
    max_tokens=256, max_channels=1024,
)  # fmt: skip

# DeiT-Tiny whole on chip, in less than 512 KiB.
BASE = Hardware(
    "base", rows=16, cols=16, lanes=4, norm_lanes=4, bus=128,
    acts=12288, stream=5120, codes=4096, tiles=256, ring=128, sums=256,
    max_tokens=256, max_channels=1024, modes=("max4", "lis4"),
)  # fmt: skip

# `base` with the multipliers of an UltraScale+, two products of the array in each.
ULTRASCALE = replace(BASE, name="ultrascale", modes=("max4",), wide_multipliers=True)

LARGE = Hardware(
    "large", rows=32, cols=32, lanes=16, norm_lanes=32, bus=128,
    acts=16384, stream=8192, codes=8192, tiles=256, ring=128, sums=1024,
    max_tokens=1024, max_channels=2048, prefetch=512,
)  # fmt: skip

HARDWARE = {hw.name: hw for hw in (TINY, ECP5_85K, BASE, ULTRASCALE, LARGE)}


def hardware(name: str) -> Hardware:
    if name not in HARDWARE:
        raise UserError(f"unknown configuration {name!r}; there are {', '.join(HARDWARE)}")
    return HARDWARE[name]
