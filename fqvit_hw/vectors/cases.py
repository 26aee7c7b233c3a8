"""A golden case: one unit's inputs, parameters and outputs as named integer tensors.

Golden vectors on disk, the benches in `sim/` and `fqvit-hw check` all speak of cases.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..attention_codes import MODES
from ..formats import (
    ACC,
    BETA,
    CODE,
    EPSILON,
    EXPONENTIAL,
    GAMMA,
    GELU_INPUT,
    INT8,
    INT32,
    MULTIPLIER,
    OPERAND,
    PTF_BITS,
    RECIPROCAL,
    RESIDUAL_MULTIPLIER,
    ROW_SHIFT,
    SHIFT,
    UNIT_ROW,
    IntFormat,
    require,
)
from ..units import (
    Attention,
    Gelu,
    LayerNorm,
    Linear,
    Requantize,
    Residual,
    Softmax,
    attention,
    bitshift_matmul,
    gelu,
    layernorm,
    matmul,
    requantize,
    residual,
    row_reciprocal,
    softmax,
)

BIT, WORD, MODE = IntFormat(1, False), IntFormat(16, False), IntFormat(3, False)
FACTOR = IntFormat(PTF_BITS, False)


@dataclass(frozen=True, eq=False)
class Tensor:
    """An integer array, its number format and its role: "input", "parameter" or "output"."""

    role: str
    data: np.ndarray
    format: IntFormat

    def __post_init__(self):
        if self.role not in ("input", "parameter", "output"):
            raise ValueError(f"Tensor.role: {self.role!r}")
        data = np.asarray(self.data)
        require(data.astype(np.int64) if data.dtype == bool else data, self.format, "case tensor")
        object.__setattr__(self, "data", data.astype(self.format.dtype))


@dataclass(frozen=True, eq=False)
class Case:
    """unit: a unit's name; name: unique within the unit; tensors: in a fixed order."""

    unit: str
    name: str
    tensors: dict[str, Tensor]

    def __getitem__(self, name: str) -> np.ndarray:
        return self.tensors[name].data

    def scalar(self, name: str) -> int:
        return int(self.tensors[name].data)

    def role(self, role: str) -> dict[str, Tensor]:
        return {name: t for name, t in self.tensors.items() if t.role == role}


def _case(unit: str, name: str, inputs: dict, parameters: dict, outputs: dict) -> Case:
    groups = (("input", inputs), ("parameter", parameters), ("output", outputs))
    return Case(
        unit,
        name,
        {key: Tensor(role, *value) for role, group in groups for key, value in group.items()},
    )


def _requantize_parameters(p: Requantize, prefix: str = "") -> dict:
    return {
        f"{prefix}multiplier": (p.multiplier, MULTIPLIER),
        f"{prefix}shift": (p.shift, SHIFT),
        f"{prefix}zero": (p.zero, p.format),
    }


def _softmax_parameters(p: Softmax) -> dict:
    return {
        "table": (p.table, p.codes.format if p.codes.of_maximum else EXPONENTIAL),
        "mode": (list(MODES).index(p.mode), MODE),
        "row_norm": (int(p.row_norm), BIT),
    }


def requantize_case(name: str, p: Requantize, acc) -> Case:
    """acc: int32 (rows, channels); multiplier and shift are () or (channels,)."""
    parameters = _requantize_parameters(p) | {"width": (p.width, SHIFT)}
    outputs = {"y": (requantize(acc, p), p.format)}
    return _case("requantize", name, {"acc": (acc, ACC)}, parameters, outputs)


def matmul_case(name: str, p: Linear, a) -> Case:
    """a: (N, K) int8 or uint8 codes -> (N, O) int32."""
    parameters = {"weight": (p.weight, INT8), "bias": (p.bias, INT32), "bitshift": (0, BIT)}
    outputs = {"y": (matmul(a, p.weight, p.bias), ACC)}
    return _case("mac_array", name, {"a": (a, OPERAND)}, parameters, outputs)


def bitshift_case(name: str, codes, v) -> Case:
    """codes: uint4 (N, M), v: int8 (M, D) -> (N, D) int32, stored as a matmul by v^T, bias 0."""
    weight = np.ascontiguousarray(v.T)  # (M, D) -> (D, M)
    parameters = {
        "weight": (weight, INT8),
        "bias": (np.zeros(len(weight), np.int32), INT32),
        "bitshift": (1, BIT),
    }
    outputs = {"y": (bitshift_matmul(codes, v), ACC)}
    return _case("mac_array", name, {"a": (codes, OPERAND)}, parameters, outputs)


def layernorm_case(name: str, p: LayerNorm, x) -> Case:
    """x: (N, C) codes of p.width bits."""
    parameters = {
        "factor": (p.factor, FACTOR),
        "zero": (p.zero, INT8),
        "width": (p.width, SHIFT),
        "eps": (p.eps, EPSILON),
        "gamma": (p.gamma, GAMMA),
        "gamma_shift": (p.gamma_shift, CODE),
        "beta": (p.beta, BETA),
        "zero_out": (p.zero_out, INT8),
    }
    outputs = {"y": (layernorm(x, p), INT8)}
    return _case("layernorm", name, {"x": (x, IntFormat(p.width))}, parameters, outputs)


def softmax_case(name: str, p: Softmax, x, mask=None) -> Case:
    """x: int8 (N, T); mask: bool (N, T) -> codes y (N, T), reciprocal and shift (N,).

    mode: the place of the mode in attention_codes.MODES. Reciprocal and shift are 2^15 and 15, that
    is 1.0, where row normalization is off.
    """
    mask = np.zeros(x.shape, bool) if mask is None else np.broadcast_to(mask, x.shape)
    y = softmax(x, p, mask)
    unit = (np.full((len(x), 1), value) for value in UNIT_ROW)
    reciprocal, shift = row_reciprocal(y, p.codes) if p.row_norm else unit
    inputs = {"x": (x, INT8), "mask": (mask, BIT)}
    outputs = {
        "y": (y, p.codes.format),
        "reciprocal": (reciprocal[:, 0], RECIPROCAL),
        "shift": (shift[:, 0], ROW_SHIFT),
    }
    return _case("softmax", name, inputs, _softmax_parameters(p), outputs)


def gelu_case(name: str, p: Gelu, x) -> Case:
    """x: int16 (N, C)."""
    parameters = {"table": (p.table, INT8), "index_width": (p.index_width, SHIFT)}
    parameters |= _requantize_parameters(p.linear)
    return _case("gelu", name, {"x": (x, GELU_INPUT)}, parameters, {"y": (gelu(x, p), INT8)})


def residual_case(name: str, p: Residual, x, branch) -> Case:
    """x: residual stream (N, C), branch: (N, C)."""
    inputs = {"x": (x, IntFormat(p.x_width)), "branch": (branch, IntFormat(p.y_width))}
    parameters = {
        "x_zero": (p.x_zero, INT8),
        "x_factor": (p.x_factor, FACTOR),
        "x_multiplier": (p.x_multiplier, RESIDUAL_MULTIPLIER),
        "branch_zero": (p.y_zero, INT8),
        "branch_multiplier": (p.y_multiplier, RESIDUAL_MULTIPLIER),
        "shift": (p.shift, SHIFT),
        "zero": (p.zero, INT8),
        "factor": (p.factor, FACTOR),
    }
    outputs = {"y": (residual(x, branch, p), IntFormat(p.width))}
    return _case("residual", name, inputs, parameters, outputs)


def attention_case(name: str, p: Attention, q, k, v, bias=None, mask=None) -> Case:
    """One head: q, k, v int8 (N, D), bias int32 (N, N), mask bool (N, N) -> context (N, D)."""
    if not q.shape == k.shape == v.shape:
        raise ValueError(f"{name}: q, k, v of one head: {q.shape}, {k.shape}, {v.shape}")
    pairs = (len(q), len(k))
    bias = np.zeros(pairs, np.int32) if bias is None else bias
    mask = np.zeros(pairs, bool) if mask is None else np.broadcast_to(mask, pairs)
    inputs = {"q": (q, INT8), "k": (k, INT8), "v": (v, INT8)}
    inputs |= {"bias": (bias, INT32), "mask": (mask, BIT)}
    parameters = (
        _requantize_parameters(p.score, "score_")
        | _softmax_parameters(p.softmax)
        | _requantize_parameters(p.context, "context_")
    )
    tensors: dict[str, np.ndarray] = {}
    y = attention(q, k, v, p, bias, mask, record=tensors.__setitem__)
    # the codes are recorded too: they tell on which side of the softmax a difference arises
    outputs = {"y": (y, INT8), "codes": (tensors["softmax"], p.softmax.codes.format)}
    return _case("attention", name, inputs, parameters, outputs)
