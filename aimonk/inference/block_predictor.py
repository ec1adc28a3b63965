"""Predictions for one block, written as one file: the same code in this process, in others and under Ray."""

import errno
import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch

from aimonk.inference.blocks import Block
from aimonk.inference.images import predict_images
from aimonk.inference.output_folder import PART, OutputFolder
from aimonk.inference.parquet_output import PartWriter
from aimonk.inference.predictor import SEVERAL, open_model
from aimonk.runtime.device import pick_device

# errors of the output that all other blocks would meet too
HOPELESS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@dataclass(frozen=True)
class Job:
    """What all workers of a prediction share.

    Attributes:
        checkpoint: A file.
        digest: SHA-256 of this file.
        device: As for pick_device.
        threads: Of a worker.
        thresholds: Lowest probability at which an attribute is present, A of them.
        with_features: Whether the inputs of the head are written, too.
        output: Address of the folder.
        parts: Number of all blocks, which sets the width of their numbers.
    """

    checkpoint: Path
    digest: str
    device: str
    threads: int
    batch_size: int
    thresholds: list[float]
    with_features: bool
    output: str
    parts: int


@dataclass(frozen=True)
class Outcome:
    """What became of a block.

    Attributes:
        images: Rows of its file.
        unreadable: Rows without probabilities.
        error: Why it has no file; None where it has.
        hopeless: Whether other blocks would fail for the same reason.
        transient: Whether the block may succeed when it is repeated.
    """

    number: int
    images: int = 0
    unreadable: int = 0
    error: str | None = None
    hopeless: bool = False
    transient: bool = False


class BlockPredictor:
    """Loads the model once, and predicts block after block.

    Args:
        checkpoint: The file of the job, or a copy.

    Raises:
        ValueError: The device is not available, or the checkpoint is invalid or has changed.
    """

    def __init__(self, job: Job, checkpoint: Path):
        self.job = job
        torch.set_num_threads(job.threads)
        if file_digest(checkpoint) != job.digest:
            raise ValueError(f"{checkpoint} has changed since the command started; start it again")
        self.model = open_model(checkpoint, pick_device(job.device), SEVERAL)
        self.output = OutputFolder(job.output)

    def __call__(self, block: Block) -> Outcome:
        try:
            return self._predict(block)
        except OSError as error:
            reason = error.strerror or f"{error}" or type(error).__name__
            where = "" if error.filename is None else f" ({error.filename})"
            hopeless = error.errno in HOPELESS
            return Outcome(block.number, error=f"{reason}{where}", hopeless=hopeless, transient=not hopeless)
        except (ValueError, MemoryError) as error:
            return Outcome(block.number, error=" ".join(f"{error}".split()) or type(error).__name__)

    def _predict(self, block: Block) -> Outcome:
        job, info = self.job, self.model.info
        about = {
            "checkpoint": str(job.checkpoint),
            "checkpoint_digest": job.digest,
            "attributes": info.attributes,
            "thresholds": job.thresholds,
        }
        with self.output.writing(part_name(block.number, job.parts)) as file:
            writer = PartWriter(file, info.attributes, job.thresholds, job.with_features, about, block.shard)
            for answers in predict_images(
                self.model, block.read(), job.batch_size, job.threads, job.with_features
            ):
                writer.add(answers)
            writer.close()
        return Outcome(block.number, writer.images, writer.unreadable)


def part_name(number: int, parts: int) -> str:
    """The file of a block, such as `part-00012.parquet`; names sort as the numbers."""
    return f"{PART}{number:0{max(5, len(str(parts - 1)))}}.parquet"


def file_digest(path: Path) -> str:
    """SHA-256 of a file.

    Raises:
        FileNotFoundError: It does not exist.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(2**20):
            digest.update(piece)
    return digest.hexdigest()
