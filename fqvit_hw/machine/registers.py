"""The registers by which a host controls the machine: offsets, bits, access, counters.

AXI4-Lite, 32 bits each. `rtl.accelerator.control` decodes by these tables, benches and harness
(`c_header`) address by them, `machine.document` writes them into docs/accelerator.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum

from ..formats import ceil_log2
from .fields import UNUSED, Field, Layout
from .hardware import BURST_BYTES, BUS_ADDRESS, SHAPE_BITS, Hardware

REGISTER_BITS = 32
COUNTER_BYTES = 8
FIXED = ceil_log2(BURST_BYTES)  # low bits of BASE and PROGRAM that are 0


class Register(IntEnum):
    """Offsets in bytes. All are 0 after a reset but SHAPE."""

    CONTROL = 0x00
    STATUS = 0x04
    IRQ_ENABLE = 0x08
    IRQ_STATUS = 0x0C
    BASE = 0x10
    BASE_HIGH = 0x14
    SIZE = 0x18
    PROGRAM = 0x1C
    SHAPE = 0x20
    COUNTER = 0x40  # the low word of counter 0; its high word and the other counters follow


class Access(Enum):
    """What reads and writes do. What cannot be read is 0, what cannot be written stays."""

    READ = "r"
    WRITE = "w"
    BOTH = "r, w"
    IDLE = "r, w if not busy"
    CLEAR = "r, write 1 to clear"


@dataclass(frozen=True)
class Entry:
    """One register: what may be done with it and the fields that it has."""

    access: Access
    layout: Layout


def irq(name: str, doc: str) -> Layout:
    return Layout(name, Field("done", 1, f"{doc} at the end"), Field("error", 1, f"{doc} on error"))


REGISTERS: dict[Register, Entry] = {
    Register.CONTROL: Entry(Access.WRITE, Layout(
        "CONTROL",
        Field("start", 1, "start; of a busy machine: nothing"),
        Field("soft_reset", 1, "stop, and forget done and error; wins over start"),
    )),
    Register.STATUS: Entry(Access.READ, Layout(
        "STATUS",
        Field("busy", 1, "from the start until done, or until the bus is quiet after error or "
                         "reset"),
        Field("done", 1, "the last run came to its END"),
        Field("error", 1, "the last run stopped before: `code` says why"),
        Field(UNUSED, 5, "0"),
        Field("code", 8, "Error"),
        Field("fetched", 16, "instructions decoded since the start, modulo 65,536"),
    )),
    Register.IRQ_ENABLE: Entry(Access.BOTH, irq("IRQ_ENABLE", "interrupt")),
    Register.IRQ_STATUS: Entry(Access.CLEAR, irq("IRQ_STATUS", "set")),
    Register.BASE: Entry(Access.IDLE, Layout(
        "BASE",
        Field(UNUSED, FIXED, "0"),
        Field("address", REGISTER_BITS - FIXED, "of the memory map, low word"),
    )),
    Register.BASE_HIGH: Entry(Access.IDLE, Layout(
        "BASE_HIGH", Field("address", BUS_ADDRESS - REGISTER_BITS, "of the memory map, high word")
    )),
    Register.SIZE: Entry(Access.IDLE, Layout(
        "SIZE", Field("bytes", REGISTER_BITS, "of the memory map: less than 4 GiB")
    )),
    Register.PROGRAM: Entry(Access.IDLE, Layout(
        "PROGRAM",
        Field(UNUSED, FIXED, "0"),
        Field("offset", REGISTER_BITS - FIXED, "of the first instruction, in the memory map"),
    )),
    Register.SHAPE: Entry(Access.READ, Layout(
        "SHAPE",
        Field("rows", SHAPE_BITS, "R"),
        Field("cols", SHAPE_BITS, "C"),
        Field("lanes", SHAPE_BITS, "E"),
        Field("bus_bytes", 8, "bytes of a beat of the memory bus"),
    )),
}  # fmt: skip


class Counter(IntEnum):
    """Counter n lies at COUNTER + 8 n. They start at 0 with start and stand still after the run."""

    CYCLES = 0
    # which of these a cycle counts for is the array's `state`, 1 to 7
    ARRAY_BUSY = 1
    WEIGHTS = 2
    ACTIVATIONS = 3
    LAYERNORM = 4
    SOFTMAX = 5
    EPILOGUE = 6
    IDLE = 7
    BYTES_READ = 8
    BYTES_WRITTEN = 9
    WEIGHT_BYTES = 10


COUNTERS: dict[Counter, str] = {
    Counter.CYCLES: "from start to the end: the sum of the next seven",
    Counter.ARRAY_BUSY: "cycles: a K tile of a row was multiplied",
    Counter.WEIGHTS: "cycles: the array waited for weights",
    Counter.ACTIVATIONS: "... for rows that LOAD, STORE or the epilogue had not finished",
    Counter.LAYERNORM: "... for rows of the NORM unit",
    Counter.SOFTMAX: "... for rows of codes",
    Counter.EPILOGUE: "... for room in the queue to the epilogue",
    Counter.IDLE: "... for an instruction",
    Counter.BYTES_READ: "bytes read from memory",
    Counter.BYTES_WRITTEN: "bytes written",
    Counter.WEIGHT_BYTES: "bytes of weights and their parameters",
}


def bit(register: Register, *names: str) -> int:
    """The register's value with ones in these fields and zeros elsewhere."""
    return REGISTERS[register].layout.mask(*names)


def offset(counter: Counter) -> int:
    """Of a counter's low word."""
    return Register.COUNTER + COUNTER_BYTES * counter


def shape(hw: Hardware) -> int:
    """What SHAPE reads."""
    layout = REGISTERS[Register.SHAPE].layout
    return layout.word({field.name: getattr(hw, field.name) for field in layout})


def c_header() -> str:
    """The tables for C++: offsets, a mask for each field, its lowest bit, names of counters."""
    lines = [f"    {register.name} = {register.value:#04x}," for register in Register]
    lines = ["enum Register : unsigned {", *lines, "};"]
    for register, entry in REGISTERS.items():
        for field in (field for field in entry.layout if field.name != UNUSED):
            name, at = f"{register.name}_{field.name.upper()}", entry.layout.offset[field.name]
            lines.append(f"constexpr uint32_t {name} = {bit(register, field.name):#x};")
            if field.width > 1:
                lines.append(f"constexpr unsigned {name}_AT = {at};")
    names = ", ".join(f'"{counter.name.lower()}"' for counter in Counter)
    return "\n".join(
        [
            *lines,
            f"constexpr unsigned COUNTER_BYTES = {COUNTER_BYTES};",
            f"constexpr const char* COUNTER_NAMES[] = {{{names}}};",
        ]
    )


def document() -> str:
    """The part of docs/accelerator.md about registers and counters."""
    lines = ["| offset | name | access | |", "|---|---|---|---|"]
    for register, entry in REGISTERS.items():
        layout = entry.layout
        parts = []
        for field in layout:
            low = layout.offset[field.name]
            high = low + field.width - 1
            bits = f"bit {low}" if high == low else f"bits {high}:{low}"
            name = "" if field.name == UNUSED else f" `{field.name}`"
            parts.append(f"{bits}{name}: {field.doc}")
        lines.append(
            f"| 0x{register:02X} | {register.name} | {entry.access.value} | {'; '.join(parts)} |"
        )
    lines.append(
        f"| 0x{Register.COUNTER:02X} + {COUNTER_BYTES} n | counter n | r | "
        f"{8 * COUNTER_BYTES} bits, the low word first |"
    )
    lines += ["", "| n | counter | |", "|---|---|---|"]
    lines += [f"| {n.value} | {n.name.lower()} | {doc} |" for n, doc in COUNTERS.items()]
    return "\n".join(lines) + "\n"
