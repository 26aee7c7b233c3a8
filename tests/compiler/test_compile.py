"""Compiled programs on the instruction-level machine equal the integer model, tensor by tensor."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fqvit_hw import QuantizedModel
from fqvit_hw.attention_codes import MODES
from fqvit_hw.commands.cli import main
from fqvit_hw.compiler import Program, compile_network, compile_shape
from fqvit_hw.compiler.memory_map import MemoryMap
from fqvit_hw.compiler.races import check
from fqvit_hw.compiler.vit import schedule
from fqvit_hw.compiler.vit.plan import plan
from fqvit_hw.compiler.vit.shape import Shape
from fqvit_hw.config import PRESETS, QuantConfig
from fqvit_hw.data import digits
from fqvit_hw.machine import interpreter as machine
from fqvit_hw.machine import isa
from fqvit_hw.machine.hardware import BASE, ECP5_85K, HARDWARE, TINY
from fqvit_hw.machine.isa import Epilogue, Opcode, Unit
from fqvit_hw.machine.state import Result
from fqvit_hw.paper_models import PAPER_MODELS, VitSize
from tests.models import random_images, tiny_quantized, tiny_quantized_swin, tiny_vit

DEIT_TINY = Shape.of_size(PAPER_MODELS["deit_tiny"].size)


@pytest.fixture(scope="module")
def digits_model():
    return QuantizedModel.load(digits.NETWORK_FILE)


def run_and_compare(model, hw, image):
    """Every instruction's result against the trace; returns the program and its counters."""
    program = compile_network(model.network, hw)
    trace = model.trace(image)
    seen = []

    def compare(result: Result):
        made = program.made[result.index][result.unit]
        name = f"{program.names[result.index]}: {made}"
        np.testing.assert_array_equal(result.values, made.expected(trace), name)
        seen.append((result.index, result.unit))

    state = machine.Machine(hw, program.memory(image), compare)
    counters = state.run(program.entry)
    raw = state.memory[program.output_address :][: program.output_bytes]
    np.testing.assert_array_equal(program.unpack(raw), trace["head"])
    assert seen == [(n, unit) for n, made in enumerate(program.made) for unit in made]
    return program, counters


@pytest.mark.parametrize("hw", HARDWARE.values(), ids=HARDWARE)
def test_digits(digits_model, hw):
    program, counters = run_and_compare(digits_model, hw, digits.test_set()[0][7])
    assert program.plan.spilled == 0
    assert counters.instructions == len(program.instructions)
    assert counters.written == -(-40 // hw.stream_bytes) * hw.stream_bytes  # ten logits
    assert counters.array * hw.rows * hw.cols >= program.macs
    gemms = [i for i in program.instructions if i.opcode is Opcode.GEMM]
    assert counters.array == sum(i.outer * i.k_groups * i.rows * i.inner * i.k_tiles for i in gemms)


# small machines that keep less and less on chip; the digits network has 17 tokens of 64 channels
SMALL = {
    "all on chip": {},
    "MLP in blocks": dict(acts=800),
    "context spilled": dict(acts=720),
    "all spilled": dict(acts=420, stream=100),
    "K in groups": dict(ring=8),
    "queries in blocks": dict(codes=40),
    "few queries, all spilled": dict(codes=15, acts=420, stream=100),
    "little of everything": dict(acts=420, stream=85, ring=4, tiles=88),
}


@pytest.mark.parametrize("name", SMALL)
def test_what_does_not_fit_is_spilled(digits_model, name):
    hw = replace(TINY, **SMALL[name])
    program, _ = run_and_compare(digits_model, hw, digits.test_set()[0][0])
    if name in ("all on chip", "K in groups"):
        assert program.plan.spilled == 0
    else:
        assert program.plan.spilled > 0


@pytest.mark.parametrize("name", SMALL)
def test_a_bus_wider_than_a_word(digits_model, name):
    """Words of the stream and of the logits are half a beat."""
    hw = replace(TINY, bus=128, **SMALL[name])
    program, _ = run_and_compare(digits_model, hw, digits.test_set()[0][0])
    check(program.instructions, hw, program.size)


def test_a_bus_as_wide_as_a_tile(digits_model):
    hw = replace(TINY, rows=8, cols=8, bus=512)
    program, _ = run_and_compare(digits_model, hw, digits.test_set()[0][0])
    check(program.instructions, hw, program.size)


@pytest.mark.parametrize("bus", [32, 96, 1024])
def test_buses_that_are_not_built(bus):
    with pytest.raises(ValueError, match=f"expected 64, 128, 256 or 512 bits, got {bus}"):
        replace(TINY, bus=bus)


def test_a_tile_is_at_least_a_beat():
    with pytest.raises(ValueError, match="2 x 4 bytes of a tile are less than a beat"):
        replace(TINY, rows=2, norm_lanes=2, bus=128)


def blocks_of(program, epilogue):
    """Rows and columns of each such GEMM of the first block or the head."""
    made = zip(program.instructions, program.made, program.names, strict=True)
    return [
        (m[Unit.EPILOGUE].rows, m[Unit.EPILOGUE].columns)
        for p, m, name in made
        if p.opcode is Opcode.GEMM and p.epilogue == epilogue and name.startswith(("blocks.0", "h"))
    ]


def test_more_logits_than_the_stream_memory_holds(monkeypatch):
    """More than the field `outer` counts, too."""
    model = tiny_quantized(num_classes=101)
    hw = replace(TINY, stream=40)
    program, _ = run_and_compare(model, hw, random_images(1)[0])
    assert len(blocks_of(program, Epilogue.LOGITS)) == 2
    check(program.instructions, hw, program.size)
    shape = replace(DEIT_TINY, depth=1, hidden=16384, classes=21843)
    program = compile_shape(shape, TINY)
    assert len(blocks_of(program, Epilogue.LOGITS)) == 3
    columns = [c for _, c in blocks_of(program, Epilogue.GELU)]
    assert columns[:2] == [(0, 8192), (8192, 16384)]
    monkeypatch.setattr(schedule, "MAX_OUTER", 3)
    program, _ = run_and_compare(model, TINY, random_images(1)[0])
    assert len(blocks_of(program, Epilogue.GELU)) == 4
    check(program.instructions, TINY, program.size)


VARIANTS = {
    "odd": dict(embed_dim=26, num_heads=2, num_classes=3),
    "many heads": dict(embed_dim=60, num_heads=5, mlp_ratio=1.7, num_classes=17),
    "patch 3": dict(img_size=(9, 15), patch_size=3, depth=1),
}


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", VARIANTS)
def test_odd_sizes(name, preset):
    changes = VARIANTS[name]
    height, width = changes.get("img_size", (12, 8))
    images = random_images(16, shape=(3, height, width))
    from fqvit_hw import quantize

    float_model = tiny_vit(seed=3, **changes)
    model = quantize(float_model, images, PRESETS[preset], mean=(0.5,) * 3, std=(0.3,) * 3)
    having = [hw for hw in HARDWARE.values() if PRESETS[preset].attention in hw.modes]
    assert TINY in having
    for hw in having:
        run_and_compare(model, hw, images[0])
    run_and_compare(model, replace(TINY, acts=360, stream=64, tiles=128, ring=16), images[1])


def test_positions_are_as_wide_as_the_stream():
    """16 bits need nothing of the machine: the stream's memory and the adder have them anyway."""
    for preset, width in (("best", 16), ("paper-884", 8)):
        model = tiny_quantized(config=PRESETS[preset])
        positions, add = model.network.pos_embed, model.network.embed
        assert add.x_width == 8 * positions.itemsize == width
        assert np.abs(positions.astype(int)).max() >= (1 << (width - 1)) - 1  # the whole range
        run_and_compare(model, TINY, random_images(1)[0])


@pytest.mark.parametrize("mode", MODES)
def test_a_machine_of_a_single_attention_mode(mode):
    """Whose code memory has as many bits as the codes need."""
    model = tiny_quantized(config=QuantConfig(attention=mode))
    hw = replace(TINY, modes=(mode,))
    assert hw.code_bits == MODES[mode].bits
    program, _ = run_and_compare(model, hw, random_images(1)[0])
    other = "lis4" if mode == "max4" else "max4"
    elsewhere = machine.Machine(replace(TINY, modes=(other,)), program.memory(random_images(1)[0]))
    with pytest.raises(machine.MachineError, match=rf"attention mode .*\({mode}\).* has {other}"):
        elsewhere.run(program.entry)


def test_files_round_trip(digits_model, tmp_path, capsys):
    assert main(["compile", "--config", "tiny", "--out", str(tmp_path / "p")]) == 0
    assert "instructions for tiny" in capsys.readouterr().out
    loaded = Program.load(tmp_path / "p")
    program = compile_network(digits_model.network, TINY)
    for name in ("hardware", "names", "made", "regions", "plan", "macs", "entry", "size"):
        assert getattr(loaded, name) == getattr(program, name)
    np.testing.assert_array_equal(loaded.image, program.image)
    image = digits.test_set()[0][1]
    np.testing.assert_array_equal(loaded.run(image), digits_model.run(image[None])[0])
    listing = (tmp_path / "p" / "listing.txt").read_text()
    assert "blocks.0.attn head 0 scores" in listing and " + r" in listing
    (tmp_path / "p" / "map.json").write_text("{}")
    with pytest.raises(ValueError, match="not a program"):
        Program.load(tmp_path / "p")


def test_result_order():
    """Passes, then rows, then columns."""
    result = Result(0, 0, Unit.EPILOGUE, np.arange(10).reshape(2, 5), 4)
    assert result.in_order.tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 4, 9]


@pytest.mark.parametrize("name", ["deit_small", "vit_base"])
def test_larger_networks_have_a_schedule(name):
    program = compile_shape(Shape.of_size(PAPER_MODELS[name].size), BASE)
    assert program.image is None and program.plan.spilled > 0


def test_refusals(digits_model, tmp_path, capsys):
    def refused(network, hw, *words):
        with pytest.raises(ValueError) as caught:
            compile_network(network, hw)
        assert all(word in str(caught.value) for word in words), caught.value
        assert "\n" not in str(caught.value)

    network = digits_model.network
    refused(
        network, replace(TINY, max_tokens=16), "max_tokens=16", "needs 17", "fits ecp5_85k, base"
    )
    refused(network, replace(TINY, max_channels=32), "64 channels")
    refused(network, replace(TINY, codes=4), "codes=4", "needs 5")
    refused(network, replace(TINY, acts=160), "acts=160")
    refused(network, replace(TINY, tiles=16, ring=8), "tiles=16", "keys and values")
    deep = replace(Shape.of_network(network), hidden=4 * 64 * TINY.rows)
    with pytest.raises(
        ValueError, match=r"sum over K: tiny has ring=6, this network needs 10 .*ecp5"
    ):
        plan(deep, replace(TINY, ring=6))
    refused(tiny_quantized_swin().network, TINY, "Swin")
    eight = tiny_quantized(config=PRESETS["paper-888"]).network
    refused(eight, ECP5_85K, "uniform8 attention, ecp5_85k has max4; uniform8 is in tiny")
    three = tiny_quantized(config=QuantConfig(attention="max3")).network
    refused(three, BASE, "max3 attention", "base has max4, lis4", "no named configuration")
    assert main(["compile", "--config", "huge", "--out", str(tmp_path)]) == 2
    assert "unknown configuration 'huge'" in capsys.readouterr().err


def test_a_program_is_written_whole_or_not_at_all(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["compile", "--config", "tiny", "--out", ""]) == 2
    (tmp_path / "p" / "listing.txt").mkdir(parents=True)
    assert main(["compile", "--config", "tiny", "--out", "p"]) == 2
    assert capsys.readouterr().err.count("\n") == 2
    assert [path.name for path in (tmp_path / "p").iterdir()] == ["listing.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["p"]


def test_more_layers_than_the_field_layer_counts():
    """Its highest number stands for all that follow; names are as many as there are."""
    size = VitSize(8, 4, channels=32, depth=52, heads=16, hidden=8, classes=2)
    program = compile_shape(Shape.of_size(size), BASE)
    assert len(set(program.names)) > isa.LAST_LAYER + 100
    assert program.instructions[-1].layer == isa.LAST_LAYER
    assert program.names[-1] == "end" and program.names[-3] == "head"


def test_no_blocks():
    with pytest.raises(ValueError, match="without blocks"):
        replace(DEIT_TINY, depth=0)


def test_the_memory_map_is_less_than_4_gib():
    memory_map = MemoryMap()
    memory_map.region("a", "spill", (1 << 32) - 512)
    with pytest.raises(ValueError, match=f"needs {1 << 32} up to b"):
        memory_map.region("b", "spill", 512)


def test_the_machine_refuses_what_the_hardware_would_not_survive(digits_model):
    """A changed field of one instruction is found, whichever way."""
    program = compile_network(digits_model.network, TINY)
    image = digits.test_set()[0][2]
    at = next(n for n, p in enumerate(program.instructions) if p.opcode is Opcode.NORM)

    def changed(index, match, **fields):
        p = program.instructions[index]
        memory = program.memory(image)
        raw = isa.Instruction(p.opcode, p.fields | fields).encode()
        start = program.entry + index * isa.INSTRUCTION_BYTES
        memory[start : start + len(raw)] = np.frombuffer(raw, np.uint8)
        with pytest.raises(machine.MachineError, match=match):
            machine.Machine(TINY, memory).run(program.entry)

    changed(at, "reaches", wait1_count=10_000)
    changed(at, "never written", from_base=3000)
    changed(at, "beyond", from_base=TINY.stream)
    changed(at + 5, "beyond the memory map", address=1 << 31)
    first = next(n for n, p in enumerate(program.instructions) if p.opcode is Opcode.GEMM)
    changed(first, "never written", from_base=8000)


@pytest.mark.parametrize("name", HARDWARE)
def test_useful_macs_are_those_of_the_gemms(name):
    """Rows and columns of each GEMM are the instruction's, K is the network's, without padding."""
    program = compile_shape(DEIT_TINY, HARDWARE[name])
    C, macs = DEIT_TINY.channels, 0
    inputs = {
        "patch_embed": DEIT_TINY.patch_bytes,
        "scores": DEIT_TINY.head_dim,
        "context": DEIT_TINY.tokens,
        "head": C,
        **{f"qkv head {h} {part}": C for h in range(DEIT_TINY.heads) for part in "qkv"},
        "proj": C,
        "fc1": C,
        "fc2": DEIT_TINY.hidden,
    }
    for gemm, layer in zip(program.instructions, program.names, strict=True):
        if gemm.opcode is Opcode.GEMM:
            last = layer.split(".")[-1]
            key = last.split()[-1] if last.startswith("attn") else last
            macs += gemm.rows * gemm.columns * inputs[key]
    assert macs == program.macs


def test_isa_page_is_current():
    page = Path(__file__).parents[2] / "docs" / "isa.md"
    made = subprocess.run(
        [sys.executable, "-m", "fqvit_hw.machine.isa"], capture_output=True, text=True, check=True
    )
    assert page.read_text() == made.stdout
