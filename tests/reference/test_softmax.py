"""Log-Int-Softmax: the codes of the paper's formula, of the integer unit, and the defects."""

import math
from fractions import Fraction

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the reference engine needs torch")

from fqvit_hw.calibrate.tables import polynomial_exponential  # noqa: E402
from fqvit_hw.reference.config import AUTHORS_DEFECTS, Defects  # noqa: E402
from fqvit_hw.reference.softmax import i_exp, log_int_softmax  # noqa: E402
from fqvit_hw.units.softmax import Softmax, log2_code, softmax  # noqa: E402

SCALES = [0.011, 0.05, 0.1, 0.2, 0.5, 1.3]
ZERO = 99  # stands for a probability of 0


def random_rows(seed, n, tokens, spread):
    scores = np.random.default_rng(seed).normal(0, spread, (n, tokens))
    return np.clip(np.rint(scores), -128, 127).astype(np.int8)


def codes_of(p):
    """Probabilities 2^-code or 0 -> codes, ZERO for 0."""
    p = p.double().numpy()
    return np.where(p > 0, np.rint(-np.log2(np.where(p > 0, p, 1))), ZERO).astype(int)


def simulated(x, scale, defects):
    """int8 scores -> codes, in float64: there every integer of the formula is exact."""
    scores = torch.tensor(x, dtype=torch.float64) * scale
    return codes_of(log_int_softmax(scores, torch.tensor(scale, dtype=torch.float64), defects))


def exponentials(x, scale):
    """The integers e of i-exp, in Python's own: the paper's formula with 30 fraction bits."""
    x0 = math.floor(-0.6931 / scale)
    b, c = math.floor(0.96963238 / 0.35815147 / scale), math.floor(1 / 0.35815147 / scale**2)
    found = []
    for d in x.astype(int) - x.max(-1, keepdims=True).astype(int):
        row = []
        for step in d.tolist():
            q, r = divmod(-max(step, 30 * x0), -x0)
            row.append(((-r * (-r + b) + c) << 30) >> q)
        found.append(row)
    return np.array(found, dtype=np.int64)


def paper_code(S: int, e: int) -> int:
    if e == 0:
        return ZERO
    k = round(Fraction(S, e))  # half to even
    low = k.bit_length() - 1
    return low + (2 * k >= 3 << low)


@pytest.mark.parametrize("scale", SCALES)
def test_i_exp_is_the_integer_units_polynomial(scale):
    d = torch.arange(256, dtype=torch.float64)
    e = i_exp(-d, torch.tensor(scale, dtype=torch.float64), Defects()).numpy()
    table = polynomial_exponential("layer", scale)
    assert e[0] > 0 and np.array_equal(np.floor(e * table[0] / e[0]), table)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("tokens, spread", [(4, 3), (49, 10), (197, 40)])
def test_codes_are_those_of_the_paper_and_of_the_integer_unit(scale, tokens, spread):
    x = random_rows(tokens, 150, tokens, spread)
    e = exponentials(x, scale)
    S = e.sum(-1, keepdims=True)
    paper = np.vectorize(paper_code, otypes=[int])(np.broadcast_to(S, e.shape), e)
    with_17 = simulated(x, scale, Defects(seventeen_states=True))
    assert np.array_equal(with_17, np.where(paper > 15, ZERO, paper))
    with_16 = simulated(x, scale, Defects())
    assert np.array_equal(with_16, np.where(paper > 14, ZERO, paper))
    unit = log2_code(e, S)
    assert np.array_equal(np.where(with_16 == ZERO, 15, with_16), unit)
    table = Softmax(polynomial_exponential("layer", scale), row_norm=False)
    assert np.array_equal(softmax(x, table), unit)


def test_float32_codes_differ_only_where_a_sum_is_rounded_across_a_threshold():
    x, scale = random_rows(0, 2000, 197, 25), 0.1
    scores = torch.tensor(x).float() * scale
    found = codes_of(log_int_softmax(scores, torch.tensor(scale), Defects()))
    assert np.mean(found != simulated(x, scale, Defects())) < 1e-5


def test_the_seventeenth_state_is_2_to_the_minus_15():
    x = np.array([[100, 0]], np.int8)  # S / e = exp(10), then exp(10.6)
    x = np.concatenate([x, [[100, -6]]]).astype(np.int8)
    assert simulated(x, 0.1, Defects(seventeen_states=True)).tolist() == [[0, 14], [0, 15]]
    assert simulated(x, 0.1, Defects()).tolist() == [[0, 14], [0, ZERO]]


def test_a_masked_pair_gets_nothing():
    scores = torch.tensor([[1.0, 0.9, 1.0 - 100, 0.8]])
    p = log_int_softmax(scores, torch.tensor(0.1), Defects())
    without = log_int_softmax(scores[:, [0, 1, 3]], torch.tensor(0.1), Defects())
    assert p[0, 2] == 0 and torch.equal(p[:, [0, 1, 3]], without)


def test_i_exp_fails_at_coarse_scales_and_the_true_exponential_stands_in():
    scores = torch.tensor([[0.0, -2.0, -4.0]])
    coarse, fine = torch.tensor(2.0), torch.tensor(1.6)
    broken = Defects(unguarded_i_exp=True)
    assert torch.isnan(log_int_softmax(scores, coarse, broken)).all()
    assert not torch.isnan(log_int_softmax(scores, fine, broken)).any()
    e = np.exp([0.0, -2.0, -4.0])
    expected = [paper_code(round(sum(e) * 2**40), round(v * 2**40)) for v in e]
    assert codes_of(log_int_softmax(scores, coarse, Defects())).tolist() == [expected]


def test_scores_are_whole_steps_again_unless_the_defect_is_asked_for():
    scores, scale = torch.tensor([[0.0, -0.26, -0.49]]), torch.tensor(0.1)
    rounded = log_int_softmax(torch.tensor([[0.0, -0.3, -0.5]]), scale, Defects())
    assert torch.equal(log_int_softmax(scores, scale, Defects()), rounded)
    wide = torch.linspace(-9, 0, 50).reshape(1, -1)
    assert not torch.equal(
        log_int_softmax(wide, scale, Defects()), log_int_softmax(wide, scale, AUTHORS_DEFECTS)
    )
