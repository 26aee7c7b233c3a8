"""The fast engine: the integers of the numpy units by compiled kernels, several times as fast.

The kernels are C (*.c beside this file), compiled on first use by the system's compiler for the
very CPU (build.py), called on numpy arrays (ops.py), and checked against the units before they are
trusted (selfcheck.py). Without a compiler `available()` says why, and numpy remains.
"""

from __future__ import annotations

import functools

from . import build
from .build import UnavailableError
from .library import Library
from .ops import FastOps as Ops
from .ops import set_threads
from .selfcheck import mismatch

__all__ = ["FastOps", "UnavailableError", "available", "set_threads"]


@functools.cache
def load() -> Library | str:
    """The best library that equals the units, or why there is none; once per process."""
    reasons = []
    try:
        folder = build.cache_folder()
        for target in build.TARGETS:
            try:
                library = Library(build.build(target, folder))
            except UnavailableError as error:
                reasons.append(str(error))
                continue
            wrong = mismatch(Ops(library))
            if wrong is None:
                return library
            reasons.append(f"kernels built with {' '.join(target)} differ from the units: {wrong}")
    except OSError as error:
        reasons.append(f"the kernels cannot be compiled: {error}")
    return reasons[0]


def available() -> str | None:
    """None if the fast engine runs here, else one line that says why not."""
    library = load()
    return library if isinstance(library, str) else None


class FastOps(Ops):
    """The operations with this machine's library. Raises UnavailableError, an ImportError."""

    def __init__(self):
        library = load()
        if isinstance(library, str):
            raise UnavailableError(f"engine 'fast': {library}")
        super().__init__(library)
