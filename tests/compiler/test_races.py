"""The waits of a program suffice, and none is too many."""

from dataclasses import replace

import pytest

from fqvit_hw import QuantizedModel
from fqvit_hw.compiler import compile_network, compile_shape
from fqvit_hw.compiler.races import RaceError, check
from fqvit_hw.compiler.vit.shape import Shape
from fqvit_hw.data import digits
from fqvit_hw.machine.hardware import BASE, ECP5_85K, HARDWARE, TINY
from fqvit_hw.machine.isa import Instruction, Opcode, Unit
from fqvit_hw.paper_models import PAPER_MODELS, VitSize
from fqvit_hw.sim.networks.micro import MICRO
from tests.compiler.test_compile import SMALL


@pytest.fixture(scope="module")
def network():
    return QuantizedModel.load(digits.NETWORK_FILE).network


MACHINES = {**HARDWARE, **{name: replace(TINY, **changes) for name, changes in SMALL.items()}}


@pytest.mark.parametrize("name", MACHINES)
def test_digits_has_no_races(network, name):
    hw = MACHINES[name]
    program = compile_network(network, hw, weights=False)
    counts = check(program.instructions, hw, program.size)
    assert counts[Unit.NORM] == 4 * 2 * 17 + 1


@pytest.mark.parametrize("hw", [BASE, ECP5_85K], ids=["base", "ecp5_85k"])
def test_deit_tiny_has_no_races(hw):
    size = replace(PAPER_MODELS["deit_tiny"].size, depth=2)
    program = compile_shape(Shape.of_size(size), hw)
    check(program.instructions, hw, program.size)


def test_padded_k_tiles_are_of_the_same_row():
    """A patch of 13 words is read in 2 groups of 7 K tiles."""
    size = VitSize(image=20, patch=5, colors=2, channels=62, depth=2, heads=2, hidden=17, classes=1)
    program = compile_shape(Shape.of_size(size), MICRO)
    assert any(p.k_groups > 1 for p in program.instructions if p.opcode is Opcode.GEMM)
    check(program.instructions, MICRO, program.size)


def test_every_wait_is_needed(network):
    """One row less, or no wait at all: a race each time."""
    program = compile_network(network, BASE, weights=False)
    waits = [
        (n, w)
        for n, p in enumerate(program.instructions)
        for w in range(3)
        if p.fields.get(f"wait{w}_unit")
    ]
    assert len(waits) > 80
    for n, w in waits[::4]:
        p = program.instructions[n]
        for change in ({f"wait{w}_count": p.fields[f"wait{w}_count"] - 1}, {f"wait{w}_unit": 0}):
            changed = list(program.instructions)
            changed[n] = Instruction(p.opcode, p.fields | change)
            with pytest.raises(RaceError):
                check(changed[: n + 6], BASE, program.size)
                check(changed, BASE, program.size)


def test_a_wait_for_more_than_there_will_be(network):
    program = compile_network(network, BASE, weights=False)
    changed = list(program.instructions)
    n = next(n for n, p in enumerate(changed) if p.fields.get("wait0_unit"))
    changed[n] = Instruction(changed[n].opcode, changed[n].fields | {"wait0_count": 1 << 20})
    with pytest.raises(RaceError, match="it reaches"):
        check(changed, BASE, program.size)
