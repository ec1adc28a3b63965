"""Rows of numbers kept on disk: each computed once, shared by every run that needs the same one."""

import contextlib
import hashlib
import logging
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from aimonk.data.store.row_set import INDEX_FILE, Building, RowSet, StoreWriteError, row_bytes, writing

log = logging.getLogger(__name__)

Row = tuple[int, np.ndarray | str]  # row number, and its values or the reason why it has none
Compute = Callable[[np.ndarray], Iterator[Row]]


@dataclass
class StoredRows:
    """The rows of one set.

    Attributes:
        array: Memory-mapped and read-only, [N, ...].
        errors: Row number -> why that row could not be computed; its values mean nothing.
        computed: How many rows this call had to compute.
        in_use: Keeps the set from being removed, as long as it is referred to.
    """

    array: np.ndarray
    errors: dict[int, str]
    computed: int
    in_use: FileLock | None = field(repr=False)


class RowStore:
    """Sets of rows under one folder, bounded in size.

    A set is written under a temporary name and renamed when it is whole, so a crash leaves either a whole set
    or none. Every row carries a checksum, which is compared whenever a set is opened.

    Args:
        folder: Where the sets lie; created when needed.
        limit_bytes: What all sets together may take. The sets unused for longest go first, never one in use.
    """

    def __init__(self, folder: Path, limit_bytes: int):
        self.folder = folder
        self.limit_bytes = limit_bytes

    def rows(
        self, family: str, keys: Sequence[str], shape: tuple[int, ...], dtype: str, compute: Compute
    ) -> StoredRows | None:
        """Fetch a set, computing what is not there.

        Rows that another set of the same family has are copied from it. Processes that ask for sets of one
        family wait for one another.

        Args:
            family: What all rows have in common (sizes, weights, code version); any text.
            keys: What tells each row from others of the family, N of them.
            shape: Of one row.
            compute: Called once with the numbers of the missing rows; yields each with its values or an
                error. An error of type `TransientReason` is not kept.

        Returns:
            None when the set would not fit below the limit or on the disk, or cannot be written.
        """
        if not len(keys):
            return StoredRows(np.empty((0, *shape), dtype), {}, 0, None)
        found = self.find(family, keys, shape, dtype)
        if found is not None:
            return found
        target = self._place(family, keys, shape, dtype)
        try:
            with _locked(target.parent):
                # another process may have written it meanwhile
                found = self._open(target, keys, shape, dtype)
                return found or self._create(target, keys, shape, dtype, compute)
        except StoreWriteError as error:
            log.warning(
                "%s cannot be written to (%s), nothing is kept there; cache_dir=FOLDER chooses another place",
                self.folder,
                error,
            )
            return None

    def find(self, family: str, keys: Sequence[str], shape: tuple[int, ...], dtype: str) -> StoredRows | None:
        """The set, if it is there and whole; nothing is computed, and nobody is waited for."""
        return self._open(self._place(family, keys, shape, dtype), keys, shape, dtype)

    def remove(self, family: str, keys: Sequence[str], shape: tuple[int, ...], dtype: str) -> None:
        """Remove a set, unless a process uses it."""
        _remove(self._place(family, keys, shape, dtype), locked=False)

    def _place(self, family: str, keys: Sequence[str], shape: tuple[int, ...], dtype: str) -> Path:
        return self.folder / _digest([family, str(tuple(shape)), dtype]) / _digest(keys)

    def _open(
        self, target: Path, keys: Sequence[str], shape: tuple[int, ...], dtype: str
    ) -> StoredRows | None:
        """The set, if it is there and whole."""
        if not (target / INDEX_FILE).is_file():
            return None
        in_use = _mark(target)
        try:
            found = RowSet(target, shape, dtype)
            if found.keys != list(keys) or not found.check(range(len(keys))).all():
                return None
        except (OSError, ValueError, TypeError, KeyError):
            return None
        with contextlib.suppress(OSError):  # others may share a store that only one may write to
            os.utime(target)
        return StoredRows(found.array, found.errors, 0, in_use)

    def _create(
        self, target: Path, keys: Sequence[str], shape: tuple[int, ...], dtype: str, compute: Compute
    ) -> StoredRows | None:
        """Write a whole set; None when there is no room for it."""
        folder = target.with_name(f"building_{target.name}")
        with writing():
            if target.exists() and not folder.exists():
                log.warning("%s is damaged or incomplete: what is missing is computed again", target)
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
                if building.missing().size:
                    raise ValueError(f"{building.missing().size} of {missing.size} rows were not computed")
                building.finish(target)
        except StoreWriteError:
            shutil.rmtree(folder, ignore_errors=True)  # half a set must not fill the disk
            raise
        for other in others:
            if other.name.startswith("building_"):
                shutil.rmtree(other, ignore_errors=True)  # its process is dead: we hold the lock
        with writing():
            array = RowSet(target, shape, dtype).array
        return StoredRows(array, building.errors, int(missing.size), _mark(target))

    def _make_room(self, needed: int, building: Path) -> bool:
        """Remove the sets unused for longest until `needed` bytes fit; False when they cannot.

        Args:
            building: Where they will lie. What it holds of an earlier attempt is part of them.
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
            if _remove(old, locked=old.parent == building.parent):
                total -= size
        return fits()


@contextlib.contextmanager
def _locked(family: Path) -> Iterator[None]:
    """Keep other processes from writing sets of a family."""
    lock = FileLock(f"{family}.lock")
    with writing():
        family.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.info("waiting for another run that computes the same")
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _mark(target: Path) -> FileLock | None:
    """Mark a set as in use by this process; None in a folder that cannot be written to."""
    _is_used(target)  # sweeps away the marks of dead processes
    mark = FileLock(target.with_name(f"in_use_{target.name}_{uuid.uuid4().hex}.lock"), thread_local=False)
    with contextlib.suppress(OSError):
        mark.acquire()
        return mark
    return None


def _is_used(target: Path) -> bool:
    """Whether a living process uses a set; sweeps away the marks of dead ones."""
    used = False
    for mark in target.parent.glob(f"in_use_{target.name}_*.lock"):
        try:
            with FileLock(mark, timeout=0):
                mark.unlink(missing_ok=True)
        except OSError:  # a timeout is one too
            used = True
    return used


def _remove(folder: Path, locked: bool) -> bool:
    """Remove a set, or what is left of one, unless a process uses or writes it."""
    with contextlib.ExitStack() as stack:
        if not locked:
            try:
                stack.enter_context(FileLock(f"{folder.parent}.lock", timeout=0))
            except OSError:  # a timeout is one too: sets of this family are being written
                return False
        if _is_used(folder):
            return False
        shutil.rmtree(folder, ignore_errors=True)
        return True


def _digest(parts: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{len(part)}:{part}".encode(errors="surrogatepass"))
    return digest.hexdigest()[:24]


def _subfolders(folder: Path) -> list[Path]:
    return [f for f in folder.iterdir() if f.is_dir()] if folder.is_dir() else []


def _size(folder: Path, on_disk: bool = False) -> int:
    """Bytes of the files in a folder, or of what they have on disk so far."""
    with contextlib.suppress(OSError):
        files = [f.stat() for f in folder.iterdir()]
        return sum(getattr(s, "st_blocks", 0) * 512 if on_disk else s.st_size for s in files)
    return 0


def _last_use(folder: Path) -> float:
    try:
        return os.path.getmtime(folder)
    except OSError:  # removed meanwhile
        return 0.0
