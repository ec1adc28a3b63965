"""The journal of a review: every action, on disk before it is acknowledged."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout


@dataclass(frozen=True)
class Action:
    """What one request changed.

    Attributes:
        seq: Number of the action, from 1.
        time: In UTC, ISO 8601.
        client: The tab that sent it.
        edits: Image, attribute, old and new value (ABSENT, PRESENT or UNKNOWN).
        reviewed: Image, whether it was reviewed, and whether it is.
        undoes: Number of the action that this one takes back; None otherwise.
    """

    seq: int
    time: str
    client: str
    edits: list[tuple[str, str, int, int]]
    reviewed: list[tuple[str, bool, bool]]
    undoes: int | None


def now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


class Journal:
    """A file with one line of JSON per action, and per saving of the label file.

    A line that a killed process wrote in part was not acknowledged and is removed.

    Attributes:
        actions: All actions, the oldest first.
        saved: Number of the last action that is in the label file.

    Raises:
        ValueError: Another process has the journal, or the file is no journal.
        OSError: The folder is not writable.
    """

    def __init__(self, path: Path):
        self.path = path
        self.actions: list[Action] = []
        self.saved = 0
        self._lock = FileLock(path.with_name(f".{path.name}.lock"))
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise ValueError(f"{path} is in use; expected no other review of these labels") from None
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        content = path.read_bytes()
        complete = content[: content.rfind(b"\n") + 1]
        os.ftruncate(self._file, len(complete))
        for number, line in enumerate(complete.splitlines(), start=1):
            try:
                self._take(json.loads(line))
            except (ValueError, TypeError, KeyError, RecursionError):
                raise ValueError(
                    f"{path} line {number}: not an action of a review; move the file away"
                ) from None
        self._size = len(complete)

    def _take(self, line: dict[str, Any]) -> None:
        if "saved" in line:
            self.saved = int(line["saved"])
            return
        lists = {key: [tuple(item) for item in line[key]] for key in ("edits", "reviewed")}
        self.actions.append(Action(**{**line, **lists}))

    def append(self, action: Action) -> None:
        """Write an action to the disk; on an error the journal is as before."""
        self._write(asdict(action))
        self.actions.append(action)

    def note_saved(self, seq: int) -> None:
        """Record that the label file contains all actions up to this one."""
        self._write({"saved": seq, "time": now()})
        self.saved = seq

    def _write(self, line: Mapping[str, Any]) -> None:
        content = json.dumps(line, ensure_ascii=True).encode() + b"\n"
        try:
            left = memoryview(content)
            while left:
                left = left[os.write(self._file, left) :]
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, self._size)
            raise
        self._size += len(content)

    def close(self) -> None:
        os.close(self._file)
        self._lock.release()
