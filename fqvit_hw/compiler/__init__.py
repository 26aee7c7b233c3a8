"""The compiler: an integer network and a size of the machine become a program."""

from __future__ import annotations

import numpy as np

from ..errors import UserError
from ..machine.hardware import Hardware
from ..machine.isa import INSTRUCTION_BYTES
from ..network import SwinTransformer, VisionTransformer
from .plan import Plan, Shape, plan
from .program import Program
from .vit import IMAGE, LOGITS, Schedule

__all__ = ["Program", "compile_network"]


def compile_network(
    network: VisionTransformer, hw: Hardware, weights: bool = True, chosen: Plan | None = None
) -> Program:
    """The program of a ViT on `hw`. weights=False leaves the memory image out (`image` is None):
    only shapes and scalar parameters are read then. chosen: the plan, instead of the best one.
    Raises ValueError for what does not fit."""
    if isinstance(network, SwinTransformer):
        raise UserError("compile: a Swin network is not supported yet, only ViT and DeiT")
    for i, block in enumerate(network.blocks):
        if block.attention.softmax.mode != "lis4":
            raise UserError(
                f"compile: blocks.{i} has {block.attention.softmax.mode} attention, the machine "
                "lis4 only: quantize with attention = lis4 (presets best and paper-884)"
            )
    shape = Shape.of(network)
    chosen = chosen or plan(shape, hw)
    schedule = Schedule(network, hw, chosen, shape)
    built = schedule.run()
    window = schedule.window
    size = len(built.instructions) * INSTRUCTION_BYTES
    code = b"".join(instruction.encode() for instruction in built.instructions)
    window.region("program", "program", size)
    window.contents["program"] = lambda: np.frombuffer(code, np.uint8)
    return Program(
        hardware=hw,
        instructions=built.instructions,
        names=built.names,
        made=built.made,
        regions=window.regions,
        size=window.size,
        image_shape=network.image_shape,
        classes=shape.classes,
        macs=shape.macs,
        plan=chosen,
        image=window.fill() if weights else None,
        input_address=window.regions[IMAGE].address,
        output_address=window.regions[LOGITS].address,
        entry=window.regions["program"].address,
    )
