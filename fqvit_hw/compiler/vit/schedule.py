"""What all phases of a ViT's schedule share: where things lie, tables, weights, rows."""

from __future__ import annotations

from ...machine.hardware import Hardware
from ...machine.isa import Unit
from ...network.step import Step
from ...network.steps import BlockSteps, vit_steps
from ..emitter import Emitter, Weights
from ..made import Made
from ..patterns import Rows
from ..tiling import MAX_OUTER, ceil, cut, k_groups, weight_bytes
from .constants import GeluTable, LinearWeights, NormTable, SoftmaxTable, VitConstant
from .placement import Placement
from .plan import Plan
from .scalars import Scalars
from .shape import Shape


class Schedule:
    """A program in the making. Its phases (embedding, attention, mlp, head) append to `emitter`."""

    def __init__(self, shape: Shape, hw: Hardware, plan: Plan, scalars: Scalars):
        self.shape, self.hw, self.plan, self.scalars = shape, hw, plan, scalars
        self.steps = vit_steps(shape.depth)
        self.places = Placement(shape, hw, plan)
        self.words, self.memory_map = self.places.words, self.places.memory_map
        self.emitter = Emitter(hw, self.memory_map, self.places.spill)

    def block_after(self, block: int) -> BlockSteps | None:
        return self.steps.blocks[block + 1] if block + 1 < self.shape.depth else None

    # --- tables

    def load_norm(self, step: Step) -> None:
        self.emitter.load_table(NormTable(step, self.shape.channels))

    def load_softmax(self, block: BlockSteps) -> None:
        self.emitter.load_table(SoftmaxTable(block.softmax, block.attention))

    def load_gelu(self, block: BlockSteps) -> None:
        self.emitter.load_table(GeluTable(block.gelu))

    # --- weights

    def linear(self, step: Step, outputs: int, k_words: int, add: Step | None = None) -> Weights:
        """k_words: of a row of the operand; add: the residual add of the epilogue."""
        groups, k_tiles = k_groups(k_words, self.hw)
        size = weight_bytes(outputs, k_words, self.hw)
        return self.weights(LinearWeights(step, add, groups * k_tiles, size), k_words)

    def weights(self, constant: VitConstant, k_words: int) -> Weights:
        groups, k_tiles = k_groups(k_words, self.hw)
        return Weights(self.memory_map.constant(constant), k_tiles, groups)

    def column_blocks(self, columns: int, most: int = MAX_OUTER) -> list[tuple[int, int]]:
        """0..columns in blocks of whole column tiles, no more than `most` and `outer` allow."""
        C = self.hw.cols
        tiles = cut(ceil(columns, C), min(most, MAX_OUTER))
        return [(first * C, min(end * C, columns)) for first, end in tiles]

    # --- rows

    def norm_rows(self, step: Step, first: int, last: int, stream: Rows, to: Rows) -> None:
        """LayerNorm of tokens first..last; `stream`, `to`: where `first` lies. The table is loaded
        if need be."""
        self.load_norm(step)
        C = self.shape.channels
        made = Made(step.name, (), (first, last), (0, C))
        self.emitter.norm(step.name, made, last - first, C, stream, to, **self.scalars.norm(step))

    def norm1_rows(self, block: BlockSteps, first: int, last: int, stream: Rows, to: Rows) -> None:
        """norm1 of a block, which attention reads later: spilled if it is not kept."""
        self.norm_rows(block.norm1, first, last, stream, to)
        if not self.plan.normed_resident:
            self.spill_rows("normed", first, last, to)

    def spill_rows(self, region: str, first: int, last: int, rows: Rows) -> None:
        """Rows of tokens first..last to memory."""
        whole, lines = self.places.lines(region, first, rows)
        self.emitter.store_rows(f"{region} to memory", last - first, whole, lines)

    def fetch_rows(self, region: str, first: int, last: int, rows: Rows) -> None:
        """The same the other way."""
        whole, lines = self.places.lines(region, first, rows)
        self.emitter.load_rows(f"{region} from memory", last - first, whole, lines)


def epilogue(step: Step, rows: tuple[int, int], columns: tuple[int, int]) -> dict[Unit, Made]:
    """A GEMM whose epilogue makes rows and columns of a step's tensor."""
    return {Unit.EPILOGUE: Made(step.name, (), rows, columns)}
