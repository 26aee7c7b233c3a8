"""Every block's configuration refuses what is of the wrong kind or below 1, and names it."""

import pytest

from fqvit_hw.rtl.flow.configs import BLOCKS, DEFAULT, parameters


@pytest.mark.parametrize("block", [block for block in BLOCKS if block != "accelerator"])
@pytest.mark.parametrize(("value", "error"), [("4", TypeError), (4.5, TypeError), (0, ValueError)])
def test_wrong_integers_are_named(block, value, error):
    base = parameters(block, DEFAULT)
    config, first = type(base), next(iter(vars(base)))
    with pytest.raises(error, match=f"{config.__name__}.{first}: expected .*, got {value!r}"):
        config(**vars(base) | {first: value})


def test_wrong_bools_are_named():
    base = parameters("attention", DEFAULT)
    with pytest.raises(TypeError, match=r"AttentionConfig\.bias: expected a bool, got 3"):
        type(base)(**vars(base) | {"bias": 3})
