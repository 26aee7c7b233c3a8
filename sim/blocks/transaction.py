"""What a bench feeds a block and what must come back: one golden case, cut into beats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass
class Transaction:
    """inputs, outputs: stream name -> payloads, as `pack` takes them (dicts, lists, ints).

    constants: plain input ports; tables: write streams, fed before the inputs; flags: plain outputs
    and their value at the end; cycles: exact number from the first input handshake to the last
    output handshake when nothing stalls, None where it is not stated; resets: wants a reset first;
    left_out: why it is not run unless it is asked for by name; the results list it.
    """

    name: str
    inputs: Mapping[str, Sequence]
    outputs: Mapping[str, Sequence]
    constants: dict[str, dict] = field(default_factory=dict)
    tables: dict[str, Sequence] = field(default_factory=dict)
    flags: dict[str, int] = field(default_factory=dict)
    cycles: int | None = None
    resets: bool = False
    left_out: str | None = None
