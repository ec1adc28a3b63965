"""What the workers of a prediction share, and what they report; loads without torch."""

import hashlib
from dataclasses import dataclass
from pathlib import Path


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


def part_name(number: int, parts: int) -> str:
    """The file of a block, such as `part-00012.parquet`; names sort as the numbers."""
    return f"part-{number:0{max(5, len(str(parts - 1)))}}.parquet"


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
