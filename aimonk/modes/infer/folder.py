"""A folder of predictions, a Parquet file per block, which a stopped command completes when it runs again."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from aimonk.data.shards.parquet_shard import import_parquet
from aimonk.files.run_folder import MODEL_FILE
from aimonk.files.text import plural
from aimonk.inference.blocks.block import Block
from aimonk.inference.blocks.block_predictor import BlockPredictor
from aimonk.inference.blocks.job import Job, Outcome, file_digest, part_name
from aimonk.inference.blocks.on_ray import cluster, plan, predict_on_ray
from aimonk.inference.blocks.output_folder import OutputFolder
from aimonk.inference.blocks.processes import predict_in_processes
from aimonk.inference.onnx_file import OnnxModel
from aimonk.inference.predictor import open_model
from aimonk.modes.infer.decisions import read_thresholds, warn_of_doubtful
from aimonk.modes.infer.record import check_new, describe, open_folder
from aimonk.runtime.device import pick_device
from aimonk.runtime.progress import show_progress
from aimonk.runtime.ranks import world_size
from aimonk.setup.runs import describe_checkpoint

ENGINES = (None, "processes", "ray")

log = logging.getLogger(__name__)


def is_folder(output: str | None, engine: str | None) -> bool:
    """Whether predictions go to a folder, not to a file or the terminal."""
    return engine is not None or (output is not None and (output.endswith("/") or os.path.isdir(output)))


def predict_to_folder(cfg: DictConfig, blocks: list[Block], source: Path) -> None:
    """Predict the blocks that have no file yet.

    Raises:
        FileNotFoundError: No such checkpoint.
        OSError: The folder cannot be written.
        ValueError: An invalid setting, a folder of other predictions, blocks that failed, which are reported
            after all others are done, or no image could be read.
    """
    check_settings(cfg)
    import_parquet()
    output = OutputFolder(cfg.output)
    check_new(output)
    blocks = outside(blocks, output)
    file = (source / MODEL_FILE if source.is_dir() else source).absolute()
    model = open_model(source, torch.device("cpu"), 1)
    if cfg.with_features and isinstance(model, OnnxModel):
        raise ValueError(
            f"with_features is true; {file} gives probabilities only, expected a checkpoint of a run"
        )
    info = model.info
    del model
    thresholds = read_thresholds(cfg.threshold, info)
    digest = file_digest(file)
    log.info("checkpoint: %s", describe_checkpoint(source, info))
    job = Job(
        *(file, digest, cfg.device, 1, cfg.batch_size, thresholds, cfg.with_features),
        *(output.address, len(blocks)),
    )
    with ExitStack() as stack:
        stack.enter_context(output.locked())
        manifest = describe(job, info, blocks, str(cfg.image))
        finished = open_folder(output, manifest, blocks)
        waiting = [block for block in blocks if block.number not in finished]
        if finished:
            log.info("%d of %s are finished already", len(finished), plural(len(blocks), "block"))
        outcomes = list(finished.values())
        if waiting:
            workers, threads, device = place_workers(cfg, file, len(blocks), stack)
            output.write_manifest(manifest)
            start = choose_engine(cfg.engine, replace(job, threads=threads, device=device), workers)
            outcomes += collect(start(waiting), job, len(waiting))
        finish(output, manifest, outcomes, blocks)
    warn_of_doubtful(info)


def check_settings(cfg: DictConfig) -> None:
    """Reject settings that do not fit to a folder.

    Raises:
        ValueError: There is such a setting.
    """
    if world_size() > 1:
        raise ValueError("output is a folder; expected no torchrun, since engine=processes uses all GPUs")
    if cfg.output is None:
        raise ValueError(f"output is null; with engine={cfg.engine}, expected output=FOLDER/")
    if os.path.isfile(cfg.output):
        raise ValueError(
            f"output is {cfg.output}, a file; expected a folder, for Parquet files of predictions"
        )
    if cfg.format != "auto":
        raise ValueError(
            f"format is {cfg.format!r}; expected auto, since a folder of predictions has Parquet files"
        )
    if cfg.workers != "auto" and (type(cfg.workers) is not int or cfg.workers < 1):
        raise ValueError(f"workers is {cfg.workers!r}; expected auto or a number of processes")
    if cfg.engine != "ray":
        pick_device(cfg.device)


def outside(blocks: list[Block], output: OutputFolder) -> list[Block]:
    """The blocks but for shards in the output folder, which a pattern may find there on a restart.

    Raises:
        ValueError: There are no others.
    """
    own = output.address + "/"
    kept = [block for block in blocks if block.shard is None or not block.shard.startswith(own)]
    if not kept:
        raise ValueError(f"output is {output}; expected another folder than that of the images")
    if len(kept) == len(blocks):
        return blocks
    return [Block(number, block.shard, block.files, block.folder) for number, block in enumerate(kept)]


def place_workers(cfg: DictConfig, file: Path, most: int, stack: ExitStack) -> tuple[int, int, str]:
    """Number of workers, threads of each and their device.

    Args:
        most: Number of blocks; more workers would have nothing to do.

    Raises:
        ValueError: They do not fit, or the device is not available.
    """
    workers = None if cfg.workers == "auto" else cfg.workers
    if cfg.engine == "ray":
        stack.enter_context(cluster(file.stat().st_size))
        return plan(workers, cfg.device)
    if cfg.engine is None:
        return 1, torch.get_num_threads(), cfg.device
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if workers is None:
        device = pick_device(cfg.device)
        several = torch.cuda.device_count() if cfg.device in ("auto", "cuda") else 1
        workers = cores if device.type == "cpu" else several if device.type == "cuda" else 1
    workers = min(workers, most)
    return workers, max(1, cores // workers), cfg.device


def choose_engine(
    engine: str | None, job: Job, workers: int
) -> Callable[[Sequence[Block]], Iterator[Outcome]]:
    """From blocks to their outcomes, in the order in which they end."""
    if engine == "processes":
        return lambda blocks: predict_in_processes(job, blocks, workers)
    if engine == "ray":
        return lambda blocks: predict_on_ray(job, blocks, workers)
    return lambda blocks: map(BlockPredictor(job, job.checkpoint), blocks)


def collect(outcomes: Iterator[Outcome], job: Job, count: int) -> list[Outcome]:
    """All outcomes, errors among them, which are logged.

    Raises:
        OSError: The output cannot be written.
    """
    collected = []
    with show_progress("blocks", count) as bar:
        for outcome in outcomes:
            if outcome.hopeless:
                raise OSError(f"output cannot be written: {outcome.error}; the same command continues later")
            if outcome.error is not None:
                log.error("%s: %s", part_name(outcome.number, job.parts), outcome.error)
            collected.append(outcome)
            bar.advance(1)
    return collected


def finish(
    output: OutputFolder, manifest: dict[str, Any], outcomes: list[Outcome], blocks: list[Block]
) -> None:
    """Report the sums, and write them into the manifest of a complete folder.

    Raises:
        ValueError: Blocks failed, or no image could be read.
    """
    images = sum(outcome.images for outcome in outcomes)
    unreadable = sum(outcome.unreadable for outcome in outcomes)
    failed = sum(outcome.error is not None for outcome in outcomes)
    files = plural(len(blocks) - failed, "file")
    if unreadable:
        log.warning("%d of %s could not be read: column reason", unreadable, plural(images, "image"))
    if failed:
        raise ValueError(f"{failed} of {plural(len(blocks), 'block')} failed; the same command repeats them")
    output.write_manifest(manifest | {"finished": {"images": images, "unreadable": unreadable}})
    log.info("predictions for %s in %s: %s", plural(images, "image"), files, output)
    if images and unreadable == images:
        raise ValueError(f"none of {plural(images, 'image')} could be read")
