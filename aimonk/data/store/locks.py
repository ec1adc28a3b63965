"""Locks between processes: one writes sets of a family at a time, and sets in use are not removed."""

import contextlib
import logging
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from aimonk.data.store.row_set import writing

log = logging.getLogger(__name__)


@contextlib.contextmanager
def lock_family(family: Path) -> Iterator[None]:
    """Lock a family, so that no other process writes sets of it."""
    lock = FileLock(f"{family}.lock")
    with writing():
        family.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.info("waiting for another run that computes the same rows")
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def mark_in_use(target: Path) -> FileLock | None:
    """Mark a set as used by this process until the result is deleted; None in a read-only folder."""
    is_in_use(target)  # removes the marks of dead processes
    mark = FileLock(target.with_name(f"in_use_{target.name}_{uuid.uuid4().hex}.lock"), thread_local=False)
    with contextlib.suppress(OSError):
        mark.acquire()
        return mark
    return None


def is_in_use(target: Path, but: FileLock | None = None) -> bool:
    """Whether a running process uses a set, by a mark other than `but`; removes marks of dead processes."""
    in_use = False
    for mark in target.parent.glob(f"in_use_{target.name}_*.lock"):
        if but is not None and mark == Path(but.lock_file):
            continue
        try:
            with FileLock(mark, timeout=0):
                mark.unlink(missing_ok=True)
        except OSError:  # including a timeout
            in_use = True
    return in_use


def remove_set(folder: Path, is_locked: bool) -> bool:
    """Remove a set, or a part of one, unless a process uses or writes it.

    Args:
        is_locked: Whether this process holds the lock of the family.

    Returns:
        Whether it was removed.
    """
    with contextlib.ExitStack() as stack:
        if not is_locked:
            try:
                stack.enter_context(FileLock(f"{folder.parent}.lock", timeout=0))
            except OSError:  # including a timeout: another process writes a set of this family
                return False
        if is_in_use(folder):
            return False
        shutil.rmtree(folder, ignore_errors=True)
        return True
