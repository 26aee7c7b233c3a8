"""The memory map: named regions of host memory, and what is in them before the machine starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from ..machine.hardware import BURST_BYTES

MAP_BYTES = 1 << 32  # less one burst: the register SIZE has 32 bits


@dataclass(frozen=True)
class Region:
    """Bytes address..address + size - 1. kind: program, constants, image, logits or spill."""

    name: str
    kind: str
    address: int
    size: int


class Constant(Protocol):
    """What lies in a region from the start: its name, its size, and whose bytes it is."""

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> int: ...


@dataclass
class MemoryMap:
    """Regions one after another from offset 0. constants: of those that have contents."""

    regions: dict[str, Region] = field(default_factory=dict)
    constants: dict[str, Constant] = field(default_factory=dict)
    size: int = 0

    def region(self, name: str, kind: str, size: int) -> int:
        """The address of a new region, on a burst boundary; of the old one if there is one.

        Raises ValueError if the regions exceed what the register SIZE counts.
        """
        if name not in self.regions:
            self.regions[name] = Region(name, kind, self.size, size)
            self.size += -(-size // BURST_BYTES) * BURST_BYTES
            if self.size >= MAP_BYTES:
                raise ValueError(
                    f"compile: the memory map has less than {MAP_BYTES} bytes (the register "
                    f"SIZE has 32 bits), this network needs {self.size} up to {name}"
                )
        return self.regions[name].address

    def constant(self, constant: Constant) -> int:
        """The address of a constant; the same one again if it is asked for twice."""
        self.constants.setdefault(constant.name, constant)
        return self.region(constant.name, "constants", constant.size)

    def address(self, name: str) -> int:
        return self.regions[name].address

    def image(self, content: Callable[[Constant], np.ndarray]) -> np.ndarray:
        """uint8 (size,): every constant's content in its place, 0 elsewhere."""
        image = np.zeros(self.size, np.uint8)
        for name, constant in self.constants.items():
            region = self.regions[name]
            raw = np.ascontiguousarray(content(constant)).reshape(-1).view(np.uint8)
            if len(raw) != region.size:
                raise AssertionError(f"{name}: {len(raw)} bytes instead of {region.size}")
            image[region.address : region.address + region.size] = raw
        return image
