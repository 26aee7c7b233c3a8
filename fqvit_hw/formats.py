"""Number formats, the one rounding rule and the widths that the model and the RTL share.

Everything here is plain integers, so that `rtl/` may import it without importing an operator.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class IntFormat:
    """A two's-complement (signed) or plain binary (unsigned) integer of `width` bits."""

    width: int
    signed: bool = True

    def __post_init__(self):
        if not 1 <= self.width <= 63:
            raise ValueError(f"IntFormat width must be 1..63, not {self.width}")

    @property
    def min(self) -> int:
        return -(1 << (self.width - 1)) if self.signed else 0

    @property
    def max(self) -> int:
        return (1 << (self.width - 1)) - 1 if self.signed else (1 << self.width) - 1

    @property
    def dtype(self) -> np.dtype:
        """The smallest numpy integer that holds the format."""
        bits = next(b for b in (8, 16, 32, 64) if b >= self.width)
        return np.dtype(f"{'' if self.signed else 'u'}int{bits}")

    def __str__(self) -> str:
        return f"{'' if self.signed else 'u'}int{self.width}"


INT8, INT16, INT32 = IntFormat(8), IntFormat(16), IntFormat(32)
UINT8, UINT16 = IntFormat(8, False), IntFormat(16, False)

# --- requantize: y = sat(rshift_round(acc * M, N) + zero)
ACC = INT32  # every matmul accumulator
MULTIPLIER = UINT16  # M, in [2^15, 2^16), or 0 for a dead channel
SHIFT = IntFormat(6, False)  # N, 1..47
MAX_SHIFT = 47
PRODUCT = IntFormat(48)  # acc * M, exact; 49 bits with the rounding constant

# --- matmul and BitShift
OPERAND = IntFormat(9)  # array operands: int8 and uint8 codes both fit
CODE = IntFormat(4, False)  # attention code of lis4: 0..14 mean 2^-code, 15 means zero
ZERO_CODE = 15
BITSHIFT_FRACTION = 14  # BitShift sums are in units of 2^-14
BITSHIFT_ACC = IntFormat(23)  # |v| * sum(2^(14-code)) <= 128 * 24575 < 2^22
MAX_ACC = IntFormat(28)  # |v| * sum of values of the modes of the maximum <= 128 * 4096 * 255
CONTEXT_FRACTION = 14  # a normalized row is in units of 2^-14 v steps
CONTEXT_ACC = IntFormat(23)  # |mean of v| <= 128, with 14 fraction bits

# --- softmax
EXPONENTIAL = IntFormat(24, False)  # one entry of the table E[d], d = 0..255
MAX_TOKENS = 4096  # proven limit of row sums and of the row reciprocal
RECIPROCAL = IntFormat(17, False)  # floor(2^(L + 15) / W) <= 2^16, W a row's sum of values
RECIPROCAL_FRACTION = 15  # more than L, the bits of W (14 for lis4)
ROW_SHIFT = IntFormat(5, False)  # L + 1: rshift_round(acc * reciprocal, L + 1) has 14 fraction bits
UNIT_ROW = (1 << 15, 15)  # reciprocal and shift that leave a sum as it is

# --- layernorm
PTF_BITS = 2  # factor exponent a in 0..3
PTF_MAX = 3
MAX_CHANNELS = 2048
ROOT_BITS = 18  # V is normalized into [2^34, 2^36), its root into [2^17, 2^18)
NORM_RECIPROCAL = IntFormat(17, False)  # R = floor(2^33 / root), in [2^15, 2^16]
NORM_FRACTION = 16  # T = D / sqrt(V) in units of 2^-16
NORM = IntFormat(23)  # |T| <= sqrt(C - 1) * 2^16 * (1 + 2^-16) < 2^22 for C <= 2048
GAMMA = INT16
BETA = IntFormat(24)  # in units of 2^-10 output steps
BETA_FRACTION = 10
EPSILON = IntFormat(48, False)  # eps' = round(eps * C^2 / s^2)

# --- gelu
GELU_INPUT = INT16
GELU_INDEX_WIDTHS = (8, 10, 12)

# --- residual
RESIDUAL_MULTIPLIER = IntFormat(17, False)
RESIDUAL_MAX_SHIFT = 40


def rshift_round(x, n):
    """`x / 2^n` rounded half up (ties towards +inf): the only rounding in the datapath.

    x: int64 array; n: int or int array >= 0, broadcast against x; n = 0 returns x.
    """
    n = np.asarray(n, np.int64)
    half = (np.int64(1) << n) >> 1  # 2^(n-1), and 0 for n = 0
    return (x + half) >> n


def saturate(x, fmt: IntFormat):
    """Clamp `x` to the range of `fmt`; nothing in the datapath wraps. Returns fmt.dtype."""
    return np.clip(x, fmt.min, fmt.max).astype(fmt.dtype)


def require(x, fmt: IntFormat, what: str):
    """Return `x` if every element is an integer that fits `fmt`.

    Raises TypeError for a non-integer array and OverflowError naming `what` and the bits needed.
    """
    x = np.asarray(x)
    if x.dtype.kind not in "iu":
        raise TypeError(f"{what}: expected integers, got {x.dtype}")
    if x.size:
        lo, hi = int(x.min()), int(x.max())
        if lo < fmt.min or hi > fmt.max:
            bits = bits_needed(min(lo, -1) if fmt.signed else lo, hi)  # a signed one has its sign
            raise OverflowError(
                f"{what}: {fmt} holds [{fmt.min}, {fmt.max}], got [{lo}, {hi}], "
                f"which needs {bits} bits"
            )
    return x


def bits_needed(lo: int, hi: int) -> int:
    """Width of the narrowest format that holds [lo, hi]: signed if lo < 0, else unsigned."""
    if lo < 0:
        return max((-lo - 1).bit_length(), hi.bit_length() if hi > 0 else 0) + 1
    return max(hi.bit_length(), 1)


def ceil_log2(n: int) -> int:
    """Smallest k with 2^k >= n, for n >= 1."""
    return (n - 1).bit_length()


def bit_length(x):
    """Elementwise bit length of a non-negative int64 array (0 for 0), without floats."""
    x = np.array(x, np.int64)
    n = np.zeros_like(x)
    for step in (32, 16, 8, 4, 2, 1):
        big = x >= (np.int64(1) << step)
        n += np.where(big, step, 0)
        x = np.where(big, x >> step, x)
    return n + x  # what is left is 0 or 1


# --- layernorm: widths that depend on the channels
RECIPROCAL_BITS = ROOT_BITS + 15  # R = floor(2^33 / root) has 16 significant bits
MAX_GAMMA_SHIFT = 15


@dataclass(frozen=True)
class LayerNormWidths:
    """Formats of the intermediates for up to `channels` channels of `width`-bit codes.

    A PTF input spans 255 << 3 < 2^11 and lies in 12 bits; an int16 one spans 2^16 - 1.
    """

    channels: int
    width: int

    @property
    def span(self) -> int:
        return 255 << 3 if self.width == 8 else (1 << 16) - 1

    @property
    def X(self) -> IntFormat:  # noqa: N802
        return IntFormat(12 if self.width == 8 else 16)

    @property
    def total(self) -> IntFormat:
        return IntFormat(self.X.width + ceil_log2(self.channels))

    @property
    def sumsq(self) -> IntFormat:
        return IntFormat(2 * (self.X.width - 1) + ceil_log2(self.channels) + 1, False)

    @property
    def largest_variance(self) -> int:
        """C^2 * variance is largest when half the channels sit at either end: (C * span / 2)^2."""
        return (self.channels * self.span) ** 2 // 4

    @property
    def V(self) -> IntFormat:  # noqa: N802
        # (C * span / 2)^2 < 2^(2 log2 C + 2 log2 span - 2); two more bits leave room for eps'
        return IntFormat(2 * ceil_log2(self.channels) + 2 * self.span.bit_length(), False)

    @property
    def D(self) -> IntFormat:  # noqa: N802
        return IntFormat(ceil_log2(self.channels) + self.span.bit_length() + 1)
