"""The whole accelerator on the digits network: ten images, traced, and what must be caught."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

from fqvit_hw.compiler import compile_network
from fqvit_hw.machine.hardware import TINY
from fqvit_hw.machine.interpreter import Machine
from fqvit_hw.machine.isa import INSTRUCTION_BYTES, Epilogue, Instruction, Opcode, Unit
from fqvit_hw.sim.networks import known as networks
from fqvit_hw.sim.networks import net
from fqvit_hw.sim.networks.compare import first_trace_difference
from fqvit_hw.sim.networks.simulated import Job
from fqvit_hw.sim.networks.verilated import build

needs_verilator = pytest.mark.skipif(
    shutil.which("verilator") is None or shutil.which("g++") is None,
    reason="verilator or g++ is missing: run `make setup`",
)
ONE = [Job()]


@pytest.fixture(scope="module")
def digits():
    """Network, images and program."""
    qm, images = networks.built_in()
    return qm, images[:10], compile_network(qm.network, TINY)


@pytest.fixture(scope="module")
def machine():
    return build(TINY, trace=True, quick=True)


def check(digits, machine, jobs, **control) -> net.Report:
    qm, images, program = digits
    return net.check(
        qm, images, TINY, jobs, trace=True, machine=machine, program=program, **control
    )


def find(program, layer: str, epilogue: Epilogue) -> int:
    """The number of the first such GEMM."""
    return next(
        n
        for n, p in enumerate(program.instructions)
        if p.opcode is Opcode.GEMM and p.epilogue == epilogue and program.names[n].startswith(layer)
    )


def changed(program, number: int, **fields):
    """The memory map with other values in some fields of one instruction."""
    old = program.instructions[number]
    content = program.image.copy()
    at = program.entry + number * INSTRUCTION_BYTES
    code = Instruction(old.opcode, old.fields | fields).encode()
    content[at : at + INSTRUCTION_BYTES] = memoryview(code)
    return content


@needs_verilator
def test_ten_images_and_every_instruction(digits, machine):
    report = check(digits, machine, net.jobs_for(10, net.LATENCIES, net.SEEDS))
    assert report.passed, report.differences
    assert report.equal == report.images == 10
    results = []
    Machine(TINY, digits[2].memory(digits[1][0]), results.append).run(digits[2].entry)
    assert report.values == 10 * sum(result.values.size for result in results)


@needs_verilator
def test_a_flipped_bit_of_a_weight_is_caught(digits, machine):
    program = digits[2]
    number = find(program, "blocks.1", Epilogue.GELU)
    parameters = 8 * TINY.cols
    bit = 8 * (program.instructions[number].address + parameters) + 7  # the top bit, K 0, column 0
    report = check(digits, machine, ONE, flip=bit)
    assert not report.passed and report.equal == 0
    (line,) = report.differences
    assert f"instruction {number}, layer blocks.1.fc1, blocks.1.gelu[" in line


@needs_verilator
def test_a_changed_field_is_caught(digits, machine):
    program = digits[2]
    number = find(program, "blocks.2", Epilogue.RESIDUAL)
    zero = program.instructions[number].add_zero
    content = changed(program, number, add_zero=zero + 1 if zero < 127 else zero - 1)
    report = check(digits, machine, ONE, content=content)
    assert not report.passed and report.equal == 0
    assert f"instruction {number}, layer blocks.2" in report.differences[0]


@needs_verilator
@pytest.mark.parametrize(
    ("fields", "name"),
    [
        (dict(wait1_unit=Unit.NORM, wait1_count=1 << 20), "STUCK"),
        (dict(address=0xFFFF_0000), "ADDRESS"),
    ],
)
def test_an_error_has_its_name(digits, machine, fields, name):
    number = find(digits[2], "blocks.0", Epilogue.GELU)
    report = check(digits, machine, ONE, content=changed(digits[2], number, **fields))
    assert not report.passed
    assert any(f" {name}" in line for line in report.differences)


def test_the_first_difference_has_layer_tensor_and_index(digits):
    _, images, program = digits
    results = []
    Machine(TINY, program.memory(images[0]), results.append).run(program.entry)
    trace = {
        unit: [v for r in results if r.unit.name.lower() == unit for v in r.in_order]
        for unit in ("epilogue", "codes", "norm")
    }
    arrays = {unit: np.array(values) for unit, values in trace.items()}
    assert first_trace_difference(program, results, arrays) is None
    number = find(program, "blocks.1", Epilogue.GELU)
    start = sum(r.values.size for r in results if r.unit is Unit.EPILOGUE and r.index < number)
    arrays["epilogue"][start + TINY.cols + 1] += 1  # second row, second column
    wrong = first_trace_difference(program, results, arrays)
    assert (wrong.layer, wrong.tensor, wrong.index) == ("blocks.1.fc1", "blocks.1.gelu", (1, 1))
    assert wrong.got == wrong.expected + 1 and wrong.instruction == number
    arrays["norm"] = arrays["norm"][:-1]
    assert first_trace_difference(program, results, arrays) == wrong  # the earlier one
    arrays = arrays | {"epilogue": np.array(trace["epilogue"])}
    assert first_trace_difference(program, results, arrays).got is None


def test_every_image_has_a_job_and_every_pair_comes_up():
    jobs = net.jobs_for(360, net.LATENCIES, net.SEEDS)
    assert [job.image for job in jobs] == list(range(360))
    assert {(j.latency, j.seed) for j in jobs} == {(a, s) for a in net.LATENCIES for s in range(9)}
    assert all((job.stall > 0) == (job.seed > 0) for job in jobs)


def test_a_report_without_images_does_not_pass():
    report = net.Report("tiny", "digits", False)
    assert not report.passed
    assert replace(report, images=1, equal=1).passed
    assert not replace(report, images=2, equal=1).passed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--config", "huge"], "unknown configuration 'huge'"),
        (["--images", "0"], "--images: expected a number or all, got '0'"),
        (["--latency", "0"], "--latency: expected at least 1, got 0"),
        (["--weights", "x"], "--weights and --image belong to --model"),
        (["--network", "nothing.safetensors"], "nothing.safetensors"),
    ],
)
def test_a_mistake_is_one_line(capsys, arguments, said):
    assert net.main(arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and said in lines[0]
