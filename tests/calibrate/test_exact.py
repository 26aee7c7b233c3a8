"""The arithmetic of calibration: right, and the same whatever the machine's vectors and threads."""

import math
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from fqvit_hw import PRESETS, quantize
from fqvit_hw.network.file import content_sha256
from tests.models import MEAN, STD, random_images, tiny_swin, tiny_vit

torch = pytest.importorskip("torch", reason="calibration needs torch")

from torch.nn import functional  # noqa: E402

from fqvit_hw.calibrate import exact  # noqa: E402
from fqvit_hw.calibrate.float_steps import float_steps, normalize  # noqa: E402

SHARED = Path(__file__).parents[2] / "shared" / "data"
WEIGHTS = SHARED / "deit_tiny_patch16_224.safetensors"


def random(*shape, seed=0):
    return torch.tensor(np.random.default_rng(seed).normal(size=shape))


def decibels(real, got):
    return 10 * math.log10(real.square().sum() / (real - got).square().sum())


@pytest.mark.parametrize("convert", [lambda x: x, lambda x: x.numpy()])
def test_ordered_sum_adds_from_the_first_to_the_last(convert):
    x = random(5, 301, 4)
    found = exact.ordered_sum(convert(x), 1)
    for i, k in np.ndindex(5, 4):
        total = 0.0
        for value in x[i, :, k].tolist():
            total += value
        assert found[i, k] == total
    assert (found == exact.ordered_sum(convert(x).swapaxes(1, 2)).T).all()


def test_roots_are_the_nearest():
    """MKL's, which torch takes, are not on every processor."""
    x = random(100_000).square() * torch.exp2(20 * random(100_000, seed=1))
    assert exact.root(x).tolist() == [math.sqrt(value) for value in x.tolist()]


def test_by_rows_works_on_some_rows_at_a_time():
    sizes = []

    def double(rows, out):
        sizes.append(rows.shape)
        torch.mul(rows, 2, out=out)

    x = random(7, 100, 100)
    assert torch.equal(exact.by_rows(double, x), x * 2)
    assert sum(rows for rows, _ in sizes) == 700 and len(sizes) == 3
    assert torch.equal(exact.by_rows(double, random(2, 50_000)), random(2, 50_000) * 2)


ROWS = {
    "even": lambda K: random(6, K),
    "outliers": lambda K: random(6, K) * torch.tensor([1.0] * (K - 1) + [3000.0]),
    "many sizes": lambda K: random(6, K, seed=1) * torch.exp2(40 * random(6, K, seed=2)),
    "constant": lambda K: torch.full((6, K), 0.7, dtype=torch.float64),
    "tiny": lambda K: random(6, K) * 1e-200,
}


@pytest.mark.parametrize("K", [3, 192, 4096])
@pytest.mark.parametrize("kind", ROWS)
def test_products_are_exact(kind, K):
    """Against rational numbers: no sum was rounded, so that every order gives the same."""
    a, b = ROWS[kind](K), ROWS[kind](K).flip(0)
    codes = [exact.by_rows(exact.on_grid, x) for x in (a, b)]
    found = exact.product(a, b)
    for i, j in ((0, 0), (1, 4), (5, 5)):
        pairs = zip(codes[0][i].tolist(), codes[1][j].tolist(), strict=True)
        assert Fraction(found[i, j].item()) == sum(Fraction(x) * Fraction(y) for x, y in pairs)
    order = torch.randperm(K)
    assert torch.equal(found, codes[0][:, order] @ codes[1][:, order].T)


@pytest.mark.parametrize("K", [64, 768, 4096])
def test_grids_cost_little(K):
    a, b = random(50, K), random(40, K, seed=1)
    # a step of 2^-26 of up to twice the norm, its error's norm sqrt(K / 12) steps, for two operands
    bound = 20 * math.log10(2.0**25) + 10 * math.log10(12 / K / 2)
    assert decibels(a @ b.T, exact.product(a, b)) > bound - 0.5  # a sample of 2000 sums
    batch = exact.product(a.reshape(2, 25, K), b.reshape(2, 20, K))
    assert torch.equal(batch[1], exact.product(a[25:], b[20:]))


def test_rows_next_to_nothing_are_zero():
    a = torch.tensor([[0.0, 0.0], [1e-200, -1e-300], [1.0, 1e-9]], dtype=torch.float64)
    codes = exact.on_grid(a)
    assert not codes[:2].any() and codes[2, 0] == 1


def test_exponential():
    x = np.concatenate([-np.random.default_rng(0).uniform(0, 32, 20_000), [0.0, -32.0]])
    real = np.array([math.exp(v) for v in x])
    found = exact.exponential(torch.tensor(x)).numpy()
    np.testing.assert_allclose(found, real, rtol=2.0**-33 / 6 * 1.01)  # d^3 / 6, d = 2^-11
    assert found[-2] == 1
    far = exact.exponential(torch.tensor([-1000.0, -math.inf], dtype=torch.float64))
    assert (far == math.exp(-32)).all()


def test_probability_and_gelu():
    x = np.concatenate([np.random.default_rng(0).uniform(-9, 9, 50_000), [0.0, 8.0, -8.0, 1e6]])
    real = np.array([math.erfc(-v / math.sqrt(2)) / 2 for v in x])
    found = exact.probability(torch.tensor(x)).numpy()
    # phi (x^2 - 1) d^3 / 6 with d = 2^-10, the error of the exponential in phi, 1 - Phi(8)
    np.testing.assert_allclose(found, real, atol=0.4 * 2.0**-30 / 6 + 1e-11 + 1e-15, rtol=0)
    np.testing.assert_array_equal(exact.gelu(torch.tensor(x)[None]).numpy()[0], x * found)


def test_exp_is_rounded_correctly():
    for x in (-31.0, -1.0, -0.0009765625, 0.0, 0.3, 1.0):
        assert exact.exp(x) == pytest.approx(math.exp(x), rel=2.3e-16)
    assert exact.exp(1.0) == 2.718281828459045


def test_softmax_and_layer_norm():
    x = random(3, 50, 197)
    x[0, :, 100:] = -math.inf
    found = exact.softmax(x)
    torch.testing.assert_close(found, x.softmax(-1), atol=1e-10, rtol=0)
    assert (found[0, :, 100:] < 1e-13).all()
    layer = torch.nn.LayerNorm(197, eps=1e-6)
    with torch.no_grad():
        layer.weight.add_(random(197).float())
        layer.bias.add_(random(197, seed=1).float())
        x = random(3, 50, 197) * 5 + 2
        real = functional.layer_norm(x, (197,), layer.weight.double(), layer.bias.double(), 1e-6)
        torch.testing.assert_close(exact.layer_norm(x, layer), real, atol=1e-12, rtol=0)


@pytest.mark.parametrize("make", [tiny_vit, tiny_swin])
def test_the_walk_is_float64_and_knows_no_batches(make):
    model = make()
    x = normalize(random_images(5, shape=(3, *model.patch_embed.img_size)), MEAN, STD)
    whole = list(float_steps(model, x))
    for i in range(5):
        for (step, tensor), (_, alone) in zip(whole, float_steps(model, x[i : i + 1]), strict=True):
            assert tensor.dtype == torch.float64 and torch.equal(tensor[i : i + 1], alone), (
                step.name
            )
    with torch.inference_mode():
        assert decibels(whole[-1][1], model(x)) > 110


# --- the same network everywhere

IMAGES = 8
DIGITS = f"""
import sys, torch
from fqvit_hw import PRESETS, quantize
from fqvit_hw.data import digits as data
from fqvit_hw.network.file import content_sha256
from fqvit_hw.zoo import digits
model = digits.load()
torch.set_num_threads(int(sys.argv[1]))
for name in sys.argv[2:]:
    images = data.train_set()[0][:{IMAGES}]
    qm = quantize(model, images, PRESETS[name], mean=data.MEAN, std=data.STD)
    print(torch.backends.cpu.get_cpu_capability(), name, content_sha256(qm))
"""
DEIT = """
import sys, numpy, torch
from fqvit_hw import PRESETS, quantize
from fqvit_hw.network.file import content_sha256
from fqvit_hw.zoo.models import load_model
model = load_model("deit_tiny_patch16_224", {weights!r}, None)
images = numpy.load({images!r})
torch.set_num_threads(int(sys.argv[1]))
for name in sys.argv[2:]:
    print(name, content_sha256(quantize(model, images, PRESETS[name])))
"""
# MKL and numpy's OpenBLAS have switches of their own
OLD = {"MKL_CBWR": "COMPATIBLE", "OPENBLAS_CORETYPE": "Nehalem"}
MACHINES = {
    "native, 1 thread": (1, {}),
    "native, 2 threads": (2, {}),
    "avx2": (2, {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}),
    "no vectors": (1, {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", **OLD}),
}


def networks(script: str, threads: int, environment: dict[str, str], *presets: str) -> list[str]:
    """What a process of its own prints: a line, its name and sha256, for each preset."""
    command = [sys.executable, "-c", script, str(threads), *presets]
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(presets)
    return lines


def test_digits_are_the_same_on_every_machine():
    """This process as it is, and one without vector instructions, on two threads."""
    from fqvit_hw.data import digits as data
    from fqvit_hw.zoo import digits

    model, images = digits.load(), data.train_set()[0][:IMAGES]
    _, environment = MACHINES["no vectors"]
    lines = networks(DIGITS, 2, environment, "best", "paper-884")
    for name, line in zip(("best", "paper-884"), lines, strict=True):
        qm = quantize(model, images, PRESETS[name], mean=data.MEAN, std=data.STD)
        assert line == f"DEFAULT {name} {content_sha256(qm)}"


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS)
def test_deit_tiny_is_the_same_on_every_machine(preset, tmp_path):
    if not WEIGHTS.exists():
        pytest.skip(f"no real weights at {WEIGHTS}")
    from fqvit_hw.data.imagenet import load_calibration, train_folder
    from fqvit_hw.data.images import Preprocessing
    from fqvit_hw.zoo.models import load_model

    pixels = Preprocessing.of_model(load_model("deit_tiny_patch16_224", WEIGHTS, None))
    found = load_calibration(None, train_folder(SHARED / "imagenet"), 100, pixels)
    assert len(found.images) == 100
    np.save(tmp_path / "images.npy", found.images)
    script = DEIT.format(weights=str(WEIGHTS), images=str(tmp_path / "images.npy"))
    made = {name: networks(script, *how, preset) for name, how in MACHINES.items()}
    assert len(set(map(tuple, made.values()))) == 1, made
