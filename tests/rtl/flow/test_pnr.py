"""rtl.flow.pnr: a block behind four pins is the same block; nextpnr's report."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from fqvit_hw.rtl.flow import pnr, tools
from fqvit_hw.rtl.flow.pin_harness import Harness, port_bits, stages

CLOCK = "$glbnet$clk"


def report() -> dict:
    """What nextpnr writes, cut down."""

    def step(first, last, net=None):
        return {"from": {"cell": first}, "to": {"cell": last}} | ({"net": net} if net else {})

    slow = [
        step("block.sum_TRELLIS_FF_Q_3", "block.sum_TRELLIS_FF_Q_3"),
        step("block.sum_TRELLIS_FF_Q_3", "block.x_LUT4_Z", "block.sum[3]"),
        step("block.x_LUT4_Z", "block.table_DP16KD_DOA0", "block.x"),
    ]
    return {
        "fmax": {CLOCK: {"achieved": 91.2345, "constraint": 100}},
        "utilization": {
            "TRELLIS_COMB": {"available": 83640, "used": 120},
            "TRELLIS_FF": {"available": 83640, "used": 50},
            "DP16KD": {"available": 208, "used": 2},
        },
        "critical_paths": [
            {"from": "<async>", "to": f"posedge {CLOCK}", "path": slow[:1]},
            {"from": f"posedge {CLOCK}", "to": f"posedge {CLOCK}", "path": slow},
        ],
    }


def test_a_report_is_read():
    routed = pnr.Routed("gelu", "tiny")
    pnr.read_report(report(), routed)
    assert (routed.fmax, routed.combs, routed.ffs) == (91.23, 120, 50)
    assert (routed.dsps, routed.brams) == (0, 2)
    assert (routed.slowest_from, routed.slowest_to) == ("block.sum", "block.table")


def test_what_is_too_large_for_the_chip_is_named():
    line = "Info: \t          {}:      {}/    {}   100%\n"

    def log(mults: int, rams: int) -> str:
        return line.format("MULT18X18D", mults, 156) + line.format("DP16KD", rams, 208)

    assert pnr.too_large(log(156, 208)) is None
    assert pnr.too_large(log(157, 209)) == (
        "nextpnr: the block takes 157 MULT18X18D and the chip has 156, "
        "209 DP16KD and the chip has 208"
    )


def test_a_report_of_no_clock_is_refused():
    with pytest.raises(ValueError, match="expected one clock, got none"):
        pnr.read_report(report() | {"fmax": {}}, pnr.Routed("gelu", "tiny"))


class Adder(wiring.Component):
    pair: In(wiring.Signature({"a": Out(3), "b": Out(4), "sum": In(5)}))
    parity: Out(1)

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.pair.sum.eq(self.pair.a + self.pair.b)
        m.d.comb += self.parity.eq(self.pair.a.xor())
        return m


def test_a_harness_holds_every_bit_of_the_ports():
    inputs, outputs = port_bits(Adder())
    assert sorted(map(len, inputs)) == [3, 4] and sorted(map(len, outputs)) == [1, 5]
    assert stages(33) == [33, 9, 3, 1] and stages(1) == [1]
    assert Harness(Adder()).ffs == 7 + 6 + 2 + 1


def test_a_harness_gives_the_block_what_was_shifted_in():
    """Each input bit comes from its place in the chain; the pin is the XOR of all outputs."""
    harness, bits = Harness(Adder()), [1, 0, 1, 1, 0, 0, 1, 1, 1, 0, 1, 0]
    order = [(name, n) for name, width in (("a", 3), ("b", 4)) for n in range(width)]

    async def run(ctx):
        chain, expected = [0] * 7, []
        for bit in bits:
            ctx.set(harness.i, bit)
            await ctx.tick()
            chain = [bit, *chain[:-1]]
            values = {"a": 0, "b": 0}
            for (name, n), value in zip(order, chain, strict=True):
                values[name] |= value << n
            pair = harness.block.pair
            assert {k: ctx.get(getattr(pair, k)) for k in values} == values
            total = values["a"] + values["b"]
            expected.append((total.bit_count() + values["a"].bit_count()) % 2)
            if len(expected) > 3:  # three registers on the way out
                assert ctx.get(harness.o) == expected[-4]

    simulator = Simulator(harness)
    simulator.add_clock(1e-6)
    simulator.add_testbench(run)
    simulator.run()


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        ("Info: x\nERROR: Unable to place cell 'a', no BELs remaining\n", "ERROR: Unable to place"),
        ("terminate called after throwing std::bad_alloc\n", "terminate called after throwing"),
        ("nothing of use\n", "exit status 3"),
    ],
)
def test_a_tool_that_fails_gives_its_reason(log, reason, tmp_path, monkeypatch):
    monkeypatch.setitem(tools.TOOLS, "nextpnr", f"print({log!r}); raise SystemExit(3)")
    failure = tools.run("nextpnr", [], tmp_path, "log.txt")
    assert failure.startswith(f"nextpnr: {reason}") and failure.endswith(f"log {tmp_path}/log.txt")


def test_a_tool_that_does_not_end_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setitem(tools.TOOLS, "nextpnr", "import time; time.sleep(60)")
    failure = tools.run("nextpnr", [], tmp_path, "log.txt", 0.2)
    assert failure == f"nextpnr: not done after 0.2 s; log {tmp_path}/log.txt"


def test_how_far_a_run_came_that_was_stopped():
    placed = "Info: Max frequency for clock 'clk': 35.91 MHz (FAIL at 100.00 MHz)\n"
    passes = "Info:     iter=1 wires=9 overused=8 overuse=9 archfail=NA\n"
    passes += "Info:     iter=12 wires=99 overused=7 overuse=7 archfail=NA\n"
    assert pnr.how_far("Info: Packing\n") == ""
    assert pnr.how_far(placed) == "; placed, 35.91 MHz expected before routing"
    assert pnr.how_far(placed + passes) == (
        "; placed, 35.91 MHz expected before routing"
        "; 12 passes of the router left 7 wires with more than one net"
    )


def test_a_failure_is_in_table_file_and_status(tmp_path, monkeypatch, capsys):
    def prepared(block, config, settings):
        failure = "yosys: ERROR: too large; log x" if block == "gelu" else None
        return pnr.Routed(block, config, combs=7, failure=failure)

    def routed(mapped, seed, settings):
        fmax = {5: 80.25, 6: 70.0, 7: 90.5}[seed]
        if mapped.block == "softmax" and seed == 6:
            return pnr.replace(mapped, seed=seed, failure="nextpnr: ERROR: no; log y")
        return pnr.replace(mapped, seed=seed, fmax=0.0 if mapped.failure else fmax)

    monkeypatch.setattr(pnr, "prepare", prepared)
    monkeypatch.setattr(pnr, "route", routed)
    monkeypatch.setattr(tools, "ProcessPoolExecutor", ThreadPoolExecutor)
    file = tmp_path / "pnr.json"
    arguments = ["--config", "tiny", "--seed", "5", "6", "7", "--json", str(file)]
    assert pnr.main(arguments) == 1
    said = capsys.readouterr()
    assert sorted(said.err.splitlines()) == [
        *["pnr: gelu tiny: yosys: ERROR: too large; log x"] * 3,
        "pnr: softmax tiny: nextpnr: ERROR: no; log y",
    ]
    lines = {tuple(line.split()[:4]) for line in said.out.splitlines()}
    assert {("gelu", "tiny", "5", "failed"), ("softmax", "tiny", "7", "90.5")} <= lines
    assert "softmax tiny: 2 of 3 seeds routed, worst 80.2 MHz, median 85.4 MHz" in said.out
    assert "residual tiny: 3 of 3 seeds routed, worst 70.0 MHz, median 80.2 MHz" in said.out
    saved = {(e["block"], e["seed"]): e["fmax"] for e in json.loads(file.read_text())}
    assert saved["softmax", 5] == 80.25 and saved["residual", 7] == 90.5


def test_settings_are_what_nextpnr_is_told():
    usual = ["--speed", "6", "--freq", "100", "--placer", "static"]
    assert pnr.Settings().arguments[-6:] == usual
    told = pnr.Settings(speed=8, freq=112.5, ripup=True, placer="heap").arguments
    assert told[-7:] == ["--speed", "8", "--freq", "112.5", "--placer", "heap", "--tmg-ripup"]


@pytest.mark.parametrize(
    ("arguments", "freq", "timed"),
    [([], 75, True), (["--freq", "80", "--timed"], 80, True), (["--no-timed"], 75, False)],
)
def test_the_accelerator_has_a_target_of_its_own(arguments, freq, timed, tmp_path, monkeypatch):
    """Unless told otherwise; every step gets the same settings."""
    seen = []

    def step(mapped, *settings):
        seen.append(settings[-1])
        return pnr.Routed("accelerator", "ecp5_85k")

    monkeypatch.setattr(pnr, "prepare", step)
    monkeypatch.setattr(pnr, "route", step)
    monkeypatch.setattr(tools, "ProcessPoolExecutor", ThreadPoolExecutor)
    usual = ["--block", "accelerator", "--json", str(tmp_path / "pnr.json")]
    assert pnr.main([*usual, *arguments]) == 0
    assert seen == [pnr.Settings(freq=freq, timed=timed, ripup=True)] * 2
    assert pnr.usual("gelu") == pnr.Settings(freq=100, timed=True)


@pytest.mark.parametrize("timed", [True, False])
def test_a_placed_design_says_how_it_is_routed(timed, tmp_path):
    """What nextpnr wrote into the file goes before its arguments."""
    file, before = tmp_path / "placed.json", {"router": "router1", "timing_driven": "0101"}
    file.write_text(json.dumps({"modules": {"top": {"settings": before | {"seed": "1"}}}}))
    pnr.finish(file, timed)
    settings = json.loads(file.read_text())["modules"]["top"]["settings"]
    assert settings == {"router": "router2", "timing_driven": f"{int(timed):032b}", "seed": "1"}


@pytest.mark.slow
def test_a_small_block_is_placed_routed_and_packed(tmp_path):
    settings = pnr.Settings(speed=8)
    made = pnr.prepare("mac_array", "tiny", settings, tmp_path)
    assert made.failure is None
    routed = pnr.route(made, 3, settings, tmp_path)
    assert routed.failure is None
    assert routed.dsps == 16 and routed.brams == 0 and routed.seed == 3
    assert 0 < routed.harness_ffs < routed.ffs < 3000
    assert 40 < routed.fmax < 400
    assert routed.slowest_from and routed.slowest_to
    assert Path(routed.bitstream).read_bytes()[:2] == b"\xff\x00"  # a comment comes first
    folder = Path(routed.bitstream).parent
    assert (folder / "paths.txt").read_text()


@pytest.mark.slow
def test_paths_of_a_placement_are_those_that_nextpnr_adds_up(tmp_path):
    settings = pnr.Settings()  # grade 6, of which `rtl.flow.delays` are
    made = pnr.prepare("requantize", "tiny", settings, tmp_path)
    assert pnr.route(made, 1, settings, tmp_path).failure is None
    folder = tmp_path / "tiny" / "requantize" / "seed1"
    expected = float(pnr.EXPECTED.findall((folder / "place.txt").read_text())[-1])
    ns = float((folder / "paths.txt").read_text().split()[0])
    assert 1000 / expected == pytest.approx(ns, abs=0.006)  # both are rounded


@pytest.mark.slow
def test_a_design_larger_than_the_chip_gives_the_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(pnr, "CHIP", ["--12k", "--package", "CABGA256"])
    monkeypatch.setattr(pnr, "CLOCK", "")
    settings = pnr.Settings()
    made = pnr.prepare("requantize", "base", settings, tmp_path)  # 32 multipliers for 28
    routed = pnr.route(made, 1, settings, tmp_path)
    assert routed.failure == "nextpnr: the block takes 32 MULT18X18D and the chip has 28"
