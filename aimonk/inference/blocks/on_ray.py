"""Workers of a Ray cluster, or of one on this machine: Ray Data distributes and repeats blocks."""

import contextlib
import logging
import os
import pickle
import re
import socket
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aimonk.inference.blocks.block import Block
from aimonk.inference.blocks.job import Job, Outcome
from aimonk.inference.blocks.worker import ATTEMPTS, start_predictor

if TYPE_CHECKING:
    import ray

CONNECT_SECONDS = 10
STORE_BYTES = 2**28  # of the object store of a cluster of our own, which holds the model and small results


def import_ray() -> "ray":
    """Ray, which sends no usage statistics.

    Raises:
        ValueError: It is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its logs are on the terminal otherwise
    try:
        import ray
        import ray.data
        import ray.exceptions
    except ImportError as error:
        raise ValueError(
            f"engine is ray, but {error.name} is not installed; pip install -e '.[ray]' installs it"
        ) from None
    return ray


@contextlib.contextmanager
def cluster(model_bytes: int) -> Iterator[None]:
    """Join the cluster of RAY_ADDRESS, or else start one on this machine; leave or end it with the block.

    Raises:
        ValueError: There is no cluster at that address.
    """
    ray = import_ray()
    if ray.is_initialized():
        yield
        return
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    address = os.environ.get("RAY_ADDRESS")
    try:
        if address:
            check_reachable(address)
            ray.init(address, **quiet)
        else:
            store = STORE_BYTES + 2 * model_bytes
            ray.init("local", object_store_memory=store, include_dashboard=False, **quiet)
    except (OSError, RuntimeError, ValueError) as error:
        where = f"RAY_ADDRESS is {address}" if address else "engine is ray"
        raise ValueError(f"{where}; no cluster can be reached or started ({_first_line(error)})") from None
    try:
        yield
    finally:
        ray.shutdown()


def check_reachable(address: str) -> None:
    """Connect once, since Ray tries for minutes.

    Raises:
        OSError: Nobody listens there.
    """
    match = re.fullmatch(r"(?:ray://)?([^/]+):(\d+)", address)
    if match:
        socket.create_connection((match[1].strip("[]"), int(match[2])), CONNECT_SECONDS).close()


def plan(workers: int | None, device: str) -> tuple[int, int, str]:
    """Number of workers, threads of each, and their device, which fit into the cluster.

    Args:
        workers: None for one per GPU, or else per CPU.
        device: A setting `device`.

    Raises:
        ValueError: The cluster has too few CPUs or GPUs.
    """
    nodes = [node["Resources"] for node in import_ray().nodes() if node["Alive"]]
    cpus, gpus = ([int(node.get(name, 0)) for node in nodes] for name in ("CPU", "GPU"))
    if device.startswith("cuda") or (device == "auto" and sum(gpus) > 0):
        most, kind, device = sum(gpus), "GPUs", "cuda"
    else:
        most, kind, device = sum(cpus), "CPUs", "cpu" if device == "auto" else device
    workers = most if workers is None else workers
    if not 0 < workers <= most:
        raise ValueError(f"workers is {workers}; expected 1 to {most}, the {kind} of the Ray cluster")
    threads = max(1, sum(cpus) // workers)
    # a worker has all its CPUs on one machine
    while threads > 1 and sum(count // threads for count in cpus) < workers:
        threads -= 1
    return workers, threads, device


class Attempts:
    """An actor that counts how often each block was begun: Ray repeats the blocks of dead workers forever."""

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()

    def begin(self, number: int) -> int:
        self.counts[number] += 1
        return self.counts[number]


class RayWorker:
    """An actor: a BlockPredictor, from the model in the object store, since other machines lack the file."""

    def __init__(self, job: Job, model: Any, attempts: Any):
        self.ray, self.attempts = import_ray(), attempts
        with tempfile.NamedTemporaryFile(suffix=job.checkpoint.suffix) as file:
            file.write(self.ray.get(model))
            file.flush()
            self.predict = start_predictor(job, Path(file.name))

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        (block,) = map(pickle.loads, batch["block"])
        outcome = Outcome(block.number, error=f"{block}: the worker died, at {ATTEMPTS} attempts")
        while self.ray.get(self.attempts.begin.remote(block.number)) <= ATTEMPTS:
            outcome = self.predict(block)
            if not outcome.transient:
                break
        return {"outcome": [pickle.dumps(outcome)]}


def predict_on_ray(job: Job, blocks: Sequence[Block], workers: int) -> Iterator[Outcome]:
    """The outcome of every block, in the order in which they end; within `cluster`.

    Raises:
        ValueError: The workers cannot start.
    """
    ray = import_ray()
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.max_errored_blocks = -1  # a block without an outcome is reported below
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    model = ray.put(job.checkpoint.read_bytes())
    attempts = ray.remote(num_cpus=0)(Attempts).remote()
    items = [{"block": pickle.dumps(block)} for block in blocks]
    outcomes = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
        RayWorker,
        fn_constructor_args=(job, model, attempts),
        batch_size=1,
        concurrency=workers,
        num_cpus=job.threads,
        num_gpus=1 if job.device == "cuda" else 0,
    )
    remaining = {block.number: block for block in blocks}
    try:
        for row in outcomes.iter_rows():
            outcome = pickle.loads(row["outcome"])
            remaining.pop(outcome.number, None)
            yield outcome
    except ray.exceptions.RayError as error:
        raise ValueError(f"the workers of Ray failed ({_last_line(error)})") from None
    for number, block in remaining.items():
        yield Outcome(number, error=f"{block}: lost by Ray; the same command repeats it")


def _first_line(error: Exception) -> str:
    return (f"{error}".strip() or type(error).__name__).splitlines()[0]


def _last_line(error: Exception) -> str:
    return (f"{error}".strip() or type(error).__name__).splitlines()[-1]
