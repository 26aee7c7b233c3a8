"""The frontier: every width of attention codes with every width of weights, the rest as in best."""

from dataclasses import replace

from fqvit_hw import PRESETS
from fqvit_hw.accuracy.frontier import variants
from fqvit_hw.attention_codes import MODES


def test_every_combination_once_and_nothing_else_changes():
    found = variants()
    assert next(iter(found)) == "8 / 8" and list(found)[-1] == "3 / 4" and len(found) == 20
    assert found["4 / 8"] == PRESETS["best"]
    for name, config in found.items():
        attention, weights = map(int, name.split(" / "))
        assert MODES[config.attention].bits == attention and config.weight_bits == weights
        kept = dict(attention=PRESETS["best"].attention, weight_bits=8)
        assert replace(config, **kept) == PRESETS["best"]
