"""A folder of predictions, local or an fsspec address, whose files appear when they are complete."""

import contextlib
import io
import json
import os
import posixpath
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

from aimonk.data.shards.addresses import is_remote, reaching, split_address
from aimonk.files.atomic import replacing

MANIFEST = "_manifest.json"  # readers of Parquet folders skip names that begin with _ or .
LOCK = ".lock"


class OutputFolder:
    """A folder that one command writes to.

    Args:
        address: A path, which is made absolute, or an fsspec address.

    Raises:
        ValueError: fsspec is missing, or cannot open such an address.
    """

    def __init__(self, address: str):
        self.system = None
        if is_remote(address):
            self.system, self.path = split_address(address.rstrip("/"))
            self.address = address.rstrip("/")
        else:
            self.address = self.path = os.path.abspath(address)

    def __str__(self) -> str:
        return self.address

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Create the folder, and keep other commands of this machine out of it.

        Raises:
            OSError: It cannot be created.
            ValueError: Another command writes to it.
        """
        if self.system is not None:
            with reaching(self.address):
                self.system.makedirs(self.path, exist_ok=True)
            yield
            return
        os.makedirs(self.path, exist_ok=True)
        lock = FileLock(os.path.join(self.path, LOCK))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise ValueError(f"output is {self}; expected a folder that no other command writes to") from None
        with lock:
            yield

    def names(self) -> list[str]:
        """The files of the folder; empty where it does not exist."""
        if self.system is None:
            return os.listdir(self.path) if os.path.isdir(self.path) else []
        # another command may have written since a listing was cached
        self.system.invalidate_cache()
        with reaching(self.address):
            found = self.system.ls(self.path, detail=False) if self.system.exists(self.path) else []
        return [posixpath.basename(path.rstrip("/")) for path in found]

    def remove_temporary(self, names: list[str]) -> None:
        """Delete the files that a killed command left."""
        for name in names:
            if name.startswith(".") and name.endswith(".tmp"):
                with contextlib.suppress(OSError):
                    path = posixpath.join(self.path, name)
                    os.unlink(path) if self.system is None else self.system.rm(path)

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """Open a file that appears under its name when the block ends, and not if it raises."""
        if self.system is None:
            with replacing(Path(self.path, name)) as file:
                yield file
            return
        buffer = io.BytesIO()
        yield buffer
        temporary = posixpath.join(self.path, f".{secrets.token_hex(8)}.tmp")
        with reaching(self.address):
            self.system.pipe_file(temporary, buffer.getvalue())
            self.system.mv(temporary, posixpath.join(self.path, name))

    def open(self, name: str) -> BinaryIO:
        """Open a file for reading."""
        path = posixpath.join(self.path, name)
        return open(path, "rb") if self.system is None else self.system.open(path, "rb")

    def read_manifest(self) -> dict[str, Any] | None:
        """The content of the manifest; None where there is none.

        Raises:
            ValueError: It is damaged.
        """
        try:
            with self.open(MANIFEST) as file:
                content = json.loads(file.read())
        except FileNotFoundError:
            return None
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            raise ValueError(f"{posixpath.join(self.address, MANIFEST)} is damaged; expected a JSON object")
        return content

    def write_manifest(self, content: dict[str, Any]) -> None:
        with self.writing(MANIFEST) as file:
            file.write(json.dumps(content, indent=1, allow_nan=False).encode())
