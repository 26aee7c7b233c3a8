"""`fqvit-hw features`: the integer feature maps of a Swin backbone on an image of any size."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..files import write_atomically
from ..model import FeatureMap, QuantizedModel


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser(
        "features",
        help="integer feature maps of a Swin network, for an image of any size",
        description="With --model, the noise of each stage against the float backbone too.",
    )
    parser.add_argument("--network", type=Path, required=True, metavar="FILE", help="of a Swin")
    parser.add_argument("--image", type=Path, required=True, metavar="FILE")
    parser.add_argument("--out", type=Path, metavar="FILE.npz", help="codes, scales, zero points")
    parser.add_argument("--model", metavar="NAME", help="the float model of the network")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="of the float model")
    parser.set_defaults(run=run)


def run(args) -> None:
    qm = QuantizedModel.load(args.network)
    image = read_whole(args.image, qm.network.channels)
    maps = qm.features(image[None])
    noise = [None] * len(maps)
    if args.model:
        from ..zoo.models import load_model

        size = qm.network.height, qm.network.width
        noise = stage_noise(load_model(args.model, args.weights, size), qm, image, maps)
    print(f"{args.image}: {image.shape[1]} x {image.shape[2]} pixels")
    print(table(maps, noise))
    if args.out:
        write_atomically(args.out, packed(maps))


def table(maps: list[FeatureMap], noise: list[float | None]) -> str:
    """A line per stage: tokens, channels, codes, scale, zero point, signal to noise in dB."""
    lines = ["stage  tokens (h x w)  channels  codes  scale     zero  signal to noise"]
    for i, (found, db) in enumerate(zip(maps, noise, strict=True)):
        _, h, w, C = found.codes.shape
        lines.append(
            f"{i:5}  {f'{h} x {w}':>14}  {C:8}  {found.codes.dtype!s:5}  "
            f"{float(found.scale.scale):.6f}  {found.scale.zero:4}  "
            + ("-" if db is None else f"{db:.1f} dB")
        )
    return "\n".join(lines)


def read_whole(path, channels: int) -> np.ndarray:
    """uint8 (C, H, W) of an image file, neither scaled nor cropped. Raises UserError naming it."""
    from PIL import Image

    try:
        with Image.open(path) as opened:
            pixels = np.asarray(opened.convert("L" if channels == 1 else "RGB"))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, SyntaxError) as error:  # PIL raises all three
        raise UserError(f"{path}: not an image: {error}") from error
    return pixels.reshape(*pixels.shape[:2], channels).transpose(2, 0, 1)  # (H, W, C) -> (C, H, W)


def stage_noise(model, qm: QuantizedModel, image, maps: list[FeatureMap]) -> list[float]:
    """Signal to quantization noise in dB of every stage, against the float backbone `model`."""
    from ..calibrate import preprocessing
    from ..calibrate.float_steps import float_steps, normalize

    x = normalize(image[None], *preprocessing(model, None, None))
    wanted = [stage.output.name for stage in qm.network.steps.stages]
    found = float_steps(model, x)
    real = {step.name: y.numpy() for step, y in found if step.name in wanted}
    if list(real) != wanted:
        raise UserError(f"the float model has other stages than the network: {', '.join(wanted)}")
    decibels = []
    for name, found in zip(wanted, maps, strict=True):
        signal = real[name].astype(np.float64)  # (1, N, C)
        if signal.size != found.codes.size:
            raise UserError(f"{name}: the float model has maps of another size than the network")
        error = found.scale.dequantize(found.codes).reshape(signal.shape) - signal
        decibels.append(float(10 * np.log10(np.square(signal).sum() / np.square(error).sum())))
    return decibels


def packed(maps: list[FeatureMap]) -> bytes:
    """An .npz: stageN codes (h, w, C), stageN_scale, stageN_zero, stageN_factor (C,)."""
    arrays = {}
    for i, found in enumerate(maps):
        channels = found.codes.shape[-1]
        arrays |= {
            f"stage{i}": found.codes[0],
            f"stage{i}_scale": found.scale.scale,
            f"stage{i}_zero": np.int32(found.scale.zero),
            f"stage{i}_factor": np.broadcast_to(found.scale.factor, channels),
        }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()
