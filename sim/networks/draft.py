"""A program written down instruction by instruction, with its memory and with what it makes."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

from fqvit_hw.compiler import Plan, Program
from fqvit_hw.compiler.made import Made
from fqvit_hw.compiler.memory_map import Region
from fqvit_hw.compiler.pack import pack_params, pack_weights
from fqvit_hw.machine.hardware import BURST_BYTES, NORM_BYTES, SOFTMAX_BYTES, Hardware
from fqvit_hw.machine.isa import Epilogue, Instruction, Opcode, Space, Unit

SIDE = 128  # of an image, whose bytes come first in the memory map
IMAGE = SIDE * SIDE
OUTPUT = 1 << 15  # bytes behind it


def log2(value: int) -> int:
    return value.bit_length() - 1


class Draft:
    """Instructions in order, the constants in memory, and what every unit will have counted."""

    def __init__(self, hw: Hardware, seed: int = 0):
        self.hw, self.rng = hw, np.random.default_rng(seed)
        self.instructions: list[Instruction] = []
        self.made: list[dict[Unit, Made]] = []
        self.done = dict.fromkeys(Unit, 0)
        self.constants: list[np.ndarray] = []
        self.size = IMAGE + OUTPUT
        self.out = IMAGE  # of the next STORE

    def constant(self, values: np.ndarray) -> int:
        """Its address, a multiple of a burst."""
        raw = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
        self.constants.append(np.pad(raw, (0, -len(raw) % BURST_BYTES)))
        at, self.size = self.size, self.size + len(self.constants[-1])
        return at

    def beats(self, words: int) -> int:
        """So many words of acts, and as many more as whole beats of the bus take."""
        return words + -words % max(self.hw.bus_bytes // self.hw.rows, 1)

    def after(self, n: int, unit: Unit) -> dict[str, int]:
        """The fields of wait n for all that `unit` has been told so far."""
        return {f"wait{n}_unit": unit, f"wait{n}_count": self.done[unit]}

    def add(self, opcode: Opcode, **fields: int) -> None:
        p = Instruction(opcode, {name: int(value) for name, value in fields.items()})
        self.instructions.append(p)
        made = {}
        if opcode is Opcode.LOAD:
            self.done[Unit.LOAD] += p.count2 * p.credit
        elif opcode is Opcode.STORE:
            self.done[Unit.STORE] += p.lines
        elif opcode is Opcode.NORM:
            self.done[Unit.NORM] += p.rows
            made[Unit.NORM] = Made("norm", (), (0, p.rows), (0, p.channels))
        elif opcode is Opcode.GEMM:
            kind = Epilogue(p.epilogue)
            self.done[Unit.ARRAY] += p.outer * p.k_groups * p.rows
            self.done[Unit.EPILOGUE] += p.outer * p.rows
            made[Unit.EPILOGUE] = Made(kind.name, (), (0, p.rows), (0, p.columns))
            if kind is Epilogue.SCORES:
                self.done[Unit.CODES] += p.rows
                made[Unit.CODES] = Made("codes", (), (0, p.rows), (0, p.columns))
        self.made.append(made)

    def load(self, space: Space, base: int, address: int, size: int, **fields: int) -> None:
        """`size` bytes at `address` to byte `base` of a space; fields: others of LOAD."""
        hw = self.hw
        chunk = {
            Space.ACTS: min(hw.rows, hw.bus_bytes),
            Space.STREAM: min(hw.stream_bytes, hw.bus_bytes),
            Space.NORM_TABLE: NORM_BYTES,
            Space.SOFTMAX_TABLE: SOFTMAX_BYTES,
        }[space]
        usual = {"count2": 1, "count1": 1, "count0": 1, "pieces": 1, "piece": size, "credit": 1}
        self.add(
            Opcode.LOAD, space=space, base=base, address=address, chunk=log2(chunk),
            **usual | fields,
        )  # fmt: skip

    def store(self, base: int, words: int, *, lines: int = 1, gap: int = 0, **fields: int) -> None:
        """Lines of `words` words of acts, one after another from word `base` on, to the output;
        gap: bytes left out between two lines.
        """
        size = words * self.hw.rows
        self.add(
            Opcode.STORE, space=Space.ACTS, base=base, stride=words, lines=lines, words=words,
            address=self.out, to0=size + gap, **fields,
        )  # fmt: skip
        self.out += lines * (size + gap)
        if self.out > IMAGE + OUTPUT:
            raise ValueError(f"the output has {OUTPUT} bytes, not {self.out - IMAGE}")

    def weights(self, outputs: int, k_tiles: int) -> int:
        """Random ones, whose results fill int8."""
        rng, hw = self.rng, self.hw
        params = pack_params(
            rng.integers(-(1 << 14), 1 << 14, outputs),
            rng.integers(1 << 15, 1 << 16, outputs),
            rng.integers(23, 25, outputs),
        )
        weight = rng.integers(-128, 128, (outputs, k_tiles * hw.rows), np.int8)
        return self.constant(pack_weights(hw, weight, k_tiles, params))

    def gemm(
        self, epilogue: Epilogue, rows: int, k_tiles: int, columns: int, **fields: int
    ) -> None:
        usual = {"row_group": rows, "k_groups": 1, "inner": 1, "outer": 1, "from_stride": k_tiles}
        self.add(
            Opcode.GEMM, epilogue=epilogue, rows=rows, k_tiles=k_tiles, columns=columns,
            **usual | fields,
        )  # fmt: skip

    def program(self) -> Program:
        entry = self.size
        instructions = [*self.instructions, Instruction(Opcode.END, {})]
        code = b"".join(p.encode() for p in instructions)
        content = [np.zeros(IMAGE + OUTPUT, np.uint8), *self.constants]
        content.append(np.frombuffer(code, np.uint8))
        image = np.concatenate(content)
        image = np.pad(image, (0, -len(image) % BURST_BYTES))
        nothing: dict[str, Any] = dict.fromkeys((field.name for field in fields(Plan)), 0)
        return Program(
            hardware=self.hw,
            instructions=instructions,
            names=["by hand"] * len(instructions),
            made=[*self.made, {}],
            regions={"output": Region("output", "logits", IMAGE, OUTPUT)},
            size=len(image),
            image_shape=(1, SIDE, SIDE),
            classes=OUTPUT // 4,
            macs=0,
            plan=Plan(**nothing),
            image=image,
            input_address=0,
            output_address=IMAGE,
            entry=entry,
        )
