"""The C functions of library.c by ctypes, and the units' parameters in the form they take.

A parameter object is converted once and kept as long as it lives. Structures mirror params.h.
"""

from __future__ import annotations

import ctypes
import weakref

import numpy as np

from ...formats import ACC, BETA_FRACTION, NORM_FRACTION, require
from ...units import Attention, Gelu, LayerNorm, Linear, Requantize, Residual, gelu
from ...units.mac_array import worst_accumulator

POINTER, DOUBLE, INT64, INT = ctypes.c_void_p, ctypes.c_double, ctypes.c_int64, ctypes.c_int


def struct(name: str, **fields):
    return type(name, (ctypes.Structure,), {"_fields_": list(fields.items())})


LinearStruct = struct("linear_t", panels=POINTER, bias=POINTER, inputs=INT64, outputs=INT64)
RequantizeStruct = struct(
    "requantize_t", scale=POINTER, zero=DOUBLE, low=DOUBLE, high=DOUBLE, width=INT64
)
ResidualStruct = struct(
    "residual_t",
    **dict.fromkeys(("x_scale", "scale"), POINTER),
    **dict.fromkeys(("x_zero", "y_zero", "y_scale", "zero", "low", "high"), DOUBLE),
    **dict.fromkeys(("x_width", "y_width", "width", "channels"), INT64),
)
LayerNormStruct = struct(
    "layernorm_t",
    **dict.fromkeys(("factor", "gamma", "beta"), POINTER),
    **dict.fromkeys(("zero", "zero_out"), DOUBLE),
    **dict.fromkeys(("eps", "width", "channels"), INT64),
)
AttentionStruct = struct(
    "attention_t",
    **dict.fromkeys(("score", "context", "table", "values"), POINTER),
    **dict.fromkeys(("mode", "zero_code", "row_norm"), INT64),
)
EpilogueStruct = struct(
    "epilogue_t", out=POINTER, acc=POINTER, gelu=POINTER, add=POINTER, stream=POINTER
)
TraceStruct = struct(
    "trace_t",
    **dict.fromkeys(
        ("score_acc", "score", "softmax", "context_acc", "reciprocal", "shift", "normalized"),
        POINTER,
    ),
)

ATTENTION = {"lis4": 1, "uniform8": 2}  # params.h; 0 for all modes of the row's maximum

SIGNATURES = {
    "linear": (POINTER, INT64, POINTER, POINTER, POINTER, INT),
    "layernorm": (POINTER, INT64, POINTER, POINTER, INT),
    "residual": (POINTER, POINTER, INT64, POINTER, POINTER, INT),
    "requantize": (POINTER, INT64, INT64, POINTER, POINTER, INT),
    "gelu": (POINTER, INT64, POINTER, POINTER, INT),
    "attention": (POINTER, *[INT64] * 4, *[POINTER] * 3, INT64, POINTER, POINTER, INT),
}


def aligned(shape, dtype) -> np.ndarray:
    """Zeros that start on a cache line."""
    dtype = np.dtype(dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    raw = np.zeros(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(dtype).reshape(shape)


class Library:
    """The functions, and `packed(p)`: the parameters p as a C structure."""

    def __init__(self, library: ctypes.CDLL):
        self.functions = {}
        for name, arguments in SIGNATURES.items():
            function = getattr(library, f"fqvit_{name}")
            function.argtypes, function.restype = arguments, INT
            self.functions[name] = function
        library.fqvit_isa.restype = ctypes.c_char_p
        library.fqvit_tile_columns.restype = INT64
        self.isa = library.fqvit_isa().decode()
        self.columns = library.fqvit_tile_columns()
        self.kept = weakref.WeakKeyDictionary()

    def packed(self, p):
        if p not in self.kept:
            self.kept[p] = getattr(self, f"pack_{type(p).__name__.lower()}")(p)
        return self.kept[p]

    def structure(self, kind, **values):
        """A structure whose arrays are kept alive with it."""
        arrays = {name: a for name, a in values.items() if isinstance(a, np.ndarray)}
        made = kind(**(values | {name: a.ctypes.data for name, a in arrays.items()}))
        made.arrays = arrays
        return made

    def per_channel(self, values) -> np.ndarray:
        """Doubles, padded with zeros to whole tiles."""
        values = np.asarray(values, np.float64)
        padded = aligned(len(values) + -len(values) % self.columns, np.float64)
        padded[: len(values)] = values
        return padded

    def pack_linear(self, p: Linear):
        """The weight as (panels, pairs of inputs, columns, 2) int16; see tile.h.

        Raises OverflowError if an accumulator of any int8 input could overflow.
        """
        require(worst_accumulator(p.weight, p.bias, 128), ACC, "matmul: worst accumulator")
        outputs, inputs = p.weight.shape
        panels, pairs = -(-outputs // self.columns), -(-inputs // 2)
        weight = np.zeros((panels * self.columns, 2 * pairs), np.int16)
        weight[:outputs, :inputs] = p.weight
        packed = aligned((panels, pairs, self.columns, 2), np.int16)
        # (panels, columns, pairs, 2) -> (panels, pairs, columns, 2)
        packed[:] = weight.reshape(panels, self.columns, pairs, 2).transpose(0, 2, 1, 3)
        bias = aligned(panels * self.columns, np.int32)
        bias[:outputs] = p.bias
        return self.structure(
            LinearStruct, panels=packed, bias=bias, inputs=inputs, outputs=outputs
        )

    def pack_requantize(self, p: Requantize):
        scale = np.ldexp(p.multiplier.astype(np.float64), -p.shift.astype(np.int32))
        return self.structure(
            RequantizeStruct,
            scale=self.per_channel(np.atleast_1d(scale)),
            zero=p.zero,
            low=p.format.min,
            high=p.format.max,
            width=8 * p.format.dtype.itemsize,
        )

    def broadcast(self, p: Requantize, channels: int):
        """pack_requantize for `channels` channels also where p is one scalar."""
        if p.multiplier.shape == (channels,):
            return self.packed(p)
        multiplier, shift = (np.broadcast_to(a, (channels,)) for a in (p.multiplier, p.shift))
        return self.pack_requantize(Requantize(multiplier, shift, p.zero, p.width))

    def pack_residual(self, p: Residual):
        x_scale = np.ldexp(float(p.x_multiplier), p.x_factor.astype(np.int32))
        return self.structure(
            ResidualStruct,
            x_scale=self.per_channel(x_scale),
            scale=self.per_channel(np.ldexp(1.0, -p.shift - p.factor.astype(np.int32))),
            x_zero=p.x_zero,
            y_zero=p.y_zero,
            y_scale=p.y_multiplier,
            zero=p.zero,
            low=-(1 << (p.width - 1)),
            high=(1 << (p.width - 1)) - 1,
            x_width=p.x_width,
            y_width=p.y_width,
            width=p.width,
            channels=len(p.factor),
        )

    def pack_layernorm(self, p: LayerNorm):
        fraction = p.gamma_shift + NORM_FRACTION
        return self.structure(
            LayerNormStruct,
            factor=self.per_channel(np.ldexp(1.0, p.factor.astype(np.int32))),
            gamma=self.per_channel(np.ldexp(p.gamma.astype(np.float64), -fraction)),
            beta=self.per_channel(np.ldexp(p.beta.astype(np.float64), -BETA_FRACTION)),
            zero=p.zero,
            zero_out=p.zero_out,
            eps=p.eps,
            width=p.width,
            channels=len(p.factor),
        )

    def pack_gelu(self, p: Gelu):
        """The unit's answer to every int16."""
        return gelu(np.arange(-(1 << 15), 1 << 15, dtype=np.int16), p)

    def pack_attention(self, p: Attention):
        parts = [self.broadcast(r, self.columns) for r in (p.score, p.context)]
        codes = p.softmax.codes
        made = self.structure(
            AttentionStruct,
            score=ctypes.addressof(parts[0]),
            context=ctypes.addressof(parts[1]),
            table=p.softmax.table.astype(np.int32),
            values=np.array(codes.values, np.int32),
            mode=0 if codes.of_maximum else ATTENTION[p.softmax.mode],
            zero_code=codes.zero_code,
            row_norm=p.softmax.row_norm,
        )
        made.parts = parts
        return made
