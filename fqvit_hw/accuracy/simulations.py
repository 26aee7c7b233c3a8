"""Which of the paper's simulations stands beside which configuration.

The simulation knows only the paper's choices: observer, PTF, four-bit or eight-bit attention maps.
What the integer machine adds changes nothing there, so that several configurations share one.
"""

from __future__ import annotations


def simulation_name(config) -> str:
    """Of a QuantConfig, for tables: "minmax 8/8/4"."""
    from ..reference import ReferenceConfig

    found = ReferenceConfig.of(config)
    bits = 4 if found.attention == "lis4" else 8
    return f"{found.observer} 8/8/{bits}{'' if found.ptf else ' without PTF'}"


def simulations(configs: dict) -> dict:
    """By name, each once, in the order of the configurations."""
    from ..reference import ReferenceConfig

    return {simulation_name(config): ReferenceConfig.of(config) for config in configs.values()}
