"""Weights rounded for the layer's output: less error, codes in range, the same on any machine."""

import hashlib
import os
import subprocess
import sys
from itertools import product

import numpy as np
import pytest

from fqvit_hw.calibrate import rounding
from fqvit_hw.calibrate.rounding import output_steps, round_to_nearest, round_to_output


def problem(seed: int, outputs: int = 24, inputs: int = 70, tokens: int = 300):
    """Weights (out, K) and the moments (K, K) of int8 codes that are correlated, some dead."""
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(tokens, 12)) @ rng.normal(size=(12, inputs))
    codes = np.rint(20 * (mixed + rng.normal(size=mixed.shape))).clip(-128, 127)
    codes[:, ::13] = 0
    codes -= codes.mean(0)
    return rng.normal(size=(outputs, inputs)) ** 3, codes.T @ codes


def steps(weight, bits):
    return np.abs(weight).max(1, keepdims=True) / (2 ** (bits - 1) - 1)


def errors(codes, target, moments) -> np.ndarray:
    """e^T H e of every output, in steps; H as it is minimized."""
    H = rounding.integer_matrix(moments, 10)
    e = codes - target
    return np.einsum("ok,kl,ol->o", e, H / H.max(), e)


@pytest.mark.parametrize("bits", [4, 6, 8])
@pytest.mark.parametrize("seed", range(3))
def test_no_output_has_more_error_than_with_the_nearest_codes(seed, bits):
    weight, moments = problem(seed)
    target = weight / steps(weight, bits)
    codes, nearest = round_to_output(target, moments, bits), round_to_nearest(target)
    limit = 2 ** (bits - 1) - 1
    assert codes.dtype == np.int64 and np.abs(codes).max() <= limit
    # targets are cut to 2^-12 steps in there: of an e of half a step that is next to nothing
    found, before = errors(codes, target, moments), errors(nearest, target, moments)
    assert (found <= before * 1.001).all()
    assert found.sum() < 0.8 * before.sum()


@pytest.mark.parametrize("seed", range(20))
def test_no_single_code_can_be_better_and_few_sets_are(seed):
    """By brute force over all codes next to the target: descent stops where no single move pays,
    which is the best there is more often than the nearest codes are."""
    weight, moments = problem(seed, outputs=8, inputs=5)
    target = weight / steps(weight, 5)
    codes = round_to_output(target, moments, 5)
    floor = np.floor(target).astype(int)
    choices = np.array(list(product((-1, 0, 1, 2), repeat=5)))  # (1024, 5)
    everything = np.stack(
        [
            errors((f + choices).clip(-15, 15), t, moments)
            for f, t in zip(floor, target, strict=True)
        ]
    )
    least, found = everything.min(1), errors(codes, target, moments)
    assert (found >= least * 0.999).all()
    assert found.sum() <= 1.3 * least.sum()
    for j in range(5):
        for move in (-1, 1):
            moved = codes.copy()
            moved[:, j] = (moved[:, j] + move).clip(-15, 15)
            assert (errors(moved, target, moments) >= found * 0.999).all()


def test_brute_force_by_hand():
    """Two inputs that are always equal: 0.4 + 0.4 is nearly 1, not 0."""
    target, equal = np.array([[0.4, 0.4]]), np.full((2, 2), 100.0)
    assert round_to_nearest(target).tolist() == [[0, 0]]
    assert round_to_output(target, equal, 4).sum() == 1
    assert round_to_output(target, np.eye(2), 4).tolist() == [[0, 0]]


def test_without_moments_nothing_moves():
    target = np.random.default_rng(0).normal(size=(3, 9)) * 5
    none = np.zeros((9, 9))
    np.testing.assert_array_equal(round_to_output(target, none, 8), round_to_nearest(target))


def test_any_order_of_summation_gives_the_same(monkeypatch):
    """Sums of H e from the right to the left, and of one column after another."""
    weight, moments = problem(5)
    target = weight / steps(weight, 6)
    codes = round_to_output(target, moments, 6)

    class Backwards(np.ndarray):
        def __matmul__(self, other):
            a, b = np.asarray(self), np.asarray(other)
            total = np.zeros((len(a), b.shape[1]))
            for k in reversed(range(len(b))):
                total += a[:, k, None] * b[k]
            return total

    made = rounding.integer_matrix
    monkeypatch.setattr(rounding, "integer_matrix", lambda *values: made(*values).view(Backwards))
    np.testing.assert_array_equal(round_to_output(target, moments, 6), codes)


@pytest.mark.parametrize(("inputs", "scale"), [(4096, 1.0), (300, 1e-9), (300, 1e20), (1, 1.0)])
def test_sums_are_exact(inputs, scale):
    """The bound of the docstring: K entries of the matrix times the largest error."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(8, inputs)) * scale
    for error in (4.0, 100.0):
        H = rounding.integer_matrix(x.T @ x, error)
        np.testing.assert_array_equal(H, np.rint(H))
        assert 0 < H.max() == H.diagonal().max()
        assert np.abs(H).sum(1).max() * error * 2**rounding.FRACTION < 2**53


def test_a_step_is_cut_where_that_pays():
    rng = np.random.default_rng(2)
    weight = rng.normal(size=(3, 400))
    weight[0, 0], weight[1, 1] = 9, 9  # an outlier on a dead input, and on a loud one
    variance = np.ones(400)
    variance[0], variance[1] = 0, 100
    found = output_steps(weight, np.diag(variance), 4)
    largest = np.abs(weight).max(1) / 7
    assert found[0] < 0.6 * largest[0]
    assert found[1] > 0.9 * largest[1]
    assert output_steps(np.zeros((2, 5)), np.eye(5), 4).tolist() == [0, 0]


def digest() -> str:
    weight, moments = problem(7, 64, 300)
    step = output_steps(weight, moments, 5)
    codes = round_to_output(weight / step[:, None], moments, 5)
    return hashlib.sha256(step.tobytes() + codes.tobytes()).hexdigest()


@pytest.mark.parametrize("threads", ["1", "2"])
def test_any_number_of_threads_gives_the_same(threads):
    env = os.environ | {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
    script = "from tests.calibrate.test_rounding import digest; print(digest())"
    other = subprocess.run(
        [sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True
    )
    assert other.stdout.strip() == digest()
