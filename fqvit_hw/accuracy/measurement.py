"""A whole evaluation: calibrate, score the images into records, sum them up."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from dataclasses import asdict

import numpy as np

from ..network.file import content_sha256
from .evaluate import FLOAT, Evaluator, integer_column, reference_column
from .options import Options
from .results import FORMAT, VERSION, ResultsFile, refuse_early
from .scoring import go_through
from .simulations import simulation_names, simulations
from .summary import summarize
from .work import Work, choose, prepare


def measure(options: Options) -> dict:
    """The summary (see summary.summarize), with the noise of the layers if it was asked for.

    The images that have a record in the results file are not scored again.
    """
    work = prepare(
        options.model,
        options.weights,
        options.data,
        options.calibration,
        options.calibration_images,
    )
    known = known_header(options, work)
    if options.resume:
        refuse_early(options.results, known)
    evaluator = calibrate(options, work)
    networks = {name: content_sha256(qm.network) for name, qm in evaluator.networks.items()}
    header = known | {"networks_sha256": networks}
    chosen = choose(work.source, options.limit)
    if options.results:
        results = ResultsFile(options.results, header, options.resume)
        try:
            go_through(options, evaluator, work.source, chosen, results.done, results.append)
            summary = summarize(header, results.records())
        finally:
            results.close()
    else:
        records: list[dict] = []
        go_through(options, evaluator, work.source, chosen, set(), records.extend)
        summary = summarize(header, records)
    summary |= {"calibration_skipped": work.skipped, "command": options.command}
    if summary["images"] and options.noise:
        summary["layers"] = measure_layers(evaluator, work.source, chosen, options.noise)
    return summary


def calibrate(options: Options, work: Work) -> Evaluator:
    """One integer network per configuration, and the paper's simulations of them."""
    from tqdm import tqdm

    from .. import quantize
    from ..calibrate import spaced
    from ..reference import build_reference

    settings = {"mean": work.mean, "std": work.std}
    kinds = simulations(options.configs) if options.reference else {}
    networks, references = {}, {}
    with tqdm(total=len(options.configs) + len(kinds), desc="calibrating") as progress:
        for name, config in options.configs.items():
            networks[name] = quantize(work.model, work.calibration, config, **settings)
            progress.update()
        for name, config in kinds.items():
            images = spaced(work.calibration, config.calibration_images)  # as `quantize` takes them
            references[name] = build_reference(work.model, images, config, **settings)
            progress.update()
    return Evaluator(
        work.model, networks, references, work.mean, work.std, options.engine, options.device
    )


def known_header(options: Options, work: Work) -> dict:
    """What is measured, all but the integers that calibration will make of it.

    The engine is not among it, nor how many images: neither changes a record.
    """
    from ..data.imagenet import files_sha256
    from ..paper_models import timm_name
    from ..zoo.checkpoints import weights_sha256

    configs = options.configs
    kinds = simulations(configs) if options.reference else {}
    names = simulation_names(configs) if options.reference else dict.fromkeys(configs)
    return {
        "format": FORMAT,
        "version": VERSION,
        "model": timm_name(options.model),
        "weights_sha256": weights_sha256(work.model),
        "configurations": {name: asdict(config) for name, config in configs.items()},
        "simulations": names,
        "columns": [FLOAT, *map(reference_column, kinds), *map(integer_column, configs)],
        "calibration": {
            "images": len(work.calibration),
            "sha256": hashlib.sha256(work.calibration.tobytes()).hexdigest(),
        },
        "preprocessing": work.source.preprocessing.as_json()
        | {"mean": list(work.mean), "std": list(work.std)},
        "data": {
            "images": len(work.source.files),
            "sha256_of_names": files_sha256(work.source.files),
        },
    }


def measure_layers(evaluator: Evaluator, source, chosen: list[int], images: int) -> dict | None:
    """On `images` of the chosen ones, evenly spread; None if every one is broken."""
    from ..data.imagenet import spread
    from ..data.images import BROKEN
    from .noise import measure

    def readable():
        for i in spread(chosen, images):
            with contextlib.suppress(*BROKEN):  # it is named in the results
                yield source.read(i)

    found = list(itertools.islice(readable(), images))
    return measure(evaluator, np.stack(found)) if found else None
