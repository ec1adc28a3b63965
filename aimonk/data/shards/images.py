"""Images inside shards, as small objects in the place of paths."""

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from aimonk.data.images.decoding import check_bytes
from aimonk.data.shards.copies import Copies
from aimonk.data.shards.states import describe_status

OPEN_SHARDS = 32  # kept open by each process


@dataclass(frozen=True)
class Shard:
    """A shard whose images can be read at any position.

    Attributes:
        address: Local path or fsspec address.
        state: Changes with the content.
        copies: Where the images are copied to; None for a local tar file, which is read itself.
    """

    address: str
    state: str
    copies: Copies | None

    def read(self, offset: int, size: int) -> bytes:
        """Bytes of the tar file, or of the copy.

        Raises:
            OSError: The shard cannot be read.
            ValueError: It has changed since it was listed.
        """
        opened = _open(self)  # the reference keeps it open while other threads open more
        content = os.pread(opened.file, size, offset)
        if len(content) < size:
            raise ValueError("the shard is incomplete")
        return content


@dataclass(frozen=True, slots=True)
class ShardImage:
    """An image inside a shard, which `decode` accepts as it does a path.

    Attributes:
        name: Of the image in the label table.
        offset: Of its content in the tar file, or in the copy of the shard.
        size: Bytes.
    """

    shard: Shard
    name: str
    offset: int
    size: int

    def open(self) -> BinaryIO:
        """The image file; errors as of `Shard.read`."""
        check_bytes(self.size)
        return io.BytesIO(self.shard.read(self.offset, self.size))

    def __str__(self) -> str:
        return f"{self.name} of {self.shard.address}"


class _OpenFile:
    """A file descriptor that is closed with the object."""

    def __init__(self, file: int):
        self.file = file

    def __del__(self, close: Callable = os.close) -> None:
        close(self.file)


_opened: dict[tuple[str, str], _OpenFile] = {}


def _open(shard: Shard) -> _OpenFile:
    """The file of a shard, which stays open: opening one for each image is slow on network drives.

    Without a lock, which a forked process could inherit locked: at worst, two threads open the same file.
    """
    key = (shard.address, shard.state)
    found = _opened.get(key)
    if found is None:
        found = _OpenFile(_open_file(shard))
        for other, opened in list(_opened.items()):
            # a copy that was removed meanwhile would take up disk space as long as it is open
            if len(_opened) >= OPEN_SHARDS or os.fstat(opened.file).st_nlink == 0:
                _opened.pop(other, None)
        _opened[key] = found
    return found


def _open_file(shard: Shard) -> int:
    if shard.copies is not None:
        return shard.copies.open(shard.address, shard.state)
    file = os.open(shard.address, os.O_RDONLY)
    if describe_status(os.fstat(file)) != shard.state:
        os.close(file)
        raise ValueError("the shard has changed since the start")
    return file
