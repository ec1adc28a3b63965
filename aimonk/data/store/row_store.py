"""A store of arrays on disk: each row is computed once and shared by all runs that need it."""

import contextlib
import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from filelock import FileLock

from aimonk.data.store.building import Building
from aimonk.data.store.locks import is_in_use, lock_family, mark_in_use, remove_set
from aimonk.data.store.row_set import (
    CHECKSUMS_FILE,
    INDEX_FILE,
    ROWS_FILE,
    RowFormat,
    RowSet,
    StoreWriteError,
    writing,
)
from aimonk.data.store.space import all_sets, last_use, make_room, most_room, size, subfolders
from aimonk.data.store.stored_array import Compute, StoredArray
from aimonk.files.text import plural

log = logging.getLogger(__name__)

SAMPLE = 64  # rows that are verified when a set is opened
GROWTH = 1.25  # a set of the first rows is extended where this many times as many fit


@dataclass
class StoredRows:
    """The rows of one set.

    Attributes:
        array: Read-only, [N, ...].
        errors: Row number -> error message; these rows have no values.
        computed: Number of rows that this call computed.
        in_use: Prevents the removal of the set while this object exists.
    """

    array: StoredArray | np.ndarray
    errors: dict[int, str]
    computed: int
    in_use: FileLock | None = field(repr=False)


@dataclass(frozen=True)
class Request:
    """The arguments of `RowStore.rows`, and the place of the set."""

    target: Path
    keys: list[str]
    form: RowFormat
    compute: Compute
    packed_bytes: Callable[[], float] | None
    partial: bool
    watch: Callable

    def needed(self) -> float:
        """Bytes of all rows and their checksums."""
        row_bytes = self.form.row_bytes if self.packed_bytes is None else self.packed_bytes()
        return len(self.keys) * (row_bytes + self.form.checksum_dtype.itemsize)


class RowStore:
    """Sets of rows in one folder, bounded in size.

    A set is written under a temporary name and renamed when it is complete, so that a crash leaves no partial
    set. Every row has a checksum. Opening a set verifies its sizes, its index and a sample of its rows; each
    other row is verified at its first use.

    Args:
        folder: Folder of the sets; created when needed.
        limit_bytes: Total size of all sets. The least recently used ones are removed first, unless in use.

    Attributes:
        failed: Whether a set could not be written.
    """

    def __init__(self, folder: Path, limit_bytes: int):
        self.folder = folder
        self.limit_bytes = limit_bytes
        self.failed = False

    def rows(
        self,
        family: str,
        keys: Sequence[str],
        shape: tuple[int, ...],
        dtype: str,
        compute: Compute,
        *,
        unpack: Callable[[np.ndarray], np.ndarray] | None = None,
        packed_bytes: Callable[[], float] | None = None,
        partial: bool = False,
        watch: Callable = lambda rows, total: rows,
    ) -> StoredRows | None:
        """Open a set, after computing its missing rows.

        Rows in other sets of the family are copied. Processes that compute sets of one family take turns.

        Args:
            family: Identifies what all rows have in common, such as sizes, weights and code version.
            keys: Identify the rows within the family, N.
            shape: Shape of a row.
            compute: Called with the numbers of missing rows, and later of damaged ones; yields each
                with its values or an error message, in order where `partial` is set. Messages of type
                `TransientReason` are not stored.
            unpack: From the bytes of a row, as `compute` then yields them, to its values.
            packed_bytes: Estimates the mean size of a packed row.
            partial: Whether as many of the first rows as possible are stored where all do not fit; the others
                are computed whenever they are read.
            watch: Wraps the iterator of the computed rows to show progress; called with it and their number.

        Returns:
            None where the set exceeds the limit or the disk, or cannot be written.
        """
        if not len(keys):
            return StoredRows(np.empty((0, *shape), dtype), {}, 0, None)
        form, target = RowFormat(shape, dtype, unpack), self._place(family, keys, shape, dtype)
        request = Request(target, list(keys), form, compute, packed_bytes, partial, watch)
        found = self._open(request)
        if found is not None and not self._can_grow(request, found):
            return self._retry(request, found)
        try:
            with lock_family(target.parent):
                # another process may have written it meanwhile
                found = self._open(request)
                if found is None or self._can_grow(request, found):
                    return self._create(request, found)
            return self._retry(request, found)
        except StoreWriteError as error:
            if not self.failed:
                fix = "cache_dir=FOLDER sets another folder"
                log.warning("cannot write to %s (%s); nothing is stored there; %s", self.folder, error, fix)
            self.failed = True
            return found

    def find(
        self, family: str, keys: Sequence[str], shape: tuple[int, ...], dtype: str, compute: Compute
    ) -> StoredRows | None:
        """The set, if it is complete; waits for no other process, and computes no rows but damaged ones."""
        target, form = self._place(family, keys, shape, dtype), RowFormat(shape, dtype)
        return self._open(Request(target, list(keys), form, compute, None, False, iter))

    def remove(self, family: str, keys: Sequence[str], shape: tuple[int, ...], dtype: str) -> None:
        """Remove a set, unless a process uses it."""
        remove_set(self._place(family, keys, shape, dtype), is_locked=False)

    def clear(self) -> int:
        """Remove all sets, except those that a process uses, and return their bytes."""
        sizes = [(size(f), f) for f in all_sets(self.folder)]
        return sum(freed for freed, f in sizes if remove_set(f, is_locked=False))

    def _place(self, family: str, keys: Sequence[str], shape: tuple[int, ...], dtype: str) -> Path:
        return self.folder / _digest([family, str(tuple(shape)), dtype]) / _digest(keys)

    def _open(self, request: Request) -> StoredRows | None:
        target, keys = request.target, request.keys
        if not (target / INDEX_FILE).is_file():
            return None
        in_use = mark_in_use(target)
        try:
            found = RowSet(target, request.form)
            count = len(found.keys)
            is_wanted = found.keys == (keys[:count] if request.partial else keys)
            if not is_wanted or not count or not found.is_complete():
                return None
            found.keys = keys
            sample = np.linspace(0, count - 1, min(SAMPLE, count)).astype(int)
            written = sample[found.checksums[sample] != 0]
            if not found.check([*written.tolist(), *found.errors]).all():
                return None
        except (OSError, ValueError, TypeError, KeyError):
            return None
        with contextlib.suppress(OSError):  # the store may be read-only for this user
            os.utime(target)
        array = StoredArray(found, request.form, count, len(keys), request.compute, found.errors)
        return StoredRows(array, found.errors, 0, in_use)

    def _retry(self, request: Request, found: StoredRows) -> StoredRows:
        """Compute the rows that an earlier run could not, for a reason that may have passed."""
        missing = found.array.missing()
        blocks = [missing[i : i + SAMPLE] for i in range(0, len(missing), SAMPLE)]
        for block in request.watch(blocks, len(blocks)) if blocks else ():
            errors = found.array.read(block)[1]
            found.errors.update({int(block[i]): reason for i, reason in errors.items()})
        found.computed = len(missing)
        return found

    def _can_grow(self, request: Request, found: StoredRows) -> bool:
        """Whether many more rows would fit than an incomplete set has."""
        if found.array.stored == len(request.keys) or is_in_use(request.target, but=found.in_use):
            return False
        now = sum(os.path.getsize(request.target / name) for name in (ROWS_FILE, CHECKSUMS_FILE))
        most = min(now * len(request.keys) / found.array.stored, most_room(self.folder, self.limit_bytes))
        return most >= GROWTH * now

    def _create(self, request: Request, part: StoredRows | None) -> StoredRows | None:
        """Write a set; None where there is no room for it. The family is locked.

        Args:
            part: The set with its first rows, to be extended.
        """
        target, form, needed = request.target, request.form, request.needed()
        folder = target.with_name(f"building_{target.name}")
        moved = part is not None or (target.exists() and not folder.exists())
        own = target if moved else folder
        room = make_room(self.folder, self.limit_bytes, needed, own, request.partial)
        count = len(request.keys) if room >= needed else int(room / needed * len(request.keys))
        if part is not None and count < GROWTH * part.array.stored:
            return self._retry(request, part)
        if not count or (count < len(request.keys) and not request.partial):
            return None
        with writing():
            if moved:
                if part is None:
                    log.warning("%s is damaged or incomplete; its missing rows are computed again", target)
                shutil.rmtree(folder, ignore_errors=True)
                target.rename(folder)
        computed = 0
        try:
            with Building(folder, request.keys[:count], form) as building:
                others = [f for f in subfolders(target.parent) if f != folder]
                for other in sorted(others, key=last_use, reverse=True):
                    if building.missing().size:
                        building.copy_from(other)
                missing = building.missing()
                for row, values in (
                    request.watch(request.compute(missing), missing.size) if missing.size else ()
                ):
                    if request.partial and building.size > room:  # packed rows may be larger than expected
                        building.keep_first(row)
                        break
                    building.put(row, values)
                    computed += 1
                if absent := building.missing().size:
                    raise ValueError(f"{absent} of {plural(missing.size, 'row')} not computed")
                building.finish(target)
        except StoreWriteError:
            shutil.rmtree(folder, ignore_errors=True)  # a partial set must not fill the disk
            raise
        for other in others:
            if other.name.startswith("building_"):
                shutil.rmtree(other, ignore_errors=True)  # its process is dead, since this one holds the lock
        with writing():
            rows = RowSet(target, form)
        count, rows.keys = len(rows.keys), request.keys
        array = StoredArray(rows, form, count, len(request.keys), request.compute, building.errors)
        return StoredRows(array, building.errors, computed, mark_in_use(target))


def _digest(parts: Sequence[str]) -> str:
    content = "".join(f"{len(part)}:{part}" for part in parts).encode(errors="surrogatepass")
    return hashlib.sha256(content).hexdigest()[:24]
