"""Tables of fields (`fqvit_hw.machine`) as Amaranth sees them: in the same bits."""

from __future__ import annotations

from amaranth.hdl import C, Cat, Shape, Value, signed, unsigned
from amaranth.lib import data

from fqvit_hw.machine.fields import UNUSED, Field, Layout

from ..parts.packed import extend


def shape(field: Field) -> Shape:
    return signed(field.width) if field.signed else unsigned(field.width)


def struct(layout: Layout) -> data.StructLayout:
    return data.StructLayout({field.name: shape(field) for field in layout})


def assemble(layout: Layout, **values) -> Value:
    """The word of these values, all fields but the unused bits; extended or cut to their widths."""
    assert values.keys() == layout.fields.keys() - {UNUSED}, (layout.name, *values)
    return Cat(
        C(0, field.width) if field.name == UNUSED else extend(values[field.name], field.width)
        for field in layout
    )
