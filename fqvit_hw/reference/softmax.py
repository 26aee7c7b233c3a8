"""Log-Int-Softmax as the authors simulate it: integers held in floats, one division per element.

e    = i-exp of the distance to the row maximum, 30 fraction bits (I-BERT)
k    = round(sum(e) / e)                                 half to even
code = floor(log2 k), plus 1 if k >= 1.5 * 2^floor(log2 k)
p    = 2^-code, and 0 beyond the largest code
"""

from __future__ import annotations

import torch

from .config import Defects

LN2 = 0.6931
A, B, C = 0.35815147, 0.96963238, 1.0  # exp(x) = A x^2 + B x + C on (-ln 2, 0], I-BERT's fit
FRACTION = 30  # halvings of the exponential before it counts as 2^-30


def log_int_softmax(scores, scale, defects: Defects) -> torch.Tensor:
    """scores: float (..., N), multiples of `scale` () -> probabilities 2^-code or 0, same shape."""
    steps = scores / scale
    if not defects.fractional_scores:
        steps = steps.round()
    e = i_exp(steps - steps.amax(-1, keepdim=True), scale, defects)
    k = torch.round(e.sum(-1, keepdim=True) / e)
    code = k.log2().floor()
    code = code + (k >= 1.5 * 2**code)  # e = 0 gives infinity here, and 0 below
    largest = 15 if defects.seventeen_states else 14
    return torch.where(code > largest, 0, 2**-code)


def i_exp(distance, scale, defects: Defects) -> torch.Tensor:
    """distance: float (..., N), in steps of `scale`, at most 0 -> exp, times a constant.

    exp(x) = 2^-q exp(r): q counts how often ln 2, in whole steps, goes into the distance; the
    polynomial of r is taken in whole steps too. Its constant C / A / scale^2 rounds down to 0 from
    a scale of 1.671: then the true exponential stands in, unless the defect is asked for.
    """
    ln2 = torch.floor(-LN2 / scale)
    b = torch.floor(B / A / scale)
    c = torch.floor(C / A / scale**2)
    if c == 0 and not defects.unguarded_i_exp:
        return torch.floor((distance * scale).exp() * 2**FRACTION)
    distance = torch.maximum(distance, FRACTION * ln2)
    q = torch.floor(distance / ln2)
    r = distance - ln2 * q
    return torch.floor((r * (r + b) + c) * 2 ** (FRACTION - q)).clamp(min=0)
