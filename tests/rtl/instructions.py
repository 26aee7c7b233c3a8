"""Instructions as a unit's queue hands them on."""

from __future__ import annotations

from collections.abc import Mapping

from amaranth.lib import data


def fields_of(layout: data.StructLayout, fields: Mapping[str, int]) -> dict[str, int]:
    """What a unit whose port has `layout` takes of an instruction with these fields; 0 for those
    that are not named.
    """
    return {name: fields.get(name, 0) for name in layout.members}
