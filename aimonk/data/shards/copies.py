"""Local copies of the images of remote and Parquet shards, in a folder of bounded size."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from aimonk.data.shards.reading import Member, read_shard
from aimonk.data.shards.states import digest, find_state

SUFFIX, PART = ".images", ".part"


@dataclass(frozen=True)
class Copies:
    """Copies of shards whose images cannot be read at a position: all images, one after another.

    Attributes:
        folder: Created when needed; shared by all processes of a machine.
        limit_bytes: Total size. The least recently opened copies are removed first, after a new one is
            written, which may exceed the limit itself.
        with_labels: Whether shards are listed with their labels, so that damaged ones end a copy.
    """

    folder: Path
    limit_bytes: int
    with_labels: bool

    def open(self, address: str, state: str) -> int:
        """A file descriptor of the copy, which is made where it does not exist.

        Raises:
            OSError: The shard cannot be read, or the copy cannot be written.
        """
        path = self._path(address, state)
        while True:
            with contextlib.suppress(FileNotFoundError):
                file = os.open(path, os.O_RDONLY)
                with contextlib.suppress(OSError):
                    os.utime(file)  # for the order of removal
                return file
            if find_state(address) != state:
                raise ValueError("the shard has changed since the start")
            # damage was reported when the shard was listed, and its images before it can be read
            with contextlib.suppress(ValueError):
                for _ in self._write(path, address, False, must_read=False):
                    pass

    def write(self, address: str, state: str, with_labels: bool) -> Iterator[tuple[Member, int]]:
        """Read a shard, copy it, and yield its images and their positions in the copy.

        A damaged shard is copied up to the damage.

        Raises:
            OSError: As open.
            ValueError: The shard is damaged; raised after the copy is written.
        """
        yield from self._write(self._path(address, state), address, with_labels, must_read=True)

    def _path(self, address: str, state: str) -> Path:
        return self.folder / f"{digest(f'{self.with_labels} {address} {state}')}{SUFFIX}"

    def _write(
        self, path: Path, address: str, with_labels: bool, must_read: bool
    ) -> Iterator[tuple[Member, int]]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if path.exists() and not must_read:
                return  # another process has made it meanwhile
            part, position, damage = path.with_suffix(PART), 0, None
            with part.open("wb") as file:
                try:
                    for member in read_shard(address, with_labels):
                        file.write(member.content)
                        yield member, position
                        position += len(member.content)
                except ValueError as error:
                    damage = error
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
            self._remove_oldest(keep=path)
        if damage is not None:
            raise damage

    def _remove_oldest(self, keep: Path) -> None:
        for part in self.folder.glob(f"*{PART}"):
            # where nobody has the lock, the process that wrote it was killed
            with contextlib.suppress(Timeout), FileLock(f"{part.with_suffix(SUFFIX)}.lock", timeout=0):
                part.unlink(missing_ok=True)
        found = []
        for path in self.folder.glob(f"*{SUFFIX}"):
            with contextlib.suppress(FileNotFoundError):  # another process removes copies too
                status = path.stat()
                found.append((status.st_mtime_ns, status.st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total > self.limit_bytes and path != keep:
                path.unlink(missing_ok=True)  # processes that have it open read on
                total -= size
