"""What the runner asks of the simulator's process: the one place that reads the environment."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from fqvit_hw.vectors.files import DEFAULT

REQUEST, GOLDEN = "FQVIT_REQUEST", "FQVIT_GOLDEN"


@dataclass(frozen=True)
class Request:
    """One bench to run.

    size: "small" or "full"; case: the only one to run; flip: make one expected bit wrong, which
    must be noticed (a negative control); results: the file of what was compared, a JSON line for
    each of the cocotb tests.
    """

    block: str
    config: str
    size: str
    results: str
    case: str | None = None
    flip: bool = False

    @property
    def environment(self) -> dict[str, str]:
        return {REQUEST: json.dumps(asdict(self))}

    @classmethod
    def from_environment(cls) -> Request:
        return cls(**json.loads(os.environ[REQUEST]))


def golden_folder() -> Path:
    """Where the golden vectors lie: the kit's own, or FQVIT_GOLDEN."""
    return Path(os.environ.get(GOLDEN, DEFAULT))
