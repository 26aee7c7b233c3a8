"""The blocks in the named configurations: for `make verilog`, `make synth` and `make pnr`.

tiny: small enough to read the waveforms of: the digits network on 4 lanes. base: DeiT-Tiny and
DeiT-Small on a 16 x 16 array. ecp5_85k: the same networks for an ECP5-85k. ultrascale: `base` with
the multipliers of an UltraScale+, two products of the array in each. large: the largest
accelerator; its blocks would be those of `base`, with more lanes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from amaranth.lib import wiring

from fqvit_hw.blocks import BLOCKS, load
from fqvit_hw.errors import UserError

CONFIGS = ("tiny", "base", "ecp5_85k", "ultrascale", "large")
DEFAULT = "base"


def blocks_of(config: str) -> tuple[str, ...]:
    """The blocks that a configuration has, the accelerator last."""
    return tuple(name for name, block in BLOCKS.items() if config in block.configurations)


def parameters(block: str, config: str, modes: tuple[str, ...] = ()) -> Any:
    """The frozen dataclass that the block is made from; modes: attention modes that it builds
    instead of the configuration's. Raises UserError for a block that has none."""
    chosen = BLOCKS[block]
    made = load(chosen.parameters)(**chosen.configurations[config])
    if not modes:
        return made
    if not hasattr(made, "modes"):
        raise UserError(f"block {block} builds no attention modes")
    try:
        return replace(made, modes=modes)
    except ValueError as error:
        raise UserError(str(error)) from error


def component(block: str, config: str, modes: tuple[str, ...] = ()) -> wiring.Component:
    return load(BLOCKS[block].component)(parameters(block, config, modes))


def choose(kind: str, name: str | None, names: Iterable[str]) -> tuple[str, ...]:
    """All names, or the one asked for; UserError if there is no such one."""
    if name is None:
        return tuple(names)
    if name not in names:
        raise UserError(f"unknown {kind} {name!r}; there are {', '.join(names)}")
    return (name,)


def select(
    config: str | None, block: str | None, configs: Iterable[str] = CONFIGS
) -> list[tuple[str, str]]:
    """(block, configuration) of all that was asked for; `configs` are meant if none was named."""
    configs = choose("configuration", config, CONFIGS) if config else configs
    blocks = choose("block", block, BLOCKS)
    pairs = [(b, c) for c in configs for b in blocks if b in blocks_of(c)]
    if not pairs:
        there = ", ".join(blocks_of(config))
        raise UserError(f"configuration {config} has no block {block}; there are {there}")
    return pairs
