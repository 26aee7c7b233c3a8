"""A block behind four pins: a chip has fewer pins than a block has port bits.

    pin i -> shift register, a flip-flop for every input bit of the block -> block
    block -> a flip-flop for every output bit -> tree of XORs of four with flip-flops -> pin o

Every input of the block comes from a flip-flop and every output goes to one, as between two blocks
of a design. The harness's own paths pass one XOR of four at most, so that no block can be slower
because of it. Every output bit counts in `o`: nothing of the block may be optimized away.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

XOR_INPUTS = 4  # of a LUT4


def port_bits(component: wiring.Component) -> tuple[list[Value], list[Value]]:
    """All inputs and all outputs, members of interfaces included."""
    inputs, outputs = [], []
    for _, member, port in component.signature.flatten(component):
        (inputs if member.flow is In else outputs).append(Value.cast(port))
    return inputs, outputs


def stages(bits: int) -> list[int]:
    """Widths of the registers from the block's outputs to the pin."""
    widths = [bits]
    while widths[-1] > 1:
        widths.append(-(-widths[-1] // XOR_INPUTS))
    return widths


class Harness(wiring.Component):
    """Pins `i` and `o` around `block`; members of its own are named harness_*."""

    def __init__(self, block: wiring.Component):
        self.block = block
        super().__init__({"i": In(1), "o": Out(1)})

    @property
    def ffs(self) -> int:
        """Flip-flops of the harness, if none is optimized away."""
        inputs, outputs = (sum(map(len, ports)) for ports in port_bits(self.block))
        return inputs + sum(stages(outputs))

    def elaborate(self, platform):
        m = Module()
        m.submodules.block = self.block
        inputs, outputs = map(Cat, port_bits(self.block))
        shifted = Signal(len(inputs), name="harness_in", reset_less=True)
        m.d.sync += shifted.eq(Cat(self.i, shifted))
        m.d.comb += inputs.eq(shifted)
        level = outputs
        for n, width in enumerate(stages(len(outputs))):
            register = Signal(width, name=f"harness_out{n}", reset_less=True)
            parts = Cat(level[k::width].xor() for k in range(width)) if n else level
            m.d.sync += register.eq(parts)
            level = register
        m.d.comb += self.o.eq(level)
        return m
