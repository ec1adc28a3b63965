"""Disk space of a store: the sizes of its sets, and room for a new one."""

import contextlib
import os
import shutil
from pathlib import Path

from aimonk.data.store.locks import remove_set
from aimonk.data.store.row_set import writing

DISK_SHARE = 0.9  # of the free disk space, for a set that has as many rows as fit


def make_room(folder: Path, limit: int, needed: float, building: Path, partial: bool) -> float:
    """Remove the least recently used sets of a store until `needed` bytes fit; returns the available bytes.

    Args:
        limit: Total size of all sets.
        building: Folder of the new set; it may hold a part of those bytes from an earlier attempt.
        partial: Whether less than `needed` is useful; otherwise nothing is removed in vain.
    """
    sets = [f for f in all_sets(folder) if f != building]
    sets.sort(key=lambda f: (f.parent == building.parent, last_use(f)))
    sizes = {f: size(f) for f in sets}
    total, held = sum(sizes.values()), size(building, on_disk=True)
    if not partial and needed > min(limit, _free(folder) + held + total):
        return 0

    def room() -> float:
        free = _free(folder) + held
        return min(limit - total, free if free > needed else DISK_SHARE * free)

    for old in sets:
        if room() >= needed:
            break
        if remove_set(old, is_locked=old.parent == building.parent):
            total -= sizes[old]
    return room()


def most_room(folder: Path, limit: int) -> float:
    """Bytes that a set could have if all other sets were removed."""
    return min(limit, DISK_SHARE * (_free(folder) + sum(map(size, all_sets(folder)))))


def _free(folder: Path) -> int:
    with writing():
        return shutil.disk_usage(folder).free


def all_sets(folder: Path) -> list[Path]:
    """The sets of a store, finished or not."""
    return [f for family in subfolders(folder) for f in subfolders(family)]


def subfolders(folder: Path) -> list[Path]:
    return [f for f in folder.iterdir() if f.is_dir()] if folder.is_dir() else []


def size(folder: Path, on_disk: bool = False) -> int:
    """Bytes of the files in a folder, or of their blocks allocated on disk."""
    with contextlib.suppress(OSError):
        files = [f.stat() for f in folder.iterdir()]
        return sum(getattr(s, "st_blocks", 0) * 512 if on_disk else s.st_size for s in files)
    return 0


def last_use(folder: Path) -> float:
    try:
        return os.path.getmtime(folder)
    except OSError:  # removed meanwhile
        return 0.0
