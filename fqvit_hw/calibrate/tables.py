"""The two tables that calibration writes: softmax's, of exponentials or of codes, and GELU's."""

from __future__ import annotations

import math

import numpy as np
import torch

from ..attention_codes import AttentionCodes
from ..errors import UserError
from ..formats import EXPONENTIAL, GELU_INDEX_WIDTHS, INT8, saturate
from ..network.scale import Scale
from ..units import Gelu
from .choose import gelu_step
from .exact import exp, gelu
from .fixed_point import build_requantize

DISTANCES = 256
LIFT = 0.92  # chosen on training images of DeiT-Tiny: docs/calibration.md
I_EXP_LIMIT = 0.35815147**-0.5  # 1.671: the polynomial's constant rounds down to 0 from here on


def exact_exponential(step: float) -> np.ndarray:
    """step: score scale -> E[d] = round(2^23 * exp(-step * d)), int64 (256,)."""
    top = 1 << (EXPONENTIAL.width - 1)
    return np.array([round(top * exp(-step * d)) for d in range(DISTANCES)])


def lifted_exponential(step: float) -> np.ndarray:
    """The exact one with every entry but E[0] times LIFT -> int64 (256,).

    The row's maximum then counts for 1 / LIFT of its share, which makes up for the mean error of
    codes that are powers of two: 2^-code of a row is on average too flat (docs/calibration.md).
    """
    table = np.rint(exact_exponential(step) * LIFT).astype(np.int64)
    table[0] = 1 << (EXPONENTIAL.width - 1)
    return table


def polynomial_exponential(layer: str, step: float) -> np.ndarray:
    """I-BERT's i-exp, as FQ-ViT's log_int_softmax has it, in 24 bits -> int64 (256,).

    exp(-s d) = 2^-q * (0.35815147 x^2 + 0.96963238 x + 1) with d = q x0 + r: ln 2 becomes a whole
    number x0 of score steps. Raises ValueError naming `layer` from s = 1.671, where c = 0.
    """
    x0 = math.ceil(0.6931 / step)
    b = math.floor(0.96963238 / 0.35815147 / step)
    c = math.floor(1 / 0.35815147 / (step * step))
    if c == 0:
        raise UserError(
            f"{layer}: i-exp fails at a score scale of {step:.4g}, it is defined below "
            f"{I_EXP_LIMIT:.3f}: choose exponential='exact'"
        )
    table = []
    for d in range(DISTANCES):
        q, r = divmod(d, x0)
        e = -r * (-r + b) + c
        up = EXPONENTIAL.width - c.bit_length()
        table.append((e << up if up >= 0 else e >> -up) >> q)
    return np.array(table)


def exponential_table(layer: str, kind: str, step: float) -> np.ndarray:
    """`kind` is that of the configuration; where i-exp is not defined it is the exact one."""
    if kind == "i-exp" and step < I_EXP_LIMIT:
        return polynomial_exponential(layer, step)
    return exact_exponential(step) if kind == "exact" else lifted_exponential(step)


def softmax_table(layer: str, codes: AttentionCodes, kind: str, step: float) -> np.ndarray:
    """What a Softmax of the mode looks up, int64 (256,): exponentials, or the codes of them."""
    table = exponential_table(layer, kind, step)
    return nearest_codes(table, codes) if codes.of_maximum else table


def nearest_codes(exponentials: np.ndarray, codes: AttentionCodes) -> np.ndarray:
    """exponentials: of every distance, the first the largest -> the codes of the nearest values.

    On the scale on which the first is the largest value; a tie goes to the larger value. Integers
    only, so that equal exponentials give equal codes.
    """
    largest, top = max(codes.values), int(exponentials[0])
    found = []
    for e in map(int, exponentials):
        away = [abs(value * top - e * largest) for value in codes.values]  # from the larger ones on
        found.append(away.index(min(away)))
    return np.array(found)


def build_gelu(layer: str, index: Scale, out: Scale) -> Gelu:
    """Exact GELU, x * Phi(x), of every index, in codes of `out`. index: choose.gelu_step"""
    step = float(index.scale)
    index_width = next(w for w in GELU_INDEX_WIDTHS if gelu_step(w) == step)
    half = 1 << (index_width - 1)
    inputs = torch.arange(-half, half, dtype=torch.float64) * step
    values = gelu(inputs).numpy()
    codes = np.rint(values / float(out.scale)).astype(np.int64) + out.zero
    linear = build_requantize(layer, step / float(out.scale), INT8.width, out.zero)
    return Gelu(index_width, saturate(codes, INT8), linear)
