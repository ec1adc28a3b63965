"""What a folder of predictions records of its model and images, which a restart compares."""

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aimonk.inference.blocks.block import Block
from aimonk.inference.blocks.job import Job, Outcome, part_name
from aimonk.inference.blocks.output_folder import LOCK, MANIFEST, OutputFolder
from aimonk.inference.blocks.parquet_output import count_rows
from aimonk.models.checkpoint import ModelInfo

FORMAT = "aimonk predictions 1"
READERS = 16  # of finished files, at a time

log = logging.getLogger(__name__)


def describe(job: Job, info: ModelInfo, blocks: list[Block], image: str) -> dict[str, Any]:
    """The content of the manifest: the model and the images of each file."""
    return {
        "format": FORMAT,
        "checkpoint": str(job.checkpoint),
        "checkpoint_digest": job.digest,
        "thresholds": dict(zip(info.attributes, job.thresholds, strict=True)),
        "with_features": job.with_features,
        "image": image,
        "finished": None,
        "blocks": {part_name(block.number, len(blocks)): block.describe() for block in blocks},
    }


def open_folder(output: OutputFolder, manifest: dict[str, Any], blocks: list[Block]) -> dict[int, Outcome]:
    """The outcomes of finished blocks, by number; empty for a new folder.

    Raises:
        ValueError: The folder belongs to something else.
    """
    check_new(output)
    names = output.names()
    old = output.read_manifest() if MANIFEST in names else None
    if old is None:
        output.write_manifest(manifest)
        return {}
    for keys, what in (
        (("format",), "predictions of another version"),
        (("checkpoint_digest",), f"predictions of another model, {old.get('checkpoint')}"),
        (("thresholds", "with_features"), "predictions with other thresholds or with_features"),
        (("blocks",), f"predictions for other images, {old.get('image')}"),
    ):
        if any(old.get(key) != manifest[key] for key in keys):
            raise ValueError(
                f"output is {output}, which has {what}; expected a new folder, or the same command"
            )
    output.remove_temporary(names)
    parts = {part_name(block.number, len(blocks)): block for block in blocks}
    with ThreadPoolExecutor(READERS) as pool:
        found = pool.map(lambda name: read_outcome(output, name, parts[name]), parts.keys() & set(names))
        return {outcome.number: outcome for outcome in found if outcome is not None}


def check_new(output: OutputFolder) -> None:
    """Reject a folder with files that are no predictions.

    Raises:
        ValueError: It has such files.
    """
    names = output.names()
    others = [name for name in names if name != LOCK and not name.endswith(".tmp")]
    if others and MANIFEST not in names:
        raise ValueError(f"output is {output}, which has other files ({others[0]}); expected a new folder")


def read_outcome(output: OutputFolder, name: str, block: Block) -> Outcome | None:
    """The outcome of a finished block; None where its file is damaged."""
    try:
        with output.open(name) as file:
            return Outcome(block.number, *count_rows(file))
    except ValueError as error:
        log.warning("%s is computed again: %s", name, error)
        return None
