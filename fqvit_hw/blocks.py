"""The registry of blocks: what one entry names is all that a block of the datapath consists of.

`make verilog`, `make synth`, `make pnr`, `make sim`, the golden vectors and the negative controls
take their blocks from here; tests/test_blocks.py fails for an entry that lacks one of its parts.
Everything is named, nothing imported: the golden vectors are made without Amaranth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from .machine.hardware import HARDWARE


@dataclass(frozen=True)
class Broken:
    """A negative control: one operator of the block changed in its Verilog, in every lane.

    what: is wrong then; pattern, replacement: of `re.sub`, anchored to names that stand in the
    Amaranth source; case: the case of the bench that has to notice it, None for all of them.
    """

    what: str
    pattern: str
    replacement: str
    case: str | None = None


@dataclass(frozen=True)
class Block:
    """One block, by the names of its parts.

    unit: the integer operator that it computes, "module:function"; golden: the folder of its golden
    vectors; corners: the function of vectors/corners.py that makes its corner cases.
    component: the `wiring.Component`, "module:class"; parameters: the frozen dataclass that it is
    made from; configurations: the arguments of `parameters` in each named configuration that has
    the block. bench: the module of its cases (`CONFIGURATIONS`, `SMALL`, `component`,
    `transactions`); broken: a fault that the bench must notice.

    The accelerator computes whole networks: it has no unit and no corner cases of its own.
    """

    name: str
    component: str
    parameters: str
    configurations: Mapping[str, Mapping[str, Any]]
    bench: str
    golden: str
    broken: Broken
    unit: str | None = None
    corners: str | None = None


def load(name: str) -> Any:
    """What "module:attribute" names, or the module that "module" does."""
    module, _, attribute = name.partition(":")
    found = import_module(module)
    return getattr(found, attribute) if attribute else found


def modes_of(config: str) -> dict[str, Any]:
    """The attention modes of a configuration."""
    return {"modes": HARDWARE[config].modes}


REQUANTIZE = Block(
    "requantize",
    unit="fqvit_hw.units:requantize",
    golden="requantize",
    corners="requantize_cases",
    component="fqvit_hw.rtl.blocks.requantize:Requantize",
    parameters="fqvit_hw.rtl.blocks.requantize:RequantizeConfig",
    configurations={"tiny": dict(lanes=4), "base": dict(lanes=16), "ecp5_85k": dict(lanes=8)},
    bench="fqvit_hw.sim.blocks.requantize",
    broken=Broken(
        "the shift of the product forgets the sign",
        r"(\$signed\(product\d+\)) >>> ",
        r"\1 >> ",
    ),
)

MAC_ARRAY = Block(
    "mac_array",
    unit="fqvit_hw.units:matmul",
    golden="mac_array",
    corners="mac_array_cases",
    component="fqvit_hw.rtl.blocks.mac_array:MacArray",
    parameters="fqvit_hw.rtl.blocks.mac_array:MacArrayConfig",
    configurations={
        "tiny": dict(rows=4, cols=4, bias=True, shifters=True),
        "base": dict(rows=16, cols=16, depth=256, bias=True),
        # 128 of its 156 multipliers; the values of its attention codes are no powers of two
        "ecp5_85k": dict(rows=8, cols=16, depth=256, bias=True, bitshift=False),
    },
    bench="fqvit_hw.sim.blocks.mac_array",
    broken=Broken(
        "a partial sum of a column subtracts",
        r"(\$signed\(terms\w*\[[\d:]+\]\)) \+ ",
        r"\1 - ",
    ),
)

LAYERNORM = Block(
    "layernorm",
    unit="fqvit_hw.units:layernorm",
    golden="layernorm",
    corners="layernorm_cases",
    component="fqvit_hw.rtl.blocks.layernorm:LayerNorm",
    parameters="fqvit_hw.rtl.blocks.layernorm:LayerNormConfig",
    configurations={
        "tiny": dict(lanes=4, max_channels=64),
        "base": dict(lanes=16, max_channels=384),
        "ecp5_85k": dict(lanes=4, max_channels=384),
    },
    bench="fqvit_hw.sim.blocks.layernorm",
    broken=Broken(
        "the input zero is added",
        r"(\$signed\(codes\[[\d:]+\]\)) - ",
        r"\1 + ",
    ),
)

SOFTMAX = Block(
    "softmax",
    unit="fqvit_hw.units:softmax",
    golden="softmax",
    corners="softmax_cases",
    component="fqvit_hw.rtl.blocks.softmax:Softmax",
    parameters="fqvit_hw.rtl.blocks.softmax:SoftmaxConfig",
    configurations={
        "tiny": dict(lanes=4, max_tokens=17, **modes_of("tiny")),
        "base": dict(lanes=16, max_tokens=197, **modes_of("base")),
        "ecp5_85k": dict(lanes=8, max_tokens=197, **modes_of("ecp5_85k")),
    },
    bench="fqvit_hw.sim.blocks.softmax",
    broken=Broken(
        "the distance from the row's maximum becomes a sum",
        r"(\$signed\(\w*highest\)) - ",
        r"\1 + ",
    ),
)

GELU = Block(
    "gelu",
    unit="fqvit_hw.units:gelu",
    golden="gelu",
    corners="gelu_cases",
    component="fqvit_hw.rtl.blocks.gelu:Gelu",
    parameters="fqvit_hw.rtl.blocks.gelu:GeluConfig",
    configurations={"tiny": dict(lanes=4), "base": dict(lanes=16), "ecp5_85k": dict(lanes=8)},
    bench="fqvit_hw.sim.blocks.gelu",
    broken=Broken(
        "the product of the linear part is not shifted down",
        r"(product\d+) >> ",
        r"\1 << ",
    ),
)

RESIDUAL = Block(
    "residual",
    unit="fqvit_hw.units:residual",
    golden="residual",
    corners="residual_cases",
    component="fqvit_hw.rtl.blocks.residual:Residual",
    parameters="fqvit_hw.rtl.blocks.residual:ResidualConfig",
    configurations={"tiny": dict(lanes=4), "base": dict(lanes=16), "ecp5_85k": dict(lanes=8)},
    bench="fqvit_hw.sim.blocks.residual",
    broken=Broken(
        "the branch is subtracted",
        r"(\$signed\(x_product\d+\)) \+ ",
        r"\1 - ",
    ),
)

ATTENTION = Block(
    "attention",
    unit="fqvit_hw.units:attention",
    golden="attention",
    corners="attention_cases",
    component="fqvit_hw.rtl.blocks.attention:Attention",
    parameters="fqvit_hw.rtl.blocks.attention:AttentionConfig",
    configurations={
        "tiny": dict(rows=4, cols=4, max_tokens=17, head_dim=16, shifters=True, **modes_of("tiny")),
        "base": dict(rows=16, cols=16, max_tokens=197, head_dim=64, **modes_of("base")),
        "ecp5_85k": dict(rows=8, cols=8, max_tokens=197, head_dim=64, **modes_of("ecp5_85k")),
    },
    bench="fqvit_hw.sim.blocks.attention",
    broken=Broken(
        "the shift of its score requantize forgets the sign",
        r"(\$signed\(product\d+\)) >>> ",
        r"\1 >> ",
    ),
)

# The blocks stand alone: the accelerator has units of its own, of the same arithmetic.
ACCELERATOR = Block(
    "accelerator",
    golden="network",
    component="fqvit_hw.rtl.accelerator.accelerator:Accelerator",
    parameters="fqvit_hw.machine.hardware:Hardware",
    configurations={name: vars(hardware) for name, hardware in HARDWARE.items()},
    bench="fqvit_hw.sim.blocks.accelerator",
    broken=Broken(
        "write bursts claim beats of half the bus",
        r"(\bm_axi_awsize = 3'h)3",
        r"\g<1>2",
        case="no error",  # all its cases take long
    ),
)

# Golden vectors, tables and files are in this order; the longest to simulate and to map come last.
BLOCKS = {
    block.name: block
    for block in (
        REQUANTIZE,
        MAC_ARRAY,
        LAYERNORM,
        SOFTMAX,
        GELU,
        RESIDUAL,
        ATTENTION,
        ACCELERATOR,
    )
}
