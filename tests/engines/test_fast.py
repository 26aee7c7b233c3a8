"""Every operation of the fast engine equals its unit, on every instruction set that runs here.

The numpy operations are the specification; a record of both is compared tensor by tensor.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from fqvit_hw import QuantizedModel
from fqvit_hw.attention_codes import MODES
from fqvit_hw.data import digits
from fqvit_hw.engines import fast
from fqvit_hw.engines.fast import build, ops, selfcheck
from fqvit_hw.engines.fast.library import Library
from fqvit_hw.engines.fast.ops import FastOps
from fqvit_hw.engines.fast.selfcheck import codes, scaling
from fqvit_hw.engines.numpy_ops import NumpyOps
from fqvit_hw.engines.walk import Walk
from fqvit_hw.formats import rshift_round
from fqvit_hw.units import (
    Attention,
    Gelu,
    LayerNorm,
    Linear,
    Requantize,
    Residual,
    Softmax,
    requantize,
)
from fqvit_hw.vectors.softmax_corners import nearest

SPEC = NumpyOps()
PORTABLE = "-DFQVIT_PORTABLE"
TARGETS = {
    "native": ("-march=native", "-fopenmp"),
    "baseline": ("-fopenmp",),  # SSE2 on x86
    "portable": (PORTABLE,),  # no intrinsics, no threads
    "wide": (PORTABLE, "-DFQVIT_LANES=16", "-march=native"),  # the tiles of AVX-512
}
TABLE = np.round(np.exp(-0.05 * np.arange(256)) * (1 << 23)).astype(np.int64)


@pytest.fixture(scope="module", params=TARGETS)
def fast_ops(request, tmp_path_factory):
    if not any(map(shutil.which, ("cc", "gcc", "clang"))):
        pytest.skip("no C compiler: the fast engine cannot be built")
    return FastOps(Library(build.build(TARGETS[request.param], tmp_path_factory.mktemp("cache"))))


@pytest.fixture(autouse=True)
def threads_for_the_smallest_call(monkeypatch):
    monkeypatch.setattr(ops, "SMALL", -1)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def compare(fast_ops, name, *arguments):
    """Run one operation on both, with a record where it is taken; returns the result."""
    traced = name in ("linear", "attention")
    seen = []
    for one in (SPEC, fast_ops):
        parts = {}
        keywords = {"record": parts.__setitem__} if traced else {}
        parts["result"] = getattr(one, name)(*arguments, **keywords)
        if traced:  # and without a record
            np.testing.assert_array_equal(getattr(one, name)(*arguments), parts["result"])
        seen.append(parts)
    expected, got = seen
    assert list(got) == list(expected)
    for part, tensor in expected.items():
        assert (got[part].dtype, got[part].shape) == (tensor.dtype, tensor.shape), part
        np.testing.assert_array_equal(got[part], tensor, err_msg=f"{name}: {part}")
    return got["result"]


SHAPES = [
    ((1,), 1, 1),
    ((2, 3), 2, 16),
    ((48,), 3, 17),
    ((49,), 64, 33),
    ((3, 5, 7), 31, 15),
    ((97,), 130, 64),
    ((0,), 8, 8),
    ((2, 0, 3), 8, 8),
]


@pytest.mark.parametrize(("lead", "inputs", "outputs"), SHAPES)
@pytest.mark.parametrize(("shift", "width"), [(26, 8), (18, 16), (16, 32), (1, 12), (47, 8)])
def test_linear(fast_ops, rng, lead, inputs, outputs, shift, width):
    x = codes(rng, *lead, inputs) if np.prod(lead) else np.empty((*lead, inputs), np.int8)
    layer = Linear(codes(rng, outputs, inputs), rng.integers(-(2**20), 2**20, outputs))
    compare(fast_ops, "linear", x, layer, scaling(rng, outputs, shift, width, zero=-7))
    compare(fast_ops, "linear", x, layer, scaling(rng, (), shift, width, zero=99))


def test_linear_at_the_ends_of_the_accumulator(fast_ops):
    """Sums up to 2^31 - 1, both extremes of M and N, ties of the rounding, a 32-bit zero point."""
    inputs = 2049
    x = np.stack([np.full(inputs, v, np.int8) for v in (-128, 127, 0, -1, 1)])
    weight = np.stack([np.full(inputs, v, np.int8) for v in (-128, 127, -1, 1, 0, 127)])
    room = (1 << 31) - 1 - 128 * np.abs(weight.astype(np.int64)).sum(-1)
    layer = Linear(weight, room * np.array([1, -1, 1, -1, 1, -1]))
    multiplier = np.array([0xFFFF, 0x8000, 0, 0xFFFF, 0x8000, 0x8001])
    for shifts, width in (([1, 47, 24, 30, 16, 31], 32), ([24, 25, 24, 30, 16, 31], 8)):
        for zero in (-(1 << (width - 1)), 0, (1 << (width - 1)) - 1):
            r = Requantize(multiplier, np.array(shifts), zero, width)
            compare(fast_ops, "linear", x, layer, r)
    overflowing = Linear(weight, layer.bias + np.array([1, 0, 0, 0, 0, 0]))
    with pytest.raises(OverflowError, match="worst accumulator"):
        fast_ops.linear(x, overflowing, r)


@pytest.mark.parametrize("zero", [-128, 0, 5])
def test_requantize_is_exact_at_every_shift(fast_ops, rng, zero):
    """Ties and their neighbours for all N; the 8-bit range around them."""
    for shift in range(1, 48):
        M = 0xFFFF if shift % 2 else 0x8000
        near = np.arange(-300, 300, dtype=object) * 2 + 1  # odd multiples of 2^(N-1) / M
        acc = np.array([int(n) * (1 << (shift - 1)) // M for n in near], dtype=object)
        acc = np.concatenate([acc - 1, acc, acc + 1, [-(1 << 31), (1 << 31) - 1, 0]])
        acc = acc.clip(-(1 << 31), (1 << 31) - 1).astype(np.int32)
        r = Requantize(np.array(M), np.array(shift), zero, 8)
        np.testing.assert_array_equal(fast_ops.requantize(acc, r), requantize(acc, r))


def a_gelu(rng, width=12):
    return Gelu(width, codes(rng, 1 << width), Requantize(np.array(50000), np.array(20), -77, 8))


@pytest.mark.parametrize("width", [8, 10, 12])
def test_gelu_of_every_code(fast_ops, rng, width):
    compare(fast_ops, "gelu", np.arange(-(1 << 15), 1 << 15).astype(np.int16), a_gelu(rng, width))


@pytest.mark.parametrize(("lead", "inputs", "outputs"), SHAPES)
def test_linear_gelu(fast_ops, rng, lead, inputs, outputs):
    x = codes(rng, *lead, inputs) if np.prod(lead) else np.empty((*lead, inputs), np.int8)
    layer = Linear(codes(rng, outputs, inputs), rng.integers(-(2**20), 2**20, outputs))
    compare(fast_ops, "linear_gelu", x, layer, scaling(rng, outputs, 19, 16), a_gelu(rng))


def residuals(rng, channels):
    """Every combination of widths; shifts from 0 to 40 with PTF factors on top."""
    shifts = (0, 40, 17, 21, 24, 23, 16, 30)
    for (x, y, out), shift in zip(product((8, 16), repeat=3), shifts, strict=True):
        x_factor = rng.integers(0, 4, channels) * (x == 8)
        factor = rng.integers(0, 4, channels) * (out == 8)
        zero = [-128 if w == 8 else 0 for w in (x, y, out)]
        yield Residual(x, zero[0], x_factor, 131071, y, zero[1], 99999, shift, out, zero[2], factor)


@pytest.mark.parametrize("channels", [1, 15, 16, 40])
def test_residual(fast_ops, rng, channels):
    for p in residuals(rng, channels):
        x, y = (
            codes(rng, 2, 21, channels, width=p.x_width),
            codes(rng, 2, 21, channels, width=p.y_width),
        )
        compare(fast_ops, "residual", x, y, p)
    largest = np.full((1, channels), -(1 << 15), np.int16)
    none = np.zeros(channels, int)
    for shift in (0, 17, 40):
        p = Residual(16, 0, none, 131071, 16, 0, 131071, shift, 16, 0, none)
        compare(fast_ops, "residual", largest, largest, p)


@pytest.mark.parametrize(("lead", "inputs", "outputs"), SHAPES)
def test_linear_residual(fast_ops, rng, lead, inputs, outputs):
    x = codes(rng, *lead, inputs) if np.prod(lead) else np.empty((*lead, inputs), np.int8)
    layer = Linear(codes(rng, outputs, inputs), rng.integers(-(2**20), 2**20, outputs))
    for p in residuals(rng, outputs):
        stream = rng.integers(-(1 << (p.x_width - 1)), 1 << (p.x_width - 1), (*lead, outputs))
        r = scaling(rng, outputs, 26 if p.y_width == 8 else 18, p.y_width, p.y_zero)
        stream = stream.astype(f"int{p.x_width}")
        compare(fast_ops, "linear_residual", x, layer, r, stream, p)


def test_requantize(fast_ops, rng):
    acc = rng.integers(-(1 << 31), 1 << 31, (5, 3, 19)).astype(np.int32)
    for width in (8, 11, 16, 25, 32):
        for channels in ((), 19):
            r = scaling(rng, channels, 22, width, -100)
            np.testing.assert_array_equal(fast_ops.requantize(acc, r), requantize(acc, r))


def norms(rng, channels, gamma_shift=9):
    gamma, beta = codes(rng, channels, width=16), rng.integers(-(1 << 23), 1 << 23, channels)
    for width, zero, eps in ((8, -128, 0), (8, 127, 1), (16, 0, 0), (16, 0, 1 << 20)):
        factor = rng.integers(0, 4, channels) * (width == 8)
        yield LayerNorm(factor, zero, width, eps, gamma, gamma_shift, beta, 11)


@pytest.mark.parametrize("channels", [1, 2, 7, 64, 100, 2048])
def test_layernorm(fast_ops, rng, channels):
    """Random, constant, nearly constant and two-valued tokens: V from 0 to its largest."""
    for gamma_shift in (0, 9, 15):
        for p in norms(rng, channels, gamma_shift):
            low, high = -(1 << (p.width - 1)), (1 << (p.width - 1)) - 1
            x = codes(rng, 40, channels, width=p.width)
            x[0], x[1], x[2] = low, high, 3
            x[3], x[3, -1] = 3, 4
            x[4], x[4, ::2] = low, high
            x[5:8] = rng.integers(-2, 3, (3, channels))
            beta = p.beta >> 13  # so that not everything saturates
            for q in (p, replace(p, beta=beta, gamma=p.gamma >> 4)):
                compare(fast_ops, "layernorm", x.reshape(2, 4, 5, channels), q)


def attentions():
    """All modes, with and without row normalization; tables that need not fall monotonically."""
    uneven = TABLE.copy()
    uneven[40:60] = uneven[40:60][::-1]
    for table, mode, row_norm in (
        (TABLE, "lis4", True),
        (TABLE, "lis4", False),
        (TABLE, "uniform8", False),
        (uneven, "lis4", True),
        (np.array([1] + [0] * 255), "lis4", True),  # a code of 15 for all but the maximum
        (np.full(256, (1 << 24) - 1), "lis4", True),
        (np.full(256, 0), "max4", True),  # all of a row as large as its maximum
        (np.r_[0, np.full(255, 15)], "max4", True),  # nothing but the maximum
        (nearest(TABLE, MODES["max4"]), "max4", True),
        (nearest(uneven, MODES["max3"]), "max3", True),
        (nearest(uneven, MODES["max5"]), "max5", True),
        (nearest(uneven, MODES["max8"]), "max8", True),
    ):
        yield Softmax(table, mode, row_norm)


def an_attention(softmax, D, score_zero=0):
    score = Requantize(np.array(40000), np.array(22 + D.bit_length() // 2), score_zero, 8)
    context = Requantize(np.array(50000), np.array(23 if softmax.mode == "uniform8" else 30), -3, 8)
    return Attention(score, softmax, context)


@pytest.mark.parametrize(
    ("lead", "N", "heads", "D"),
    [
        ((1,), 1, 1, 1),
        ((2,), 2, 3, 16),
        ((2, 3), 5, 2, 7),
        ((1,), 17, 4, 16),
        ((1, 2), 47, 3, 32),
        ((3,), 33, 1, 65),
        ((0,), 5, 2, 8),
    ],
)
def test_attention(fast_ops, rng, lead, N, heads, D):
    qkv = rng.integers(-128, 128, (*lead, N, 3 * heads * D)).astype(np.int8)
    bias = rng.integers(-(2**16), 2**16, (heads, N, N)).astype(np.int32)
    mask = rng.random((lead[-1], N, N)) < 0.4
    mask[..., np.arange(N), np.arange(N)] = False
    for softmax in attentions():
        p = an_attention(softmax, D, score_zero=-5)
        compare(fast_ops, "attention", qkv, heads, p)
        compare(fast_ops, "attention", qkv, heads, p, bias)
        if len(lead) == 2:
            compare(fast_ops, "attention", qkv, heads, p, None, mask)
            compare(fast_ops, "attention", qkv, heads, p, bias, mask)


def test_attention_on_rows_full_of_ties(fast_ops, rng):
    """Tables of few values: S / e hits 1.5, 2.5, 5.5, ... exactly, where one code ends."""
    for N in range(1, 48):
        table = rng.permutation(np.repeat([1, 2, 3, 4, 6, 8, 12, 0], 32))
        table[0] = 12
        for mode in ("lis4", "uniform8"):
            p = an_attention(Softmax(table, mode, mode == "lis4"), 2)
            qkv = rng.integers(-128, 128, (2, N, 6)).astype(np.int8)
            compare(fast_ops, "attention", qkv, 1, p)


def test_attention_of_many_tokens(fast_ops, rng):
    """The proven limit, with sums of E beyond 32 bits; one more token is refused."""
    qkv = rng.integers(-2, 3, (1, 4096, 6)).astype(np.int8)
    table = np.full(256, (1 << 24) - 1)
    some = qkv[:, :1200]
    largest = Softmax(np.zeros(256, np.int64), "max4")
    for softmax in (Softmax(table), Softmax(table, "uniform8", False), largest):
        compare(fast_ops, "attention", some, 1, an_attention(softmax, 2))
    assert fast_ops.attention(qkv, 1, an_attention(Softmax(table), 2)).shape == (1, 4096, 2)
    # every row sum is 4096 * 255, the accumulators of v = -128 and 127 the longest there are
    ends = qkv.copy()
    ends[..., 4], ends[..., 5] = -128, 127
    parts = {}
    fast_ops.attention(ends, 1, an_attention(largest, 2), record=parts.__setitem__)
    assert (parts["context.acc"] == np.array([-128, 127]) * 255 * 4096).all()
    assert (parts["row_reciprocal"] == 2**35 // (255 * 4096)).all()
    assert (parts["row_shift"] == 21).all()
    expected = rshift_round(np.array([-128, 127]) * 255 * 4096 * (2**35 // (255 * 4096)), 21)
    assert (parts["context.normalized"] == expected).all()
    with pytest.raises(ValueError, match="4097 tokens"):
        fast_ops.attention(np.zeros((1, 4097, 6), np.int8), 1, an_attention(Softmax(table), 2))


def test_attention_refuses_what_its_unit_refuses(fast_ops, rng):
    p = an_attention(Softmax(TABLE), 4)
    qkv = codes(rng, 2, 3, 5, 12)
    mask = np.zeros((3, 5, 5), bool)
    mask[2, 4] = True
    bias = np.zeros((1, 5, 5), np.int32)
    bias[0, 1, 3] = (1 << 31) - 1
    for one in (SPEC, fast_ops):
        with pytest.raises(ValueError, match="masked everywhere"):
            one.attention(qkv, 1, p, None, mask)
        with pytest.raises(TypeError, match="mask"):
            one.attention(qkv, 1, p, None, mask.astype(np.uint8))
        with pytest.raises(OverflowError, match="attention: score"):
            one.attention(np.full_like(qkv, 127), 1, p, bias)
        one.attention(np.full_like(qkv, 0), 1, p, bias)  # just within int32


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("linear", lambda a: (a["x"].astype(np.int16), a["layer"], a["r"])),
        ("linear", lambda a: (a["x"][..., :-1], a["layer"], a["r"])),
        ("gelu", lambda a: (a["x"], a["gelu"])),
        ("layernorm", lambda a: (a["x"][..., :-1], a["norm"])),
        ("residual", lambda a: (a["x"], a["x"][:1], a["add"])),
        ("linear_residual", lambda a: (a["x"], a["layer"], a["r"], a["x"][:1], a["add"])),
        ("linear_gelu", lambda a: (a["x"], a["layer"], a["r"], a["gelu"])),
    ],
)
def test_wrong_arguments(fast_ops, rng, name, arguments):
    n = 8
    none = np.zeros(n, int)
    have = {
        "x": codes(rng, 3, n),
        "layer": Linear(codes(rng, n, n), none),
        "r": scaling(rng, n, 20, 8),
        "gelu": a_gelu(rng),
        "norm": next(norms(rng, n)),
        "add": Residual(8, 0, none, 1 << 16, 8, 0, 1 << 16, 16, 8, 0, none),
    }
    with pytest.raises((TypeError, ValueError)):
        getattr(fast_ops, name)(*arguments(have))


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_digits_network(fast_ops, monkeypatch, threads):
    """Every tensor of a trace, and the fused run without one, for any number of threads."""
    monkeypatch.setattr(ops, "threads", threads)
    network = QuantizedModel.load(digits.NETWORK_FILE).network
    images = digits.test_set()[0][:5]
    steps = []
    for one in (SPEC, fast_ops):
        seen = {}
        logits = Walk(network, one, seen.__setitem__).logits(images)
        np.testing.assert_array_equal(Walk(network, one).logits(images), logits)
        steps.append(seen)
    assert list(steps[0]) == list(steps[1])
    for name, tensor in steps[0].items():
        assert steps[1][name].dtype == tensor.dtype, name
        np.testing.assert_array_equal(steps[1][name], tensor, err_msg=name)


def test_selfcheck_finds_a_wrong_kernel(fast_ops, monkeypatch):
    """Negative control: one changed code in any operation is found and named."""
    assert selfcheck.mismatch(fast_ops) is None
    for name in ("linear", "linear_gelu", "gelu", "linear_residual", "residual", "layernorm",
                 "attention"):  # fmt: skip
        right = getattr(fast_ops, name)

        def wrong(*arguments, right=right, **keywords):
            result = right(*arguments, **keywords).copy()
            result.flat[result.size // 2] ^= 1
            return result

        with monkeypatch.context() as patch:
            patch.setattr(fast_ops, name, wrong)
            assert selfcheck.mismatch(fast_ops) == f"{name}, result"


@pytest.mark.parametrize("cpu", ["sapphirerapids", "alderlake", "skylake-avx512", "x86-64-v3"])
def test_wide_instruction_sets_compile(cpu, tmp_path):
    """They cannot all run here, but what is written for them is C that compiles."""
    try:
        command = build.compiler()
    except build.UnavailableError as error:
        pytest.skip(str(error))
    empty = tmp_path / "empty.c"
    empty.write_text("int unused;\n")
    flags = [*command, f"-march={cpu}", "-c", "-o", str(tmp_path / "out.o")]
    if subprocess.run([*flags, str(empty)], capture_output=True).returncode:
        pytest.skip(f"this compiler does not know -march={cpu}")
    wanted = [*flags, "-Wall", "-Wextra", "-Werror", *build.FLAGS[:2], "-fopenmp"]
    done = subprocess.run(
        [*wanted, str(build.SOURCES / "library.c")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_without_a_compiler(monkeypatch):
    """One line says why, and the engine refuses rather than falls over."""
    monkeypatch.setenv("CC", "no-such-compiler")
    fast.load.cache_clear()
    try:
        assert "no-such-compiler" in fast.available()
        with pytest.raises(ImportError, match=r"engine 'fast': .*no-such-compiler"):
            fast.FastOps()
    finally:
        fast.load.cache_clear()


def test_a_compiler_that_fails(monkeypatch, tmp_path):
    monkeypatch.setenv("CC", "false")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    fast.load.cache_clear()
    try:
        assert "does not compile the kernels" in fast.available()
    finally:
        fast.load.cache_clear()
    assert list((tmp_path / "fqvit_hw").iterdir()) == []


def test_the_cache_is_used(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = build.cache_folder()
    try:
        build.build(("-O0",), folder)
    except build.UnavailableError as error:
        pytest.skip(str(error))
    (library,) = folder.iterdir()
    before = library.stat().st_mtime_ns
    build.build(("-O0",), folder)
    assert [library] == list(folder.iterdir()) and library.stat().st_mtime_ns == before
    build.build(("-O1",), folder)
    assert len(list(folder.iterdir())) == 2  # other flags, another library


def test_a_cache_that_cannot_be_made(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    folder = build.cache_folder()
    assert folder.is_dir() and tmp_path not in folder.parents
    shutil.rmtree(folder)


def test_threads():
    before = ops.threads
    try:
        fast.set_threads(1)
        assert ops.threads == 1
        for wrong in (0, -1, True, 1.5):
            with pytest.raises(ValueError, match="positive integer"):
                fast.set_threads(wrong)
    finally:
        fast.set_threads(before)
