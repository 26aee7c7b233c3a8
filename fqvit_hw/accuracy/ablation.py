"""What each ingredient of `best` buys: one added at a time, on the same images."""

from __future__ import annotations

from dataclasses import replace

from ..config import PRESETS, QuantConfig

# an ingredient is what it changes of the configuration; in the order in which they are added
INGREDIENTS = {
    "exact exponential": {"exponential": "exact"},
    "row normalization": {"row_norm": True},
    "codes of the maximum": {"attention": "max4"},
    "separate scales of q, k, v": {"qkv_scales": "separate"},
    "12-bit GELU index": {"gelu_index_width": 12},
    "residual from the accumulator": {"residual_operand": "accumulator"},
    "16-bit residual stream": {"stream_width": 16},
    "folded positions": {"fold_positions": True},
    "folded values": {"fold_values": True},
    "folded norms": {"fold_norms": True},
    "clipped GELU": {"observer": "clipped-gelu"},
    "bias correction": {"bias_correction": True},
    "rounding for the output": {"weight_rounding": "output"},
}

PART = "row normalization"  # of the codes of the maximum, which do not go without


def variants() -> dict[str, QuantConfig]:
    """By name: paper-888 for comparison, from paper-884 to best, and best without each one."""
    start, best = PRESETS["paper-884"], PRESETS["best"]
    found, config = {"paper-888": PRESETS["paper-888"], "paper-884": start}, start
    for name, changes in INGREDIENTS.items():
        config = replace(config, **changes)
        found[f"+ {name}"] = config
    for name, changes in INGREDIENTS.items():
        if name != PART:
            before = {field: getattr(start, field) for field in changes}
            found[f"best without {name}"] = replace(best, **before)
    return found
