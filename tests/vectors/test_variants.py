"""Wrong designs, judged by the golden cases of their unit alone: each must fail at least one."""

from __future__ import annotations

import functools
from types import ModuleType

import numpy as np
import pytest

from fqvit_hw.vectors import files as vectors
from fqvit_hw.vectors.cases import Case

from .variants import attention, mac_array, softmax

UNITS: dict[str, ModuleType] = {"softmax": softmax, "mac_array": mac_array, "attention": attention}


@functools.cache
def cases(unit: str) -> list[Case]:
    return vectors.load(vectors.DEFAULT, unit)


def agrees(unit: str, case: Case, choices: dict) -> bool:
    made = UNITS[unit].model(case, **choices)
    assert made.keys() == case.role("output").keys()
    return all(np.array_equal(made[name], case[name]) for name in made)


@pytest.mark.parametrize("unit", UNITS)
def test_the_model_without_a_wrong_choice_agrees_with_every_case(unit):
    assert [case.name for case in cases(unit) if not agrees(unit, case, {})] == []


@pytest.mark.parametrize(
    ("unit", "name"), [(unit, name) for unit, module in UNITS.items() for name in module.VARIANTS]
)
def test_a_wrong_choice_is_noticed(unit, name):
    choices = UNITS[unit].VARIANTS[name]
    assert not all(agrees(unit, case, choices) for case in cases(unit)), name


@pytest.mark.parametrize(
    ("unit", "name"), [(unit, name) for unit, module in UNITS.items() for name in module.EQUIVALENT]
)
def test_what_only_looks_wrong_agrees_too(unit, name):
    choices = UNITS[unit].EQUIVALENT[name]
    assert all(agrees(unit, case, choices) for case in cases(unit))
