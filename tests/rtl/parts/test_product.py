"""rtl.parts.product: wide products by limbs are exact, and stand still without `advance`."""

from __future__ import annotations

import numpy as np
import pytest
from amaranth.hdl import Module, Signal, signed, unsigned

from fqvit_hw.rtl.parts.product import Product
from tests.rtl.parts.arithmetic import results


@pytest.mark.parametrize("bits", [8, 18, 19, 32, 34])
@pytest.mark.parametrize("factor_shape", [unsigned(17), signed(18)])
def test_extremes_and_random_values(bits, factor_shape):
    m, advance = Module(), Signal()
    value, factor = Signal(signed(bits)), Signal(factor_shape)
    product = Product(m, advance, value, factor, "product").result
    rng = np.random.default_rng(bits)
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    least = -(1 << 17) if factor_shape.signed else 0
    most = (1 << 17) - 1
    values = [low, low, high, high, -1, 0, *rng.integers(low, high, 20).tolist()]
    factors = [least, most, least, most, most, most, *rng.integers(least, most, 20).tolist()]
    got = results(m, [(value, values), (factor, factors)], product, Product.latency, advance)
    assert got == [a * b for a, b in zip(values, factors, strict=True)]
