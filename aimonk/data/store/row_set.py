"""A set of rows on disk, as its files are: the rows, their checksums, and an index of their keys."""

import contextlib
import json
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import numpy as np

ROWS_FILE, CHECKSUMS_FILE, INDEX_FILE = "rows.bin", "crc.bin", "index.json"
PLACE = np.dtype([("crc", "<u4"), ("length", "<u4"), ("start", "<u8")])  # of a packed row in ROWS_FILE
LARGE = 4096  # bytes of a row above which zlib releases the interpreter lock


class TransientReason(str):
    """An error message of a row that may be computable later; it is not stored."""


class StoreWriteError(Exception):
    """The disk is full, or the folder is not writable."""


@contextlib.contextmanager
def writing() -> Iterator[None]:
    """Turn errors of the disk into `StoreWriteError`, unlike those of a computation."""
    try:
        yield
    except OSError as error:
        raise StoreWriteError(error.strerror or f"{error}") from error


@dataclass(frozen=True)
class RowFormat:
    """What the rows of a set are.

    Attributes:
        shape: Of the values of a row.
        unpack: From the bytes of a packed row, uint8 [any length], to its values; None stores the values.
    """

    shape: tuple[int, ...]
    dtype: str
    unpack: Callable[[np.ndarray], np.ndarray] | None = None

    @property
    def row_bytes(self) -> int:
        """Size of a row that is not packed."""
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize

    @property
    def checksum_dtype(self) -> np.dtype:
        return np.dtype("uint32") if self.unpack is None else PLACE


class RowSet:
    """A set on disk, possibly incomplete or damaged.

    Attributes:
        keys: Keys of the rows, N.
        errors: Row number -> error message.
        array: The rows in the file, [at most N, ...], or the bytes of packed rows; memory-mapped, read-only.
        checksums: Of at most N rows; 0 where the row is not written.

    Raises:
        OSError, ValueError, TypeError, KeyError: The set cannot be opened.
    """

    def __init__(self, folder: Path, form: RowFormat):
        index = json.loads((folder / INDEX_FILE).read_bytes())
        self.folder, self.form = folder, form
        self.keys: Sequence[str] = index["keys"]
        self.errors = {int(row): str(reason) for row, reason in dict(index["errors"]).items()}
        self._places_crc = index.get("places")
        places = np.fromfile(folder / CHECKSUMS_FILE, form.checksum_dtype)[: len(self.keys)]
        size = os.path.getsize(folder / ROWS_FILE)
        if form.unpack is None:
            self.checksums = places
            rows, dtype = (min(size // form.row_bytes, len(self.keys)), *form.shape), form.dtype
        else:
            self.checksums, self._lengths, self._starts = places["crc"], places["length"], places["start"]
            rows, dtype = (size,), "uint8"
        mapped = np.memmap(folder / ROWS_FILE, dtype, "r", shape=rows) if rows[0] else np.empty(rows, dtype)
        self.array = np.asarray(mapped)  # indexing the map itself takes several times as long

    def is_complete(self) -> bool:
        """Whether the files have the sizes, and the rows the places, that the index demands."""
        if len(self.checksums) < len(self.keys):
            return False
        if self.form.unpack is None:
            return len(self.array) == len(self.keys)
        # a damaged place looks like a damaged row, and a repair there would overwrite other rows
        return self._places_crc == places_crc(self._lengths, self._starts)

    def content(self, row: int) -> np.ndarray:
        """The values of a row, or its bytes if it is packed."""
        if self.form.unpack is None:
            return self.array[row]
        start = int(self._starts[row])
        return self.array[start : start + int(self._lengths[row])]

    def place(self, row: int) -> tuple[int, int]:
        """Start and length of a row in the file, bytes."""
        if self.form.unpack is None:
            return row * self.form.row_bytes, self.form.row_bytes
        return int(self._starts[row]), int(self._lengths[row])

    def check(self, rows: Sequence[int]) -> np.ndarray:
        """Which of the given rows match their checksums, bool."""
        rows = np.asarray(rows, dtype=np.int64)
        if len(rows) < 64 or self.form.row_bytes < LARGE:
            return np.array([self._is_intact(row) for row in rows.tolist()], dtype=bool)
        # zlib releases the interpreter lock, so threads share the work
        blocks = np.array_split(rows, 64)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            checked = pool.map(lambda block: [self._is_intact(row) for row in block.tolist()], blocks)
            return np.array([is_intact for block in checked for is_intact in block], dtype=bool)

    def _is_intact(self, row: int) -> bool:
        if row >= len(self.checksums) or self.checksums[row] == 0:
            return False
        if self.form.unpack is None and row >= len(self.array):
            return False
        values = self.errors.get(row)
        return (
            checksum(self.keys[row], self.content(row) if values is None else values) == self.checksums[row]
        )


def checksum(key: str, values: np.ndarray | str) -> int:
    """CRC-32 of a row and its key, which also detects damage to the index; never 0."""
    content = f"\0{values}".encode(errors="surrogatepass") if isinstance(values, str) else values
    return zlib.crc32(key.encode(errors="surrogatepass"), zlib.crc32(content)) or 1


def places_crc(lengths: np.ndarray, starts: np.ndarray) -> int:
    """CRC-32 of the places of packed rows."""
    return zlib.crc32(starts.tobytes(), zlib.crc32(lengths.tobytes()))


def write_at(file: FileIO, offset: int, content: bytes) -> None:
    """Write at a position of a file."""
    file.seek(offset)
    left = memoryview(content)
    while left:  # a nearly full disk may write a part only
        left = left[file.write(left) :]
