"""Images per second of whole models, side by side in one run on the same cores.

    python benchmarks/throughput.py [--models deit_tiny deit_small swin_tiny] [--json FILE]

Contestants: timm's float32 model (`torch.inference_mode`), a float simulation like that of the
paper's authors (`fqvit_hw.reference`), and the integer engines. Every round runs each of them once,
one after the other; the ratios are medians over the rounds, so that a busy moment of the machine
does not favour one side. Speed does not depend on the weights: they are random unless given.

The second table says where the fast engine's time goes, unit by unit.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fqvit_hw import quantize
from fqvit_hw.calibrate import preprocessing
from fqvit_hw.engines import fast, operations
from fqvit_hw.engines.walk import Walk
from fqvit_hw.errors import UserError
from fqvit_hw.files import write_atomically
from fqvit_hw.paper_models import PAPER_MODELS, timm_name
from fqvit_hw.timm_compat import import_timm
from fqvit_hw.zoo.models import load_model

CALIBRATION = 2  # images: speed does not depend on the ranges


@dataclass
class Result:
    """seconds: per contestant, one number per round; profile: seconds per operation of a batch."""

    batch: int
    seconds: dict[str, list[float]]
    profile: dict[str, float]
    macs: int  # of the Linear layers, per batch

    def rate(self, name: str) -> float | None:
        """Images per second, the median round."""
        seconds = self.seconds.get(name)
        return self.batch / statistics.median(seconds) if seconds else None

    def ratio(self, other: str) -> float | None:
        """How many times as fast the fast engine is: the median over the rounds."""
        if other not in self.seconds:
            return None
        rounds = zip(self.seconds[other], self.seconds["fast"], strict=True)
        return statistics.median(theirs / ours for theirs, ours in rounds)

    @property
    def shares(self) -> dict[str, float]:
        """Of the time of a batch, largest first."""
        total = sum(self.profile.values())
        return {n: t / total for n, t in sorted(self.profile.items(), key=lambda item: -item[1])}

    @property
    def gmac_per_second(self) -> float:
        linear = sum(t for name, t in self.profile.items() if name.startswith("linear"))
        return self.macs / linear / 1e9

    def as_json(self) -> dict:
        return {
            "vs_float32": self.ratio("float32"),
            "vs_reference": self.ratio("reference"),
            "images_per_second": {name: self.rate(name) for name in self.seconds},
            "shares": self.shares,
            "linear_gmac_per_second": self.gmac_per_second,
        }


class Profiled:
    """The operations `ops`, with the time spent in each of them and the products of the Linears."""

    def __init__(self, ops):
        self.ops, self.seconds, self.macs = ops, {}, 0

    def __getattr__(self, name):
        operation = getattr(self.ops, name)

        def timed(*arguments, **keywords):
            if name.startswith("linear"):
                x, layer = arguments[:2]
                self.macs += x.size // x.shape[-1] * layer.weight.size
            start = time.perf_counter()
            result = operation(*arguments, **keywords)
            self.seconds[name] = self.seconds.get(name, 0) + time.perf_counter() - start
            return result

        return timed


def profile(network, images, rounds: int) -> tuple[dict[str, float], int]:
    """Seconds of one batch per operation ("walk": Python in between), and MACs of the Linears."""
    ops = Profiled(operations("fast"))
    start = time.perf_counter()
    for _ in range(rounds):
        Walk(network, ops).logits(images)
    total = time.perf_counter() - start
    seconds = ops.seconds | {"walk": total - sum(ops.seconds.values())}
    return {name: t / rounds for name, t in seconds.items()}, ops.macs // rounds


def measure(name: str, args) -> Result:
    timm = import_timm()
    import torch

    from fqvit_hw.reference import ReferenceConfig, build_reference

    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    fast.set_threads(args.threads)
    if args.weights:
        model = load_model(name, args.weights)
    else:
        model = timm.create_model(timm_name(name)).eval()
    mean, std = preprocessing(model, None, None)
    rng = np.random.default_rng(0)
    shape = (args.batch, model.patch_embed.proj.in_channels, *model.patch_embed.img_size)
    images = rng.integers(0, 256, shape).astype(np.uint8)
    x = torch.from_numpy(images).float().div_(255)
    x = (x - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    some = images[:CALIBRATION]
    qm = quantize(model, some, mean=mean, std=std)

    def float32():
        with torch.inference_mode():
            return model(x)

    contestants = {"float32": float32, "fast": lambda: qm.run(images, engine="fast")}
    if "reference" in args.also:
        reference = build_reference(model, some, ReferenceConfig(), mean=mean, std=std)
        contestants["reference"] = lambda: reference.run(images)
    if "numpy" in args.also:
        contestants["numpy"] = lambda: qm.run(images, engine="numpy")
    for run in contestants.values():
        run()  # the first call allocates and prepares
    seconds = {contestant: [] for contestant in contestants}
    for _ in range(args.rounds):
        for contestant, run in contestants.items():
            start = time.perf_counter()
            run()
            seconds[contestant].append(time.perf_counter() - start)
    return Result(args.batch, seconds, *profile(qm.network, images, args.rounds))


def number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def speed_table(results: dict[str, Result]) -> str:
    names = ["float32", "reference", "numpy", "fast"]
    lines = [
        f"| model | {' | '.join(f'{n}, images/s' for n in names)} | vs float32 | vs reference |",
        "|---|" + "---|" * (len(names) + 2),
    ]
    for model, result in results.items():
        cells = [number(result.rate(name), 1 if name != "numpy" else 2) for name in names]
        cells += [number(result.ratio(other), 2) for other in ("float32", "reference")]
        lines.append(f"| {model} | {' | '.join(cells)} |")
    return "\n".join(lines)


def share_table(results: dict[str, Result]) -> str:
    names = list(dict.fromkeys(name for result in results.values() for name in result.shares))
    lines = [
        f"| share of time | {' | '.join(results)} |",
        "|---|" + "---|" * len(results),
    ]
    for name in names:
        shares = (result.shares.get(name) for result in results.values())
        cells = ["-" if share is None else f"{share:.1%}" for share in shares]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    rates = (f"{result.gmac_per_second:.0f}" for result in results.values())
    lines.append(f"| Linear layers, GMAC/s | {' | '.join(rates)} |")
    return "\n".join(lines)


def machine() -> dict[str, str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        cpu = platform.processor() or platform.machine()
    return {"cpu": cpu, "kernels": fast.load().isa, "python": platform.python_version()}


def positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a positive integer, got {text!r}")
    return int(text)


def arguments(argv) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["deit_tiny", "deit_small", "swin_tiny"])
    parser.add_argument("--weights", type=Path, metavar="FILE", help="real ones, for one model")
    parser.add_argument("--batch", type=positive, default=8)
    parser.add_argument("--threads", type=positive, default=2)
    parser.add_argument("--rounds", type=positive, default=9)
    parser.add_argument(
        "--also",
        nargs="*",
        choices=("reference", "numpy"),
        default=["reference"],
        help="other contestants beside float32 and fast (default: reference; numpy is slow)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args(argv)
    timm = import_timm()
    for name in args.models:
        if not timm.is_model(timm_name(name)):
            expected = ", ".join(PAPER_MODELS)
            parser.error(f"unknown model {name!r}: expected {expected} or a name of timm")
    if args.weights and len(args.models) > 1:
        parser.error("--weights is for one model")
    if reason := fast.available():
        parser.error(f"no fast engine: {reason}")
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
    return args


def main(argv=None) -> None:
    args = arguments(argv)
    results = {}
    try:
        for name in args.models:
            print(f"{name} ...", file=sys.stderr, flush=True)
            results[name] = measure(name, args)
    except UserError as error:
        print(f"throughput: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    about = machine()
    print(
        f"{about['cpu']}, {args.threads} threads of {os.cpu_count()} cores, {about['kernels']} "
        f"kernels, batch {args.batch}, medians of {args.rounds} interleaved rounds\n"
    )
    print(speed_table(results), share_table(results), sep="\n\n")
    if args.json:
        setup = about | {"batch": args.batch, "threads": args.threads, "rounds": args.rounds}
        models = {name: result.as_json() | {"setup": setup} for name, result in results.items()}
        write_atomically(args.json, (json.dumps(models, indent=2) + "\n").encode())


if __name__ == "__main__":
    main()
