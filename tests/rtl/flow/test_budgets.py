"""fqvit_hw.rtl.flow.budgets: no unit's clock is longer than its budget."""

import pytest

from fqvit_hw.rtl.flow.budgets import UNITS, estimate
from fqvit_hw.rtl.flow.estimate import describe

MARKED = [
    pytest.param(name, marks=pytest.mark.slow) if unit.slow else name
    for name, unit in UNITS.items()
]


@pytest.mark.parametrize("name", MARKED)
def test_no_path_is_longer_than_the_budget(name, tmp_path):
    """A failure shows the slowest path to each register that is over, and its nets."""
    made = estimate(name, tmp_path)
    assert made.endpoints > 100 and made.dsps + made.luts > 100
    over = [group for group in made.groups if group.over]
    paths = "\n".join(f"{describe(group)}\n    {' -> '.join(group.nets)}" for group in over[:5])
    assert not over, f"{name}: {made.over} endpoints over {UNITS[name].ns} ns\n{paths}"
