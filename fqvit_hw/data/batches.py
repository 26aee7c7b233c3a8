"""Batches of labelled images from files, decoded by worker processes ahead of the evaluation."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..errors import UserError
from .imagenet import Arrays, Validation
from .images import BROKEN, reason

AHEAD = 4  # batches that each worker keeps ready


@dataclass
class Batch:
    """images: uint8 (B, C, H, W); files, labels: of these images; broken: (file, why) of others."""

    images: np.ndarray
    files: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    broken: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Chunks:
    """A sequence of batches that are read when asked for. source: Validation or Arrays."""

    source: Validation | Arrays
    indices: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, number: int) -> Batch:
        return read_batch(self.source, self.indices[number])


def chunks(indices: Sequence[int], size: int) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(indices[i : i + size]) for i in range(0, len(indices), size))


def read_batch(source, indices: Sequence[int]) -> Batch:
    batch, images = Batch(np.empty(0, np.uint8)), []
    for i in indices:
        try:
            images.append(source.read(i))
        except BROKEN as error:
            batch.broken.append((source.files[i], reason(error)))
            continue
        batch.files.append(source.files[i])
        batch.labels.append(source.labels[i])
    if images:
        batch.images = np.stack(images)
    return batch


def read_batches(source, indices: tuple[tuple[int, ...], ...], workers: int) -> Iterator[Batch]:
    """The batches in order. workers: processes that decode ahead; 0 decodes in this one.

    Raises UserError if a worker process dies.
    """
    from torch.utils.data import DataLoader

    lists = Chunks(source, indices)
    if not workers:
        yield from (lists[i] for i in range(len(lists)))
        return
    # A fork would copy the locked threads of torch and OpenMP. A server that has imported the
    # libraries once forks clean workers at once.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["fqvit_hw.calibrate.supported", "fqvit_hw.data.batches"])
    loader = DataLoader(
        lists,  # pyright: ignore[reportArgumentType]  # a Dataset by its methods alone, torch agrees
        batch_size=None,  # an item is a whole batch
        num_workers=min(workers, len(lists)),
        prefetch_factor=AHEAD,
        multiprocessing_context=context,
    )
    batches = iter(loader)
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except RuntimeError as error:
            raise UserError(f"a process that decodes images died: {reason(error)}") from error
        yield batch
