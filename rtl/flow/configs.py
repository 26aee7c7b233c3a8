"""The named hardware configurations: for `make verilog`, `make synth` and `make pnr`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from amaranth.lib import wiring

from fqvit_hw.errors import UserError
from fqvit_hw.machine.hardware import BASE, ECP5_85K, LARGE, TINY, Hardware

from ..accelerator.accelerator import Accelerator
from ..blocks.attention import Attention, AttentionConfig
from ..blocks.gelu import Gelu, GeluConfig
from ..blocks.layernorm import LayerNorm, LayerNormConfig
from ..blocks.mac_array import MacArray, MacArrayConfig
from ..blocks.requantize import Requantize, RequantizeConfig
from ..blocks.residual import Residual, ResidualConfig
from ..blocks.softmax import Softmax, SoftmaxConfig

COMPONENTS = {
    "requantize": Requantize,
    "mac_array": MacArray,
    "layernorm": LayerNorm,
    "softmax": Softmax,
    "gelu": Gelu,
    "residual": Residual,
    "attention": Attention,
    "accelerator": Accelerator,
}
BLOCKS = tuple(COMPONENTS)


@dataclass(frozen=True)
class HardwareConfig:
    """One configuration of the accelerator and, unless None, of every block, by their names.

    The blocks stand alone: the accelerator has units of its own, of the same arithmetic.
    """

    accelerator: Hardware
    requantize: RequantizeConfig | None = None
    mac_array: MacArrayConfig | None = None
    layernorm: LayerNormConfig | None = None
    softmax: SoftmaxConfig | None = None
    gelu: GeluConfig | None = None
    residual: ResidualConfig | None = None
    attention: AttentionConfig | None = None

    @property
    def blocks(self) -> tuple[str, ...]:
        """Those that this configuration has, the accelerator last."""
        return tuple(block for block in BLOCKS if getattr(self, block) is not None)

    def component(self, block: str) -> wiring.Component:
        return COMPONENTS[block](getattr(self, block))


# Small enough to read the waveforms of: the digits network on 4 lanes.
tiny = HardwareConfig(
    accelerator=TINY,
    requantize=RequantizeConfig(lanes=4),
    mac_array=MacArrayConfig(rows=4, cols=4, bias=True),
    layernorm=LayerNormConfig(lanes=4, max_channels=64),
    softmax=SoftmaxConfig(lanes=4, max_tokens=17),
    gelu=GeluConfig(lanes=4),
    residual=ResidualConfig(lanes=4),
    attention=AttentionConfig(rows=4, cols=4, max_tokens=17, head_dim=16),
)

# DeiT-Tiny and DeiT-Small on a 16 x 16 array.
base = HardwareConfig(
    accelerator=BASE,
    requantize=RequantizeConfig(lanes=16),
    mac_array=MacArrayConfig(rows=16, cols=16, depth=256, bias=True),
    layernorm=LayerNormConfig(lanes=16, max_channels=384),
    softmax=SoftmaxConfig(lanes=16, max_tokens=197),
    gelu=GeluConfig(lanes=16),
    residual=ResidualConfig(lanes=16),
    attention=AttentionConfig(rows=16, cols=16, max_tokens=197, head_dim=64),
)

# The same networks for an ECP5-85k: 156 multipliers, 128 of them in an 8 x 16 array.
ecp5_85k = HardwareConfig(
    accelerator=ECP5_85K,
    requantize=RequantizeConfig(lanes=8),
    mac_array=MacArrayConfig(rows=8, cols=16, depth=256, bias=True),
    layernorm=LayerNormConfig(lanes=4, max_channels=384),
    softmax=SoftmaxConfig(lanes=8, max_tokens=197),
    gelu=GeluConfig(lanes=8),
    residual=ResidualConfig(lanes=8),
    attention=AttentionConfig(rows=8, cols=8, max_tokens=197, head_dim=64),
)

# The largest accelerator; its blocks are those of `base`, with more lanes.
large = HardwareConfig(accelerator=LARGE)

CONFIGS = {"tiny": tiny, "base": base, "ecp5_85k": ecp5_85k, "large": large}
DEFAULT = "base"


def choose(kind: str, name: str | None, names: Iterable[str]) -> tuple[str, ...]:
    """All names, or the one asked for; UserError if there is no such one."""
    if name is None:
        return tuple(names)
    if name not in names:
        raise UserError(f"unknown {kind} {name!r}; there are {', '.join(names)}")
    return (name,)


def select(
    config: str | None, block: str | None, configs: Iterable[str] = tuple(CONFIGS)
) -> list[tuple[str, str]]:
    """(block, configuration) of all that was asked for; `configs` are meant if none was named."""
    configs = choose("configuration", config, CONFIGS) if config else configs
    blocks = choose("block", block, BLOCKS)
    pairs = [(b, c) for c in configs for b in blocks if b in CONFIGS[c].blocks]
    if not pairs:
        there = ", ".join(CONFIGS[config].blocks)
        raise UserError(f"configuration {config} has no block {block}; there are {there}")
    return pairs
