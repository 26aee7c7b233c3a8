"""The schedule of a ViT: its instructions in the order in which the units never wait for long.

Column tiles pass over all rows; the LayerNorm follows the last column tile of a residual row by
row, and the array follows the LayerNorm. Tables are loaded as soon as their last user is done.
"""

from __future__ import annotations

from ...machine.hardware import Hardware
from .attention import attention
from .embedding import embedding
from .head import head
from .mlp import rest
from .plan import Plan
from .scalars import Scalars
from .schedule import Schedule
from .shape import Shape

__all__ = ["Schedule", "schedule_vit"]


def schedule_vit(shape: Shape, hw: Hardware, plan: Plan, scalars: Scalars) -> Schedule:
    """All instructions of an inference, up to END."""
    schedule = Schedule(shape, hw, plan, scalars)
    embedding(schedule)
    for i in range(shape.depth):
        attention(schedule, i)
        rest(schedule, i)
    head(schedule)
    schedule.emitter.end()
    return schedule
