"""What every block's configuration checks of itself."""

from __future__ import annotations

from dataclasses import fields

from fqvit_hw.attention_codes import MODES

KINDS = {"int": (int, "an integer"), "bool": (bool, "a bool"), "str": (str, "a string"),
         "tuple[str, ...]": (tuple, "a tuple of strings")}  # fmt: skip


def check_fields(config) -> None:
    """Each field of a frozen dataclass is of its annotated type, and each integer at least 1.

    Raises TypeError or ValueError naming the field, what was expected and what came instead.
    """
    for field in fields(config):
        value = getattr(config, field.name)
        kind, wanted = KINDS[field.type]
        where = f"{type(config).__name__}.{field.name}"
        if type(value) is not kind:
            raise TypeError(f"{where}: expected {wanted}, got {value!r}")
        if kind is int and value < 1:
            raise ValueError(f"{where}: expected at least 1, got {value}")


def check_modes(config) -> None:
    """`modes` of a frozen dataclass names attention modes, each once. Raises ValueError."""
    modes = config.modes
    if not modes or not set(modes) <= set(MODES) or len(set(modes)) < len(modes):
        raise ValueError(
            f"{type(config).__name__}.modes: expected some of {', '.join(MODES)}, got {modes!r}"
        )
