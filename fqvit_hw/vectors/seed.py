"""The random numbers of the golden vectors.

RandomState is used on purpose: its stream is frozen, so that the vectors are the same everywhere.
"""

from __future__ import annotations

import numpy as np

SEED = 2111


def random_state(name: str) -> np.random.RandomState:
    """One stream per name, so that new cases of one kind change no others."""
    return np.random.RandomState([SEED, *name.encode()])
