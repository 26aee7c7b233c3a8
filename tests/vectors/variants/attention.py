"""Wrong attention layers: what happens between the units, and how their numbers are rounded.

Softmax's own choices are in its module; here it is the right one.
"""

from __future__ import annotations

import numpy as np

from fqvit_hw.attention_codes import MODES, AttentionCodes
from fqvit_hw.formats import bit_length
from fqvit_hw.vectors.cases import Case

from . import WRONG_ROUNDINGS, Choices, Function, clipped, half_up, same, wrapped
from .softmax import NAMES, lis4, uniform8

INT8 = clipped(-128, 127)


def codes_of(scores: np.ndarray, mask: np.ndarray, table: np.ndarray, mode: AttentionCodes):
    """int64 (N, N) scores, bool (N, N) -> int64 (N, N)."""
    highest = np.where(mask, -(1 << 40), scores).max(-1, keepdims=True)
    entries = np.where(mask, 0, table[np.where(mask, 0, highest - scores)])
    if mode.of_maximum:
        return np.where(mask, mode.zero_code, entries)
    one = lis4 if mode.name == "lis4" else uniform8
    made = []
    for row in entries.tolist():
        S = sum(row) or 1  # a wrong mask may leave nothing
        of = {e: one(e, S) for e in set(row)}
        made.append([of[e] for e in row])
    return np.array(made)


def model(
    case: Case, *, of_k: Function = same, mask: Function = same, bias: Function = same,
    score_acc: Function = same, score_product: Function = same, score_round=half_up,
    score_clip: Function = INT8, score_zero: Function = same, late_zero=False,
    codes: Function = same, of_v: Function = same, context_acc: Function = same,
    length=None, normalized_product: Function = same, normalized_round=half_up, row_norm=None,
    normalized: Function = same, context_product: Function = same, context_round=half_up,
    context_clip: Function = INT8, context_zero: Function = same,
) -> dict[str, np.ndarray]:  # fmt: skip
    """A function for every tensor on the way from q, k, v to the context; _round: of a tensor's
    shift; late_zero: the zero point of the scores is added after they are clipped;
    length: of W; row_norm: on or off whatever the case says
    """
    mode = MODES[NAMES[case.scalar("mode")]]
    q, k, v = (case[name].astype(np.int64) for name in "qkv")
    hidden = mask(case["mask"].astype(bool))
    acc = score_acc(q @ of_k(k).T + bias(case["bias"].astype(np.int64)))
    M, N, zero = (case.scalar(f"score_{name}") for name in ("multiplier", "shift", "zero"))
    score = score_round(score_product(acc * M), N)
    zero = score_zero(zero)
    score = score_clip(score) + zero if late_zero else score_clip(score + zero)
    found = codes(codes_of(np.asarray(score), hidden, case["table"].astype(np.int64), mode))
    weight = np.array(mode.values)[found]
    acc = context_acc(weight @ of_v(v))
    if case.scalar("row_norm") if row_norm is None else row_norm:
        W = weight.sum(-1, keepdims=True)
        L = length(W) if length else bit_length(W) if mode.of_maximum else np.full_like(W, 14)
        acc = normalized_round(normalized_product(acc * ((1 << L + 15) // np.maximum(W, 1))), L + 1)
    acc = normalized(acc)
    M, N, zero = (case.scalar(f"context_{name}") for name in ("multiplier", "shift", "zero"))
    y = context_clip(context_round(context_product(acc * M), N) + context_zero(zero))
    return {"y": y, "codes": found}


def transposed(x):
    return x.T


def rolled(x):
    return np.roll(x, 1, 0)


def saturated(n: int):
    return clipped(-(2 ** (n - 1)), 2 ** (n - 1) - 1)


VARIANTS: dict[str, Choices] = {
    # scores
    "keys one place late": dict(of_k=rolled),
    "values one place late": dict(of_v=rolled),
    "a transposed mask": dict(mask=transposed),
    "no mask": dict(mask=lambda m: m & False),
    "an inverted mask": dict(mask=lambda m: ~m | np.eye(len(m), dtype=bool)[::-1] & False),
    "a transposed bias": dict(bias=transposed),
    "no bias": dict(bias=lambda b: 0 * b),
    "a bias that is subtracted": dict(bias=lambda b: -b),
    **{f"a bias of {n} bits": dict(bias=wrapped(n)) for n in range(12, 32)},
    **{f"a bias that saturates at {n} bits": dict(bias=saturated(n)) for n in range(8, 14)},
    **{f"a score accumulator of {n} bits": dict(score_acc=wrapped(n)) for n in range(14, 32)},
    **{f"a score's product of {n} bits": dict(score_product=wrapped(n)) for n in range(30, 47)},
    **{f"scores rounded {how}": dict(score_round=wrong) for how, wrong in WRONG_ROUNDINGS.items()},
    "scores of -127 at least": dict(score_clip=clipped(-127, 127)),
    "scores of 126 at most": dict(score_clip=clipped(-128, 126)),
    "scores that wrap": dict(score_clip=wrapped(8)),
    "scores of 9 bits": dict(score_clip=clipped(-255, 0)),
    "no zero point of the scores": dict(score_zero=lambda z: 0),
    "a zero point that is added behind the saturation": dict(late_zero=True),
    # attention x V
    "codes in another order": dict(codes=lambda c: c[:, ::-1]),
    "transposed codes": dict(codes=transposed),
    "-128 of v as -127": dict(of_v=clipped(-127, 127)),
    "127 of v as 126": dict(of_v=clipped(-128, 126)),
    **{f"a context accumulator of {n} bits": dict(context_acc=wrapped(n)) for n in range(14, 24)},
    **{f"a context accumulator that saturates at {n} bits": dict(context_acc=saturated(n))
       for n in range(14, 24)},
    # row normalization
    "no row normalization": dict(row_norm=0),
    "row normalization that ignores its switch": dict(row_norm=1),
    "L of 14 in every mode": dict(length=lambda W: np.full_like(W, 14)),
    "L of W in lis4": dict(length=bit_length),
    "L of at most 15": dict(length=lambda W: np.minimum(bit_length(W), 15)),
    **{f"normalized sums rounded {how}": dict(normalized_round=wrong)
       for how, wrong in WRONG_ROUNDINGS.items()},
    **{f"a normalized product of {n} bits": dict(normalized_product=wrapped(n))
       for n in range(28, 39)},
    **{f"normalized sums of {n} bits": dict(normalized=wrapped(n)) for n in range(14, 22)},
    # the context
    **{f"a context's product of {n} bits": dict(context_product=wrapped(n)) for n in range(28, 38)},
    **{f"a context rounded {how}": dict(context_round=wrong)
       for how, wrong in WRONG_ROUNDINGS.items()},
    "a context of -127 at least": dict(context_clip=clipped(-127, 127)),
    "a context of 126 at most": dict(context_clip=clipped(-128, 126)),
    "a context that wraps": dict(context_clip=wrapped(8)),
    "no zero point of the context": dict(context_zero=lambda z: 0),
}  # fmt: skip

EQUIVALENT: dict[str, Choices] = {}
