"""The cycle model: its constants are those of the RTL, its sums those of the program.

Its cycles are held against the simulated hardware's in tests/sim.
"""

from __future__ import annotations

import dataclasses

import pytest

from fqvit_hw import QuantizedModel
from fqvit_hw.compiler import compile_network, compile_shape
from fqvit_hw.compiler.vit.shape import Shape
from fqvit_hw.cycles import predict, timing
from fqvit_hw.data import digits
from fqvit_hw.machine.hardware import BASE, HARDWARE
from fqvit_hw.machine.isa import Instruction, Opcode, Unit
from fqvit_hw.paper_models import PAPER_MODELS
from fqvit_hw.rtl.accelerator import (
    axi_write,
    codes,
    epilogue_math,
    gemm,
    load,
    norm,
    ports,
    scratchpad,
    weights,
)
from fqvit_hw.rtl.accelerator.axi_read import OUTSTANDING
from fqvit_hw.sim.networks.micro import MICRO

DEIT_TINY = Shape.of_size(PAPER_MODELS["deit_tiny"].size)


@pytest.mark.parametrize("name", HARDWARE)
def test_latencies_are_those_of_the_units(name):
    hw = HARDWARE[name]
    layernorm, softmax = norm.Norm(hw).layernorm, codes.Codes(hw).softmax
    assert timing.norm_latency(hw) == layernorm.latency
    assert layernorm.cycles_per_row(1) == timing.NORM_RATE
    assert timing.array_latency(hw) == gemm.Gemm(hw).latency
    assert softmax.latency(hw.lanes * 10) == timing.softmax_latency(hw, 10)
    assert softmax.rows_latency == timing.reciprocal_latency(hw)
    assert softmax.min_beats == timing.ROW_RATE


def test_constants_are_those_of_the_units():
    read = epilogue_math.READ - 1 - scratchpad.READ
    assert (epilogue_math.LATENCY, read) == (timing.WRITE, timing.READ)
    assert (timing.ROOM, timing.OUTSTANDING) == (gemm.ROOM, OUTSTANDING)
    assert codes.SCORES_WAITING == timing.SCORES_WAITING
    assert (norm.FEED, norm.START) == (timing.NORM_FEED, timing.NORM_START)
    assert (weights.JOBS, load.LATENCY) == (timing.JOBS, timing.LOAD_START)
    assert ports.WAIT + 1 == timing.NORM_WAIT  # the norm asks for a word by a register
    assert axi_write.OUTSTANDING == timing.WRITES


def beats(program) -> list[int]:
    """Of the array, for each GEMM."""
    gemms = [i for i in program.instructions if i.opcode is Opcode.GEMM]
    return [g.rows * g.outer * g.inner * g.k_tiles * g.k_groups for g in gemms]


def test_deit_tiny_keeps_the_array_busy():
    program = compile_shape(DEIT_TINY, BASE)
    prediction = predict(program.instructions, BASE)
    assert [g.busy for g in prediction.gemms] == beats(program)
    assert program.macs / (BASE.rows * BASE.cols * prediction.cycles) > 0.97


def test_a_slower_memory_or_a_narrower_bus_never_helps():
    program = compile_shape(DEIT_TINY, BASE)
    times = [predict(program.instructions, BASE, n).cycles for n in (1, 20, 100, 200)]
    assert times == sorted(times)
    narrow = dataclasses.replace(BASE, bus=64)
    program = compile_shape(DEIT_TINY, narrow)
    assert predict(program.instructions, narrow, 1).cycles > times[0]


def test_a_wait_that_nobody_satisfies_is_an_error():
    load = Instruction(Opcode.LOAD, {"wait0_unit": Unit.NORM, "wait0_count": 1})
    with pytest.raises(RuntimeError, match="waits for a count"):
        predict([load, Instruction(Opcode.END, {})], BASE)


def test_a_ring_smaller_than_a_burst_of_weights():
    """It is unpacked tile by tile, as the array releases what is in the ring."""
    times = {}
    for ring in (2, 24):
        hw = dataclasses.replace(MICRO, ring=ring)
        assert 2 * hw.tile_bytes < hw.burst * hw.bus_bytes
        program = compile_network(QuantizedModel.load(digits.NETWORK_FILE).network, hw)
        prediction = predict(program.instructions, hw)
        assert prediction.busy == sum(beats(program))
        times[ring] = prediction.cycles
    assert times[2] > times[24]
