"""Which of the paper's simulations stands beside which configuration.

The simulation knows only the paper's choices: observer, PTF, four-bit or eight-bit attention maps.
What the integer machine adds changes nothing there, so that several configurations share one, if
they are calibrated on the same images.
"""

from __future__ import annotations


def simulation_name(config) -> str:
    """Of a QuantConfig, for tables: "minmax 8/8/4"."""
    from ..reference import ReferenceConfig

    found = ReferenceConfig.of(config)
    bits = 4 if found.attention == "lis4" else 8
    return f"{found.observer} 8/8/{bits}{'' if found.ptf else ' without PTF'}"


def simulation_names(configs: dict) -> dict[str, str]:
    """The simulation beside each configuration, by the configuration's name.

    Where configurations are calibrated on different numbers of images, so are their simulations.
    """
    several = len({config.calibration_images for config in configs.values()}) > 1
    return {
        name: simulation_name(config) + (f", {config.calibration_images} images" if several else "")
        for name, config in configs.items()
    }


def simulations(configs: dict) -> dict:
    """QuantConfigs by the name of their simulation, each once, in the order of `configs`."""
    return {name: configs[of] for of, name in simulation_names(configs).items()}
