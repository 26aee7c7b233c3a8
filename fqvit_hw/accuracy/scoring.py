"""The chosen images through an Evaluator, here or on a cluster, batch by batch."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator

from .evaluate import Evaluator
from .options import Options

FEW = 64  # images that are decoded before worker processes have started
DECODERS = min(4, os.cpu_count() or 1)


def go_through(
    options: Options,
    evaluator: Evaluator,
    source,
    chosen: list[int],
    done: set[str],
    keep: Callable[[list[dict]], None],
) -> None:
    """Score the chosen images that are not done; keep(records) after each batch.

    source: Validation or Arrays (data.imagenet); chosen: indices into its files.
    """
    from tqdm import tqdm

    from ..data.batches import chunks

    todo = [i for i in chosen if source.files[i] not in done]
    batches = chunks(todo, options.batch_size)
    with tqdm(
        total=len(chosen), initial=len(chosen) - len(todo), desc="images", unit="image"
    ) as progress:
        for records in scored(options, evaluator, source, batches):
            keep(records)
            for record in records:
                if "broken" in record:
                    why = f"fqvit-hw: skipped {record['file']}: {record['broken']}"
                    progress.write(why, file=sys.stderr)
            progress.update(len(records))


def scored(
    options: Options, evaluator: Evaluator, source, batches: tuple[tuple[int, ...], ...]
) -> Iterator[list[dict]]:
    """The records of each batch, as it is done."""
    if options.ray:
        from .cluster import score_on_cluster

        yield from score_on_cluster(evaluator, source, batches, options.ray)
        return
    from ..data.batches import read_batches
    from ..data.imagenet import Validation

    workers = options.workers
    if workers is None:
        from_files = isinstance(source, Validation)
        workers = DECODERS if from_files and sum(map(len, batches)) > FEW else 0
    yield from map(evaluator.score, read_batches(source, batches, workers))
