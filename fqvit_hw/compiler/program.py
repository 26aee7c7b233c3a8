"""A compiled program: its memory image, what lies where, and what each instruction stands for."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..files import write_files
from ..machine.hardware import Hardware
from ..machine.interpreter import Machine
from ..machine.isa import INSTRUCTION_BYTES, Instruction, Unit
from ..machine.state import Record
from .listing import listing
from .made import Made
from .memory_map import Region
from .vit.plan import Plan

PROGRAM_FILE, MAP_FILE, LISTING_FILE = "program.bin", "map.json", "listing.txt"
FILES = PROGRAM_FILE, MAP_FILE, LISTING_FILE

NUMBERS = ("size", "classes", "macs", "input_address", "output_address", "entry")


@dataclass(frozen=True, eq=False)
class Program:
    """image: uint8 (size,), all of its memory map at the start, without an input; None if
    left out.

    names: of each instruction's layer; made: for each instruction what its units
    make, for comparison with QuantizedModel.trace; macs: the network's own.
    """

    hardware: Hardware
    instructions: list[Instruction]
    names: list[str]
    made: list[dict[Unit, Made]]
    regions: dict[str, Region]
    size: int
    image_shape: tuple[int, int, int]
    classes: int
    macs: int
    plan: Plan
    image: np.ndarray | None
    input_address: int
    output_address: int
    entry: int

    @property
    def output_bytes(self) -> int:
        return 4 * self.classes

    @property
    def filled(self) -> np.ndarray:
        """The memory image. Raises ValueError if it was left out."""
        if self.image is None:
            raise ValueError("program: compiled without its weights, there is no memory image")
        return self.image

    def pack(self, image: np.ndarray) -> bytes:
        """uint8 (C, H, W) -> what the host writes at input_address."""
        if image.dtype != np.uint8 or image.shape != self.image_shape:
            raise UserError(
                f"image: expected uint8 {self.image_shape}, got {image.dtype} {image.shape}"
            )
        return np.ascontiguousarray(image).tobytes()

    def unpack(self, raw) -> np.ndarray:
        """The bytes at output_address -> int32 (classes,)."""
        return np.frombuffer(bytes(raw[: self.output_bytes]), "<i4").astype(np.int32)

    def memory(self, image: np.ndarray) -> np.ndarray:
        """A fresh copy of the memory map with an input in it, uint8 (size,)."""
        memory = self.filled.copy()
        raw = np.frombuffer(self.pack(image), np.uint8)
        memory[self.input_address : self.input_address + len(raw)] = raw
        return memory

    def run(self, image: np.ndarray, record: Record | None = None) -> np.ndarray:
        """Instruction by instruction, in numpy: uint8 (C, H, W) -> logits int32 (classes,)."""
        machine = Machine(self.hardware, self.memory(image), record)
        machine.run(self.entry)
        return self.unpack(machine.memory[self.output_address :])

    # --- files

    def save(self, folder) -> None:
        """program.bin (the memory image), map.json and listing.txt: all or none. Raises OSError."""
        tree = {
            "hardware": asdict(self.hardware),
            "plan": asdict(self.plan),
            "regions": [asdict(region) for region in self.regions.values()],
            "names": self.names,
            "made": [
                {unit.name: asdict(made) for unit, made in line.items()} for line in self.made
            ],
            **{
                name: getattr(self, name)
                for name in ("image_shape", *NUMBERS)
            },
        }  # fmt: skip
        write_files(
            Path(folder),
            {
                PROGRAM_FILE: self.filled.tobytes(),
                MAP_FILE: (json.dumps(tree, indent=1) + "\n").encode(),
                LISTING_FILE: listing(self).encode(),
            },
        )

    @classmethod
    def load(cls, folder) -> Program:
        """Raises OSError or ValueError."""
        folder = Path(folder)
        try:
            tree = json.loads((folder / MAP_FILE).read_text())
            image = np.frombuffer((folder / PROGRAM_FILE).read_bytes(), np.uint8).copy()
            lines = len(tree["made"])
            code = image[tree["entry"] :][: lines * INSTRUCTION_BYTES].reshape(lines, -1)
            return cls(
                hardware=Hardware(**tree["hardware"]),
                instructions=[Instruction.decode(line.tobytes()) for line in code],
                names=tree["names"],
                made=[
                    {Unit[unit]: Made(**tuples(made)) for unit, made in line.items()}
                    for line in tree["made"]
                ],
                regions={r["name"]: Region(**r) for r in tree["regions"]},
                plan=Plan(**tree["plan"]),
                image=image,
                image_shape=tuple(tree["image_shape"]),
                **{
                    name: tree[name] for name in NUMBERS
                },
            )  # fmt: skip
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{folder}: not a program of fqvit-hw compile: {error}") from error


def tuples(tree: dict) -> dict:
    """JSON knows lists only."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in tree.items()}
