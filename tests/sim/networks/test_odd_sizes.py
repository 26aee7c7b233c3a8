"""Networks of odd sizes and machines with small memories on the RTL: every value, every cycle."""

from __future__ import annotations

import random
import shutil
from dataclasses import replace

import pytest

from fqvit_hw import quantize
from fqvit_hw.compiler import compile_network
from fqvit_hw.compiler.vit import schedule
from fqvit_hw.config import PRESETS
from fqvit_hw.cycles import predict
from fqvit_hw.machine.hardware import TINY
from fqvit_hw.machine.isa import Epilogue, Instruction, Opcode
from fqvit_hw.sim.networks import known as networks
from fqvit_hw.sim.networks import net
from fqvit_hw.sim.networks.simulated import Job, simulate
from fqvit_hw.sim.networks.verilated import build
from tests.models import random_images, tiny_quantized, tiny_vit

pytest.importorskip("torch", reason="calibration needs torch")
pytestmark = pytest.mark.skipif(
    shutil.which("verilator") is None or shutil.which("g++") is None,
    reason="verilator or g++ is missing: run `make setup`",
)
LATENCY = 100
WITHIN = 0.01  # of the RTL's cycles


def drawn(seed: int) -> dict:
    """What tiny_vit takes: sizes that divide nothing."""
    rng = random.Random(seed)
    patch, grid = rng.choice([1, 2, 3, 5]), (rng.randint(1, 6), rng.randint(1, 6))
    heads = rng.choice([1, 1, 2, 3, 4])
    channels = rng.choice([7, 13, 19, 29, 37] if heads == 1 else [3 * heads, 7 * heads, 11 * heads])
    return dict(
        img_size=(patch * grid[0], patch * grid[1]),
        patch_size=patch,
        in_chans=rng.choice([1, 2, 3]),
        num_classes=rng.choice([1, 2, 7, 101, 211]),
        embed_dim=channels,
        num_heads=heads,
        depth=rng.randint(1, 3),
        mlp_ratio=rng.choice([0.3, 1, 1.7, 3.1]),
    )


FOURS = {  # programs that end with a burst: 4 instructions each
    32: dict(embed_dim=12, num_heads=2, depth=1),
    100: dict(embed_dim=24, num_heads=4, depth=3),
}
NETWORKS = {f"seed {n}": drawn(n) for n in range(10)}
NETWORKS |= {f"{n} instructions": changes for n, changes in FOURS.items()}


@pytest.fixture(scope="module")
def machine():
    return build(TINY, trace=True, quick=True)


def network(changes: dict):
    """-> quantized, images."""
    shape = (changes.get("in_chans", 3), *changes.get("img_size", (12, 8)))
    images = random_images(4, shape=shape)
    normal = dict(mean=(0.5,) * shape[0], std=(0.3,) * shape[0])
    return quantize(tiny_vit(**changes), images, PRESETS["best"], **normal), images


def run(qm, images, program, machine, jobs) -> None:
    report = net.check(qm, images, TINY, jobs, trace=True, machine=machine, program=program)
    assert report.passed, report.differences


@pytest.mark.parametrize("name", NETWORKS)
def test_values(machine, name):
    qm, images = network(NETWORKS[name])
    run(qm, images, compile_network(qm.network, TINY), machine, [Job(0, LATENCY)])


@pytest.mark.parametrize("name", NETWORKS)
def test_cycles(machine, name):
    qm, images = network(NETWORKS[name])
    program = compile_network(qm.network, TINY)
    counters = simulate(machine, program, images, [Job(0, LATENCY)]).runs[0].counters
    prediction = predict(program.instructions, TINY, LATENCY)
    assert prediction.bytes_read == counters["bytes_read"]
    assert prediction.bytes_written == counters["bytes_written"]
    assert prediction.cycles == pytest.approx(counters["cycles"], rel=WITHIN)


@pytest.mark.parametrize("count", FOURS)
def test_the_program_ends_with_a_burst(count):
    qm, _ = network(FOURS[count])
    assert len(compile_network(qm.network, TINY).instructions) == count


def blocks_of(program, layer: str, epilogue: Epilogue) -> list[Instruction]:
    return [
        p
        for p, name in zip(program.instructions, program.names, strict=True)
        if p.opcode is Opcode.GEMM and p.epilogue == epilogue and name.startswith(layer)
    ]


@pytest.mark.parametrize("memories", [dict(codes=40), dict(codes=15, acts=420, stream=100)])
def test_queries_in_blocks(machine, memories):
    qm, images = networks.built_in()
    program = compile_network(qm.network, replace(TINY, **memories))
    whole = compile_network(qm.network, TINY)
    rows = [[g.rows for g in blocks_of(p, "blocks.0", Epilogue.SCORES)] for p in (whole, program)]
    assert sum(rows[0]) == sum(rows[1]) and len(rows[1]) >= 2 * len(rows[0])
    run(qm, images[:1], program, machine, [Job(0, LATENCY), Job(0, 7, 0.3, 5)])


def test_logits_in_blocks(machine):
    qm = tiny_quantized(num_classes=101)
    program = compile_network(qm.network, replace(TINY, stream=40))
    assert len(blocks_of(program, "head", Epilogue.LOGITS)) == 2
    run(qm, random_images(1), program, machine, [Job(0, LATENCY)])


def test_hidden_channels_in_blocks(machine, monkeypatch):
    monkeypatch.setattr(schedule, "MAX_OUTER", 3)
    qm = tiny_quantized()
    program = compile_network(qm.network, TINY)
    assert len(blocks_of(program, "blocks.0", Epilogue.GELU)) == 4
    run(qm, random_images(1), program, machine, [Job(0, LATENCY)])
