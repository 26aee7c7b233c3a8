"""Every block's configuration refuses what is of the wrong kind or below 1, and names it."""

import pytest

from fqvit_hw.rtl.flow.configs import base
from fqvit_hw.sim.blocks.runner import BLOCKS


@pytest.mark.parametrize("block", [block for block in BLOCKS if block != "accelerator"])
@pytest.mark.parametrize(("value", "error"), [("4", TypeError), (4.5, TypeError), (0, ValueError)])
def test_wrong_integers_are_named(block, value, error):
    config = type(getattr(base, block))
    first = next(iter(config.__dataclass_fields__))
    arguments = getattr(base, block).__dict__ | {first: value}
    with pytest.raises(error, match=f"{config.__name__}.{first}: expected .*, got {value!r}"):
        config(**arguments)


def test_wrong_bools_are_named():
    arguments = base.attention.__dict__ | {"bias": 3}
    with pytest.raises(TypeError, match=r"AttentionConfig\.bias: expected a bool, got 3"):
        type(base.attention)(**arguments)
