"""The sequencer: reads the program and sends each instruction to the queues of its units."""

from __future__ import annotations

from ..machine.hardware import BURST_BYTES
from ..machine.isa import INSTRUCTION_BYTES, Instruction, Opcode
from .scheduler import Process
from .shared import QUEUES_OF, Shared
from .timing import ASK, DECODE, FETCH, QUEUE, SHOWN, START


class Sequencer:
    """end: the cycle in which the machine is done, 0 before."""

    def __init__(self, shared: Shared, instructions: list[Instruction]):
        self.shared, self.instructions = shared, instructions
        self.end = 0

    def work(self) -> Process:
        """Two bursts are asked for ahead; an instruction takes its beats and three cycles more."""
        per_burst = BURST_BYTES // INSTRUCTION_BYTES
        beats = INSTRUCTION_BYTES // self.shared.hw.bus_bytes
        bursts = -(-len(self.instructions) // per_burst)
        t, asked, arrived = START, START, []
        for n, instruction in enumerate(self.instructions):
            if n == 0:
                asked = yield from self.fetch(asked, min(2, bursts), arrived)
            first, last = arrived[n * beats], arrived[(n + 1) * beats - 1]
            t = max(max(t, first + FETCH) + beats, last + FETCH + 1)  # it is whole
            if n % per_burst == per_burst - 1:
                ahead = min(n // per_burst + 3, bursts) - len(arrived) // self.shared.hw.burst
                asked = yield from self.fetch(max(asked, t), ahead, arrived)
            t += DECODE
            if instruction.opcode is Opcode.END:
                break
            queues = [self.shared.queues[name] for name in QUEUES_OF[instruction.opcode]]
            for queue in queues:
                room = len(queue.items) + 1 - self.shared.hw.queue - SHOWN
                yield queue.popped, room
                t = max(t, queue.popped.time(room) + 1)
            for queue in queues:
                queue.push(instruction, t + QUEUE)
            t += 1
        last = t + 1
        for queue in self.shared.queues.values():
            yield queue.finished, len(queue.items)
            last = max(last, queue.finished.time(len(queue.items)))
        self.end = last + 1

    def fetch(self, t: int, bursts: int, arrived: list[int]) -> Process:
        """Asks for bursts of the program from t on; -> when it could ask for another one."""
        for _ in range(bursts):
            yield None, t
            t, times = self.shared.bus.read(t, self.shared.hw.burst)
            arrived += times
            t += ASK
        return t
