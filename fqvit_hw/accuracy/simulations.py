"""Which of the paper's simulations stands beside which configuration.

The simulation knows only the paper's choices: observer, PTF, four-bit or eight-bit attention maps.
What the integer machine adds changes nothing there, so that several configurations share one.
"""

from __future__ import annotations


def simulation_of(config):
    """The ReferenceConfig beside a QuantConfig; an observer of our own becomes minmax."""
    from ..reference import ReferenceConfig
    from ..reference.config import OBSERVERS

    observer = config.observer if config.observer in OBSERVERS else "minmax"
    return ReferenceConfig(observer=observer, ptf=config.ptf, attention=config.attention)


def simulation_name(config) -> str:
    """Of a QuantConfig, for tables: "minmax 8/8/4"."""
    found = simulation_of(config)
    bits = 4 if found.attention == "lis4" else 8
    return f"{found.observer} 8/8/{bits}{'' if found.ptf else ' without PTF'}"


def simulations(configs: dict) -> dict:
    """By name, each once, in the order of the configurations."""
    return {simulation_name(config): simulation_of(config) for config in configs.values()}
