"""rtl.parts.product: wide products by limbs are exact, and stand still without `advance`."""

from __future__ import annotations

import numpy as np
import pytest
from amaranth.hdl import Module, Signal, signed, unsigned

from fqvit_hw.rtl.parts.product import Product, added_up
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


@pytest.mark.parametrize("bits", [16, 27, 28, 32])
@pytest.mark.parametrize("factor_shape", [unsigned(16), unsigned(17), signed(18)])
def test_wide_multipliers(bits, factor_shape):
    """What a limb of 26 bits leaves of an int32 is added up."""
    m, advance = Module(), Signal()
    value, factor = Signal(signed(bits)), Signal(factor_shape)
    product = Product(m, advance, value, factor, "product", wide=True).result
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    some = np.random.default_rng(bits).integers(low, high, 20).tolist()
    values = [low, high, low + 1, -1, 0, 1, -(1 << 26) % high, *some]
    bound = 1 << factor_shape.width - factor_shape.signed
    ends = (-bound if factor_shape.signed else 0, bound - 1)
    pairs = [(a, b) for a in values for b in (*ends, 1)]
    got = results(
        m, [(value, [a for a, _ in pairs]), (factor, [b for _, b in pairs])], product,
        Product.latency, advance,
    )  # fmt: skip
    assert got == [a * b for a, b in pairs]


@pytest.mark.parametrize("bits", [1, 2, 6])
def test_added_up(bits):
    """Every value of few bits, without a register."""
    m, advance = Module(), Signal()
    value, factor, product = Signal(signed(bits)), Signal(signed(5)), Signal(signed(bits + 5))
    with m.If(advance):
        m.d.sync += product.eq(added_up(value, factor))
    pairs = [(a, b) for a in range(-(1 << bits - 1), 1 << bits - 1) for b in range(-16, 16)]
    streams = [(value, [a for a, _ in pairs]), (factor, [b for _, b in pairs])]
    assert results(m, streams, product, 1, advance) == [a * b for a, b in pairs]
