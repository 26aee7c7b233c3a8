"""The worked examples of docs/datapath.md, made again: every line must stand in the document.

So must the widths that formats.py gives.

Intermediates are Python integers that follow the document's formulas; the results come from the
units and must agree with them. `python -m tests.units.test_datapath_examples` prints the blocks.
"""

from __future__ import annotations

from math import exp, isqrt
from pathlib import Path

import numpy as np
import pytest

from fqvit_hw.attention_codes import BOOKS, LIS4, MODES
from fqvit_hw.formats import (
    BETA,
    EPSILON,
    EXPONENTIAL,
    GAMMA,
    MAX_ACC,
    NORM_RECIPROCAL,
    RECIPROCAL,
    RESIDUAL_MULTIPLIER,
    ROW_SHIFT,
)
from fqvit_hw.units import (
    Gelu,
    LayerNorm,
    Pool,
    Requantize,
    Residual,
    Softmax,
    bitshift_matmul,
    gelu,
    layernorm,
    matmul,
    patches,
    pool,
    pool_sum,
    requantize,
    residual,
    row_reciprocal,
    softmax,
    values,
)
from fqvit_hw.units.attention import normalize_rows
from tests.units.reference import nearest_code
from tests.units.test_gelu import make as make_gelu

DOCUMENT = Path(__file__).parents[2] / "docs" / "datapath.md"

CODES = np.array([[1, 2, 4, 15]])  # what example_softmax finds
MAXIMUM_CODES = np.array([[0, 2, 6, 9, 15]])  # what example_maximum finds
VALUES = np.array([50, -100, 20, 127])


def shifted(x: int, n: int) -> int:
    return (x + (1 << n >> 1)) >> n


def example_image() -> str:
    y = patches(np.array([[[[0, 200], [128, 255]]]], np.uint8), 2)
    assert y.tolist() == [[[-128, 72, 0, 127]]]
    return "pixels 0 200 / 128 255, patch 2   ->   codes -128 72 0 127"


def example_requantize() -> str:
    lines = ["M = 40503, N = 22, zero = -3, 8 bits"]
    p = Requantize(40503, 22, -3, 8)
    for acc in (1000, -1000, 20000):
        product = acc * 40503
        lines.append(
            f"acc = {acc:6}:  product = {product:10}  rounded = {shifted(product, 22):4}  "
            f"y = {requantize(np.array(acc), p)}"
        )
    lines.append("M = 32768, N = 20, zero = 0 (half-way)")
    p = Requantize(32768, 20, 0, 8)
    for acc in (16, -16, -48):
        lines.append(
            f"acc = {acc:6}:  product / 2^20 = {acc / 32:4}  y = {requantize(np.array(acc), p)}"
        )
    return "\n".join(lines)


def example_matmul() -> str:
    y = matmul(np.array([[3, -2, 127]]), np.array([[10, 20, -5]]), np.array([100]))
    worst = 100 + 128 * 35
    return (
        f"a = 3 -2 127, w = 10 20 -5, bias = 100:  30 - 40 - 635 + 100 = {y[0, 0]}\n"
        f"worst case of this output for any int8 a:  100 + 128 * (10 + 20 + 5) = {worst} < 2^31"
    )


def example_layernorm() -> str:
    x, zero, a, C, eps = [10, -3, 7, 0], -3, [0, 1, 0, 2], 4, 16
    G, g, B, zero_out = [20480, -10240, 15360, 5120], 9, [1024, 0, -2560, 512], -5
    p = LayerNorm(a, zero, 8, eps, G, g, B, zero_out)
    X = [(v - zero) << s for v, s in zip(x, a, strict=True)]
    total, sumsq = sum(X), sum(v * v for v in X)
    V = C * sumsq - total**2 + eps
    D = [C * v - total for v in X]
    e = (V.bit_length() + 1) // 2 - 18
    normalized = V << -2 * e
    root = isqrt(normalized)
    R = 2**33 // root
    T = [shifted(d * R, 17 + e) for d in D]
    y = [shifted(t * m + (b << g + 6), g + 16) + zero_out for t, m, b in zip(T, G, B, strict=True)]
    assert layernorm(np.array([x]), p).tolist() == [y]

    def row(values):
        return " ".join(str(v) for v in values)

    return "\n".join(
        [
            f"codes {row(x)}, zero {zero}, factors {row(a)}, eps' {eps}",
            f"G {row(G)}, g {g}, B {row(B)}, zero_out {zero_out}",
            f"X      = {row(X)}",
            f"sum X  = {total}   sum X^2 = {sumsq}   V = 4 * {sumsq} - {total}^2 + {eps} = {V}",
            f"D      = {row(D)}",
            f"e      = ({V.bit_length()} + 1) div 2 - 18 = {e}   V' = V << {-2 * e} = {normalized}",
            f"root   = {root}   R = {R}   shift = 17 + e = {17 + e}",
            f"T      = {row(T)}",
            f"y      = {row(y)}",
        ]
    )


def example_softmax() -> str:
    x = [40, 33, 20, -60]
    table = np.array([round(2**23 * exp(-0.1 * d)) for d in range(256)])
    d = [max(x) - v for v in x]
    e = [int(table[v]) for v in d]
    codes = softmax(np.array([x]), Softmax(table))
    uniform = softmax(np.array([x]), Softmax(table, "uniform8", False))[0].tolist()
    assert codes.tolist() == CODES.tolist()
    S = sum(e)

    def row(values):
        return "".join(f"{v:>9}" for v in values)

    return "\n".join(
        [
            "x       =" + row(x),
            "d       =" + row(d),
            "e       =" + row(e) + f"     S = {S}",
            "S/e     =" + row(f"{S / v:.2f}" for v in e),
            "code    =" + row(codes[0].tolist()),
            "uniform =" + row(uniform),
        ]
    )


def example_books() -> str:
    def book(bits: int) -> str:
        return " ".join(str(value) for value in BOOKS[bits])

    assert BOOKS[8] == tuple(range(255, -1, -1))
    return "\n".join(
        [f"max{bits}   {book(bits)}" for bits in (4, 3, 5)] + ["max8   255 254 253 ... 1 0"]
    )


def example_maximum() -> str:
    x, mode = [40, 33, 20, 8, -60], MODES["max4"]
    e = [round(2**23 * exp(-0.1 * d)) for d in range(256)]
    table = np.array([nearest_code(v, e[0], mode.values) for v in e])
    d = [max(x) - v for v in x]
    codes = softmax(np.array([x]), Softmax(table, "max4"))
    assert codes.tolist() == MAXIMUM_CODES.tolist()
    found = values(codes, mode)[0].tolist()

    def row(values):
        return "".join(f"{v:>9}" for v in values)

    return "\n".join(
        [
            "x       =" + row(x),
            "d       =" + row(d),
            "255 e   =" + row(f"{255 * e[v] / e[0]:.2f}" for v in d) + "     over E[0]",
            "code    =" + row(codes[0].tolist()),
            "value   =" + row(found) + f"     W = {sum(found)}",
        ]
    )


def example_mean() -> str:
    mode, v = MODES["max4"], [50, -100, 20, 127, -7]
    weight = [mode.values[code] for code in MAXIMUM_CODES[0].tolist()]
    W = sum(weight)
    L = W.bit_length()
    R = 2 ** (L + 15) // W
    reciprocal, shift = row_reciprocal(MAXIMUM_CODES, mode)
    assert (reciprocal, shift) == (R, L + 1)
    acc = matmul(values(MAXIMUM_CODES, mode), np.array([v]))
    total = sum(w * x for w, x in zip(weight, v, strict=True))
    assert acc == total
    product = total * R
    normalized = normalize_rows(acc, reciprocal, shift)
    assert normalized == shifted(product, L + 1)
    y = requantize(normalized, Requantize(32768, 29, 0, 8))
    terms = " + ".join(f"{w} * {x}" for w, x in zip(weight, v, strict=True))
    return "\n".join(
        [
            "codes " + " ".join(map(str, MAXIMUM_CODES[0])) + ", v " + " ".join(map(str, v)),
            f"acc = {terms} = {total}",
            f"W = {W}   L = {L}   reciprocal = 2^{L + 15} div W = {R}",
            f"product = {product}   shifted by {L + 1} = {normalized[0, 0]} "
            f"(that is {int(normalized[0, 0]) / 2**14:.4f} v steps; exactly {total / W:.4f})",
            f"requantized with M = 32768, N = 29 (v's own scale): {y[0, 0]}",
        ]
    )


def example_context() -> str:
    weight = [0 if c == 15 else 1 << (14 - c) for c in CODES[0].tolist()]
    reciprocal, shift = row_reciprocal(CODES, MODES["lis4"])
    W, R = sum(weight), int(reciprocal[0, 0])
    acc = bitshift_matmul(CODES, VALUES[:, None])
    product = int(acc[0, 0]) * R
    normalized = normalize_rows(acc, reciprocal, shift)
    assert acc[0, 0] == sum(w * v for w, v in zip(weight, VALUES.tolist(), strict=True))
    assert normalized[0, 0] == shifted(product, 15)
    y = requantize(normalized, Requantize(32768, 29, 0, 8))
    return "\n".join(
        [
            "codes 1 2 4 15, v 50 -100 20 127",
            "acc = (50 << 13) + (-100 << 12) + (20 << 10) + nothing = " + str(acc[0, 0]),
            f"W = {' + '.join(str(w) for w in weight)} = {W}   reciprocal = 2^29 div W = {R}",
            f"product = {product}   normalized = {normalized[0, 0]} "
            f"(that is {int(normalized[0, 0]) / 2**14:.4f} v steps; exactly {acc[0, 0] / W:.4f})",
            f"requantized with M = 32768, N = 29 (v's own scale): {y[0, 0]}",
        ]
    )


def example_gelu() -> str:
    p: Gelu = make_gelu(10, 0.05, -115)
    M, N = int(p.linear.multiplier), int(p.linear.shift)
    lines = [f"index width 10 (step 2^-7), output real = 0.05 * (code + 115), M = {M}, N = {N}"]
    for x in (300, -100, -513, 511, 512, 700):
        where = "below" if x < -512 else "linear" if x >= 512 else f"table[{x + 512}]"
        y = int(gelu(np.array([x]), p)[0])
        lines.append(f"x = {x:5} ({x / 128:8.4f}):  {where:11}  y = {y:4}")
    return "\n".join(lines)


def example_residual() -> str:
    p = Residual(8, -5, [2], 52429, 8, 9, 30000, 16, 8, 3, [1])
    X, Y = (20 + 5) << 2, -40 - 9
    total = X * 52429 + Y * 30000
    y = int(residual(np.array([[20]]), np.array([[-40]]), p)[0, 0])
    assert y == shifted(total, 17) + 3
    return "\n".join(
        [
            "x = 20, x_zero = -5, a = 2, Mx = 52429; y = -40, y_zero = 9, My = 30000; N 16, b 1",
            f"X = {X}   Y = {Y}   sum = {total}   sum / 2^17 = {total / 2**17:.4f}   "
            f"rounded = {shifted(total, 17)}   with zero 3: {y}",
        ]
    )


def example_pool() -> str:
    p = Pool(4, -2, Requantize(1 << 15, 16, 1, 8))
    x = np.array([[10], [11], [13], [-4]])
    total, y = int(pool_sum(x, p)[0]), int(pool(x, p)[0])
    return (
        f"tokens 10 11 13 -4, zero -2:  sum = {total}   with M = 32768, shift 16, zero_out 1:  "
        f"{shifted(total, 1)} + 1 = {y}"
    )


EXAMPLES = [example_image, example_requantize, example_matmul, example_layernorm,
            example_books, example_maximum, example_softmax, example_mean, example_context,
            example_gelu, example_residual, example_pool]  # fmt: skip


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda f: f.__name__)
def test_example_stands_in_the_document(example):
    assert f"```\n{example()}\n```" in DOCUMENT.read_text()


@pytest.mark.parametrize(
    "text",
    [
        f"eps' ({EPSILON}, ",
        f"gamma mantissa G_c ({GAMMA}, ",
        f"B_c ({BETA}, ",
        f"\n| R | {NORM_RECIPROCAL} |",
        f"\nE of 256 {EXPONENTIAL} entries",
        f"\n| recip | {RECIPROCAL} |  | 2^15..2^16 |",
        f"\n| recip | {RECIPROCAL} | 2^29 / ",
        f"\n| acc | {MAX_ACC} |",
        f"\n| W | {MODES['max4'].row_sum} |",
        f"\n| L + 1 | {ROW_SHIFT} |",
        f"\n| acc | {LIS4.accumulator} |",
        f"\n| W | {LIS4.row_sum} |",
        f"Mx, My ({RESIDUAL_MULTIPLIER}) ",
    ],
)
def test_width_stands_in_the_document(text):
    assert text in DOCUMENT.read_text()


def test_books_stand_in_the_readme_of_the_golden_vectors():
    readme = (DOCUMENT.parents[1] / "golden" / "README.md").read_text()
    for number, (name, mode) in enumerate(MODES.items()):
        what = "codes" if mode.of_maximum else "exponentials"
        width = mode.bits if mode.of_maximum else EXPONENTIAL.width
        row = f"| {number} | `{name}` | {what}, {width} bits | {mode.bits} bits | "
        assert row in readme
        if mode.of_maximum and mode.bits < 8:
            assert f"{row}{' '.join(map(str, mode.values))} |" in readme


if __name__ == "__main__":
    for example in EXAMPLES:
        print(f"{example()}\n")
