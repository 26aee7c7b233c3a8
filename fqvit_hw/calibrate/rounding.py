"""Weights rounded for the layer's output: integer coordinate descent.

Rounding every weight to the nearest code makes the least error of the weights, not of what the
layer computes. Here the codes c of one output minimize the squared error over calibration tokens,

    e^T H e    with    e = c - w / step    and    H = covariance of the input codes,

one code at a time, the others held: c_j moves by the integer next to -(H e)_j / H_jj, until no
code moves. The input's mean is not in it, since the bias takes that part (bias correction). The
method is QuantEase's (Behdin et al. 2023, arXiv 2309.01885) without its real numbers: H and e are
integers so small that every product and sum below is an integer below 2^53. So float64 is exact,
BLAS may sum in any order, and the codes are the same on every machine.
"""

from __future__ import annotations

import numpy as np

from ..formats import IntFormat

FRACTION = 12  # bits of e
REACH = 3  # codes stay this near to the nearest one
SHRINK = 1 - np.arange(40) / 50  # of the largest step, 1 to 0.22
EXACT = 53  # bits of an integer in float64
BLOCK = 64  # columns between two products of matrices
SWEEPS = 4  # over all columns, if codes still move
DAMPING = 2  # the diagonal grows by its mean over this: what few images show is half noise


def round_to_nearest(target: np.ndarray) -> np.ndarray:
    """target: weights in steps, float64 (out, K) -> codes int64."""
    return np.rint(target).astype(np.int64)


def round_to_output(target: np.ndarray, moments: np.ndarray, bits: int) -> np.ndarray:
    """Codes of `bits` bits, int64 (out, K), whose outputs differ least from the target's.

    target: weights in steps, float64 (out, K); moments: of the input codes, or any multiple of
    them, float64 (K, K). The error e^T (H + damping) e is that of the nearest codes or less, of
    each output.
    """
    limit, one = IntFormat(bits).max, float(1 << FRACTION)
    near = np.rint(target.T).clip(-limit, limit)  # (K, out): a column of the layer is a row here
    H = integer_matrix(moments, np.abs(target.T - near).max(initial=0) + 2 * REACH)
    divisor = one * np.maximum(H.diagonal(), 1)
    lowest, highest = np.maximum(near - REACH, -limit), np.minimum(near + REACH, limit)
    codes = near.copy()
    gradient = H @ (codes * one - np.rint(target.T * one))  # H e, kept up to date
    for _ in range(SWEEPS):
        moved = False
        for start in range(0, len(H), BLOCK):
            block = slice(start, start + BLOCK)
            inside, g, moves = H[block, block], gradient[block].copy(), np.zeros_like(codes[block])
            for j, move in enumerate(moves):
                at = start + j
                wanted = codes[at] + np.rint(-g[j] / divisor[at])
                move += wanted.clip(lowest[at], highest[at]) - codes[at]
                if move.any():  # the codes of the block that are still to come see it
                    g[j + 1 :] += inside[j + 1 :, j, None] * (move * one)
            if moves.any():
                codes[block] += moves
                gradient += H[:, block] @ (moves * one)
                moved = True
        if not moved:
            break
    return codes.T.astype(np.int64)


def integer_matrix(moments: np.ndarray, error: float) -> np.ndarray:
    """Proportional to the moments, damped: integers so small that (H e)_j is exact for |e| <=
    error, in any order. No entry is larger than the largest of the diagonal."""
    inputs = len(moments)
    bits = EXACT - FRACTION - int(np.ceil(np.log2(error)) + np.ceil(np.log2(inputs)))
    largest = moments.diagonal().max(initial=0)
    if not largest > 0:
        return np.zeros_like(moments)
    H = np.rint(moments * (2.0 ** (bits - 1) / largest))
    H[np.diag_indices(inputs)] += np.floor(H.diagonal().sum() / (DAMPING * inputs))
    return H


def output_steps(weight: np.ndarray, moments: np.ndarray, bits: int) -> np.ndarray:
    """The step of each output, float64 (out,): where cutting its largest weights pays, a smaller
    one than max|w| / (2^(bits-1) - 1).

    weight: float64 (out, K). Judged by the squared error of the nearest codes, each input weighted
    by its variance alone: sums of integers again.
    """
    limit, fine = IntFormat(bits).max, float(1 << 5)
    largest = np.abs(weight).max(1) / limit
    variance = np.rint(moments.diagonal() * (2.0**11 / (moments.diagonal().max(initial=0) or 1.0)))
    variance += np.floor(variance.sum() / (DAMPING * len(variance))) + 1
    errors = []
    for shrink in SHRINK:
        step = largest * shrink
        target = weight / np.where(step > 0, step, 1.0)[:, None]
        e = np.rint((np.rint(target).clip(-limit, limit) - target) * fine)
        errors.append((np.square(e) @ variance) * np.square(step))
    return largest * SHRINK[np.argmin(errors, axis=0)]
