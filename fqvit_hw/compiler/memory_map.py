"""The memory window: named regions, and the bytes that are in them before the machine starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ..errors import UserError
from ..machine.hardware import BURST_BYTES

WINDOW_BYTES = 1 << 32  # less one burst: the register SIZE has 32 bits


@dataclass(frozen=True)
class Region:
    """Bytes address..address + size - 1. kind: program, constants, image, logits or spill."""

    name: str
    kind: str
    address: int
    size: int


@dataclass
class Window:
    regions: dict[str, Region] = field(default_factory=dict)
    contents: dict[str, Callable[[], np.ndarray]] = field(default_factory=dict)
    size: int = 0

    def region(self, name: str, kind: str, size: int) -> int:
        """The address of a new region, on a burst boundary; of the old one if there is one."""
        if name not in self.regions:
            self.regions[name] = Region(name, kind, self.size, size)
            self.size += -(-size // BURST_BYTES) * BURST_BYTES
            if self.size >= WINDOW_BYTES:
                raise UserError(
                    f"compile: the memory window has less than {WINDOW_BYTES} bytes (the register "
                    f"SIZE has 32 bits), this network needs {self.size} up to {name}"
                )
        return self.regions[name].address

    def constant(self, name: str, size: int, make: Callable[[], np.ndarray]) -> int:
        """The address of a constant. make() gives its bytes, called only when they are wanted."""
        if name not in self.regions:
            self.contents[name] = make
        return self.region(name, "constants", size)

    def fill(self) -> np.ndarray:
        """uint8 (size,), what is in no constant is 0."""
        image = np.zeros(self.size, np.uint8)
        for name, make in self.contents.items():
            region = self.regions[name]
            raw = np.ascontiguousarray(make()).reshape(-1).view(np.uint8)
            if len(raw) != region.size:
                raise AssertionError(f"{name}: {len(raw)} bytes instead of {region.size}")
            image[region.address : region.address + region.size] = raw
        return image
