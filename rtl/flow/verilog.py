"""Verilog of every block in the named configurations: `fqvit-hw verilog`, `make verilog`.

`<block>.v` holds the configuration `base`, `<config>/<block>.v` the others. Each file holds one
block and all modules below it, and is read by `verilator --lint-only -Wall` (waivers:
rtl/flow/waivers.vlt) and Icarus, as far as they are there, before it gets its name.
"""

from __future__ import annotations

import gc
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from amaranth.back import verilog
from amaranth.hdl import Shape
from amaranth.lib import data, stream, wiring

from .configs import BLOCKS, DEFAULT, component, parameters

WAIVERS = Path(__file__).parent / "waivers.vlt"
LINTERS = "verilator", "iverilog"

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


@contextmanager
def collector_off() -> Iterator[None]:
    """No search for circles of garbage: an elaboration makes millions of objects and keeps nearly
    all of them, and the search takes a third of its time.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def convert(component: wiring.Component, name: str) -> str:
    """Verilog for people and tools: the component as module `name`, and all modules below it."""
    with collector_off():
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
    named = config in BLOCKS[block].configurations
    command = "fqvit-hw verilog" if named else "python -m fqvit_hw.sim"
    header = [
        f"fqvit_hw: block {block}, configuration {config}",
        *(f"  {name} = {value}" for name, value in arguments.items()),
        f"Made by: {command} --config {config} --block {block}",
        "Ports and timing: docs/rtl.md. Clock clk, synchronous reset rst, both active high.",
        "Names that are Verilog keywords end in _.",
        *port_comment(made),
        "SPDX-License-Identifier: Apache-2.0",
    ]
    return "".join(f"// {line}\n" for line in header) + convert(made, block)


def emit(block: str, config: str, modes: tuple[str, ...] = ()) -> str:
    """The Verilog of one block in a named configuration, or with other attention modes."""
    arguments = vars(parameters(block, config, modes))
    return source(block, config, arguments, component(block, config, modes))


def missing_linters() -> list[str]:
    """Those of LINTERS that are not on the PATH."""
    return [tool for tool in LINTERS if shutil.which(tool) is None]


def lint(source: Path, block: str) -> str | None:
    """None if the LINTERS that are there accept the file without a word, else what they said."""
    commands = (
        ["verilator", "--lint-only", "-Wall", "--top-module", block, str(WAIVERS), str(source)],
        ["iverilog", "-g2005", "-Wall", "-t", "null", "-s", block, str(source)],
    )
    missing = missing_linters()
    for command in (command for command in commands if command[0] not in missing):
        done = subprocess.run(command, capture_output=True, text=True)
        said = (done.stdout + done.stderr).strip()
        if done.returncode or said:
            return f"{command[0]}: {said or f'exit status {done.returncode}'}"
    return None


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
