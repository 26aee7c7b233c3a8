"""The mutants of `make mutants`: one changed operator or constant each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Mutant:
    """old: text that occurs once in `file`; new: what it becomes; breaks: in a few words.

    bench: a test file that must catch what no network shows (a case that only corner values reach).
    equivalent: why a mutant that nothing can catch is the same machine.
    alone: it changes what is connected, not an expression, and needs a machine of its own.
    """

    name: str
    file: str
    old: str
    new: str
    breaks: str
    bench: str | None = None
    equivalent: str | None = None
    alone: bool = False


def mutants(file: str, *changes: tuple[Any, ...]) -> list[Mutant]:  # Any: one type per place
    """changes: the fields of Mutant from `old` on; named by the file and a number."""
    stem = file.removeprefix("rtl/").removesuffix(".py")
    return [Mutant(f"{stem}-{n}", file, *change) for n, change in enumerate(changes, 1)]


MUTANTS = (
    *mutants(
        "rtl/parts/dot.py",
        ("code == ZERO_CODE, -1", "code == ZERO_CODE, 0", "code 15 counts as 2^-14, not as zero"),
        ("BITSHIFT_FRACTION - code)", "BITSHIFT_FRACTION - 1 - code)", "attention weights halved"),
        ("product | shifted", "product & shifted", "the two modes are joined by the wrong gate"),
        ("factors = Mux(shift, packed(powers,", "factors = Mux(0 * shift, packed(powers,",
         "powers of two never become operands"),
    ),
    *mutants(
        "rtl/parts/code_values.py",
        ("number.eq(values[codes])", "number.eq(values[first])",
         "the code of 0 is that of the first mode"),
        ("for n, of_code in enumerate(codes.values):",
         "for n, of_code in enumerate((*codes.values[:13], 1, 1, 0)):", "one value is another's"),
        ("return ~code", "return code", "8-bit codes of the maximum in reverse",
         "tests/rtl/blocks/test_softmax.py::test_tables"),
        ("Const(codes.values[0]) >> code", "Const(codes.values[0]) >> code[:3]",
         "powers of two by three bits of the code"),
    ),
    *mutants(
        "rtl/parts/accumulator.py",
        ("~early.first & (early.addr == after_newest)", "early.addr == after_newest",
         "sums go on from the row before"),
        ("early.first | (early.addr == newest_addr)", "early.first",
         "the row before the newest comes from the memory, which does not have it yet"),
        ("advance & valid & beat.last", "advance & valid", "partial sums leave as finished ones"),
    ),
    *mutants(
        "rtl/accelerator/gemm.py",
        ("allowed.eq(1),  # row 0", "allowed.eq(2),  # row 0", "row 1 does not wait for its count"),
        ("group_end, job.from_jump, job.from_stride", "group_end, job.from_stride, job.from_jump",
         "stride and jump of the rows exchanged"),
        ("Mux(last[\"inner\"], next_row, row)", "next_row", "inner column tiles take the next row"),
        ("tile == hw.ring - 1", "tile == hw.ring - 2", "the ring of weights is a tile too short"),
        ("some | ~Mux(issue, completes_then, completes)", "some",
         "beats wait for room that they do not need",
         "tests/rtl/accelerator/test_gemm.py::test_output_queue"),
        ("(k < loaded) | job", "(k <= loaded) | job",
         "a tile is read before it is loaded"),
        ("job.k_tiles + 1, 0)", "job.k_tiles, 0)", "one tile of each group is never given back"),
        ("coming & last_then", "last_then", "a loop ends without those inside it"),
        ("Mux(taken, room > 2, room > 1), Mux(taken, room > 1, room != 0)",
         "room > 1, room != 0", "a beat takes the place that the one before has taken",
         "tests/rtl/accelerator/test_gemm.py::test_output_queue"),
        ("have[1] < next_.wait1_count", "have[1] < 0", "the array's second wait is nothing"),
    ),
    *mutants(
        "rtl/accelerator/tiles.py",
        ("Mux(lanes.kind, lanes.data[across], lanes.data[down])",
         "Mux(lanes.kind, lanes.data[down], lanes.data[across])", "keys lie as values do"),
        ("weights.ready.eq(~lanes.valid)", "weights.ready.eq(1)",
         "weights are lost while the epilogue writes"),
    ),
    *mutants(
        "rtl/accelerator/weights.py",
        ("most.eq(hw.burst - index)", "most.eq(hw.burst)", "bursts across a multiple of 256"),
        ("newest == hw.ring - 1", "newest == hw.ring", "weights run out of the ring"),
        ("in_tiles & beats.r_rdy & ~full", "in_tiles & beats.r_rdy",
         "weights overwrite tiles that are still needed"),
        ("Mux(tile_end, occupied >= hw.ring - 1, occupied == hw.ring)", "occupied == hw.ring",
         "the ring is full a beat too late"),
        ("oldest + params.release", "oldest", "all column tiles take the first one's parameters"),
        ("(asked == 0) & (burst <= room)", "(asked == 0)", "asks for more than has room"),
    ),
    *mutants(
        "rtl/accelerator/epilogue.py",
        ("fire & ends_tile, ins.inner)", "fire & ends_tile, ins.inner + 1)",
         "an inner column tile too many"),
        ("following + 1 >= chunks", "following >= chunks", "a chunk too many in the tail",
         "tests/rtl/accelerator/test_epilogue.py::test_cycles"),
        ("Mux(values, token >> R, token >> C)", "Mux(values, token >> C, token >> R)",
         "keys and values in the tiles of other tokens", ),
        ("doubled = here.column << is_op[Epilogue.LOGITS]", "doubled = here.column << 0",
         "logits overlap"),
        ("(~ins.codes | self.reciprocals.valid)", "1", "context before its reciprocal",
         "tests/rtl/accelerator/test_epilogue.py::test_epilogues"),
        ("fire & ends_pass & ~ins.scalar", "fire & ends_pass", "attention gives back parameters"),
        ("(unscored | some_places)", "1", "the queue of scores overflows"),
        ("(waited | ~first)", "1", "the epilogue's wait is nothing"),
    ),
    *mutants(
        "rtl/accelerator/epilogue_math.py",
        ("Mux(self.ins.scalar, 0, p.bias)", "0", "no bias"),
        ("scaled = self.ins.row_norm & self.ins.codes", "scaled = self.ins.row_norm",
         "scores are scaled by a reciprocal"),
        ("(is_op[Epilogue.RESIDUAL] & ins.wide)", "is_op[Epilogue.RESIDUAL] & 0",
         "the branch is cut to 8 bits"),
        ("saturate(value[n], INT16)", "value[n][:16].as_signed()", "16 bits wrap"),
    ),
    *mutants(
        "rtl/blocks/requantize.py",
        ("half_up(doubled, zero)", "(doubled >> 1) + zero", "requantize rounds down"),
        ("lane.acc, lane.multiplier, f", "lane.acc, lane.multiplier[:-1], f",
         "multiplier of 15 bits"),
        ("product, shift, f", "product, shift[:5], f", "requantize shifts by 32 less"),
    ),
    *mutants(
        "rtl/blocks/gelu.py",
        ("above.eq(x >= half)", "above.eq(x > half)", "x = 4 from beyond the table's end",
         "tests/rtl/blocks/test_gelu.py::test_against_the_unit"),
        ("Mux(below[1], zero, ", "Mux(below[1], 0, ", "GELU below -4 is not the code of 0",
         "tests/rtl/blocks/test_gelu.py::test_against_the_unit"),
        ("x[: half.bit_length()] ^ half", "x[: half.bit_length()]", "the table's halves exchanged",
         None, "writes and reads of the table take the same address"),
    ),
    *mutants(
        "rtl/blocks/residual.py",
        ("x_product + branch_product", "x_product - branch_product", "the branch is subtracted"),
        ("(lane.x - layer.x_zero) << lane.x_factor", "(lane.x << lane.x_factor) - layer.x_zero",
         "the zero point is not scaled by PTF"),
        ("layer.shift + lane.factor", "layer.shift - lane.factor", "PTF of the output in reverse"),
        ("total << 1, shift[2], f", "total << 1, shift[2][:5], f", "the add shifts by 32 less"),
    ),
    *mutants(
        "rtl/accelerator/norm.py",
        ("ins.wait1_unit, ins.wait1_count", "ins.wait1_unit, 0 * ins.wait1_count",
         "the LayerNorm's second wait is nothing"),
        ("queue.r_en.eq(taken & (last | (part == beats - 1)))",
         "queue.r_en.eq(taken & (part == beats - 1))", "a row's last word is not given up",
         "tests/rtl/accelerator/test_norm.py::test_rows"),
    ),
    *mutants(
        "rtl/parts/moments.py",
        ("Mux(end.first, 0, sums)", "sums", "statistics of all rows so far"),
        ("subtract, self.V - term", "subtract, self.V + term",
         "the variance adds the square of the mean"),
        ("self.V.eq(self.eps)", "self.V.eq(self.eps[:32])", "eps' of 32 bits"),
    ),
    *mutants(
        "rtl/parts/root.py",
        ("shift.eq(c.pairs - 1 - zeros)", "shift.eq(c.pairs - zeros)", "1 / sqrt(V) halved"),
        ("Cat(Const(4, 4), root)", "Cat(Const(0, 4), root)",
         "the square of root digit 2 is 4 too small"),
    ),
    *mutants(
        "rtl/parts/division.py",
        ("difference.eq(minuend - multiple)", "difference.eq(minuend - multiple - 1)",
         "root and quotient digits wrong where the remainder is 0"),
    ),
    *mutants(
        "rtl/parts/shifter.py",
        ("step = digit << level", "step = digit << max(level - 1, 0)",
         "numbers not shifted all the way up"),
    ),
    *mutants(
        "rtl/parts/normalize.py",
        ("D[k].eq(CX[k] - total)", "D[k].eq(CX[k] + total)", "the mean is added"),
        ("T[k].eq((doubled + 1) >> 1)", "T[k].eq(doubled >> 1)", "LayerNorm rounds down"),
        ("added[k].eq(beta[k] + offset)", "added[k].eq(offset)", "no beta"),
    ),
    *mutants(
        "rtl/blocks/layernorm.py",
        ("(X[k] - self.config.zero) << factors[k]", "X[k] << factors[k]",
         "LayerNorm without the zero point"),
    ),
    *mutants(
        "rtl/blocks/softmax.py",
        ("node.eq(Mux(a > b, a, b))", "node.eq(Mux(a > b, b, a))", "the minimum for the maximum",
         "tests/rtl/blocks/test_softmax.py"),
        ("partial.eq(Mux(lasts[-1], 0, so_far))", "partial.eq(so_far)",
         "the sum of exponentials goes on from row to row"),
        ("~beat_last & (any_kept | beat_kept)", "(any_kept | beat_kept)",
         "a row masked everywhere after another one is no error",
         "tests/rtl/blocks/test_softmax.py::test_unread_reciprocals_error_and_reset"),
    ),
    *mutants(
        "rtl/parts/distance_table.py",
        ("distance.eq(beat_highest - lane.x)", "distance.eq(beat_highest + lane.x)",
         "distance from the row's maximum"),
        ("Mux(keep[n], word & mask, fill)", "word & mask",
         "masked pairs count", "tests/rtl/blocks/test_softmax.py"),
        ("Mux(keep[n], word & mask, fill)", "Mux(keep[n], word, fill)",
         "codes keep the bits of exponentials",
         "tests/rtl/accelerator/test_epilogue.py::test_epilogues"),
    ),
    *mutants(
        "rtl/parts/softmax_code.py",
        ("c.eq(k4 - over4)", "c.eq(k4)", "attention codes too high by one"),
        ("none1 | (k > ZERO_CODE)", "(k > ZERO_CODE)", "e = 0 is not zero",
         "tests/rtl/blocks/test_softmax.py::test_codes_beside_their_thresholds"),
        ("odd5.eq(c != 1)", "odd5.eq(1)", "the tie of c = 1 goes up",
         "tests/rtl/blocks/test_softmax.py::test_codes_beside_their_thresholds"),
    ),
    *mutants(
        "rtl/parts/row_reciprocal.py",
        ("partial.eq(Mux(beat_last, 0, total))", "partial.eq(total)", "sums of codes go on"),
        ("L.eq(width - zeros)", "L.eq(width - zeros - 1)", "the length of a row's sum is one less"),
        ("Mux(self.lis4, begin >> 1, begin)", "begin", "reciprocals of lis4 doubled"),
        ("unit.eq(self.unit | (row_sum == 0))", "unit.eq(self.unit)",
         "the reciprocal of a row of nothing is not 1.0", "tests/rtl/blocks/test_softmax.py"),
    ),
    *mutants(
        "rtl/parts/row_norm.py",
        ("(doubled + 1) >> 1", "doubled >> 1", "row normalization rounds down",
         "tests/rtl/accelerator/test_epilogue.py::test_epilogues"),
        ("+ INT8.width", "+ INT8.width - 2", "sums of values times v lose their top bits"),
    ),
    *mutants(
        "rtl/accelerator/codes.py",
        ("column + n < job.columns for n in", "column + n <= job.columns for n in",
         "the lane after the last key is live",
         "tests/rtl/accelerator/test_epilogue.py::test_epilogues"),
        ("Mux(beat.last, 0, column + E)", "Mux(beat.last, E, column + E)", "rows start late"),
        ("Mux(beat.last, (1 << hw.rows) - (1 << E), 0)", "0", "the rest of a word of codes stays"),
        ("fill = zero.replicate(E)", "fill = (zero | 15).replicate(E)",
         "the rest of a word is code 15"),
        ("queue.r_rdy & active & ~fed", "queue.r_rdy & active",
         "the next scores enter while the last ones drain"),
        ("softmax.rows.ready.eq(queue.w_rdy),\n            "
         "self.finished.eq(softmax.rows.valid & queue.w_rdy)",
         "softmax.rows.ready.eq(1),\n            self.finished.eq(softmax.rows.valid)",
         "reciprocals are lost where their queue is full"),
    ),
    *mutants(
        "rtl/accelerator/row_wait.py",
        ("need + (more & ins.wait0_step)", "need", "every row waits for row 0 only",
         "tests/rtl/accelerator/test_norm.py::test_waits"),
    ),
    *mutants(
        "rtl/parts/row_walk.py",
        ("step, rows.row_group)", "step, rows.row_group + 1)", "groups are a row too long",
         "tests/rtl/accelerator/test_norm.py::test_rows"),
    ),
    *mutants(
        "rtl/accelerator/axi_read.py",
        ("axi.arlen.eq(burst.beats - 1)", "axi.arlen.eq(burst.beats)", "a beat too many"),
        ("order.w_data.eq(clients[-len(chosen) :])", "order.w_data.eq(served)",
         "answers go to another reader"),
    ),
    *mutants(
        "rtl/accelerator/window.py",
        ("self.base + request.address",
         "(self.base & 0xFF << 32) | ((self.base + request.address) & 0xFFFFFFFF)",
         "an address loses its carry into bit 32"),
        ("(end <= self.size)", "(end < 0)",
         "everything is outside the memory map", "tests/rtl/accelerator/test_bus.py::test_copies"),
        ("(request.beats != 0)", "(request.beats != 1)", "bursts of no beat are taken",
         "tests/rtl/accelerator/test_bus.py::test_errors"),
        ("(end <= self.size)", "(end[:32] <= self.size)",
         "the end of a burst wraps at 4 GiB",
         "tests/rtl/accelerator/test_axi.py::test_the_end_of_the_memory_map"),
    ),
    *mutants(
        "rtl/accelerator/axi_write.py",
        ("last.eq(left == 0)", "last.eq(left == 1)", "WLAST a beat early"),
        ("with m.If(~axi.awvalid | axi.awready):", "with m.If(1):", "AW does not stay valid"),
        ("free.eq(active & (~axi.wvalid | axi.wready))", "free.eq(active)",
         "W is overwritten before it is taken"),
        ("(outstanding != OUTSTANDING) & ", "", "no limit of write bursts under way"),
    ),
    *mutants(
        "rtl/accelerator/nest.py",
        ("Mux(last[1], turns[2], Mux(last[0], turns[1], turns[0]))",
         "Mux(last[1], turns[1], Mux(last[0], turns[2], turns[0]))", "loops of a copy exchanged"),
    ),
    *mutants(
        "rtl/accelerator/burst.py",
        ("enough.eq(at_hand >= beats)", "enough.eq(1)", "asks for more than has room or is there"),
        ("final.eq(left <= here)", "final.eq(left < here)", "lines that end with a burst go on"),
    ),
    *mutants(
        "rtl/parts/elastic.py",
        ("head.eq(Mux(ready, i.payload, spare))", "head.eq(i.payload)",
         "what came while the output waited is lost"),
    ),
    *mutants(
        "rtl/accelerator/load.py",
        ("(first[:shift] + length + hw.bus_bytes - 1)",
         "(first[:shift] + length[:13] + hw.bus_bytes - 1)", "lines of 13 bits"),
        ("i.wait1_unit, i.wait1_count", "i.wait1_unit, 0 * i.wait1_count",
         "LOAD's second wait is nothing"),
    ),
    *mutants(
        "rtl/accelerator/load_write.py",
        ("^ Cat(C(0, 7), flip)", "& ~Cat(C(0, 7), i.flip)", "pixels lose their top bit"),
        ("lane.beta.eq(channel.beta)", "lane.beta.eq(channel.beta >> 1)", "beta halved"),
        ("Mux(written & ends.outer, i.credit, 0)", "Mux(written & ends.outer, 1, 0)",
         "the credit of a LOAD is lost"),
    ),
    *mutants(
        "rtl/accelerator/store.py",
        ("granted & last_word, i.lines)", "granted & last_word, i.lines + 1)",
         "a line too many is read"),
        ("i.wait1_unit, i.wait1_count", "i.wait1_unit, 0 * i.wait1_count",
         "STORE's second wait is nothing"),
    ),
    *mutants(
        "rtl/accelerator/sequencer.py",
        ("empty & self.idle", "empty", "done before the units are"),
        ("free[name] for name in UNITS).all()", "free[name] for name in UNITS).any()",
         "an instruction is lost where a queue is full"),
        ("missing.eq(missing - 1)]", "missing.eq(missing - 2)]", "instructions of half the beats"),
        ("(room == depth) & ~whole", "room == depth", "reads on behind END",
         "tests/rtl/accelerator/test_bus.py::test_a_program_that_ends_the_memory_map"),
        ("room >= hw.burst)", "room >= hw.burst - 1)", "asks for a burst when a place is missing",
         "tests/rtl/accelerator/test_sequencer.py::test_bursts_have_room"),
    ),
    *mutants(
        "rtl/accelerator/lite.py",
        ("have_address & have_data & ~axil.bvalid", "have_address & have_data",
         "a second write swallows an answer",
         "tests/rtl/accelerator/test_control.py::test_every_access_is_answered"),
        ("axil.arready.eq(~decoded & ~axil.rvalid)", "axil.arready.eq(~decoded)",
         "a second read swallows an answer",
         "tests/rtl/accelerator/test_control.py::test_every_access_is_answered"),
    ),
    *mutants(
        "rtl/accelerator/control.py",
        ('Mux(seen["write_beat"], size, 0)', 'Mux(seen["read_beat"], size, 0)',
         "the counter of bytes written counts those read"),
        ("Cat(low, high)", "Cat(low, 0 * high)", "the memory map's high address bits are lost"),
        ("irq_set[0].eq(1)", "irq_set[0].eq(0)", "no interrupt at the end"),
        ("failure.eq(0)\n                with m.Elif(quiet):",
         "failure.eq(failure)\n                with m.Elif(quiet):",
         "a soft reset while an error drains is forgotten",
         "tests/rtl/accelerator/test_control.py::test_a_soft_reset_while_an_error_drains"),
        ("(status & ~cleared) | outcome.irq_set", "(status | outcome.irq_set) & ~cleared",
         "an interrupt is lost that comes while it is cleared",
         "tests/rtl/accelerator/test_control.py::test_an_interrupt_in_the_cycle_that_clears_it"),
        ("Cat(self.moved, ~self.read_idle, ~self.write_idle)", "Cat(self.moved, ~self.write_idle)",
         "a slow memory counts as stuck",
         "tests/rtl/accelerator/test_control.py::test_a_slow_memory_is_not_stuck"),
    ),
    *mutants(
        "rtl/accelerator/accelerator.py",
        ("load.idle & store.idle)", "load.idle)", "done while results are being stored",
         None, "STORE's instruction leaves its queue last, and `done` waits for empty queues too"),
        ("read.beats[1]", "read.beats[2]", "the counter of weights counts the LOADs"),
        ("IDLE, array.state))", "IDLE, IDLE))", "no cycle counts as one of work"),
        ("(n if len(n) > 1 else 1)", "1", "a credit of many counts as one"),
        ("score_taken.eq(codes.score_taken)", "score_taken.eq(0)", "places of scores are lost"),
        ("release.eq(epilogue.params_release)", "release.eq(0)", "parameters never make room"),
        ("data.eq(weights.params.data)", "data.eq(weights.params.data << 1)", "parameters shifted"),
        ("INT8, 8, (array, store)", "INT8, 8, (store, array)", "STORE reads before the array",
         None, None, True),
        ("(epilogue, norm, load, clear)", "(load, norm, epilogue, clear)",
         "LOAD writes before the epilogue", None, None, True),
        ("(epilogue, norm, store)", "(store, norm, epilogue)",
         "the stream is stored before the epilogue reads it", None, None, True),
    ),
    *mutants(
        "rtl/accelerator/clear.py",
        ("valid.eq(~word[-1])", "valid.eq(0)", "what was never written is stored",
         "tests/sim/bus/test_other_models.py"),
        ("self.done.eq(word[-1])", "self.done.eq(1)", "a run need not wait for the zeros",
         "tests/rtl/accelerator/test_clear.py"),
    ),
    *mutants(
        "rtl/accelerator/scratchpad.py",
        ("port.ready.eq(~taken)", "port.ready.eq(1)", "a refused port thinks that it was served"),
        ("Mux(used, wanted[2], 0)", "wanted[2]", "memories are written by nobody"),
    ),
    *mutants(
        "rtl/accelerator/ports.py",
        ("have >= count", "have + 1 >= count", "every wait ends one row early"),
        ("unit == Unit.NONE", "unit == Unit.LOAD", "nothing waits for LOAD"),
    ),
    *mutants(
        "rtl/parts/row_ring.py",
        ("used < self.depth - 1)", "1)", "the softmax takes rows that it has no room for",
         "tests/rtl/blocks/test_softmax.py::test_an_output_that_waits_fills_both_rings"),
        ("self.read_data.eq(read.data)", "self.read_data.eq(0)", "the softmax forgets its scores"),
    ),
)  # fmt: skip
