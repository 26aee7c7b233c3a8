"""`fqvit-hw accuracy`: float, the paper's simulation and the integers on the same images."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import itertools
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from ..accuracy.evaluate import FLOAT, Evaluator, integer_column, reference_column
from ..accuracy.results import FORMAT, VERSION, ResultsFile, refuse_early
from ..accuracy.simulations import simulation_names, simulations
from ..accuracy.summary import decibels, summarize, table
from ..accuracy.work import Work, choose, prepare, tell_default_engine
from ..config import PRESETS, load_config
from ..engines import operations
from ..errors import UserError
from ..files import check_file, write_file
from ..network.file import content_sha256

BATCH, DEVICE_BATCH = 8, 64
NOISE_IMAGES = 16
FEW = 64  # images that are decoded before worker processes have started
DECODERS = min(4, os.cpu_count() or 1)


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser(
        "accuracy",
        help="compare float and integer accuracy (needs torch)",
        description="Float, the authors' float simulation and the integers, image by image.",
    )
    add = parser.add_argument
    add("--model", required=True, metavar="NAME", help="digits, deit_tiny ... or a timm name")
    add("--weights", type=Path, metavar="FILE", help=".pth, .safetensors or a folder")
    add("--data", type=Path, metavar="DIR", help="DIR/val/<synset>/*.JPEG, or that val itself")
    add(
        "--config", nargs="+", metavar="NAME|FILE", action="extend",
        help=f"{', '.join(PRESETS)}, or a TOML file (default: all presets)",
    )  # fmt: skip
    add("--calibration", type=Path, metavar="DIR", help="images to calibrate on (DATA/train)")
    add("--calibration-images", type=positive, metavar="N", help="instead of the configuration's")
    add(
        "--engine",
        metavar="NAME",
        help="fast, numpy or torch: the same integers (default: the fastest there is)",
    )
    add("--device", metavar="NAME", help="cuda: the torch engine and the float model there")
    add("--no-reference", action="store_true", help="without the paper's float simulation")
    add("--limit", type=positive, metavar="N", help="only N images, evenly spread")
    add("--batch", type=positive, metavar="N",
        help=f"images at a time, default {BATCH}, with --device {DEVICE_BATCH}")  # fmt: skip
    add("--workers", type=count, metavar="N", help=f"decoding processes, default {DECODERS}")
    add(
        "--ray",
        metavar="ADDRESS",
        help="spread over a Ray cluster: HOST:PORT of its head, auto or local",
    )
    add("--results", type=Path, metavar="FILE", help="append a JSON line per image")
    add("--resume", action="store_true", help="go on with the results file")
    add("--noise", type=count, metavar="N", default=NOISE_IMAGES,
        help=f"images for the noise of each layer, default {NOISE_IMAGES}")  # fmt: skip
    add("--json", type=Path, metavar="FILE", help="summary (default: beside the results file)")
    add("--png", type=Path, metavar="FILE", help="picture of the noise")
    parser.set_defaults(run=run)


def count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"expected a number from 0 up, got {text}")
    return value


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1 up, got {text}")
    return value


def run(args) -> None:
    configs = named_configs(args.config or list(PRESETS), args.calibration_images)
    check_arguments(args)
    most = max(config.calibration_images for config in configs.values())
    work = prepare(args.model, args.weights, args.data, args.calibration, most)
    known = known_header(args, work, configs)
    if args.resume:
        refuse_early(args.results, known)
    evaluator = calibrate(work, configs, args)
    networks = {name: content_sha256(qm.network) for name, qm in evaluator.networks.items()}
    header = known | {"networks_sha256": networks}
    chosen = choose(work.source, args.limit)
    if args.results:
        results = ResultsFile(args.results, header, args.resume)
        try:
            go_through(args, evaluator, work.source, chosen, results.done, results.append)
            summary = summarize(header, results.records())
        finally:
            results.close()
    else:
        records: list[dict] = []
        go_through(args, evaluator, work.source, chosen, set(), records.extend)
        summary = summarize(header, records)
    summary |= {"calibration_skipped": work.skipped, "command": sys.argv[1:]}
    if summary["images"] and args.noise:
        summary["layers"] = measure_layers(evaluator, work.source, chosen, args.noise)
    report(args, summary)


def named_configs(given: list[str], calibration_images: int | None) -> dict:
    """The configurations by name. Raises UserError for two of one name."""
    configs = {}
    for name_or_path in given:
        name, config = load_config(name_or_path)
        if name in configs:
            raise UserError(f"--config {name_or_path}: a configuration named {name} came before")
        if calibration_images:
            config = replace(config, calibration_images=calibration_images)
        configs[name] = config
    return configs


def check_arguments(args) -> None:
    """What can be refused at once, before minutes of work."""
    if args.resume and not args.results:
        raise UserError("--resume needs --results FILE")
    if args.results and args.results.exists() and not args.resume:
        raise UserError(
            f"{args.results}: exists already: --resume goes on with it, or choose another name"
        )
    if args.results and not args.json:
        args.json = args.results.with_suffix(".json")
    if args.results and args.json == args.results:
        raise UserError(f"{args.results}: the summary has this name: call the results .jsonl")
    for path in (args.results, args.json, args.png):
        if path:
            check_file(path)
    if args.png and not args.noise:
        raise UserError("--png draws the noise of the layers: it needs --noise N from 1 up")
    if args.engine or args.device:
        operations(args.engine, args.device)  # refuses what is not there
    elif not args.ray:
        tell_default_engine()
    if args.ray:
        from ..accuracy.cluster import check_reachable

        check_reachable(args.ray)


def calibrate(work: Work, configs: dict, args) -> Evaluator:
    """One integer network per configuration, and the paper's simulations of them."""
    from tqdm import tqdm

    from .. import quantize
    from ..calibrate import spaced
    from ..reference import build_reference

    settings = {"mean": work.mean, "std": work.std}
    kinds = {} if args.no_reference else simulations(configs)
    networks, references = {}, {}
    with tqdm(total=len(configs) + len(kinds), desc="calibrating") as progress:
        for name, config in configs.items():
            networks[name] = quantize(work.model, work.calibration, config, **settings)
            progress.update()
        for name, config in kinds.items():
            images = spaced(work.calibration, config.calibration_images)  # as `quantize` takes them
            references[name] = build_reference(work.model, images, config, **settings)
            progress.update()
    return Evaluator(
        work.model, networks, references, work.mean, work.std, args.engine, args.device
    )


def known_header(args, work: Work, configs: dict) -> dict:
    """What is measured, all but the integers that calibration will make of it.

    The engine is not among it, nor how many images: neither changes a record.
    """
    from ..data.imagenet import files_sha256
    from ..paper_models import timm_name
    from ..zoo.checkpoints import weights_sha256

    kinds = {} if args.no_reference else simulations(configs)
    names = dict.fromkeys(configs) if args.no_reference else simulation_names(configs)
    return {
        "format": FORMAT,
        "version": VERSION,
        "model": timm_name(args.model),
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


def go_through(args, evaluator, source, chosen: list[int], done: set[str], keep) -> None:
    """Score the chosen images that are not done; keep(records) after each batch."""
    from tqdm import tqdm

    from ..data.batches import chunks

    todo = [i for i in chosen if source.files[i] not in done]
    batches = chunks(todo, args.batch or (DEVICE_BATCH if args.device else BATCH))
    with tqdm(
        total=len(chosen), initial=len(chosen) - len(todo), desc="images", unit="image"
    ) as progress:
        for records in scored(args, evaluator, source, batches):
            keep(records)
            for record in records:
                if "broken" in record:
                    why = f"fqvit-hw: skipped {record['file']}: {record['broken']}"
                    progress.write(why, file=sys.stderr)
            progress.update(len(records))


def scored(args, evaluator: Evaluator, source, batches) -> Iterator[list[dict]]:
    if args.ray:
        from ..accuracy.cluster import score_on_cluster

        yield from score_on_cluster(evaluator, source, batches, args.ray)
        return
    from ..data.batches import read_batches
    from ..data.imagenet import Validation

    workers = args.workers
    if workers is None:
        from_files = isinstance(source, Validation)
        workers = DECODERS if from_files and sum(map(len, batches)) > FEW else 0
    yield from map(evaluator.score, read_batches(source, batches, workers))


def measure_layers(evaluator: Evaluator, source, chosen: list[int], images: int) -> dict | None:
    """On `images` of the chosen ones, evenly spread; None if every one is broken."""
    from ..accuracy.noise import measure
    from ..data.imagenet import spread
    from ..data.images import BROKEN

    def readable():
        for i in spread(chosen, images):
            with contextlib.suppress(*BROKEN):  # it is named in the results
                yield source.read(i)

    found = list(itertools.islice(readable(), images))
    return measure(evaluator, np.stack(found)) if found else None


def report(args, summary: dict) -> None:
    print(table(summary))
    layers = summary.get("layers")
    if layers:
        print(f"\n{layer_table(layers)}")
    if args.json:
        write_file(args.json, (json.dumps(summary) + "\n").encode())
    if args.png:
        if not layers:
            raise UserError("--png: there is no noise to draw, no image could be read")
        from ..accuracy.picture import noise_png

        write_file(args.png, noise_png(summary))


def layer_table(layers: dict) -> str:
    """Signal to noise, a line per tensor and a column per configuration."""
    columns = {n: c["layer_snr_db"] for n, c in layers["configurations"].items()}
    steps = list(dict.fromkeys(step for column in columns.values() for step in column))
    widths = {name: max(len(name), 8) for name in columns}
    title = f"signal to noise, {layers['images']} images"
    lines = [f"{title:36}" + "".join(f"  {name:>{widths[name]}}" for name in columns)]
    for step in steps:
        cells = (decibels(column[step]) if step in column else "-" for column in columns.values())
        padded = (f"  {c:>{w}}" for c, w in zip(cells, widths.values(), strict=True))
        lines.append(f"{step:36}" + "".join(padded))
    return "\n".join(lines)
