"""A set of rows on disk: the rows, their checksums, and an index of their keys."""

import contextlib
import json
import os
import shutil
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from pathlib import Path

import numpy as np

ROWS_FILE, CHECKSUMS_FILE, INDEX_FILE = "rows.bin", "crc.bin", "index.json"
FLUSH_BYTES = 256 * 2**20


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


class RowSet:
    """A set on disk, possibly incomplete or damaged.

    Attributes:
        keys: Keys of the rows, N.
        errors: Row number -> error message.
        array: The rows in the file, memory-mapped and read-only, [at most N, ...].

    Raises:
        OSError, ValueError, TypeError, KeyError: The set cannot be opened.
    """

    def __init__(self, folder: Path, shape: tuple[int, ...], dtype: str):
        index = json.loads((folder / INDEX_FILE).read_text("utf-8"))
        self.keys: list[str] = [str(key) for key in index["keys"]]
        self.errors = {int(row): str(reason) for row, reason in dict(index["errors"]).items()}
        self.checksums = np.fromfile(folder / CHECKSUMS_FILE, "uint32")[: len(self.keys)]
        count = min(os.path.getsize(folder / ROWS_FILE) // row_bytes(shape, dtype), len(self.keys))
        rows = (count, *shape)
        self.array = np.memmap(folder / ROWS_FILE, dtype, "r", shape=rows) if count else np.empty(rows, dtype)

    def check(self, rows: Sequence[int]) -> np.ndarray:
        """Which of the given rows match their checksums, bool."""
        # zlib releases the interpreter lock, so threads share the work
        blocks = np.array_split(np.asarray(rows, dtype=np.int64), 64)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            checked = pool.map(lambda block: [self._is_intact(row) for row in block.tolist()], blocks)
            return np.array([is_intact for block in checked for is_intact in block], dtype=bool)

    def _is_intact(self, row: int) -> bool:
        if row >= min(len(self.array), len(self.checksums)) or self.checksums[row] == 0:
            return False
        values = self.errors.get(row, self.array[row])
        return bool(_checksum(self.keys[row], values) == self.checksums[row])


class Building:
    """A set being written; intact rows of an earlier attempt in the same folder are kept.

    Rows are written, not memory-mapped: with a map, a full disk would kill the process.

    Attributes:
        errors: Row number -> error message.
        done: Which rows are written, [N].

    Raises:
        StoreWriteError: The disk is full or not writable; raised by all methods.
    """

    @writing()
    def __init__(self, folder: Path, keys: Sequence[str], shape: tuple[int, ...], dtype: str):
        self.folder, self.keys, self.shape, self.dtype = folder, list(keys), shape, dtype
        self.errors: dict[int, str] = {}
        self.unflushed = 0
        self.row_bytes = row_bytes(shape, dtype)
        self.files = contextlib.ExitStack()
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            self.errors = RowSet(folder, shape, dtype).errors
        self._write_index()
        self.rows_file = self._open_file(ROWS_FILE, self.row_bytes)
        self.checksums_file = self._open_file(CHECKSUMS_FILE, 4)
        self.done = RowSet(folder, shape, dtype).check(range(len(self.keys)))
        missing = set(self.missing().tolist())
        self.errors = {row: reason for row, reason in self.errors.items() if row not in missing}

    def __enter__(self) -> "Building":
        return self

    def __exit__(self, *_: object) -> None:
        self.files.close()

    def missing(self) -> np.ndarray:
        return np.flatnonzero(~self.done)

    @writing()
    def put(self, row: int, values: np.ndarray | str) -> None:
        """Write the values of a row, or its error message."""
        self.done[row] = True
        if isinstance(values, str):
            self.errors[row] = values
        else:
            values = np.ascontiguousarray(values, self.dtype)
            if values.shape != self.shape:
                raise ValueError(f"row {row} has the shape {values.shape}; expected {self.shape}")
            _write_at(self.rows_file, row * self.row_bytes, values)
            self.unflushed += self.row_bytes
        _write_at(self.checksums_file, 4 * row, np.uint32(_checksum(self.keys[row], values)))
        if self.unflushed > FLUSH_BYTES:  # so that a power failure loses little of a long computation
            os.fsync(self.rows_file.fileno())
            self.unflushed = 0

    def copy_from(self, folder: Path) -> None:
        """Copy missing rows from another set, complete or not."""
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            other = RowSet(folder, self.shape, self.dtype)
            theirs = {key: i for i, key in enumerate(other.keys)}
            wanted = [(row, theirs[self.keys[row]]) for row in self.missing() if self.keys[row] in theirs]
            for (row, i), is_intact in zip(wanted, other.check([i for _, i in wanted]), strict=True):
                if is_intact:
                    self.put(int(row), other.errors.get(i, other.array[i]))

    @writing()
    def finish(self, target: Path) -> None:
        """Rename the set to its final name, which marks it as complete."""
        self._write_index()
        os.fsync(self.rows_file.fileno())
        os.fsync(self.checksums_file.fileno())
        shutil.rmtree(target, ignore_errors=True)
        os.replace(self.folder, target)

    def _open_file(self, name: str, item_bytes: int) -> FileIO:
        (self.folder / name).touch()
        file = self.files.enter_context(FileIO(self.folder / name, "r+"))
        file.truncate(len(self.keys) * item_bytes)
        return file

    def _write_index(self) -> None:
        # the checksum of a row with a transient error is invalid once its message is not in the index
        kept = {row: reason for row, reason in self.errors.items() if not isinstance(reason, TransientReason)}
        with open(self.folder / INDEX_FILE, "w", encoding="utf-8") as file:
            json.dump({"keys": self.keys, "errors": kept}, file)
            file.flush()
            os.fsync(file.fileno())


def row_bytes(shape: tuple[int, ...], dtype: str) -> int:
    """Size of a row."""
    return int(np.prod(shape)) * np.dtype(dtype).itemsize


def _checksum(key: str, values: np.ndarray | str) -> int:
    """CRC-32 of a row and its key, which also detects damage to the index; never 0."""
    content = f"\0{values}".encode(errors="surrogatepass") if isinstance(values, str) else values
    return zlib.crc32(key.encode(errors="surrogatepass"), zlib.crc32(content)) or 1


def _write_at(file: FileIO, offset: int, values: np.ndarray) -> None:
    file.seek(offset)
    left = memoryview(values.tobytes())
    while left:  # a nearly full disk may write a part only
        left = left[file.write(left) :]
