"""fqvit_hw.rtl.flow.verilog: what it writes is clean, readable and the same hardware."""

import re
import subprocess
import sys

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from fqvit_hw.blocks import load
from fqvit_hw.commands import cli
from fqvit_hw.errors import UserError
from fqvit_hw.rtl.accelerator.ports import read_port
from fqvit_hw.rtl.accelerator.scratchpad import READ, Scratchpad
from fqvit_hw.rtl.flow import verilog
from fqvit_hw.rtl.flow.configs import BLOCKS, DEFAULT, component, parameters, select
from fqvit_hw.sim.blocks import runner

# the reserved words of VHDL-2008
VHDL = """abs access after alias all and architecture array assert assume assume_guarantee attribute
    begin block body buffer bus case component configuration constant context cover default
    disconnect downto else elsif end entity exit fairness file for force function generate generic
    group guarded if impure in inertial inout is label library linkage literal loop map mod nand new
    next nor not null of on open or others out package parameter port postponed procedure process
    property protected pure range record register reject release rem report restrict
    restrict_guarantee return rol ror select sequence severity shared signal sla sll sra srl strong
    subtype then to transport type unaffected units until use variable vmode vprop vunit wait when
    while with xnor xor"""


def test_a_block_that_a_configuration_lacks_is_refused():
    assert select("large", None) == [("accelerator", "large")]
    with pytest.raises(ValueError, match="large has no block gelu; there are accelerator"):
        select("large", "gelu")


def port_names(block: str, config: str) -> list[str]:
    """As in Verilog, but for keywords."""
    made = component(block, config)
    ports = made.signature.flatten(made)
    return [verilog.plain("__".join(map(str, path)), escaped=False) for path, _, _ in ports]


@pytest.mark.parametrize(("block", "config"), select(None, None))
def test_port_names_are_legal_in_vhdl(block, config):
    names = [name.lower() for name in port_names(block, config)]
    assert len(set(names)) == len(names)
    for name in names:
        assert re.fullmatch(r"[a-z](_?[a-z0-9])*", name), name
        assert name not in VHDL.split(), name


class Compiler:
    """In place of cocotb's runner: takes what would be compiled, and stops."""

    def build(self, sources, **options):
        self.compiled = [source.read_bytes() for source in sources]
        raise RuntimeError("not simulated")


@pytest.mark.parametrize("block", BLOCKS)
def test_tiny_is_clean_readable_and_what_is_simulated(block, tmp_path, monkeypatch):
    path, complaint = verilog.write(block, "tiny", tmp_path)
    assert complaint is None
    assert path == tmp_path / "tiny" / f"{block}.v"
    text = path.read_text()
    assert text.startswith(f"// fqvit_hw: block {block}, configuration tiny\n")
    assert f"// Made by: fqvit-hw verilog --config tiny --block {block}\n" in text
    assert "\\" not in text  # no escaped identifier
    assert f"// Top module: {block}\n" in text
    assert all(f"//   {name} = " in text for name in vars(parameters(block, "tiny")))
    modules = re.findall(r"^module (\w+)\b", text, re.MULTILINE)
    assert len(set(modules)) == len(modules) and all(name.startswith(block) for name in modules)
    inner = {name for name in modules if re.search(rf"^  {name} \w+ \(", text, re.MULTILINE)}
    assert set(modules) - inner == {block}  # one top
    outside = set(verilog.ports_of(text, block)) - {"clk", "rst"}
    assert {name.removesuffix(verilog.KEYWORD) for name in outside} == set(
        port_names(block, "tiny")
    )
    assert not list(path.parent.glob("*.draft.v"))

    # in the same configuration its bench compiles the same bytes
    bench, compiler = load(BLOCKS[block].bench), Compiler()
    monkeypatch.setitem(bench.CONFIGURATIONS, "tiny", parameters(block, "tiny"))
    if block == "accelerator":  # its bench has a shorter watchdog
        monkeypatch.setattr(bench, "component", load(BLOCKS[block].component))
    monkeypatch.setattr(runner, "get_runner", lambda simulator: compiler)
    assert "not simulated" in runner.run_bench(block, "tiny", folder=tmp_path / "bench").failure
    assert compiler.compiled == [path.read_bytes()]


def test_the_default_configuration_lies_on_top(tmp_path):
    path, complaint = verilog.write("requantize", DEFAULT, tmp_path)
    assert complaint is None and path == tmp_path / "requantize.v"


def test_blocks_of_two_configurations_stand_in_one_design(tmp_path, capsys):
    paths = []
    for config, prefix in (("tiny", "small"), ("ecp5_85k", "Large_8")):
        arguments = ["verilog", "--block", "gelu", "--config", config, "--prefix", prefix]
        assert cli.main([*arguments, "--out", str(tmp_path)]) == 0
        path = tmp_path / config / f"{prefix}_gelu.v"
        assert capsys.readouterr().out.startswith(f"{path} ")
        text = path.read_text()
        assert f"// Made by: fqvit-hw {' '.join([arguments[0], *arguments[3:5]])}" in text
        assert f" --prefix {prefix}\n// Top module: {prefix}_gelu\n" in text
        modules = re.findall(r"^module (\w+)\b", text, re.MULTILINE)
        assert all(name.startswith(f"{prefix}_gelu") for name in modules)
        paths.append(path)
    design = tmp_path / "design.v"
    design.write_text("module both; small_gelu a(); Large_8_gelu b(); endmodule\n")
    command = ["iverilog", "-g2005", "-t", "null", "-s", "both", design, *paths]
    subprocess.run(command, check=True)


@pytest.mark.parametrize("prefix", ["8bit", "a__b", "_a", "a_", "a-b", "é", "two words", "a\n"])
def test_a_prefix_that_is_no_name_is_refused(prefix, capsys):
    assert cli.main(["verilog", "--block", "gelu", "--prefix", prefix]) == 2
    assert f"prefix {prefix!r}: expected a letter, then" in capsys.readouterr().err


def test_a_prefix_that_ends_as_a_block_is_refused():
    for prefix in ("attention", "my_attention"):
        with pytest.raises(UserError, match=f"'{prefix}': modules of the block attention begin"):
            verilog.top("softmax", prefix)
    assert verilog.top("softmax", "selfattention") == "selfattention_softmax"


def test_emission_is_deterministic():
    assert verilog.emit("residual", "tiny") == verilog.emit("residual", "tiny")


def test_readable_names_are_distinct():
    text = r"wire \$1 , \a.b , a_b, \a[b] ; input \config ; \m.x  \m.y  (\$1 );"
    expected = "wire _1, a_b_2, a_b, a_b_3; input config_bits; m_x m_y (_1);"
    assert verilog.readable(text) == expected


def test_a_port_has_its_name_first():
    text = r"input i__valid; wire i_valid, \i.valid , i___valid; assign a = 8'hff & i__valid;"
    expected = "input i_valid_2; wire i_valid, i_valid_3, i_valid_4; assign a = 8'hff & i_valid_2;"
    assert verilog.readable(text) == expected
    expected = "input i_valid; wire i_valid_2, i_valid_3, i_valid_4; assign a = 8'hff & i_valid;"
    assert verilog.readable(text, ["i__valid"]) == expected


def test_zeros_of_a_memory_are_a_loop(tmp_path):
    text = verilog.convert(Scratchpad(300, 16, 8, 1, 1), "pad")
    assert len(text.splitlines()) < 100
    assert "for (n = 0; n <= 299; n = n + 1) memory0[n] = 16'd0;" in text
    (tmp_path / "pad.v").write_text(text)
    bench = (
        "module bench; wire [15:0] data; reg clk = 0; reg [8:0] addr = 299;\n"
        "pad pad(.clk(clk), .rst(1'b0), .readers_0_addr(addr), .readers_0_valid(1'b1),\n"
        ".readers_0_data(data), .writers_0_valid(1'b0), .writers_0_addr(9'd0),\n"
        ".writers_0_data(16'd0), .writers_0_mask(2'd0));\n"
        # the word is there after READ edges
        f"initial begin repeat ({READ}) begin #1 clk = 1; #1 clk = 0; end\n"
        "$display(data); end endmodule\n"
    )
    (tmp_path / "bench.v").write_text(bench)
    sources = [str(tmp_path / name) for name in ("bench.v", "pad.v")]
    assert verilog.lint(tmp_path / "pad.v", "pad") is None
    subprocess.run(["iverilog", "-g2005", "-o", tmp_path / "run", *sources], check=True)
    done = subprocess.run(["vvp", tmp_path / "run"], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0"]


def test_other_contents_of_a_memory_stay():
    text = "  initial begin\n    ram[0] = 8'h00;\n    ram[1] = 8'h01;\n  end\n"
    assert verilog.without_zeros(text) == text


def test_header_names_the_signals_of_a_bus():
    class Bus(wiring.Component):
        bus: Out(read_port(16, 8))

        def elaborate(self, platform):
            return Module()

    bus = Bus()
    ports = verilog.ports_of(verilog.convert(bus, "bus"), "bus")
    assert verilog.port_comment(bus, ports) == [
        "interface bus",
        "  [0:0] bus_valid: uint1, out",
        "  [0:0] bus_ready: uint1, in",
        "  [3:0] bus_addr: uint4, out",
        "  [7:0] bus_data: uint8, in",
    ]


def test_lint_finds_a_fault(tmp_path):
    source = tmp_path / "gelu.v"
    source.write_text("module gelu(input a, output reg b); always @* if (a) b = 1; endmodule\n")
    assert "LATCH" in verilog.lint(source, "gelu")


def test_a_rejected_block_does_not_get_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(verilog, "lint", lambda source, block: "verilator: no")
    path, complaint = verilog.write("gelu", "tiny", tmp_path)
    assert complaint == "verilator: no"
    assert not (tmp_path / "tiny" / "gelu.v").exists() and path.exists()


def test_without_linters_the_verilog_is_written_all_the_same(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    arguments = ["verilog", "--block", "requantize", "--config", "tiny", "--out", str(tmp_path)]
    assert cli.main(arguments) == 0
    said = capsys.readouterr()
    assert said.err == "fqvit-hw: not linted by verilator and iverilog: not installed\n"
    assert said.out.startswith(f"{tmp_path}/tiny/requantize.v  ")
    assert (tmp_path / "tiny" / "requantize.v").read_text() == verilog.emit("requantize", "tiny")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--block", "nope"], "unknown block 'nope'; there are requantize, "),
        (["--block", "gelu", "--config", "large"], "configuration large has no block gelu"),
        (["--config", "huge"], "unknown configuration 'huge'; there are tiny, base, ecp5_85k"),
    ],
)
@pytest.mark.parametrize(
    "command",
    [["fqvit_hw", "verilog"], ["fqvit_hw.rtl.flow.synth"], ["fqvit_hw.rtl.flow.pnr"]],
    ids=lambda command: command[-1],
)
def test_unknown_names_are_one_line(command, arguments, message):
    done = subprocess.run(
        [sys.executable, "-m", *command, *arguments], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert message in done.stderr and done.stderr.count("\n") == 1


def test_configurations_fit_their_names():
    array = parameters("mac_array", "ecp5_85k")
    assert array.rows * array.cols <= 128


def test_header_names_the_bits_of_every_port():
    text = verilog.emit("softmax", "tiny")
    assert "// stream i (in): i_valid, i_ready, i_payload\n" in text
    assert "//   [7:0] payload.data[0..3]: int8, element n 8 * n bits higher\n" in text
    assert "//   [32:32] payload.mask[0..3]: uint1, element n 1 * n bits higher\n" in text
    assert "// port error (out)\n//   [0:0] error: uint1\n" in text


def test_header_covers_every_bit_once():
    layout = parameters("mac_array", "tiny").i
    covered = []
    for line in verilog.fields(layout, "payload"):
        high, low = map(int, re.match(r"  \[(\d+):(\d+)\]", line).groups())
        repeats = re.search(r"\[0\.\.(\d+)\].*element n (\d+) \* n", line)
        count, stride = (int(repeats[1]) + 1, int(repeats[2])) if repeats else (1, 0)
        covered += [low + n * stride + k for n in range(count) for k in range(high - low + 1)]
    assert sorted(covered) == list(range(layout.size))
