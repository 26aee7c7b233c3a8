"""What the accelerator's units share: instruction layouts, memory ports, progress and waits."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from fqvit_hw.machine.hardware import Hardware
from fqvit_hw.machine.isa import HEAD, INSTRUCTION_BYTES, INSTRUCTIONS, Opcode, Unit
from fqvit_hw.machine.registers import REGISTERS, Register

from .layouts import struct

LOAD = INSTRUCTIONS[Opcode.LOAD].fields
COUNT = LOAD["wait0_count"].width  # bits of a progress counter
ADDRESS = LOAD["address"].width  # bits of a byte address in the memory map
WAIT = 2  # cycles from a count to the answer of `reached`
FETCHED = REGISTERS[Register.STATUS].layout.fields["fetched"].width  # bits of that count


def instruction(opcode: Opcode, *names: str) -> data.StructLayout:
    """Of an instruction, the fields that its unit reads: the named ones or, without names, all but
    those of every instruction. Queues and registers hold no others.
    """
    whole = struct(INSTRUCTIONS[opcode])
    names = names or tuple(whole.members.keys() - {field.name for field in HEAD})
    return data.StructLayout({n: shape for n, shape in whole.members.items() if n in names})


def picked(word: Value, opcode: Opcode, layout: data.StructLayout) -> Value:
    """The fields of `layout` out of an instruction's word."""
    whole = data.View(struct(INSTRUCTIONS[opcode]), word[: struct(INSTRUCTIONS[opcode]).size])
    return Cat(Value.cast(whole[name]) for name in layout.members)


INSTRUCTION_BITS = 8 * INSTRUCTION_BYTES

# Units that have a count; a wait for NONE is always satisfied.
PROGRESS = data.StructLayout({unit.name.lower(): COUNT for unit in Unit if unit is not Unit.NONE})


def read_port(depth: int, width: int) -> wiring.Signature:
    """A client's side: `data` two cycles after one with `valid` and `ready`, and only then."""
    return wiring.Signature(
        {"valid": Out(1), "ready": In(1), "addr": Out(range(max(depth, 2))), "data": In(width)}
    )


def write_port(depth: int, width: int, granularity: int) -> wiring.Signature:
    """A client's side: written in a cycle with `valid` and `ready`; a mask bit per granule."""
    return wiring.Signature(
        {
            "valid": Out(1),
            "ready": In(1),
            "addr": Out(range(max(depth, 2))),
            "data": Out(width),
            "mask": Out(width // granularity),
        }
    )


def burst_request(hw: Hardware) -> data.StructLayout:
    """address: of the first byte, a multiple of the bus; the burst stays inside BURST_BYTES."""
    return data.StructLayout({"address": ADDRESS, "beats": range(hw.burst + 1)})


def memory_reader(hw: Hardware) -> wiring.Signature:
    """A client's side: bursts asked for, and their beats in order. A client asks only for what it
    has room for: there is no back pressure on `data`.
    """
    return wiring.Signature(
        {
            "request": Out(stream.Signature(burst_request(hw))),
            "valid": In(1),
            "data": In(hw.bus),
            "last": In(1),  # of a burst
        }
    )


def memory_writer(hw: Hardware) -> wiring.Signature:
    """A client's side: a burst asked for, its beats, and a pulse `done` when it is acknowledged."""
    beat = data.StructLayout({"data": hw.bus, "strobe": hw.bus_bytes})
    return wiring.Signature(
        {
            "request": Out(stream.Signature(burst_request(hw))),
            "beats": Out(stream.Signature(beat)),
            "done": In(1),
        }
    )


def reached(m: Module, name: str, progress, unit: Value, count: Value, asked: Value) -> Value:
    """Has `unit` counted up to `count`? Known WAIT cycles late: the choice of the counter and the
    comparison have a register each.

    asked: there is a wait; 0 for a cycle before `unit` or `count` become others. Counts only grow
    (they do not wrap within a program), so what was reached stays reached.
    """
    counts = Array([0, *(progress[name] for name in PROGRESS.members), 0][: 1 << len(unit)])
    have, chosen = Signal(COUNT, name=f"{name}_have"), Signal(name=f"{name}_chosen")
    done = Signal(name=name)
    m.d.sync += [
        have.eq(counts[unit]),
        chosen.eq(asked),
        done.eq(asked & chosen & ((unit == Unit.NONE) | (have >= count))),
    ]
    return done
