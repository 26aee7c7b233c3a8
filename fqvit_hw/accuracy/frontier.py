"""Datapaths of other widths: bits of attention codes and of weights, all else as in `best`."""

from __future__ import annotations

from dataclasses import replace

from ..attention_codes import MODES
from ..config import CHOICES, PRESETS, QuantConfig


def name(attention_bits: int, weight_bits: int) -> str:
    """Of a row: bits of an attention code and of a weight."""
    return f"{attention_bits} / {weight_bits}"


def variants() -> dict[str, QuantConfig]:
    """By name; the modes of the row's maximum, from the most bits down."""
    modes = sorted((m for m in MODES.values() if m.of_maximum), key=lambda m: -m.bits)
    return {
        name(mode.bits, bits): replace(PRESETS["best"], attention=mode.name, weight_bits=bits)
        for mode in modes
        for bits in CHOICES["weight_bits"]
    }
