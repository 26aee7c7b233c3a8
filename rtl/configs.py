"""The named hardware configurations: what `make verilog` writes and `make synth` counts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from amaranth.lib import wiring

from .attention import Attention, AttentionConfig
from .gelu import Gelu, GeluConfig
from .layernorm import LayerNorm, LayerNormConfig
from .mac_array import MacArray, MacArrayConfig
from .requantize import Requantize, RequantizeConfig
from .residual import Residual, ResidualConfig
from .softmax import Softmax, SoftmaxConfig

COMPONENTS = {
    "requantize": Requantize,
    "mac_array": MacArray,
    "layernorm": LayerNorm,
    "softmax": Softmax,
    "gelu": Gelu,
    "residual": Residual,
    "attention": Attention,
}
BLOCKS = tuple(COMPONENTS)


@dataclass(frozen=True)
class HardwareConfig:
    """One configuration of every block, named as the block is."""

    requantize: RequantizeConfig
    mac_array: MacArrayConfig
    layernorm: LayerNormConfig
    softmax: SoftmaxConfig
    gelu: GeluConfig
    residual: ResidualConfig
    attention: AttentionConfig

    def component(self, block: str) -> wiring.Component:
        return COMPONENTS[block](getattr(self, block))


# Small enough to read the waveforms of: the digits network on 4 lanes.
tiny = HardwareConfig(
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
    requantize=RequantizeConfig(lanes=8),
    mac_array=MacArrayConfig(rows=8, cols=16, depth=256, bias=True),
    layernorm=LayerNormConfig(lanes=4, max_channels=384),
    softmax=SoftmaxConfig(lanes=8, max_tokens=197),
    gelu=GeluConfig(lanes=8),
    residual=ResidualConfig(lanes=8),
    attention=AttentionConfig(rows=8, cols=8, max_tokens=197, head_dim=64),
)

CONFIGS = {"tiny": tiny, "base": base, "ecp5_85k": ecp5_85k}
DEFAULT = "base"


def choose(kind: str, name: str | None, names: Iterable[str]) -> tuple[str, ...]:
    """All names, or the one asked for; ValueError if there is no such one."""
    if name is None:
        return tuple(names)
    if name not in names:
        raise ValueError(f"unknown {kind} {name!r}; there are {', '.join(names)}")
    return (name,)
