"""The rows of a set as an array: each is verified at its first use, and computed where it is damaged."""

import contextlib
import logging
import mmap
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path

import numpy as np

from aimonk.data.store.row_set import CHECKSUMS_FILE, ROWS_FILE, RowFormat, RowSet, checksum, write_at

log = logging.getLogger(__name__)

Row = tuple[int, np.ndarray | str]  # row number, and its values or an error message
Compute = Callable[[np.ndarray], Iterator[Row]]


class StoredArray:
    """Rows [N, ...], read when indexed by row numbers.

    A row is compared with its checksum at its first use in the processes that share this object. A damaged
    one is computed again, and repaired in the file where that is writable. Rows beyond the stored ones, of a
    set that has the first ones only, are computed at every use.

    Args:
        rows: The opened set; its keys, sizes and places are verified. None stores nothing.
        stored: Number of its rows.
        count: Number of rows, N.
        compute: Called with row numbers; yields each with its values, packed where the set packs them, or an
            error message. Must be picklable where a process that is not forked reads rows.
        errors: Row number -> error message, for rows without values.
    """

    def __init__(
        self,
        rows: RowSet | None,
        form: RowFormat,
        stored: int,
        count: int,
        compute: Compute,
        errors: dict[int, str],
    ):
        self._rows, self._form, self._compute, self._errors = rows, form, compute, errors
        self.stored = stored
        self.shape, self.dtype = (count, *form.shape), np.dtype(form.dtype)
        self.ndim = len(self.shape)
        # shared with forked processes: which rows are verified, and at the end whether damage was reported
        self._verified = np.frombuffer(mmap.mmap(-1, self.stored + 1), bool)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index) -> np.ndarray:
        """Values of rows.

        Raises:
            ValueError: A row has no values.
        """
        rows = np.arange(len(self))[index] if isinstance(index, slice) else np.asarray(index)
        rows = np.flatnonzero(rows) if rows.dtype == bool else np.where(rows < 0, rows + len(self), rows)
        if rows.size and not 0 <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        values, errors = self.read(rows.reshape(-1))
        for position, reason in errors.items():
            raise ValueError(f"row {rows.reshape(-1)[position]} has no values: {reason}")
        return values.reshape(*rows.shape, *self.shape[1:])

    def __reduce__(self):
        # another process maps the file again instead of receiving all rows
        folder = None if self._rows is None else self._rows.folder
        return _open_again, (folder, self._form, self.stored, len(self), self._compute, self._errors)

    @property
    def is_mapped(self) -> bool:
        """Whether all rows are stored, and reading one is no computation."""
        return self.stored == len(self) and self._form.unpack is None

    def read(self, rows: np.ndarray) -> tuple[np.ndarray, dict[int, str]]:
        """Values [B, ...] of the given rows, and position -> reason for those without, which are zero."""
        computed = self._compute_lost(rows)
        if not computed and not self._errors and self._form.unpack is None:
            return self._rows.array[rows], {}
        values, errors = np.zeros((len(rows), *self.shape[1:]), self.dtype), {}
        for position, row in enumerate(rows.tolist()):
            content = self._errors.get(row)
            if content is None:
                content = computed[row] if row in computed else self._rows.content(row)
            if isinstance(content, str):
                errors[position] = content
            else:
                values[position] = content if self._form.unpack is None else self._form.unpack(content)
        return values, errors

    def missing(self) -> np.ndarray:
        """Stored rows that are known to lack values."""
        return np.flatnonzero(self._rows.checksums[: self.stored] == 0)

    def _compute_lost(self, rows: np.ndarray) -> dict[int, np.ndarray | str]:
        """The values of damaged rows and of those that are not stored."""
        stored = rows[rows < self.stored]
        unverified = np.unique(stored[~self._verified[stored]])
        if len(stored) == len(rows) and not len(unverified):
            return {}
        damaged = self._damaged(unverified) if len(unverified) else unverified
        lost = np.unique(np.concatenate([damaged, rows[rows >= self.stored]]))
        if not len(lost):
            return {}
        computed: dict[int, np.ndarray | str] = dict.fromkeys(lost.tolist(), "not computed")
        for row, values in self._compute(lost):
            computed[row] = values
        for row in damaged.tolist():
            self._repair(row, computed[row])
        return computed

    def _damaged(self, unverified: np.ndarray) -> np.ndarray:
        """The damaged rows of some that are not verified yet."""
        intact = self._rows.check(unverified)
        self._verified[unverified[intact]] = True
        damaged = np.array([r for r in unverified[~intact].tolist() if r not in self._errors], np.int64)
        if (self._rows.checksums[damaged] != 0).any() and not self._verified[-1]:
            self._verified[-1] = True
            log.warning("%s has damaged rows; they are computed again", self._rows.folder)
        return damaged

    def _repair(self, row: int, values: np.ndarray | str) -> None:
        """Write a row into its place; other processes that repair it write the same bytes."""
        rows, (start, length) = self._rows, self._rows.place(row)
        if isinstance(values, str):
            return
        content = np.ascontiguousarray(values, self.dtype if self._form.unpack is None else "uint8")
        # a packed row that another version of the codec wrote may have had another length
        if content.nbytes == length:
            rows.checksums[row] = checksum(rows.keys[row], content)
            with contextlib.suppress(OSError):  # the store may be read-only for this user
                with FileIO(rows.folder / ROWS_FILE, "r+") as file:
                    write_at(file, start, content.tobytes())
                with FileIO(rows.folder / CHECKSUMS_FILE, "r+") as file:
                    write_at(file, row * self._form.checksum_dtype.itemsize, rows.checksums[row].tobytes())


def _open_again(
    folder: Path | None,
    form: RowFormat,
    stored: int,
    count: int,
    compute: Compute,
    errors: dict[int, str],
) -> StoredArray:
    rows = None if folder is None else RowSet(folder, form)
    return StoredArray(rows, form, stored, count, compute, errors)
