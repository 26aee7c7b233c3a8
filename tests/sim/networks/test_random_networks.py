"""Networks of random integers on small machines: every value, whatever the parameters are."""

from __future__ import annotations

import functools
import shutil

import numpy as np
import pytest

from fqvit_hw.compiler import compile_network
from fqvit_hw.formats import INT16, MAX_SHIFT
from fqvit_hw.sim.networks import net
from fqvit_hw.sim.networks.micro import MICRO
from fqvit_hw.sim.networks.random_networks import IMAGES, random_network
from fqvit_hw.sim.networks.simulated import Job
from fqvit_hw.sim.networks.verilated import build
from tests.sim.networks.machines import MACHINES

needs_verilator = pytest.mark.skipif(
    shutil.which("verilator") is None or shutil.which("g++") is None,
    reason="verilator or g++ is missing: run `make setup`",
)
SEEDS = range(6)  # of `make test`: all modes and widths among them
MANY = range(100, 160)  # of `make test-slow`
network = functools.cache(random_network)
MODES = MICRO.modes
JOBS = Job(0, latency=20), Job(1, 1, 0.3, 1), Job(2, 100, 0.6, 2)


def run(hw, seeds) -> None:
    """Every network that the machine holds; most of them must."""
    machine, ran = build(hw, trace=True, quick=True), 0
    for seed in seeds:
        qm, images = network(seed, modes=hw.modes)
        try:
            program = compile_network(qm.network, hw)
        except ValueError:
            continue
        report = net.check(
            qm, images, hw, list(JOBS), trace=True, machine=machine, program=program,
            network=f"random {seed}", power_on=seed,
        )  # fmt: skip
        assert report.passed, f"network of seed {seed}: {report.differences}"
        ran += 1
    assert 2 * ran >= len(seeds)


@needs_verilator
@pytest.mark.parametrize("hw", MACHINES)
def test_on_the_machine(hw):
    run(hw, SEEDS)


@needs_verilator
@pytest.mark.slow
@pytest.mark.parametrize("hw", MACHINES)
def test_many_on_the_machine(hw):
    run(hw, MANY)


def test_images_differ():
    """In most logits, not in one only."""
    shares = []
    for seed in SEEDS:
        qm, images = network(seed, modes=MODES)
        logits = qm.run(images, engine="numpy")
        assert len(logits) == IMAGES == len(np.unique(logits, axis=0))
        shares.append((logits != logits[0]).any(0).mean())
    assert np.mean(shares) > 0.5


def test_the_same_seed_makes_the_same():
    one, other = random_network(3), random_network(3)
    assert np.array_equal(one[1], other[1])
    assert np.array_equal(one[0].network.head.weight, other[0].network.head.weight)


def test_parameters_are_extreme():
    """What the networks are for is among those of `make test`."""
    seen = set()
    for seed in SEEDS:
        qm, images = network(seed, modes=MODES)
        n, trace = qm.network, qm.trace(images[0])
        seen.add(
            ("positions beyond int8", bool((n.pos_embed != n.pos_embed.astype(np.int8)).any()))
        )
        seen.add(("positions", n.embed.x_width))
        for i, block in enumerate(n.blocks):
            for add in (block.residual1, block.residual2):
                seen.add(("shift of 32 in an add", add.shift + int(add.factor.max()) >= 32))
                seen.add(("stream", add.width))
                seen.add(("branch", add.y_width))
            for scaling in (block.qkv_requantize, block.fc1_requantize, block.fc2_requantize):
                seen.add(("shift at its limit", bool((scaling.shift == MAX_SHIFT).any())))
                seen.add(("shift of 32", bool((scaling.shift == 32).any())))
                seen.add(("a dead channel", bool((scaling.multiplier == 0).any())))
            for norm in (block.norm1, block.norm2):
                seen.add(("eps' above 32 bits", norm.eps >= 1 << 32))
            saturated = (trace[f"blocks.{i}.fc1"] == INT16.max).any()
            seen.add(("16 bits saturated", bool(saturated)))
            seen.add(("row_norm", block.attention.softmax.row_norm))
            seen.add(("mode", block.attention.softmax.mode))
    wanted = [(what, True) for what, value in seen if value is True or value is False]
    wanted += [("stream", 8), ("stream", 16), ("branch", 8), ("branch", 16), ("row_norm", False)]
    wanted += [("positions", 8), ("positions", 16)]
    wanted += [("mode", mode) for mode in MODES]
    assert not set(wanted) - seen
