"""Ways to run an integer network. `numpy` is the specification; others must equal it bit for bit.

An engine is a function run(network, images, record) -> int32 (B, classes); see numpy_engine.run.
"""

from .numpy_engine import run as run_numpy

ENGINES = {"numpy": run_numpy}


def engine_named(name: str):
    """Raises ValueError naming the known engines."""
    if name not in ENGINES:
        raise ValueError(f"unknown engine {name!r}; there is {', '.join(sorted(ENGINES))}")
    return ENGINES[name]
