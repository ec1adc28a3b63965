"""Images inside shards, as small objects in the place of paths."""

import io
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from aimonk.data.images.decoding import check_bytes
from aimonk.data.shards.copies import Copies
from aimonk.data.shards.states import describe_status

OPEN_SHARDS = 32  # kept open by each thread


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
        content = os.pread(_open(self).file, size, offset)
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


_opened = threading.local()


def _open(shard: Shard) -> _OpenFile:
    """The file of a shard, which this thread keeps open: opening one per image is slow on network drives."""
    files: OrderedDict[tuple[str, str], _OpenFile] = _opened.__dict__.setdefault("files", OrderedDict())
    key = (shard.address, shard.state)
    if key in files:
        files.move_to_end(key)
        return files[key]
    # a copy that was removed meanwhile would take up disk space as long as it is open
    for other in [k for k, opened in files.items() if os.fstat(opened.file).st_nlink == 0]:
        del files[other]
    files[key] = _OpenFile(_open_file(shard))
    if len(files) > OPEN_SHARDS:
        files.popitem(last=False)
    return files[key]


def _open_file(shard: Shard) -> int:
    if shard.copies is not None:
        return shard.copies.open(shard.address, shard.state)
    file = os.open(shard.address, os.O_RDONLY)
    if describe_status(os.fstat(file)) != shard.state:
        os.close(file)
        raise ValueError("the shard has changed since the start")
    return file
