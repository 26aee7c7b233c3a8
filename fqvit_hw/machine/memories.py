"""On-chip memories that know which of their lanes were ever written."""

from __future__ import annotations

import numpy as np


class MachineError(RuntimeError):
    """The program does what the hardware cannot do, or reads what was never written."""


class Memory:
    """Words of lanes with a flag for every lane that was written. data, valid: (words, lanes)"""

    def __init__(self, name: str, words: int, lanes: int, dtype: type):
        self.name = name
        self.data = np.zeros((words, lanes), dtype)
        self.valid = np.zeros((words, lanes), bool)

    @property
    def lanes(self) -> int:
        return self.data.shape[1]

    @property
    def word_bytes(self) -> int:
        return self.lanes * self.data.itemsize

    def check(self, words: np.ndarray) -> np.ndarray:
        """The same words. Raises MachineError for one that does not exist."""
        words = np.asarray(words)
        if words.size and (words.min() < 0 or words.max() >= len(self.data)):
            raise MachineError(
                f"{self.name}: word {int(words.max())} beyond its {len(self.data)} words"
            )
        return words

    def bytes(self) -> tuple[np.ndarray, np.ndarray]:
        """The same memory byte by byte: (data, valid), both flat views."""
        return self.data.reshape(-1).view(np.uint8), self.valid.reshape(-1)

    def gather(self, at: np.ndarray, columns: int) -> np.ndarray:
        """The first `columns` lanes of the rows that start at words `at` -> (rows, columns).

        Raises MachineError for a lane that was never written.
        """
        words = self.check(at[:, None] + np.arange(-(-columns // self.lanes)))
        if not self.valid[words].reshape(len(at), -1)[:, :columns].all():
            raise MachineError(f"{self.name}: reads lanes that were never written")
        return self.data[words].reshape(len(at), -1)[:, :columns]

    def scatter(self, to: np.ndarray, values: np.ndarray) -> None:
        """Write row r of values (rows, columns) to the lanes from word to[r] on."""
        at = np.asarray(to)[:, None] * self.lanes + np.arange(values.shape[1])
        self.check(at // self.lanes)
        self.data.reshape(-1)[at] = values
        self.valid.reshape(-1)[at] = True
