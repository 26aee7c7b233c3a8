"""What the page says: the paper's table beside ours, then each measurement in detail."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from ..accuracy.picture import noise_png
from ..accuracy.summary import cells, decibels, simulated
from ..attention_codes import MODES
from ..paper_models import short_name
from . import pictures
from .paper import MODELS, ROWS, VALIDATION_IMAGES
from .parts import Part

KINDS = ("Float", "Paper", "Integ")  # the order of our rows, by their first letters
MARK = "†"  # of a figure that is not comparable with the paper's


def build(summaries: list[dict]) -> list[Part]:
    """summaries: as accuracy writes them, with "source" -> the parts of the page."""
    parts = [
        Part("title", "FQ-ViT in integers: accuracy"),
        Part(
            "text",
            "Float is timm's model; the paper's simulation is what the authors' floating-point "
            "code computes, computed anew; the integers are this kit's machine, pixels to logits "
            "without a float. All three see the same images.",
        ),
        *paper_table(summaries),
        Part("heading", "Each measurement"),
        measurements(summaries),
    ]
    for summary in summaries:
        parts += details(summary)
    return parts


def is_whole(summary: dict) -> bool:
    """The whole validation set, so that top-1 may stand beside the paper's.

    A file that cannot be read is a part of it, and named on the page.
    """
    seen = summary["images"] + len(summary["skipped"])
    return seen == VALIDATION_IMAGES == summary["header"]["data"]["images"]


def paper_table(summaries: list[dict]) -> Iterator[Part]:
    """The paper's rows, and under them a row for each column that was measured here."""
    yield Part("heading", "The paper's table beside ours")
    best = largest(summaries)
    ours: dict[tuple[str, str], dict[str, str]] = {}
    for model, summary in best.items():
        mark = "" if is_whole(summary) else MARK
        ours.setdefault(("Float, here", "32/32/32"), {})[model] = (
            f"{percent(summary['float'])}{mark}"
        )
        for name, reference in simulated(summary).items():
            observer, width = name.split(" ", 1)
            row = (f"Paper's simulation, here: {observer}", width)
            ours.setdefault(row, {})[model] = f"{percent(reference)}{mark}"
        for run in summary["runs"]:
            row = (f"Integers: {run['configuration']}", bits(run["config"]))
            ours.setdefault(row, {})[model] = f"{percent(run['integer'])}{mark}"
    images = {model: f"{summary['images']:,}" for model, summary in best.items()}
    rows = [(name, width, *(f"{x:.2f}" for x in figures)) for name, width, figures in ROWS]
    for (name, width), figures in sorted(ours.items(), key=lambda row: KINDS.index(row[0][0][:5])):
        rows.append((name, width, *(figures.get(model, "") for model in MODELS)))
    rows.append(("Images, here", "", *(images.get(model, "") for model in MODELS)))
    yield Part(
        "table",
        "ImageNet top-1 in percent; bits of weights / activations / attention maps (8,16: the "
        "residual stream has 16 bits). Above: as published, on "
        f"{VALIDATION_IMAGES:,} images. Set off: measured here.",
        head=("Method", "W/A/Attn", *MODELS.values()),
        rows=tuple(rows),
        ours=frozenset(range(len(ROWS), len(rows))),
    )
    partial = [f"{MODELS[m]} ({s['images']:,} images)" for m, s in best.items() if not is_whole(s)]
    if partial:
        yield Part(
            "warning",
            f"{MARK} {', '.join(partial)}: not the {VALIDATION_IMAGES:,} images of the validation "
            "set. These percentages are not ImageNet accuracy and must not be compared with the "
            "paper's; compare the rows measured here with each other.",
        )
    if not best:
        yield Part("warning", "None of the paper's eight models is among the measurements.")


def largest(summaries: list[dict]) -> dict[str, dict]:
    """The paper's models by short name, each with its measurement of the most images."""
    best: dict[str, dict] = {}
    for summary in summaries:
        model = short_name(summary["model"])
        if model in MODELS and summary["images"] > best.get(model, {"images": 0})["images"]:
            best[model] = summary
    return {model: best[model] for model in MODELS if model in best}


def bits(config: dict) -> str:
    """Of weights / activations (residual stream, if wider) / attention maps."""
    attention = MODES[config["attention"]].bits
    stream = "" if config["stream_width"] == 8 else f",{config['stream_width']}"
    return f"{config['weight_bits']}/8{stream}/{attention}"


def percent(figures: dict) -> str:
    return f"{100 * figures['top1']:.2f}"


def measurements(summaries: list[dict]) -> Part:
    rows = []
    for summary in summaries:
        start = (short_name(summary["model"]), f"{summary['images']:,}")
        rows.append((*start, "float", *cells(summary["float"])[:2], "", "", "", ""))
        for name, reference in simulated(summary).items():
            rows.append((*start, f"paper's simulation, {name}", *paired(reference)))
        for run in summary["runs"]:
            rows.append((*start, f"integers, {run['configuration']}", *paired(run["integer"])))
    return Part(
        "table",
        "Compared image by image with float; ± is one standard error, of the change that of the "
        "paired difference.",
        head=(
            "Model", "Images", "Column", "Top-1", "Top-5", "Top-1 change, points",
            "Agrees with float", "Only float / only this right", "Logit SNR",
        ),
        rows=tuple(rows),
        ours=frozenset(i for i, row in enumerate(rows) if row[2].startswith("integers")),
    )  # fmt: skip


def paired(figures: dict) -> tuple[str, ...]:
    top1, top5, *rest = cells(figures)
    change = f"{100 * figures['change']:+.2f} ± {100 * figures['change_se']:.2f}"
    return (top1, top5, change, *rest)


def tables(summary: dict) -> list[Part]:
    """All tables of one measurement, which show all that it must hold. Raises if it does not."""
    return [
        measurements([summary]),
        configurations(summary["header"]),
        provenance(summary),
        *skipped_files(summary),
    ]


def details(summary: dict) -> Iterator[Part]:
    """One measurement: what it was made of, what was skipped, its pictures."""
    model, header = short_name(summary["model"]), summary["header"]
    yield Part("heading", f"{model}: {summary['source']}")
    if not is_whole(summary) and model in MODELS:
        yield Part(
            "warning",
            f"{summary['images']:,} images scored of {header['data']['images']:,} in the folder, "
            f"not the {VALIDATION_IMAGES:,} of the validation set.",
        )
    yield configurations(header)
    yield provenance(summary)
    yield from skipped_files(summary)
    if not summary.get("layers"):
        yield Part("text", "The layers of this run were not measured (accuracy --noise).")
        return
    slug = re.sub(r"[^A-Za-z0-9]+", "-", f"{model}-{summary['source'].rsplit('.', 1)[0]}")
    yield from drawn(slug, summary)


def skipped_files(summary: dict) -> Iterator[Part]:
    skipped = summary["skipped"]
    if skipped:
        yield Part(
            "table",
            f"{len(skipped)} files could not be read and are in no figure.",
            head=("File", "Reason"),
            rows=tuple((s["file"], s["reason"]) for s in skipped),
        )


def configurations(header: dict) -> Part:
    configs = header["configurations"]
    switches = list(dict.fromkeys(name for config in configs.values() for name in config))
    return Part(
        "table",
        "What each configuration chooses.",
        head=("Switch", *configs),
        rows=tuple(
            (s, *(json.dumps(c.get(s)).strip('"') for c in configs.values())) for s in switches
        ),
    )


def provenance(summary: dict) -> Part:
    header = summary["header"]
    size = " x ".join(map(str, header["preprocessing"]["size"]))
    rows = [
        ("Model", header["model"]),
        ("Weights, sha256", header["weights_sha256"]),
        ("Validation folder", f"{header['data']['images']:,} images"),
        (
            "Preprocessing",
            f"{size}, crop {header['preprocessing']['crop_pct']}, "
            f"{header['preprocessing']['interpolation']}",
        ),
        (
            "Calibration",
            f"{header['calibration']['images']} images, sha256 {header['calibration']['sha256']}",
        ),
        *((f"Network {n}, sha256", sha) for n, sha in header["networks_sha256"].items()),
    ]
    return Part("table", "What was measured.", head=("What", "Value"), rows=tuple(rows))


def drawn(slug: str, summary: dict) -> Iterator[Part]:
    layers = summary["layers"]
    images = f"{layers['images']} images"
    ends = ", ".join(
        f"{run['configuration']} {decibels(run['integer']['logit_snr_db'])}"
        for run in summary["runs"]
    )
    yield Part(
        "picture",
        f"Signal to noise of every unit's output against the float model, {images}. At the "
        f"logits, all images: {ends}.",
        name=f"{slug}-noise",
        png=noise_png(summary),
    )
    yield Part(
        "picture",
        "Range of each channel that enters a LayerNorm, channels in the order of their width: a "
        "single scale would spend most of its codes on the few widest. Colours are the "
        f"power-of-two factors chosen for them. {images}.",
        name=f"{slug}-ranges",
        png=pictures.ranges_png(summary),
    )
    if any(c["ptf_factors"] for c in layers["configurations"].values()):
        yield Part(
            "picture",
            "Share of the channels that take each power-of-two factor, by LayerNorm input.",
            name=f"{slug}-factors",
            png=pictures.factors_png(summary),
        )
    yield Part(
        "picture",
        "Attention maps: how often each code occurs. From the largest weight to zero, 15: of the "
        "row's maximum in max4 (255, 192, 128, 96, ... of 255), of the row's sum in lis4 (2^-c). "
        "Maps of other bits are counted at the nearest power of two of the sum, and pairs that a "
        "window masks at 15.",
        name=f"{slug}-codes",
        png=pictures.codes_png(summary),
    )
