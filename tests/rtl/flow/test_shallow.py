"""fqvit_hw.rtl.flow.shallow: a RAM whose spare address bits follow another one reads as before."""

import subprocess

import pytest

from fqvit_hw.rtl.flow import mapped, shallow

DEPTHS = (2, 4, 8, 16)
SOURCE = """
module top(input clk, input we, input [3:0] wa, ra, input [5:0] d, output [5:0] q);
  (* ram_style = "distributed" *) reg [5:0] words[0:%(last)d];
  integer n; initial for (n = 0; n <= %(last)d; n = n + 1) words[n] = 7 * n + 1;
  always @(posedge clk) if (we) words[wa & %(last)d] <= d;
  assign q = words[ra & %(last)d];
endmodule
"""
BENCH = """
module bench; integer n; reg clk = 0, we; reg [3:0] wa, ra; reg [5:0] d; wire [5:0] q, q_new;
  top_old old(clk, we, wa, ra, d, q); top now(clk, we, wa, ra, d, q_new);
  initial begin
    for (n = 0; n < 2000; n = n + 1) begin
      we = n < 16 ? 0 : $random; wa = $random; ra = n; d = $random; #1;
      if (q !== q_new || ^q === 1'bx) $display("differ at %0d: %b %b", n, q, q_new);
      clk = 1; #1; clk = 0;
    end
    $display("done");
  end
endmodule
"""


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_ram_keeps_its_words(depth, tmp_path, monkeypatch):
    """Its first ones and those written, beside the source."""
    freed = []
    follow = shallow.follow
    monkeypatch.setattr(mapped, "follow", lambda *found: freed.append(follow(*found)))
    source = SOURCE % {"last": depth - 1}
    netlist, _ = mapped.netlist("top", source, "top", tmp_path)
    rams = [c for c in netlist["modules"]["top"]["cells"].values() if c["type"] == shallow.CELL]
    assert len(rams) == 2 and freed == [2 * (4 - (depth - 1).bit_length())]
    assert not any("0" in c["connections"][port] for c in rams for port in ("WAD", "RAD"))
    (tmp_path / "new.v").write_text(mapped.verilog(netlist, tmp_path))
    (tmp_path / "old.v").write_text(source.replace("module top", "module top_old"))
    (tmp_path / "bench.v").write_text(BENCH)
    command = ["iverilog", "-g2005", "-s", "bench", "-o", "bench", "bench.v", "old.v", "new.v"]
    subprocess.run(command, cwd=tmp_path, check=True)
    said = subprocess.run(["vvp", "bench"], cwd=tmp_path, check=True, capture_output=True)
    assert said.stdout.split() == [b"done"]


def ram(write: list, read: list) -> dict:
    """A module of one RAM with these addresses."""
    pins = {"WAD": write, "RAD": read, "DI": [20, 21, 22, 23], "DO": [30, 31, 32, 33]}
    return {"modules": {"top": {"cells": {"ram": {"type": shallow.CELL, "connections": pins,
            "parameters": {"INITVAL": "x" * 64}}}}}}  # fmt: skip


@pytest.mark.parametrize(
    ("write", "read"),
    [
        ([10, 11, 12, "0"], [13, 14, 15, 16]),  # half of it is written, all of it read
        (["0"] * 4, ["0"] * 4),  # one word
        ([10, 11, 12, "1"], [13, 14, 15, "1"]),
    ],
)
def test_what_stays(write, read):
    found = ram(list(write), list(read))
    assert shallow.follow(found, "top") == 0
    pins = found["modules"]["top"]["cells"]["ram"]["connections"]
    assert (pins["WAD"], pins["RAD"]) == (write, read)
