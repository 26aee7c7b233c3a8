"""One view of a GEMM: its numbers are those of the loops in docs/accelerator.md."""

from itertools import product

import numpy as np
import pytest

from fqvit_hw import QuantizedModel
from fqvit_hw.compiler import compile_network
from fqvit_hw.cycles import predict
from fqvit_hw.data import digits
from fqvit_hw.machine.gemm import GemmView, gemms
from fqvit_hw.machine.hardware import BASE, ECP5_85K, TINY
from fqvit_hw.machine.interpreter import Machine
from fqvit_hw.machine.isa import Epilogue, Instruction, Opcode, Unit

CASES = {
    "weights": (dict(rows=7, k_tiles=3, k_groups=2, inner=1, outer=5, columns=18), TINY),
    "one column": (dict(rows=1, k_tiles=1, k_groups=1, inner=1, outer=1, columns=1), BASE),
    "keys": (
        dict(rows=5, k_tiles=2, k_groups=1, inner=3, outer=1, columns=33, resident=1),
        ECP5_85K,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_loops(name):
    fields, hw = CASES[name]
    gemm = GemmView(Instruction(Opcode.GEMM, fields), hw)
    ranges = {n: range(fields[n]) for n in ("outer", "k_groups", "rows", "inner", "k_tiles")}
    assert gemm.beats == len(list(product(*ranges.values())))
    assert gemm.rows_read == len(list(product(*(ranges[n] for n in ("outer", "k_groups", "rows")))))
    assert gemm.rows_written == len(list(product(ranges["outer"], ranges["rows"])))
    assert gemm.passes * fields["rows"] == gemm.rows_read
    tile = 8 * hw.cols + fields["k_groups"] * fields["k_tiles"] * hw.rows * hw.cols
    assert gemm.tile_stride == tile
    assert gemm.weight_bytes == (0 if "resident" in fields else fields["outer"] * tile)
    tiles = fields["k_groups"] * fields["k_tiles"] * fields["outer"]
    assert gemm.weight_tiles == (0 if "resident" in fields else tiles)


@pytest.mark.parametrize("name", CASES)
def test_columns_and_chunks(name):
    fields, hw = CASES[name]
    gemm = GemmView(Instruction(Opcode.GEMM, fields), hw)
    whole = np.arange(gemm.column_tiles * hw.cols) < fields["columns"]
    for tile, there in enumerate(whole.reshape(gemm.column_tiles, hw.cols)):
        assert gemm.columns(tile) == there.sum()
        assert gemm.chunks(tile) == there.reshape(-1, hw.lanes).any(1).sum()


def test_the_interpreter_and_the_cycle_model_count_the_same():
    qm = QuantizedModel.load(digits.NETWORK_FILE)
    program = compile_network(qm.network, TINY)
    machine = Machine(TINY, program.memory(digits.test_set()[0][0]))
    counters = machine.run(program.entry)
    views = gemms(program.instructions, TINY)
    assert counters.array == sum(gemm.beats for gemm in views)
    assert counters.weights == sum(gemm.weight_bytes for gemm in views)
    assert counters.progress[Unit.ARRAY] == sum(gemm.rows_read for gemm in views)
    assert counters.progress[Unit.EPILOGUE] == sum(gemm.rows_written for gemm in views)
    scores = [gemm for gemm in views if gemm.epilogue is Epilogue.SCORES]
    assert counters.progress[Unit.CODES] == sum(gemm.rows_written for gemm in scores)
    prediction = predict(program.instructions, TINY)
    assert [run.busy for run in prediction.gemms] == [gemm.beats for gemm in views]
    assert prediction.bytes_weights == counters.weights
