"""Models of what stands around the accelerator on its buses, stepped a cycle at a time.

`Memory` is an AXI4 slave that checks its master's manners; `Registers` an AXI4-Lite master. Both
are plain objects without a simulator: each cycle `drive()` says what the inputs of the accelerator
are, then `sample(outputs)` is told the outputs that came of them.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Mapping

from fqvit_hw.machine.hardware import BUS_ADDRESS

OKAY, SLVERR = 0, 2
BURST_BYTES = 256
ID = 0  # of all bursts, so of all answers
PROT = 0b010  # of the host: not secure; any will do


def bases(size: int) -> tuple[int, ...]:
    """Bus addresses of 40 bits at which a memory map of `size` bytes may lie: on either side of a
    multiple of 4 GiB, so that carries count, at the bus's end and somewhere.
    """
    half, whole = (-(-n // BURST_BYTES) * BURST_BYTES for n in (size // 2, size))
    return 0x12_3456_7000, (1 << 32) - BURST_BYTES, (0x5A << 32) - half, (1 << BUS_ADDRESS) - whole


class ProtocolError(AssertionError):
    """The master broke a rule of AXI4, or of the accelerator's contract."""


class Held:
    """A channel's payload must stay while it is valid and not ready."""

    def __init__(self, channel: str):
        self.channel, self.waiting = channel, None

    def check(self, valid: int, ready: int, payload: tuple) -> bool:
        """Is this cycle a handshake?"""
        if self.waiting is not None:
            if not valid:
                raise ProtocolError(f"{self.channel}VALID fell without READY")
            if payload != self.waiting:
                raise ProtocolError(f"{self.channel} changed from {self.waiting} to {payload}")
        self.waiting = payload if valid and not ready else None
        return bool(valid and ready)


class Memory:
    """`data` (a bytearray) at `base` of the bus, behind channels that stall at random.

    bus: bytes of a beat; stall: probability that a channel is held up in a cycle; latency: cycles
    from AR to R and from the last W to B; seed. `bad_reads`, `bad_writes`: bus addresses of bursts
    that are answered with SLVERR. `reads`, `writes`: all bursts taken, (address, beats).
    `stopped`: nothing is taken or answered while it is set.
    """

    READS = ("araddr", "arlen", "arsize", "arburst", "arvalid", "rready")
    WRITES = ("awaddr", "awlen", "awsize", "awburst", "awvalid",
              "wdata", "wstrb", "wlast", "wvalid", "bready")  # fmt: skip
    OUTPUTS = READS + WRITES

    def __init__(self, data: bytearray, bus: int, base: int = 0, stall=0.0, latency=1, seed=0):
        self.data, self.bus, self.base, self.stall, self.latency = data, bus, base, stall, latency
        self.rng = random.Random(seed)
        self.cycle = 0
        self.bad_reads, self.bad_writes = set(), set()
        self.reads, self.writes = [], []
        self.stopped = False
        self.answers = deque()  # (cycle, data, resp, last)
        self.bursts = deque()  # (address, beats) written to, oldest first
        self.beats = deque()  # (data, strobe, last) not yet written
        self.acknowledged = deque()  # (cycle, resp)
        self.r = self.b = None  # what is on the channel now
        self.ready = {}
        self.held = {channel: Held(channel) for channel in ("AR", "AW", "W")}

    def go(self) -> bool:
        return not self.stopped and self.rng.random() >= self.stall

    def drive(self) -> dict[str, int]:
        """arready, rvalid, ... of this cycle."""
        if self.r is None and self.answers and self.answers[0][0] <= self.cycle and self.go():
            self.r = self.answers.popleft()[1:]
        if self.b is None and self.acknowledged and self.acknowledged[0][0] <= self.cycle:
            self.b = self.acknowledged.popleft()[1] if self.go() else None
        self.ready = {name: int(self.go()) for name in ("arready", "awready", "wready")}
        data, resp, last = (0, 0, 0) if self.r is None else self.r
        return self.ready | {
            "rid": ID, "rvalid": int(self.r is not None),
            "rdata": data, "rresp": resp, "rlast": last,
            "bid": ID, "bvalid": int(self.b is not None), "bresp": self.b or 0,
        }  # fmt: skip

    def sample(self, out: Mapping[str, int]) -> None:
        """The master's outputs in this cycle; a master without W (or R) leaves those out."""
        if "arvalid" in out:
            self.sample_reads(out)
        if "awvalid" in out:
            self.sample_writes(out)
        self.cycle += 1

    def sample_reads(self, out: Mapping[str, int]) -> None:
        if self.r is not None and out["rready"]:
            self.r = None
        request = self.payload(out, "arvalid", self.READS[:4])
        if self.held["AR"].check(out["arvalid"], self.ready["arready"], request):
            address, beats = self.burst("AR", *request)
            self.reads.append((address, beats))
            resp = SLVERR if address in self.bad_reads else OKAY
            for n in range(beats):
                at = address + n * self.bus - self.base
                word = int.from_bytes(self.data[at : at + self.bus], "little")
                due = self.cycle + self.latency
                self.answers.append((due, word, resp, int(n == beats - 1)))

    def sample_writes(self, out: Mapping[str, int]) -> None:
        if self.b is not None and out["bready"]:
            self.b = None
        request = self.payload(out, "awvalid", self.WRITES[:4])
        if self.held["AW"].check(out["awvalid"], self.ready["awready"], request):
            self.bursts.append(self.burst("AW", *request))
            self.writes.append(self.bursts[-1])
        beat = self.payload(out, "wvalid", ("wdata", "wstrb", "wlast"))
        if self.held["W"].check(out["wvalid"], self.ready["wready"], beat):
            self.beats.append(beat)
        while self.bursts and len(self.beats) >= self.bursts[0][1]:
            address, beats = self.bursts.popleft()
            for n in range(beats):
                data, strobe, last = self.beats.popleft()
                if last != (n == beats - 1):
                    raise ProtocolError(f"WLAST is {last} at beat {n + 1} of {beats}")
                at = address + n * self.bus - self.base
                for k in range(self.bus):
                    if strobe >> k & 1:
                        self.data[at + k] = data >> 8 * k & 255
            resp = SLVERR if address in self.bad_writes else OKAY
            self.acknowledged.append((self.cycle + self.latency, resp))

    def payload(self, out: Mapping[str, int], valid: str, names: tuple[str, ...]) -> tuple:
        """Looked up only where it means something: a lookup may be a call into a simulator."""
        return tuple(out[name] for name in names) if out[valid] else ()

    def burst(self, channel: str, address: int, length: int, size: int, kind: int):
        """(address, beats) of a request that keeps the contract; raises ProtocolError."""
        end = address + (length + 1) * self.bus
        said = f"{channel} {address:#x} of {length + 1} beats"
        if 1 << size != self.bus or kind != 1:
            raise ProtocolError(f"{said}: size {size}, burst {kind}")
        if address % self.bus or address // BURST_BYTES != (end - 1) // BURST_BYTES:
            raise ProtocolError(f"{said}: crosses a multiple of {BURST_BYTES} or is not aligned")
        if address < self.base or end > self.base + len(self.data):
            raise ProtocolError(f"{said}: outside the memory")
        return address, length + 1

    @property
    def quiet(self) -> bool:
        """Nothing is owed by either side."""
        owed = (self.answers, self.bursts, self.beats, self.acknowledged)
        return not any(owed) and self.r is None and self.b is None


class Registers:
    """AXI4-Lite master: a queue of reads and writes, one at a time.

    order: "together", "address first" (the data `gap` cycles after the address was taken) or "data
    first". `results`: (address, value) of every read in order; responses must be OKAY.
    """

    OUTPUTS = ("awready", "wready", "bresp", "bvalid", "arready", "rdata", "rresp", "rvalid")

    def __init__(self, stall: float = 0.0, gap: int = 2, seed: int = 0):
        self.rng, self.stall, self.gap = random.Random(seed), stall, gap
        self.queue, self.results = deque(), []
        self.now = None
        self.inputs = {}

    def write(self, address: int, value: int, strobe: int = 15, order: str = "together") -> None:
        waits = {"together": (0, 0), "address first": (0, None), "data first": (None, 0)}[order]
        self.queue.append({"write": True, "address": address, "value": value, "strobe": strobe,
                           "aw": waits[0], "w": waits[1]})  # fmt: skip

    def read(self, address: int) -> None:
        self.queue.append({"write": False, "address": address, "ar": 0})

    @property
    def idle(self) -> bool:
        return self.now is None and not self.queue

    def drive(self) -> dict[str, int]:
        """awaddr, awvalid, ... of this cycle. A channel's count is None until it may start, then
        the cycles to wait, and -1 when it was taken."""
        if self.now is None and self.queue:
            self.now = self.queue.popleft()
        now = self.now or {}
        up = {name: now.get(name) == 0 for name in ("aw", "w", "ar")}
        ready = int(self.rng.random() >= self.stall)
        self.inputs = {
            "awprot": PROT, "arprot": PROT,
            "awaddr": now["address"] if up["aw"] else 0, "awvalid": int(up["aw"]),
            "wdata": now["value"] if up["w"] else 0, "wstrb": now["strobe"] if up["w"] else 0,
            "wvalid": int(up["w"]), "bready": ready,
            "araddr": now["address"] if up["ar"] else 0, "arvalid": int(up["ar"]), "rready": ready,
        }  # fmt: skip
        return self.inputs

    def sample(self, out: Mapping[str, int]) -> None:
        now, inputs = self.now, self.inputs
        if now is None:
            if out["bvalid"] or out["rvalid"]:
                raise ProtocolError("a register answers without being asked")
            return
        for name, other in (("aw", "w"), ("w", "aw"), ("ar", None)):
            if inputs[f"{name}valid"] and out[f"{name}ready"]:
                now[name] = -1
                if other and now[other] is None:
                    now[other] = self.gap + 1
            if other and (now.get(other) or 0) > 0 and now.get(name) == -1:
                now[other] -= 1
        done = False
        if out["bvalid"]:
            if not (now["write"] and now["aw"] == now["w"] == -1) or out["bresp"] != OKAY:
                raise ProtocolError(f"BVALID with response {out['bresp']} during {now}")
            done = bool(inputs["bready"])
        if out["rvalid"]:
            if now["write"] or now["ar"] != -1 or out["rresp"] != OKAY:
                raise ProtocolError(f"RVALID with response {out['rresp']} during {now}")
            done = bool(inputs["rready"])
            if done:
                self.results.append((now["address"], out["rdata"]))
        if done:
            self.now = None
