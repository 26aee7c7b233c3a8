"""Every component says in sections of its docstring what its members are and how it is timed."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from importlib import import_module
from inspect import getdoc

import pytest
from amaranth.lib import wiring

from fqvit_hw.attention_codes import MODES
from fqvit_hw.formats import LayerNormWidths
from fqvit_hw.machine.hardware import TINY
from fqvit_hw.places import RTL
from fqvit_hw.rtl.accelerator.accelerator import Accelerator
from fqvit_hw.rtl.accelerator.axi_read import AxiRead
from fqvit_hw.rtl.accelerator.axi_write import AxiWrite
from fqvit_hw.rtl.accelerator.clear import Clear
from fqvit_hw.rtl.accelerator.codes import Codes
from fqvit_hw.rtl.accelerator.control import Control
from fqvit_hw.rtl.accelerator.epilogue import EpilogueUnit
from fqvit_hw.rtl.accelerator.epilogue_math import EpilogueMath
from fqvit_hw.rtl.accelerator.gemm import Gemm
from fqvit_hw.rtl.accelerator.load import Load
from fqvit_hw.rtl.accelerator.norm import Norm
from fqvit_hw.rtl.accelerator.scratchpad import Scratchpad
from fqvit_hw.rtl.accelerator.sequencer import Sequencer
from fqvit_hw.rtl.accelerator.store import Store
from fqvit_hw.rtl.accelerator.tiles import Tiles
from fqvit_hw.rtl.accelerator.weights import Weights
from fqvit_hw.rtl.accelerator.window import Window
from fqvit_hw.rtl.blocks.attention import Attention, AttentionConfig
from fqvit_hw.rtl.blocks.gelu import Gelu, GeluConfig
from fqvit_hw.rtl.blocks.layernorm import LayerNorm, LayerNormConfig
from fqvit_hw.rtl.blocks.mac_array import MacArray, MacArrayConfig
from fqvit_hw.rtl.blocks.requantize import Requantize, RequantizeConfig
from fqvit_hw.rtl.blocks.residual import Residual, ResidualConfig
from fqvit_hw.rtl.blocks.softmax import Softmax, SoftmaxConfig
from fqvit_hw.rtl.parts.accumulator import Accumulator, AccumulatorConfig
from fqvit_hw.rtl.parts.distance_table import DistanceTable
from fqvit_hw.rtl.parts.elastic import Elastic
from fqvit_hw.rtl.parts.moments import Moments, Variance, VarianceConfig
from fqvit_hw.rtl.parts.normalize import Normalize
from fqvit_hw.rtl.parts.pair import Pair
from fqvit_hw.rtl.parts.replay import Replay, ReplayConfig
from fqvit_hw.rtl.parts.root import InverseRoot, InverseRootConfig
from fqvit_hw.rtl.parts.row_norm import RowNorm, RowNormConfig
from fqvit_hw.rtl.parts.row_reciprocal import RowReciprocal
from fqvit_hw.rtl.parts.row_ring import Ring
from fqvit_hw.rtl.parts.softmax_code import AttentionCode, Log2Code, Uniform8Code
from fqvit_hw.rtl.parts.tile_ring import TileRing, TileRingConfig

ROOMS = ("parts", "blocks", "accelerator")
WIDTHS = LayerNormWidths(64, 8)
# One of each kind, with all that can be built in.
COMPONENTS = [
    Accumulator(AccumulatorConfig(4, bias=True)),
    Moments(WIDTHS, 4),
    Variance(VarianceConfig(WIDTHS)),
    Normalize(LayerNormConfig(4, 64).normalize),
    Replay(ReplayConfig(4, 8, 16, 4, 16)),
    Elastic(8),
    InverseRoot(InverseRootConfig(24, 8)),
    RowNorm(RowNormConfig(4, 16, bits=28, wide=True)),
    RowReciprocal(4, tuple(MODES.values()), 17),
    DistanceTable(4, tuple(MODES.values())),
    Ring(8, 16),
    AttentionCode(4, 28, uniform8=True),
    Log2Code(4, 28),
    Uniform8Code(4, 28),
    Pair(),
    TileRing(TileRingConfig(4, 4, group=2)),
    Attention(AttentionConfig(4, 4, 17, 16, bias=True)),
    Gelu(GeluConfig(4)),
    LayerNorm(LayerNormConfig(4, 64)),
    MacArray(MacArrayConfig(4, 4, bias=True, group=2)),
    Requantize(RequantizeConfig(4)),
    Residual(ResidualConfig(4)),
    Softmax(SoftmaxConfig(4, 17)),
    Accelerator(TINY, trace=True),
    AxiRead(TINY, 3),
    Window(TINY),
    AxiWrite(TINY),
    EpilogueMath(2, 28),
    Scratchpad(64, 32, 8, readers=1, writers=1),
    *(
        unit(TINY)
        for unit in (Clear, Codes, Control, EpilogueUnit, Gemm, Load, Norm, Sequencer, Store)
    ),
    *(unit(TINY) for unit in (Tiles, Weights)),
]


def sections(doc: str) -> dict[str, str]:
    """Title -> text; a title is underlined with as many dashes."""
    parts = re.split(r"^(\S[^\n]*)\n(-+)$", doc, flags=re.MULTILINE)[1:]
    titles, lines, texts = parts[::3], parts[1::3], parts[2::3]
    assert [len(title) for title in titles] == [len(line) for line in lines]
    return dict(zip(titles, texts, strict=True))


def named(text: str) -> set[str]:
    """The names of a section of `name, name : what`; name_* stands for many."""
    lines = re.findall(r"^(\w[\w, *]*) : ", text, re.MULTILINE)
    return {name for line in lines for name in line.split(", ")}


def name(component: wiring.Component) -> str:
    return type(component).__name__


@pytest.mark.parametrize("component", COMPONENTS, ids=name)
def test_sections(component):
    found = sections(getdoc(type(component)))
    names, members = named(found["Members"]), set(component.signature.members)
    told = {name: {m for m in members if fnmatchcase(m, name)} for name in names}
    assert all(told.values()) and set().union(*told.values()) == members
    wanted = {"Parameters", "Latency", "Throughput", "Back-pressure"}
    if type(component) is Accelerator:  # its units' are docs/accelerator.md's
        wanted = {"Parameters"}
    assert wanted <= found.keys()
    assert all(text.strip() for text in found.values())
    latency = getattr(component, "latency", None)
    if isinstance(latency, int) and (said := re.match(r"\s*(\d+)\b", found["Latency"])):
        assert latency == int(said[1])


def test_no_component_is_forgotten():
    modules = [
        import_module(f"fqvit_hw.rtl.{room}.{path.stem}")
        for room in ROOMS
        for path in (RTL / room).glob("*.py")
    ]
    classes = {
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, wiring.Component)
        and value.__module__ == module.__name__
    }
    forgotten = classes - {type(component) for component in COMPONENTS}
    assert not forgotten, "one of each belongs into COMPONENTS"
