"""Verilog of every block in the named configurations: `make verilog`, `python -m
fqvit_hw.rtl.flow.verilog`.

`build/verilog/<block>.v` holds the configuration `base`, `build/verilog/<config>/<block>.v` the
others. Each file holds one block and all modules below it, and is read by `verilator --lint-only
-Wall` (waivers: rtl/flow/waivers.vlt) and Icarus before it gets its name.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from amaranth.back import verilog
from amaranth.hdl import Shape
from amaranth.lib import data, stream, wiring

from fqvit_hw.command_line import Parser
from fqvit_hw.places import BUILD

from .configs import BLOCKS, CONFIGS, DEFAULT, component, parameters, select

OUT = BUILD / "verilog"
WAIVERS = Path(__file__).parent / "waivers.vlt"

ESCAPED = re.compile(r"\\(\S+) (?=(\w)?)")  # \name.with[anything] and the blank that ends it
ZEROS = re.compile(r"  initial begin\n(?:    (\w+)\[(\d+)\] = (\d+)'[hd]0+;\n)+  end\n")
TRIGGER = re.compile(r"^  reg (\\\S+|\w+) += 0;$", re.MULTILINE)  # of Yosys, in every module
COUNTER = re.compile(r"\$auto\$verilog_backend\.cc:\d+:dump_module\$(\d+)")


def readable(text: str) -> str:
    """Plain identifiers for escaped ones: `\\i__payload.lanes[0] ` becomes i__payload_lanes_0.

    Names that are Verilog keywords get a `_` at the end (a port `config` is `config_`); two names
    that would become one are told apart by a number.
    """
    taken = set(re.findall(r"(?<!\\)\b[A-Za-z_]\w*", ESCAPED.sub(" ", text)))
    names: dict[str, str] = {}
    for escaped in dict.fromkeys(match[1] for match in ESCAPED.finditer(text)):
        plain = COUNTER.sub(r"initial_\1", escaped)
        plain = re.sub(r"\W+", "_", plain).strip("_")
        if escaped.isidentifier():  # Yosys escapes such a name only if it is a keyword
            plain = f"{plain}_"
        elif plain[:1].isdigit():
            plain = f"_{plain}"
        name, n = plain, 1
        while name in taken:
            n += 1
            name = f"{plain}_{n}"
        taken.add(name)
        names[escaped] = name
    return ESCAPED.sub(lambda match: names[match[1]] + (" " if match[2] else ""), text)


def without_zeros(text: str) -> str:
    """A memory of zeros set in a loop that Yosys does not see: it takes minutes over the zeros of a
    large one, and the RAMs of an FPGA start as zeros anyway. For names without backslashes.
    """

    def loop(match: re.Match) -> str:
        memory, last, width = match.groups()
        return (
            f"`ifndef SYNTHESIS\n  initial begin : {memory}_zeros\n    integer n;\n"
            f"    for (n = 0; n <= {last}; n = n + 1) {memory}[n] = {width}'d0;\n  end\n`endif\n"
        )

    return ZEROS.sub(loop, text)


def awake(text: str) -> str:
    """Makes every `always @*` run at time 0, in every simulator.

    Yosys has them look at a register that is set where it is declared; to Icarus that is no event,
    and what depends on nothing but registers' initial values would stay X.
    """

    def late(match: re.Match) -> str:
        return f"  reg {match[1]} ;\n  initial {match[1]} <= 0;"

    return TRIGGER.sub(late, text)


def convert(component: wiring.Component, name: str) -> str:
    """Verilog for people and tools: the component as module `name`, and all modules below it."""
    text = verilog.convert(component, name=name, strip_internal_attrs=True, emit_src=False)
    return awake(without_zeros(readable(text)))


def fields(shape, name: str, offset: int = 0) -> list[str]:
    """One line for each leaf of a layout: its bits, its number format, how an array repeats."""
    if isinstance(shape, data.StructLayout):
        lines = []
        for part, field in shape:
            lines += fields(field.shape, f"{name}.{part}", offset + field.offset)
        return lines
    if isinstance(shape, data.ArrayLayout):
        stride = Shape.cast(shape.elem_shape).width
        first = fields(shape.elem_shape, f"{name}[0..{shape.length - 1}]", offset)
        return [f"{line}, element n {stride} * n bits higher" for line in first]
    plain = Shape.cast(shape)
    if not plain.width:
        return []
    kind = f"{'' if plain.signed else 'u'}int{plain.width}"
    return [f"  [{offset + plain.width - 1}:{offset}] {name}: {kind}"]


def port_comment(component: wiring.Component) -> list[str]:
    """The bit positions inside every packed port."""
    lines = []
    for name, member in component.signature.members.items():
        port = getattr(component, name)
        flow = "in" if member.flow is wiring.In else "out"
        if member.is_port:
            lines.append(f"port {name} ({flow})")
            lines += fields(port.shape(), name)
        elif isinstance(member.signature, stream.Signature):
            lines.append(f"stream {name} ({flow}): {name}__valid, {name}__ready, {name}__payload")
            lines += fields(port.payload.shape(), "payload")
        else:  # an interface of many signals, such as a bus
            lines.append(f"interface {name}")
            for path, part, signal in component.signature.flatten(component):
                if path[0] == name:
                    flow = "in" if part.flow is wiring.In else "out"
                    full = "__".join(map(str, path))
                    lines += [f"{line}, {flow}" for line in fields(signal.shape(), full)]
    return lines


def source(block: str, config: str, arguments: Mapping[str, object], made: wiring.Component) -> str:
    """The text of a block's file: header comment, then the modules, `block` on top.

    config: a named configuration, or one of the block's bench; arguments: the parameters of the
    component `made`. What `make sim` simulates and what `make verilog` writes are both made here.
    """
    command = "rtl.flow.verilog" if config in BLOCKS[block].configurations else "sim"
    header = [
        f"fqvit_hw: block {block}, configuration {config}",
        *(f"  {name} = {value}" for name, value in arguments.items()),
        f"Made by: python -m fqvit_hw.{command} --config {config} --block {block}",
        "Ports and timing: docs/rtl.md. Clock clk, synchronous reset rst, both active high.",
        "Names that are Verilog keywords end in _.",
        *port_comment(made),
        "SPDX-License-Identifier: Apache-2.0",
    ]
    return "".join(f"// {line}\n" for line in header) + convert(made, block)


def emit(block: str, config: str) -> str:
    """The Verilog of one block in a named configuration."""
    return source(block, config, vars(parameters(block, config)), component(block, config))


def lint(source: Path, block: str) -> str | None:
    """None if Verilator and Icarus accept the file without a word, else what they said."""
    commands = (
        ["verilator", "--lint-only", "-Wall", "--top-module", block, str(WAIVERS), str(source)],
        ["iverilog", "-g2005", "-Wall", "-t", "null", "-s", block, str(source)],
    )
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True)
        said = (done.stdout + done.stderr).strip()
        if done.returncode or said:
            return f"{command[0]}: {said or f'exit status {done.returncode}'}"
    return None


def require_tools() -> None:
    for tool in ("verilator", "iverilog"):
        if shutil.which(tool) is None:
            raise ValueError(f"{tool} is missing: run `make setup`")


def write(block: str, config: str, out: Path) -> tuple[Path, str | None]:
    """Write one block; the file gets its name only when the linters accept it."""
    path = (out if config == DEFAULT else out / config) / f"{block}.v"
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft.v")
    draft.write_text(emit(block, config))
    complaint = lint(draft, block)
    if complaint is None:
        os.replace(draft, path)
        return path, None
    return draft, complaint


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(prog="python -m fqvit_hw.rtl.flow.verilog", description=__doc__.split("\n")[0])
    parser.add_argument("--config", help=f"one of {', '.join(CONFIGS)}; default: all of them")
    parser.add_argument("--block", help=f"one of {', '.join(BLOCKS)}; default: all of them")
    parser.add_argument("--out", type=Path, default=OUT, metavar="DIR")
    try:
        options = parser.parse_args(arguments)
        require_tools()
        failed = 0
        for block, config in select(options.config, options.block):
            path, complaint = write(block, config, options.out)
            failed += complaint is not None
            if complaint:
                print(f"verilog: {block} {config}: {complaint}; see {path}", file=sys.stderr)
            else:
                print(f"{path}  {path.stat().st_size // 1024} KiB", flush=True)
    except (ValueError, OSError) as error:
        print(f"verilog: {error}", file=sys.stderr)
        return 2
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
