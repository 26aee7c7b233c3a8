"""What an evaluation is to do, as one object that checks itself; the command makes it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from ..config import QuantConfig, load_config
from ..engines import operations
from ..errors import UserError
from ..files import check_file
from .work import tell_default_engine

BATCH, DEVICE_BATCH = 8, 64
NOISE_IMAGES = 16


@dataclass(frozen=True)
class Options:
    """model: digits, or a name of the zoo; configs: by name; weights, data, calibration: see work.

    reference: the paper's float simulation too; limit: images to score, None for all; batch:
    images at a time, workers: decoding processes, None for what suits; ray: address of a cluster;
    engine, device: as QuantizedModel.run takes them; noise: images for the noise of each layer.
    results: a JSON line per image, with resume to go on with it; json: the summary; png: a picture
    of the noise.
    """

    model: str
    configs: dict[str, QuantConfig]
    weights: Path | None = None
    data: Path | None = None
    calibration: Path | None = None
    reference: bool = True
    limit: int | None = None
    batch: int | None = None
    workers: int | None = None
    ray: str | None = None
    engine: str | None = None
    device: str | None = None
    noise: int = NOISE_IMAGES
    results: Path | None = None
    resume: bool = False
    json: Path | None = None
    png: Path | None = None
    command: list[str] = field(default_factory=list)  # as it was typed, for the summary

    @property
    def calibration_images(self) -> int:
        """As many as the configuration that wants most."""
        return max(config.calibration_images for config in self.configs.values())

    @property
    def batch_size(self) -> int:
        return self.batch or (DEVICE_BATCH if self.device else BATCH)

    @property
    def summary_file(self) -> Path | None:
        """The file of the summary: by default beside the results, with another suffix."""
        return self.json or (self.results and self.results.with_suffix(".json"))

    def check(self) -> None:
        """Raises UserError for what can be refused at once, before minutes of work."""
        if self.resume and not self.results:
            raise UserError("--resume needs --results FILE")
        if self.results and self.results.exists() and not self.resume:
            raise UserError(
                f"{self.results}: exists already: --resume goes on with it, or choose another name"
            )
        if self.results and self.summary_file == self.results:
            raise UserError(f"{self.results}: the summary has this name: call the results .jsonl")
        for path in (self.results, self.summary_file, self.png):
            if path:
                check_file(path)
        if self.png and not self.noise:
            raise UserError("--png draws the noise of the layers: it needs --noise N from 1 up")
        if self.engine or self.device:
            operations(self.engine, self.device)  # refuses what is not there
        elif not self.ray:
            tell_default_engine()
        if self.ray:
            from .cluster import check_reachable

            check_reachable(self.ray)


def named_configs(given: list[str], calibration_images: int | None) -> dict[str, QuantConfig]:
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
