"""Checks shared by the parameter dataclasses: integers only, of the right width, read-only."""

from __future__ import annotations

import numpy as np

from ..formats import IntFormat


def array_field(params, name: str, fmt: IntFormat, shape: tuple | None = None) -> np.ndarray:
    """Check the array field `name` of a frozen dataclass and make it read-only, of fmt.dtype.

    Raises TypeError for a dtype that is not integer, ValueError for a wrong shape or range.
    """
    what = f"{type(params).__name__}.{name}"
    value = np.asarray(getattr(params, name))
    if value.dtype.kind not in "iu":
        raise TypeError(f"{what}: expected integers, got {value.dtype}")
    if shape is not None and value.shape != shape:
        raise ValueError(f"{what}: expected shape {shape}, got {value.shape}")
    if value.size and (int(value.min()) < fmt.min or int(value.max()) > fmt.max):
        raise ValueError(
            f"{what}: expected {fmt} [{fmt.min}, {fmt.max}], "
            f"got [{int(value.min())}, {int(value.max())}]"
        )
    value = value.astype(fmt.dtype)  # a copy: the caller's array stays his own
    value.setflags(write=False)
    object.__setattr__(params, name, value)
    return value


def scalar_in(params, name: str, low: int, high: int) -> None:
    """Check that the field `name` is a Python int in [low, high]. Raises TypeError, ValueError."""
    value = getattr(params, name)
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{type(params).__name__}.{name}: expected an integer, got {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{type(params).__name__}.{name}: expected {low}..{high}, got {value}")
    object.__setattr__(params, name, int(value))
