"""The compiler: an integer network and a size of the machine become a program."""

from __future__ import annotations

import numpy as np

from ..errors import UserError
from ..machine.hardware import HARDWARE, Hardware
from ..network import SwinTransformer, VisionTransformer
from .program import Program
from .vit import Schedule, schedule_vit
from .vit.placement import IMAGE, LOGITS
from .vit.plan import Plan, plan
from .vit.scalars import NetworkScalars, StandIns
from .vit.shape import Shape

__all__ = ["Program", "compile_network", "compile_shape"]

PROGRAM = "program"


def compile_network(
    network: VisionTransformer | SwinTransformer,
    hw: Hardware,
    weights: bool = True,
    chosen: Plan | None = None,
) -> Program:
    """The program of a ViT on `hw`. weights=False leaves the memory image out (`image` is None):
    only shapes and scalar parameters are read then. chosen: the plan, instead of the best one.
    Raises ValueError for what does not fit."""
    if isinstance(network, SwinTransformer):
        raise UserError("compile: a Swin network is not supported yet, only ViT and DeiT")
    for i, block in enumerate(network.blocks):
        if (mode := block.attention.softmax.mode) not in hw.modes:
            having = [other.name for other in HARDWARE.values() if mode in other.modes]
            raise UserError(
                f"compile: blocks.{i} has {mode} attention, {hw.name} has {', '.join(hw.modes)}; "
                f"{mode} is in {', '.join(having) or 'no named configuration'}"
            )
    shape = Shape.of_network(network)
    schedule = schedule_vit(shape, hw, chosen or plan(shape, hw), NetworkScalars(network))
    return assemble(schedule, network if weights else None)


def compile_shape(shape: Shape, hw: Hardware, chosen: Plan | None = None) -> Program:
    """The program of a ViT of which only the sizes are known: to count and to time, not to run
    (`image` is None). Raises ValueError for what does not fit."""
    return assemble(schedule_vit(shape, hw, chosen or plan(shape, hw), StandIns()), None)


def assemble(schedule: Schedule, network: VisionTransformer | None) -> Program:
    """network: whose constants fill the memory image, or None for none."""
    emitter, memory_map, shape = schedule.emitter, schedule.memory_map, schedule.shape
    code = b"".join(instruction.encode() for instruction in emitter.instructions)
    entry = memory_map.region(PROGRAM, "program", len(code))
    image = None
    if network:
        image = memory_map.image(lambda constant: constant.content(network, schedule.hw))
        image[entry : entry + len(code)] = np.frombuffer(code, np.uint8)
    return Program(
        hardware=schedule.hw,
        instructions=emitter.instructions,
        names=emitter.names,
        made=emitter.made,
        regions=memory_map.regions,
        size=memory_map.size,
        image_shape=shape.image_shape,
        classes=shape.classes,
        macs=shape.macs,
        plan=schedule.plan,
        image=image,
        input_address=memory_map.address(IMAGE),
        output_address=memory_map.address(LOGITS),
        entry=entry,
    )
