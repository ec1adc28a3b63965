"""The start of a worker; loads without torch."""

from pathlib import Path
from typing import TYPE_CHECKING

from aimonk.inference.blocks.job import Job
from aimonk.runtime.memory import keep_freed_memory, postpone_collection, resume_collection

if TYPE_CHECKING:
    from aimonk.inference.blocks.block_predictor import BlockPredictor

ATTEMPTS = 3  # per block, before it is reported as failed


def start_predictor(job: Job, checkpoint: Path) -> "BlockPredictor":
    """Load torch and the model in a new process; errors as BlockPredictor."""
    postpone_collection()
    from aimonk.inference.blocks.block_predictor import BlockPredictor

    predictor = BlockPredictor(job, checkpoint)
    resume_collection()
    keep_freed_memory()
    return predictor
