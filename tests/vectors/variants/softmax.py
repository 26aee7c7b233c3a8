"""Wrong softmaxes, row by row in Python integers."""

from __future__ import annotations

import numpy as np

from fqvit_hw.attention_codes import MODES
from fqvit_hw.vectors.cases import Case

from . import Choices, same

NAMES = list(MODES)


def begins(c: int, a: int, b: int) -> bool:
    """Whether a code of lis4 is more than c. a = 2S + e, b = 3e."""
    return a > b << 1 if c == 1 else a >= b << c


def lis4(e: int, S: int, first=lambda a, b: a < b, begins=begins, sum_bits=64, b_bits=64) -> int:
    """first: whether the code is 0; sum_bits, b_bits: of 2S + e and of 3e << c."""
    if e == 0:
        return 15
    if first(2 * S, 3 * e):
        return 0
    a = (2 * S + e) % (1 << sum_bits)
    shifted = lambda c: ((3 * e << c) % (1 << b_bits)) >> c  # noqa: E731
    return 1 + max((c for c in range(15) if begins(c, a, shifted(c))), default=-1)


def rounded_quotient(half_up: bool, e: int, S: int) -> int:
    """The paper's definition by k = round(S / e)."""
    if e == 0:
        return 15
    k, rest = divmod(S, e)
    k += 2 * rest > e or (2 * rest == e and (half_up or k % 2))
    c = k.bit_length() - 1
    return min(15, c + (2 * k >= 3 << c))


def uniform8(e: int, S: int, half=1, bits=64, divide=lambda n, d: n // d) -> int:
    return divide((510 * e + half * S) % (1 << bits), 2 * S)


def by_reciprocal(k: int):
    return lambda n, d: (n * ((1 << k) // d + 1)) >> k


def reciprocal(W: int, L: int) -> int:
    return (1 << L + 15) // W


def model(
    case: Case, *, highest=max, of_masked=False, distance=same, entry=same, total=same, code=lis4,
    share=uniform8, zero_code=None, value=same, masked_value=0, count=same, row_sum=same,
    length=int.bit_length, lis4_length=14, reciprocal=reciprocal, shift=lambda L: L + 1,
    row_norm=True, unit=(1 << 15, 15),
) -> dict[str, np.ndarray]:  # fmt: skip
    """highest: of a row's scores, those of masked pairs among them if `of_masked`
    distance, entry: from the maximum, and of the table; total: of the exponentials
    code, share: of an exponential in lis4 and uniform8; zero_code: of masked pairs
    value, masked_value: of a code and of a masked pair, for the row's sum; count: how many tokens
    a row's sums take; row_sum, length, reciprocal, shift: of the row normalization, lis4_length
    the length in lis4; unit: reciprocal and shift without normalization
    """
    codes = MODES[NAMES[case.scalar("mode")]]
    table, normalizes = case["table"].tolist(), case.scalar("row_norm") and row_norm
    made = {"y": [], "reciprocal": [], "shift": []}
    for x, mask in zip(case["x"].tolist(), case["mask"].tolist(), strict=True):
        m = highest(s for s, gone in zip(x, mask, strict=True) if of_masked or not gone)
        e = [0 if gone else entry(table[distance(m - s) % 256])
             for s, gone in zip(x, mask, strict=True)]  # fmt: skip
        hidden = codes.zero_code if zero_code is None else zero_code
        if codes.of_maximum:
            y = [hidden if gone else at for at, gone in zip(e, mask, strict=True)]
        else:
            one = code if codes.name == "lis4" else share
            S = max(total(sum(e[: count(len(e))])), 1)
            of = {at: one(at, S) % (1 << codes.bits) for at in set(e)}
            y = [hidden if gone else of[at] for at, gone in zip(e, mask, strict=True)]
        made["y"].append(y)
        W = sum(masked_value if gone else value(codes.values[at])
                for at, gone in list(zip(y, mask, strict=True))[: count(len(y))])  # fmt: skip
        W = max(row_sum(W), 1)
        L = length(W) if codes.of_maximum else lis4_length
        made["reciprocal"].append(reciprocal(W, L) if normalizes else unit[0])
        made["shift"].append(shift(L) if normalizes else unit[1])
    return {name: np.array(rows) for name, rows in made.items()}


def strict(*which: int):
    """lis4 with strict comparisons for these c, the usual one for c = 1 not strict."""
    return dict(code=lambda e, S: lis4(e, S, begins=lambda c, a, b: a > b << c if c in which else
                                       a >= b << c))  # fmt: skip


def low(bits: int):
    return lambda x: x % (1 << bits)


VARIANTS: dict[str, Choices] = {
    # the row's maximum, the distance, the table
    "a running maximum that starts at 0": dict(highest=lambda x: max(0, *x, 0)),
    "a running maximum that starts at -127": dict(highest=lambda x: max(-127, *x, -127)),
    "the maximum of masked pairs too": dict(of_masked=True),
    "the first score in place of the maximum": dict(highest=lambda x: next(iter(x))),
    "a maximum of magnitudes": dict(highest=lambda x: max(x, key=abs)),
    "a distance of 7 bits": dict(distance=low(7)),
    "a distance clamped to 127": dict(distance=lambda d: min(d, 127)),
    "a distance clamped to 254": dict(distance=lambda d: min(d, 254)),
    "a table read one entry late": dict(distance=lambda d: d + 1),
    # exponentials
    "exponentials of 23 bits": dict(entry=low(23)),
    "exponentials that saturate at 2^23": dict(entry=lambda e: min(e, 1 << 23)),
    **{f"S of {bits} bits": dict(total=low(bits)) for bits in range(24, 36)},
    **{f"S that saturates at {bits} bits": dict(total=lambda S, b=bits: min(S, (1 << b) - 1))
       for bits in (24, 28, 29, 31, 32)},
    **{f"sums of {n} tokens": dict(count=lambda have, n=n: min(have, n))
       for n in (16, 64, 196, 255, 256, 1024, 4095)},
    # lis4
    "2S <= 3e gives code 0": dict(code=lambda e, S: lis4(e, S, first=lambda a, b: a <= b)),
    "no code 0": dict(code=lambda e, S: lis4(e, S, first=lambda a, b: False)),
    "the comparison of c = 1 not strict": strict(),
    "all comparisons strict": strict(*range(15)),
    **{f"the comparison of c = {c} strict too": strict(1, c) for c in range(2, 15)},
    "k rounded half up": dict(code=lambda e, S: rounded_quotient(True, e, S)),
    "S / e cut down": dict(code=lambda e, S: lis4(e, S, begins=lambda c, a, b: a - e >= b << c)),
    "floor(log2 k) without the step at 1.5": dict(
        code=lambda e, S: 15 if e == 0 else min(15, (S // e).bit_length() - 1)),
    **{f"2S + e of {bits} bits": dict(code=lambda e, S, b=bits: lis4(e, S, sum_bits=b))
       for bits in range(25, 38)},
    **{f"3e << 14 of {bits} bits": dict(code=lambda e, S, b=bits: lis4(e, S, b_bits=b))
       for bits in range(25, 40)},
    "codes that end at 14": dict(code=lambda e, S: min(lis4(e, S), 14)),
    # uniform8
    "uniform8 rounded down": dict(share=lambda e, S: uniform8(e, S, half=0)),
    "uniform8 that loses a half": dict(share=lambda e, S: max(510 * e + S - 1, 0) // (2 * S)),
    "uniform8 of 256 steps": dict(share=lambda e, S: min((512 * e + S) // (2 * S), 255)),
    "a numerator of 32 bits": dict(share=lambda e, S: uniform8(e, S, bits=32)),
    "a numerator of 33 bits": dict(share=lambda e, S: uniform8(e, S, bits=33)),
    **{f"uniform8 by a reciprocal of {k} bits": dict(
        share=lambda e, S, k=k: uniform8(e, S, divide=by_reciprocal(k)))
       for k in range(16, 60, 4)},
    # masked pairs
    "masked pairs with code 0": dict(zero_code=0),
    "masked pairs with the code of least value": dict(zero_code=14),
    "masked pairs in the row's sum": dict(masked_value=1),
    # the row's sum and its reciprocal
    "256 in place of 255": dict(value=lambda v: 256 if v == 255 else v),
    **{f"{v} for a value of {v - 1}": dict(value=lambda have, v=v: have + (have == v - 1))
       for v in (2, 5, 13, 25, 33, 49, 65, 97, 129, 161, 193, 241)},
    **{f"W of {bits} bits": dict(row_sum=low(bits)) for bits in range(8, 20)},
    "W that saturates at 16 bits": dict(row_sum=lambda W: min(W, (1 << 16) - 1)),
    "L of W - 1": dict(length=lambda W: (W - 1).bit_length()),
    "L of at most 16": dict(length=lambda W: min(W.bit_length(), 16)),
    "L of at most 19": dict(length=lambda W: min(W.bit_length(), 19)),
    "L of 14 in every mode": dict(length=lambda W: 14),
    "L of W in lis4": dict(lis4_length=15),
    "a reciprocal rounded up": dict(reciprocal=lambda W, L: -(-(1 << L + 15) // W)),
    "a reciprocal rounded to the nearest": dict(
        reciprocal=lambda W, L: ((1 << L + 15) + W // 2) // W),
    "a reciprocal that saturates at 16 bits": dict(
        reciprocal=lambda W, L: min((1 << L + 15) // W, (1 << 16) - 1)),
    "a reciprocal without its lowest bit": dict(
        reciprocal=lambda W, L: (1 << L + 15) // W & ~1),
    "2^L / W and a shift": dict(reciprocal=lambda W, L: ((1 << L + 14) // W) << 1),
    "a shift of L": dict(shift=lambda L: L),
    "a shift of 4 bits": dict(shift=lambda L: (L + 1) % 16),
    "row normalization that ignores its switch": dict(row_norm=False),
    "no normalization by a reciprocal of 2^14": dict(unit=(1 << 14, 14)),
}  # fmt: skip

EQUIVALENT: dict[str, Choices] = {
    # S >= 2^33 only where 510 e < S: then p is 0, with or without the upper bits of 510 e + S
    "a numerator of 34 bits": dict(share=lambda e, S: uniform8(e, S, bits=34)),
}
