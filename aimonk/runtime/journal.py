"""The journal of a search: an Optuna study in a file, which the search and its jobs read and append to."""

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

if TYPE_CHECKING:
    import optuna

JOURNAL = "journal.log"
STUDY = "search"


class JournalLock:
    """A lock that ends with its process, unlike Optuna's own, and that repairs what a killed process left."""

    def __init__(self, journal: Path) -> None:
        self.journal = journal
        self.lock = FileLock(journal.with_name(f".{journal.name}.lock"))

    def acquire(self) -> bool:
        self.lock.acquire()
        with self.journal.open("rb+") as file:
            # an incomplete last line, to which the next record would be appended
            end = file.seek(0, os.SEEK_END)
            if end and (file.seek(end - 1), file.read(1))[1] != b"\n":
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        self.lock.release()


def import_optuna() -> "optuna":
    """Optuna, without its messages.

    Raises:
        ValueError: It is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise ValueError(
            "hydra/sweeper is optuna, which is not installed; pip install -e '.[search]' installs it"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    return optuna


def open_journal(folder: Path) -> "optuna.storages.JournalStorage":
    """The journal of a sweep's folder, which is created if it does not exist."""
    optuna = import_optuna()
    from optuna.storages.journal import JournalFileBackend

    journal = folder / JOURNAL
    return optuna.storages.JournalStorage(JournalFileBackend(f"{journal}", lock_obj=JournalLock(journal)))
