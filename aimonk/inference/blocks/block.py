"""Blocks: the parts into which the images of a prediction are divided, each a shard or some files."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aimonk.data.shards.addresses import is_remote
from aimonk.data.shards.reading import read_shard

FILES = 1000  # per block


@dataclass(frozen=True)
class Block:
    """Images that one worker predicts, and one file of predictions.

    Attributes:
        shard: Absolute path or address; None for files.
        files: Paths as they were given.
        folder: That relative paths start from.
    """

    number: int
    shard: str | None
    files: tuple[str, ...] = field(repr=False)
    folder: str

    def __str__(self) -> str:
        return self.shard or f"{self.files[0]} to {self.files[-1]}"

    def read(self) -> Iterator[tuple[str, Path | bytes]]:
        """Name and file, or content of the file, of each image.

        Raises:
            OSError: The shard cannot be opened.
            ValueError: The shard is damaged.
        """
        if self.shard is None:
            return ((name, Path(self.folder, name)) for name in self.files)
        return ((member.name, member.content) for member in read_shard(self.shard, with_labels=False))

    def describe(self) -> dict[str, Any]:
        """What identifies the images: a shard's address, and size where it is local; files' names."""
        if self.shard is not None:
            size = None if is_remote(self.shard) else os.path.getsize(self.shard)
            return {"shard": self.shard, "bytes": size}
        names = "\0".join(self.files).encode(errors="surrogateescape")
        digest = hashlib.sha256(names).hexdigest()
        return {"files": len(self.files), "first": self.files[0], "digest": digest}


def blocks_of_shards(addresses: Sequence[str]) -> list[Block]:
    """A block per shard."""
    return [
        Block(number, address if is_remote(address) else os.path.abspath(address), (), "")
        for number, address in enumerate(addresses)
    ]


def blocks_of_files(paths: Sequence[Path]) -> list[Block]:
    """Blocks of up to FILES files."""
    names = [str(path) for path in paths]
    return [
        Block(number, None, tuple(names[start : start + FILES]), os.getcwd())
        for number, start in enumerate(range(0, len(names), FILES))
    ]
