"""Wrong arrays."""

from __future__ import annotations

import numpy as np

from fqvit_hw.vectors.cases import Case

from . import Choices, Function, clipped, same, wrapped

ZERO, FRACTION = 15, 14


def power(code):
    """What a code of BitShift multiplies v by."""
    return np.where(code == ZERO, 0, 1 << np.maximum(FRACTION - code, 0))


def shifted(v, code):
    return v * power(code)


def model(
    case: Case, *, operand: Function = same, weight: Function = same, product: Function = same,
    shifted=shifted, term: Function = same, terms=same, bias: Function = same,
    accumulator: Function = same, shift_accumulator: Function = same,
) -> dict[str, np.ndarray]:  # fmt: skip
    """operand, weight, product: of a matmul; shifted, term: of BitShift
    terms: how many of K are added up; bias: of the layer; accumulator: of either,
    shift_accumulator: of BitShift
    """
    a, w = (case[name].astype(np.int64) for name in ("a", "weight"))
    w = weight(w)[:, : terms(w.shape[1])]
    a = a[:, None, : terms(a.shape[1])]  # (N, 1, K)
    if case.scalar("bitshift"):
        y = shift_accumulator(term(shifted(w, a)).sum(-1))
    else:
        y = product(operand(a) * w).sum(-1)
    return {"y": accumulator(y + bias(case["bias"].astype(np.int64)))}


def first(n: int):
    return lambda k: min(k, n)


VARIANTS: dict[str, Choices] = {
    "int8 operands": dict(operand=wrapped(8)),
    "uint8 operands": dict(operand=wrapped(8, signed=False)),
    "operands that saturate at int8": dict(operand=clipped(-128, 127)),
    "operands of 254 at most": dict(operand=clipped(-128, 254)),
    "operands of -127 at least": dict(operand=clipped(-127, 255)),
    "weights of -127 at least": dict(weight=clipped(-127, 127)),
    "weights of 126 at most": dict(weight=clipped(-128, 126)),
    "weights of 7 bits": dict(weight=wrapped(7)),
    "unsigned weights": dict(weight=wrapped(8, signed=False)),
    "products of 15 bits": dict(product=wrapped(15)),
    "products that saturate at 15 bits": dict(product=clipped(-(2**14), 2**14 - 1)),
    "no bias": dict(bias=lambda b: 0),
    "the bias of the next column": dict(bias=lambda b: np.roll(b, 1)),
    "an unsigned bias of 31 bits": dict(bias=wrapped(31, signed=False)),
    **{f"a bias of {n} bits": dict(bias=wrapped(n)) for n in range(16, 32)},
    **{f"an accumulator of {n} bits": dict(accumulator=wrapped(n)) for n in range(16, 32)},
    **{f"saturation at {n} bits": dict(accumulator=clipped(-(2 ** (n - 1)), 2 ** (n - 1) - 1))
       for n in range(16, 32)},
    **{f"{n} terms": dict(terms=first(n)) for n in (1, 4, 16, 32, 64, 128, 196, 256, 4095)},
    # BitShift
    "v >> code": dict(shifted=lambda v, c: np.where(c == ZERO, 0, (v >> c) << FRACTION)),
    "code 15 as 2^-15": dict(shifted=lambda v, c: np.where(c == ZERO, v >> 1, shifted(v, c))),
    "code 15 as 2^-14": dict(shifted=lambda v, c: v * (1 << FRACTION - np.minimum(c, FRACTION))),
    "code 14 as 0": dict(shifted=lambda v, c: np.where(c == 14, 0, shifted(v, c))),
    "code 0 as 2^-1": dict(shifted=lambda v, c: shifted(v, np.maximum(c, 1))),
    "a shift of 3 bits": dict(shifted=lambda v, c: np.where(c == ZERO, 0, v << (FRACTION - c & 7))),
    "units of 2^-13": dict(shifted=lambda v, c: shifted(v, c) >> 1 << 1),
    "magnitudes": dict(shifted=lambda v, c: shifted(abs(v), c)),
    "v of 7 bits": dict(shifted=lambda v, c: shifted(wrapped(7)(v), c)),
    "-128 as -127": dict(shifted=lambda v, c: shifted(np.maximum(v, -127), c)),
    "signs as ones' complement": dict(shifted=lambda v, c: np.where(
        v < 0, ~(power(c) * ~v), shifted(v, c))),
    **{f"terms of {n} bits": dict(term=wrapped(n)) for n in range(15, 22)},
    **{f"a BitShift accumulator of {n} bits": dict(shift_accumulator=wrapped(n))
       for n in range(16, 23)},
    **{f"BitShift that saturates at {n} bits": dict(
        shift_accumulator=clipped(-(2 ** (n - 1)), 2 ** (n - 1) - 1)) for n in range(16, 23)},
}  # fmt: skip

EQUIVALENT: dict[str, Choices] = {
    # |a * w| <= 255 * 128 < 2^15
    "products of 16 bits": dict(product=wrapped(16)),
    "a BitShift accumulator of 23 bits": dict(shift_accumulator=wrapped(23)),
}
