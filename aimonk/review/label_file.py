"""The label file on disk: written atomically, and never over changes of somebody else."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from aimonk.data.formats.text.rewriting import LabelText
from aimonk.data.formats.text.tokens import Tokens
from aimonk.files.atomic import replacing
from aimonk.review.session import Session

log = logging.getLogger(__name__)


class ChangedFile(ValueError):
    """The label file has changed since it was read."""


class LabelFile:
    """A label file and the values that it holds.

    Args:
        source: The file that was read.
        content: Its bytes at that time.
        attributes: As for `read_labels`.
        images: As for `read_labels`.
        tokens: As for `read_labels`.

    Attributes:
        source: The file that was read.
        path: Where the labels are written: the source, or a second file.
    """

    def __init__(
        self,
        source: Path,
        content: bytes,
        attributes: Sequence[str] | None,
        images: Path | None,
        tokens: Tokens | None,
        session: Session,
        values: np.ndarray,
    ):
        self.source = self.path = source
        self.content, self.session, self.values = content, session, values
        self._settings = (attributes, images, tokens)
        self._text = self._parse(content)

    def _parse(self, content: bytes) -> LabelText:
        return LabelText(content, self.path, *self._settings)

    @property
    def backup(self) -> Path:
        return self.source.with_name(f"{self.source.stem}.before")

    @property
    def second(self) -> Path:
        return self.source.with_name(f"{self.source.stem}.review{self.source.suffix}")

    def is_current(self) -> bool:
        """Whether the file has all changes."""
        return np.array_equal(self.session.values, self.values)

    def save(self) -> bool:
        """Write changed labels; False where nothing has changed.

        Raises:
            ChangedFile: The file on disk is not the one that was read or last written.
            OSError: It cannot be written.
        """
        session = self.session
        with session.lock:
            values, seq = session.values.copy(), session.seq
        changed = np.argwhere(values != self.values)
        if not len(changed):
            self._note_saved(seq)
            return False
        if not self.path.exists() or self.path.read_bytes() != self.content:
            raise ChangedFile(
                f"{self.path.name} has changed since it was read; "
                f"the labels can be written to {self.second.name}"
            )
        self._write(values, changed, seq)
        return True

    def save_second(self) -> None:
        """Write to a second file, from now on: the labels as they were read, with all changes.

        Raises:
            ChangedFile: The second file exists.
        """
        if self.second.exists():
            raise ChangedFile(f"{self.second.name} exists; move it away first")
        with self.session.lock:
            values, seq = self.session.values.copy(), self.session.seq
        self.path = self.second
        try:
            self._write(values, np.argwhere(values != self.values), seq)
        except (OSError, ValueError):
            self.path = self.source
            raise

    def _write(self, values: np.ndarray, changed: np.ndarray, seq: int) -> None:
        names, attributes = self.session.names, self.session.attributes
        changes = {(names[n], attributes[a]): int(values[n, a]) for n, a in changed.tolist()}
        content = self._text.rewrite(changes)
        text = self._parse(content)
        if text.rows_of != self._text.rows_of or text.columns != self._text.columns:
            raise ValueError(f"{self.path.name} would read differently with these labels; it is not written")
        if self.path == self.source and not self.backup.exists():
            with replacing(self.backup) as file:
                file.write(self.content)
        with replacing(self.path) as file:
            file.write(content)
        self.content, self.values, self._text = content, values, text
        self._note_saved(seq)

    def _note_saved(self, seq: int) -> None:
        # edits that only a second file has are restored, and written, by the next review of the source
        if self.path == self.source:
            with self.session.lock:
                if seq > self.session.journal.saved:
                    self.session.journal.note_saved(seq)
