"""Instructions as a unit's queue hands them on."""

from __future__ import annotations

from collections.abc import Mapping

from amaranth.lib import wiring


def fields_of(unit: wiring.Component, fields: Mapping[str, int]) -> dict[str, int]:
    """What `unit` takes of an instruction with these fields; 0 for those that are not named."""
    return {name: fields.get(name, 0) for name in unit.i.payload.shape().members}
