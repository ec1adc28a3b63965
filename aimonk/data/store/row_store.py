"""A store of arrays on disk: each row is computed once and shared by all runs that need it."""

import contextlib
import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from filelock import FileLock

from aimonk.data.store.locks import lock_family, mark_in_use, remove_set
from aimonk.data.store.row_set import INDEX_FILE, Building, RowSet, StoreWriteError, row_bytes, writing
from aimonk.files.text import plural

log = logging.getLogger(__name__)

Row = tuple[int, np.ndarray | str]  # row number, and its values or an error message
Compute = Callable[[np.ndarray], Iterator[Row]]


@dataclass
class StoredRows:
    """The rows of one set.

    Attributes:
        array: Memory-mapped and read-only, [N, ...].
        errors: Row number -> error message; the values of these rows are undefined.
        computed: Number of rows that this call computed.
        in_use: Prevents the removal of the set while this object exists.
    """

    array: np.ndarray
    errors: dict[int, str]
    computed: int
    in_use: FileLock | None = field(repr=False)


class RowStore:
    """Sets of rows in one folder, bounded in size.

    A set is written under a temporary name and renamed when it is complete, so that a crash leaves no partial
    set. Every row has a checksum, which is verified whenever a set is opened.

    Args:
        folder: Folder of the sets; created when needed.
        limit_bytes: Total size of all sets. The least recently used ones are removed first, unless in use.
    """

    def __init__(self, folder: Path, limit_bytes: int):
        self.folder = folder
        self.limit_bytes = limit_bytes
        self._warned = False

    def rows(
        self, family: str, keys: Sequence[str], shape: tuple[int, ...], dtype: str, compute: Compute
    ) -> StoredRows | None:
        """Open a set, after computing its missing rows.

        Rows in other sets of the family are copied. Processes that compute sets of one family take turns.

        Args:
            family: Identifies what all rows have in common, such as sizes, weights and code version.
            keys: Identify the rows within the family, N.
            shape: Shape of a row.
            compute: Called once with the numbers of the missing rows; yields each with its values or an error
                message. Messages of type `TransientReason` are not stored.

        Returns:
            None where the set exceeds the limit or the disk, or cannot be written.
        """
        if not len(keys):
            return StoredRows(np.empty((0, *shape), dtype), {}, 0, None)
        found = self.find(family, keys, shape, dtype)
        if found is not None:
            return found
        target = self._place(family, keys, shape, dtype)
        try:
            with lock_family(target.parent):
                # another process may have written it meanwhile
                found = self._open(target, keys, shape, dtype)
                return found or self._create(target, keys, shape, dtype, compute)
        except StoreWriteError as error:
            if not self._warned:
                fix = "cache_dir=FOLDER sets another folder"
                log.warning("cannot write to %s (%s); nothing is stored there; %s", self.folder, error, fix)
            self._warned = True
            return None

    def find(self, family: str, keys: Sequence[str], shape: tuple[int, ...], dtype: str) -> StoredRows | None:
        """The set, if it is complete; neither computes rows nor waits for other processes."""
        return self._open(self._place(family, keys, shape, dtype), keys, shape, dtype)

    def remove(self, family: str, keys: Sequence[str], shape: tuple[int, ...], dtype: str) -> None:
        """Remove a set, unless a process uses it."""
        remove_set(self._place(family, keys, shape, dtype), is_locked=False)

    def clear(self) -> int:
        """Remove all sets, except those that a process uses, and return their bytes."""
        sets = [f for family in _subfolders(self.folder) for f in _subfolders(family)]
        return sum(size for size, f in [(_size(f), f) for f in sets] if remove_set(f, is_locked=False))

    def _place(self, family: str, keys: Sequence[str], shape: tuple[int, ...], dtype: str) -> Path:
        return self.folder / _digest([family, str(tuple(shape)), dtype]) / _digest(keys)

    def _open(
        self, target: Path, keys: Sequence[str], shape: tuple[int, ...], dtype: str
    ) -> StoredRows | None:
        if not (target / INDEX_FILE).is_file():
            return None
        in_use = mark_in_use(target)
        try:
            found = RowSet(target, shape, dtype)
            if found.keys != list(keys) or not found.check(range(len(keys))).all():
                return None
        except (OSError, ValueError, TypeError, KeyError):
            return None
        with contextlib.suppress(OSError):  # the store may be read-only for this user
            os.utime(target)
        return StoredRows(found.array, found.errors, 0, in_use)

    def _create(
        self, target: Path, keys: Sequence[str], shape: tuple[int, ...], dtype: str, compute: Compute
    ) -> StoredRows | None:
        """Write a set; None where there is no room for it. The family is locked."""
        folder = target.with_name(f"building_{target.name}")
        with writing():
            if target.exists() and not folder.exists():
                log.warning("%s is damaged or incomplete; its missing rows are computed again", target)
                target.rename(folder)
        if not self._make_room(len(keys) * (row_bytes(shape, dtype) + 4), folder):
            return None
        try:
            with Building(folder, keys, shape, dtype) as building:
                others = [f for f in _subfolders(target.parent) if f != folder]
                for other in sorted(others, key=_last_use, reverse=True):
                    if building.missing().size:
                        building.copy_from(other)
                missing = building.missing()
                for row, values in compute(missing) if missing.size else ():
                    building.put(row, values)
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
            array = RowSet(target, shape, dtype).array
        return StoredRows(array, building.errors, int(missing.size), mark_in_use(target))

    def _make_room(self, needed: int, building: Path) -> bool:
        """Remove the least recently used sets until `needed` bytes fit; False where they cannot.

        Args:
            building: Folder of the new set; it may hold a part of those bytes from an earlier attempt.
        """
        if needed > self.limit_bytes:
            return False
        folders = [f for family in _subfolders(self.folder) for f in _subfolders(family) if f != building]
        folders.sort(key=lambda f: (f.parent == building.parent, _last_use(f)))
        total, held = sum(map(_size, folders)), _size(building, on_disk=True)

        def fits() -> bool:
            with writing():
                free = shutil.disk_usage(self.folder).free
            return total + needed <= self.limit_bytes and needed < free + held

        for old in folders:
            if fits():
                break
            size = _size(old)
            if remove_set(old, is_locked=old.parent == building.parent):
                total -= size
        return fits()


def _digest(parts: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{len(part)}:{part}".encode(errors="surrogatepass"))
    return digest.hexdigest()[:24]


def _subfolders(folder: Path) -> list[Path]:
    return [f for f in folder.iterdir() if f.is_dir()] if folder.is_dir() else []


def _size(folder: Path, on_disk: bool = False) -> int:
    """Bytes of the files in a folder, or of their blocks allocated on disk."""
    with contextlib.suppress(OSError):
        files = [f.stat() for f in folder.iterdir()]
        return sum(getattr(s, "st_blocks", 0) * 512 if on_disk else s.st_size for s in files)
    return 0


def _last_use(folder: Path) -> float:
    try:
        return os.path.getmtime(folder)
    except OSError:  # removed meanwhile
        return 0.0
