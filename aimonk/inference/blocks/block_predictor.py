"""Predictions for one block, written as one file: the same code in this process, in others and under Ray."""

import errno
from pathlib import Path

import torch

from aimonk.inference.blocks.block import Block
from aimonk.inference.blocks.job import Job, Outcome, file_digest, part_name
from aimonk.inference.blocks.output_folder import OutputFolder
from aimonk.inference.blocks.parquet_output import PartWriter
from aimonk.inference.images import predict_images
from aimonk.inference.predictor import SEVERAL, open_model
from aimonk.runtime.device import pick_device

# errors of the output that all other blocks would meet too
HOPELESS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


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
        except torch.OutOfMemoryError:
            error = f"not enough memory of the device for batch_size={self.job.batch_size}; set a smaller one"
            return Outcome(block.number, error=error)
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
        images = predict_images(self.model, block.read(), job.batch_size, job.threads, job.with_features)
        with (
            self.output.writing(part_name(block.number, job.parts)) as file,
            PartWriter(
                file, info.attributes, job.thresholds, job.with_features, about, block.shard
            ) as writer,
        ):
            for answers in images:
                writer.add(answers)
        return Outcome(block.number, writer.images, writer.unreadable)
