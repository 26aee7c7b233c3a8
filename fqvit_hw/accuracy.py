"""`fqvit-hw accuracy`: float against integers on real images, and where the noise enters."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from . import digits
from .config import PRESETS
from .errors import UserError
from .evaluate import Comparison, Evaluator, Noise, compare_all
from .images import ImageSet, load_imagenet
from .netfile import write_atomically
from .noise_plot import noise_png

NAN = float("nan")  # a step that a configuration does not have


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser(
        "accuracy", help="compare float and integer accuracy (needs torch)"
    )
    parser.add_argument("--model", required=True, metavar="NAME", help="digits, or a timm name")
    parser.add_argument("--weights", type=Path, metavar="FILE", help=".safetensors or .pth")
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="calibrate on DIR/train, evaluate on DIR/val"
    )
    parser.add_argument("--config", choices=sorted(PRESETS), help="only this one (default: all)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--png", type=Path, metavar="FILE", help="picture of the noise")
    parser.set_defaults(run=run)


def run(args) -> None:
    if args.model == "digits" and (args.weights or args.data):
        raise UserError("digits brings its own weights and images: no --weights, no --data")
    if args.model != "digits" and args.data is None:
        raise UserError(f"{args.model} needs --data DIR, a folder with train/ and val/")
    names = [args.config] if args.config else list(PRESETS)
    for path in (args.json, args.png):
        if path:  # now: minutes of work should not end at a path that cannot be written
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                raise UserError(f"{path}: expected a file, it is a folder")
    model, calibration, test, mean, std = prepare(args)
    runs = evaluate(model, calibration, test, names, mean, std)
    skipped = calibration.skipped + test.skipped
    print(table(args.model, runs, len(skipped)))
    if args.json:
        content = {**runs[0], "model": args.model, "skipped": skipped, "runs": runs}
        write_atomically(args.json, (json.dumps(content, indent=1) + "\n").encode())
    if args.png:
        write_atomically(args.png, noise_png(args.model, runs))


def prepare(args):
    """The float model, calibration and test images, mean and std that the arguments ask for."""
    from .calibrate.timm_compat import import_timm

    import_timm()
    if args.model == "digits":
        from .train import load

        sets = [
            ImageSet(images, labels, [])
            for images, labels in (digits.train_set(), digits.test_set())
        ]
        return load(), *sets, digits.MEAN, digits.STD
    from .calibrate import preprocessing
    from .zoo import load_model

    model = load_model(args.model, args.weights)
    size, channels = model.patch_embed.img_size, model.patch_embed.proj.in_channels
    sets = [load_imagenet(args.data / part, size, channels) for part in ("train", "val")]
    return model, *sets, *preprocessing(model, None, None)


def evaluate(model, calibration: ImageSet, test: ImageSet, names, mean, std) -> list[dict]:
    """Calibrate each named configuration and run all test images; one summary each."""
    from tqdm import tqdm

    from . import quantize

    models = [
        quantize(model, calibration.images, PRESETS[name], mean=mean, std=std) for name in names
    ]
    with tqdm(total=len(test.images), desc="images", unit="image") as progress:
        compared = compare_all(Evaluator(model, models, mean, std), test.images, progress)
    return [
        summary(name, comparison, test.labels, len(test.skipped) + len(calibration.skipped))
        for name, comparison in zip(names, compared, strict=True)
    ]


def summary(name: str, comparison: Comparison, labels: np.ndarray, skipped: int) -> dict:
    """Figures of one configuration; accuracies are fractions of 1, noise is in dB.

    only_float_right and only_integer_right count the paired disagreements in either direction.
    """
    real, integer = comparison.float_logits.argmax(1), comparison.logits.argmax(1)
    error = np.square(comparison.float_logits - comparison.logits).sum()
    logits = Noise(float(np.square(comparison.float_logits).sum()), float(error))
    return {
        "images": len(labels),
        "float_top1": float(np.mean(real == labels)),
        "integer_top1": float(np.mean(integer == labels)),
        "agreement": float(np.mean(real == integer)),
        "only_float_right": int(np.sum((real == labels) & (integer != labels))),
        "only_integer_right": int(np.sum((real != labels) & (integer == labels))),
        "logit_snr_db": logits.snr_db,
        "configuration": name,
        "config": asdict(PRESETS[name]),
        "skipped_files": skipped,
        "layer_snr_db": {step: noise.snr_db for step, noise in comparison.noise.items()},
    }


def table(model: str, runs: list[dict], skipped: int) -> str:
    """What stands on the screen: one line per configuration, then the noise by layer."""
    lines = [
        f"{model}: {runs[0]['images']} images, {skipped} files skipped",
        "configuration  float top-1  integer top-1  agreement  only float right  "
        "only integer right  logit SNR",
    ]
    for r in runs:
        lines.append(
            f"{r['configuration']:13}  {r['float_top1']:11.2%}  {r['integer_top1']:13.2%}  "
            f"{r['agreement']:9.2%}  {r['only_float_right']:16}  {r['only_integer_right']:18}  "
            f"{decibels(r['logit_snr_db'])}"
        )
    lines += [
        "",
        "signal to quantization noise, dB" + "".join(f"{r['configuration']:>12}" for r in runs),
    ]
    for step in runs[0]["layer_snr_db"]:
        cells = (decibels(r["layer_snr_db"].get(step, NAN)) for r in runs)
        lines.append(f"{step:32}" + "".join(f"{cell:>12}" for cell in cells))
    return "\n".join(lines)


def decibels(value: float | None) -> str:
    if value is None:
        return "exact"
    return "-" if np.isnan(value) else f"{value:.1f} dB"
