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
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from amaranth.back import verilog
from amaranth.hdl import Shape
from amaranth.lib import data, stream, wiring

from fqvit_hw.errors import UserError

from .configs import BLOCKS, DEFAULT, component, parameters

WAIVERS = Path(__file__).parent / "waivers.vlt"
LINTERS = "verilator", "iverilog"

# \name.with[anything] and the blank that ends it, or a plain name; not the digits of 8'hff
NAME = re.compile(r"\\(\S+) (?=(\w)?)|(?<![\w$'])([A-Za-z_]\w*)")
PREFIX = re.compile(r"[A-Za-z](_?[A-Za-z0-9])*")
KEYWORD = "_bits"  # what is added to a name that is a keyword of Verilog
ZEROS = re.compile(r"  initial begin\n(?:    (\w+)\[(\d+)\] = (\d+)'[hd]0+;\n)+  end\n")
TRIGGER = re.compile(r"^  reg (\\\S+|\w+) += 0;$", re.MULTILINE)  # of Yosys, in every module
COUNTER = re.compile(r"\$auto\$verilog_backend\.cc:\d+:dump_module\$(\d+)")


def readable(text: str, ports: Iterable[str] = ()) -> str:
    """Plain identifiers for escaped ones, without double underscores, which VHDL does not allow:
    i__valid becomes i_valid, `\\i__payload.lanes[0] ` i_payload_lanes_0.

    A name that is a Verilog keyword gets KEYWORD at its end (a port `config` is `config_bits`). Two
    names that would become one are told apart by a number; `ports`, the names of the top module's
    ports, have theirs first.
    """
    found = dict.fromkeys((m[1] or m[3], bool(m[1])) for m in NAME.finditer(text))
    first = set(ports)
    names: dict[tuple[str, bool], str] = {}
    taken: set[str] = set()
    # after the ports those that stay as they are, keywords of the language among them
    for key in sorted(found, key=lambda key: (key[0] not in first, plain(*key) != key[0])):
        name, n = plain(*key), 1
        while name in taken:
            n += 1
            name = f"{plain(*key)}_{n}"
        taken.add(name)
        names[key] = name

    def rename(m: re.Match) -> str:
        return names[m[1] or m[3], bool(m[1])] + (" " if m[2] else "")

    return NAME.sub(rename, text)


def plain(name: str, escaped: bool) -> str:
    """What a name of Amaranth's Verilog should be called."""
    made = re.sub(r"\W+", "_", COUNTER.sub(r"initial_\1", name)) if escaped else name
    made = re.sub("__+", "_", made)
    if not escaped:
        return made
    if name.isidentifier():  # Yosys escapes such a name only if it is a keyword
        return f"{made}{KEYWORD}"
    made = made.strip("_")
    return f"_{made}" if made[:1].isdigit() else made


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


def convert(component: wiring.Component, name: str, platform: object = None) -> str:
    """Verilog for people and tools: the component as module `name`, and all modules below it, whose
    names begin with it. platform: None, or an Amaranth platform whose hard blocks stand by name."""
    with collector_off():
        text = verilog.convert(
            component, name=name, platform=platform, strip_internal_attrs=True, emit_src=False
        )
    ports = ("__".join(map(str, path)) for path, _, _ in component.signature.flatten(component))
    return awake(without_zeros(readable(text, ports)))


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


def ports_of(text: str, module: str) -> dict[str, tuple[str, int]]:
    """The ports of a module in the text of `convert`: direction, "in" or "out", and bits."""
    header, _, body = text.partition(f"\nmodule {module}(")[2].partition(");")
    body = body.partition("\nendmodule")[0]
    widths = {
        name: (flow, int(high or 0) + 1)
        for flow, high, name in re.findall(r"^  (in|out)put (?:\[(\d+):0\] )?(\w+) ?;", body, re.M)
    }
    return {name: widths[name] for name in re.findall(r"\w+", header)}


def port_comment(component: wiring.Component, ports: Container[str]) -> list[str]:
    """The bit positions inside every packed port; `ports`: the names that they have."""
    lines = []
    for name, member in component.signature.members.items():
        port = getattr(component, name)
        flow = "in" if member.flow is wiring.In else "out"
        if member.is_port:
            outside = name if name in ports else f"{name}{KEYWORD}"
            lines.append(f"port {outside} ({flow})")
            lines += fields(port.shape(), name)
        elif isinstance(member.signature, stream.Signature):
            lines.append(f"stream {name} ({flow}): {name}_valid, {name}_ready, {name}_payload")
            lines += fields(port.payload.shape(), "payload")
        else:  # an interface of many signals, such as a bus
            lines.append(f"interface {name}")
            for path, part, signal in component.signature.flatten(component):
                if path[0] == name:
                    flow = "in" if part.flow is wiring.In else "out"
                    full = "_".join(map(str, path))
                    lines += [f"{line}, {flow}" for line in fields(signal.shape(), full)]
    return lines


def top(block: str, prefix: str = "") -> str:
    """The name of a block's module and of its file. Raises UserError for a prefix with which names
    would not be legal, in Verilog and VHDL, or not be distinct.
    """
    if not prefix:
        return block
    if not PREFIX.fullmatch(prefix):
        raise UserError(
            f"prefix {prefix!r}: expected a letter, then letters, digits and single underscores "
            "between them"
        )
    for name in BLOCKS:
        if f"_{prefix}".endswith(f"_{name}"):  # attention_softmax is a module of attention
            raise UserError(f"prefix {prefix!r}: modules of the block {name} begin with it")
    return f"{prefix}_{block}"


def source(
    block: str,
    config: str,
    arguments: Mapping[str, object],
    made: wiring.Component,
    prefix: str = "",
    platform: object = None,
) -> str:
    """The text of a block's file: header comment, then the modules, `top(block, prefix)` on top.

    config: a named configuration, or one of the block's bench; arguments: the parameters of the
    component `made`; platform: see `convert`. What `make sim` simulates and what `make verilog`
    writes are both made here.
    """
    name = top(block, prefix)
    text = convert(made, name, platform)
    named = config in BLOCKS[block].configurations
    command = "fqvit-hw verilog" if named else "python -m fqvit_hw.sim"
    options = f"--config {config} --block {block}" + f" --prefix {prefix}" * bool(prefix)
    header = [
        f"fqvit_hw: block {block}, configuration {config}",
        *(f"  {name} = {value}" for name, value in arguments.items()),
        f"Made by: {command} {options}",
        f"Top module: {name}",
        "Ports and timing: docs/rtl.md. Clock clk, synchronous reset rst, both active high.",
        *port_comment(made, ports_of(text, name)),
        "SPDX-License-Identifier: Apache-2.0",
    ]
    return "".join(f"// {line}\n" for line in header) + text


def emit(
    block: str,
    config: str,
    modes: tuple[str, ...] = (),
    prefix: str = "",
    platform: object = None,
) -> str:
    """The Verilog of one block in a named configuration, or with other attention modes."""
    arguments = vars(parameters(block, config, modes))
    return source(block, config, arguments, component(block, config, modes), prefix, platform)


def missing_linters() -> list[str]:
    """Those of LINTERS that are not on the PATH."""
    return [tool for tool in LINTERS if shutil.which(tool) is None]


def lint(source: Path, module: str) -> str | None:
    """None if the LINTERS that are there accept the file without a word, else what they said."""
    commands = (
        ["verilator", "--lint-only", "-Wall", "--top-module", module, str(WAIVERS), str(source)],
        ["iverilog", "-g2005", "-Wall", "-t", "null", "-s", module, str(source)],
    )
    missing = missing_linters()
    for command in (command for command in commands if command[0] not in missing):
        done = subprocess.run(command, capture_output=True, text=True)
        said = (done.stdout + done.stderr).strip()
        if done.returncode or said:
            return f"{command[0]}: {said or f'exit status {done.returncode}'}"
    return None


def write(block: str, config: str, out: Path, prefix: str = "") -> tuple[Path, str | None]:
    """Write one block; the file gets its name only when the linters accept it."""
    name = top(block, prefix)
    path = (out if config == DEFAULT else out / config) / f"{name}.v"
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft.v")
    draft.write_text(emit(block, config, prefix=prefix))
    complaint = lint(draft, name)
    if complaint is None:
        os.replace(draft, path)
        return path, None
    return draft, complaint
