"""The evaluation spread over a Ray cluster: the very records of a single process, in any order.

The workers read the images themselves, from a path that all machines share, and have this package
installed. A batch whose worker is lost is given to another.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType

import numpy as np

from ..data.batches import read_batch
from ..data.images import reason
from ..errors import MissingError, UserError
from ..zoo import reach
from .evaluate import Evaluator

HANDSHAKE = "import ray, sys; ray.init(address=sys.argv[1], log_to_driver=False)"
HANDSHAKE_SECONDS = 20
RETRIES = 5  # of a batch whose worker died
QUEUED = 2  # batches per CPU (or GPU) of the cluster that wait or run


def import_ray() -> ModuleType:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no calls home
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # the future default
    try:
        import ray
    except ModuleNotFoundError as error:
        raise MissingError("--ray needs Ray: pip install 'fqvit-hw[ray]'") from error
    return ray


def check_reachable(address: str) -> None:
    """Raises UserError within seconds: ray.init alone may wait for minutes, or end the process.

    address: HOST:PORT of the head of the cluster that this machine belongs to, "auto" to find it,
    "local" to start one here.
    """
    import_ray()
    if address == "local":
        return
    why = None
    if address != "auto":
        host, _, port = address.rpartition(":")
        if not host or "/" in host or not port.isdecimal():
            raise UserError(f"--ray {address}: expected HOST:PORT, auto or local")
        why = reach.why_unreachable(host.strip("[]"), int(port))
    why = why or why_no_handshake(address)
    if why:
        raise UserError(f"--ray {address}: the Ray cluster cannot be reached: {why}")


def why_no_handshake(address: str) -> str | None:
    """None if ray.init connects, in a process of its own, else the reason in a few words."""
    try:
        subprocess.run(
            [sys.executable, "-c", HANDSHAKE, address],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=HANDSHAKE_SECONDS,
            check=True,
        )
        return None
    except subprocess.TimeoutExpired as error:
        said, why = error, f"it does not answer as a Ray cluster within {HANDSHAKE_SECONDS} s"
    except subprocess.CalledProcessError as error:
        said, why = error, "it does not answer as a Ray cluster"
    if b"AuthToken" in (said.stderr or b"") + (said.stdout or b""):
        return "it wants another token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to its token"
    return why


def connect(address: str) -> ModuleType:
    """Returns the module ray, connected. Raises UserError."""
    ray = import_ray()
    more = {"include_dashboard": False} if address == "local" else {}
    tries = 2 if address == "local" else 1  # a busy machine may miss Ray's own time limits once
    for left in reversed(range(tries)):
        try:
            ray.init(address=address, log_to_driver=False, logging_level="ERROR", **more)
            break
        except Exception as error:  # among them bare Exceptions of Ray's
            ray.shutdown()
            if not left:
                raise UserError(
                    f"--ray {address}: the Ray cluster cannot be reached: {reason(error)[:300]}"
                ) from error
    return ray


def score_on_cluster(
    evaluator: Evaluator, source, indices: tuple[tuple[int, ...], ...], address: str
) -> Iterator[list[dict]]:
    """The records of each batch as it is finished. source: Validation or Arrays.

    Raises UserError if a batch fails on its worker, or loses its worker again and again.
    """
    ray = connect(address)
    try:
        gpus = 1 if (evaluator.device or "").startswith("cuda") else 0
        if gpus and not ray.cluster_resources().get("GPU"):  # its tasks would wait for ever
            raise UserError(f"--device {evaluator.device}: the Ray cluster has no GPU")
        task = ray.remote(score).options(num_cpus=1, num_gpus=gpus, max_retries=RETRIES)
        # sent once per machine, not per batch; bytes of a numpy array are shared by its workers
        evaluator_and_source = pickle.dumps((evaluator, source), protocol=5)
        held = [ray.put(np.frombuffer(evaluator_and_source, np.uint8))]
        waiting, running = list(reversed(indices)), []
        while waiting or running:
            slots = ray.cluster_resources().get("GPU" if gpus else "CPU", 1)
            while waiting and len(running) < max(1, int(QUEUED * slots)):
                running.append(task.remote(held, waiting.pop()))
            finished, running = ray.wait(running, timeout=5)
            for one in finished:
                yield ray.get(one)
    except ray.exceptions.RayTaskError as error:
        raise UserError(f"a Ray worker failed: {reason(error.cause or error)}") from error
    except ray.exceptions.RayError as error:
        raise UserError(
            f"the Ray cluster lost its workers {RETRIES + 1} times in one batch, or itself: "
            f"{reason(error)[:300]}"
        ) from error
    finally:
        ray.shutdown()


_held: dict = {}  # of a worker process: the evaluator and source that it was sent, by reference


def score(held: list, indices: tuple[int, ...]) -> list[dict]:
    """Runs in a worker. held: the one reference to (evaluator, source), not resolved by Ray."""
    key = held[0].hex()
    if key not in _held:
        import ray

        from ..timm_compat import import_timm

        import_timm()  # unpickling a timm model imports timm, which may need its repair first
        _held.clear()
        _held[key] = pickle.loads(ray.get(held[0]))
    evaluator, source = _held[key]
    return evaluator.score(read_batch(source, indices))
