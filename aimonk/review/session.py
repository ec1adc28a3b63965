"""The labels under review: values, what was reviewed, undo, and their order of change."""

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from aimonk.data.annotations import ABSENT, PRESENT, UNKNOWN
from aimonk.data.labels import LabelTable
from aimonk.files.text import plural
from aimonk.review.journal import Action, Journal, now

log = logging.getLogger(__name__)

VALUES = (ABSENT, PRESENT, UNKNOWN)


class Conflict(ValueError):
    """An entry has changed since the client saw it."""


@dataclass
class Edit:
    """A change of one entry, by a client that saw the old value."""

    row: int
    attribute: int
    old: int
    new: int


@dataclass
class Session:
    """Values and reviewed images; every change goes through the journal first.

    Attributes:
        names: Images, N.
        attributes: A of them.
        values: ABSENT, PRESENT or UNKNOWN, [N, A] uint8.
        reviewed: Images that a person has confirmed, [N].
        seq: Number of the last action.
        earlier: Number of the last action of an earlier process.
    """

    names: list[str]
    attributes: list[str]
    values: np.ndarray
    journal: Journal
    reviewed: np.ndarray = field(init=False)
    seq: int = field(init=False, default=0)
    earlier: int = field(init=False, default=0)
    lock: threading.RLock = field(init=False, default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self.reviewed = np.zeros(len(self.names), dtype=bool)
        self.row_of = {name: i for i, name in enumerate(self.names)}
        self.column_of = {name: i for i, name in enumerate(self.attributes)}
        self._restore()

    def _restore(self) -> None:
        """Apply the actions of earlier processes; values that are in the label file come from there."""
        unsaved = 0
        for action in self.journal.actions:
            for image, attribute, _, new in action.edits:
                row, column = self.row_of.get(image), self.column_of.get(attribute)
                if action.seq > self.journal.saved and row is not None and column is not None:
                    self.values[row, column] = new
                    unsaved += 1
            for image, _, is_reviewed in action.reviewed:
                if image in self.row_of:
                    self.reviewed[self.row_of[image]] = is_reviewed
            self.seq = action.seq
        self.earlier = self.seq
        if unsaved:
            log.info("%s restored that the label file does not have yet", plural(unsaved, "edit"))

    def apply(
        self,
        client: str,
        edits: Sequence[Edit],
        reviewed: Sequence[tuple[int, bool]],
        undoes: int | None = None,
    ) -> Action:
        """Change entries and the state of images together, or nothing.

        Raises:
            Conflict: An entry has another value than the client saw.
            OSError: The journal cannot be written.
        """
        with self.lock:
            for edit in edits:
                current = int(self.values[edit.row, edit.attribute])
                if current != edit.old:
                    raise Conflict(
                        f"{self.attributes[edit.attribute]} of {self.names[edit.row]} was changed elsewhere"
                    )
            action = Action(
                seq=self.seq + 1,
                time=now(),
                client=client,
                edits=[(self.names[e.row], self.attributes[e.attribute], e.old, e.new) for e in edits],
                reviewed=[(self.names[row], bool(self.reviewed[row]), state) for row, state in reviewed],
                undoes=undoes,
            )
            self.journal.append(action)
            for edit in edits:
                self.values[edit.row, edit.attribute] = edit.new
            for row, state in reviewed:
                self.reviewed[row] = state
            self.seq = action.seq
            return action

    def undo(self, client: str) -> Action | None:
        """Take back the last action of a client, or of an earlier process; None where there is none.

        Raises:
            Conflict: An entry of the action was changed later, by another client.
        """
        with self.lock:
            undone = {action.undoes for action in self.journal.actions}
            for action in reversed(self.journal.actions):
                own = action.client == client or action.seq <= self.earlier
                if own and action.undoes is None and action.seq not in undone:
                    return self._take_back(action, client)
            return None

    def _take_back(self, action: Action, client: str) -> Action:
        edits = [
            Edit(self.row_of[image], self.column_of[attribute], new, old)
            for image, attribute, old, new in action.edits
            if image in self.row_of and attribute in self.column_of
        ]
        reviewed = [(self.row_of[image], was) for image, was, _ in action.reviewed if image in self.row_of]
        return self.apply(client, edits, reviewed, undoes=action.seq)

    def since(self, seq: int) -> list[dict]:
        """Entries and images that changed after an action, as indices, for a client to catch up."""
        with self.lock:
            rows: set[int] = set()
            for action in reversed(self.journal.actions):
                if action.seq <= seq:
                    break
                named = [edit[0] for edit in action.edits] + [item[0] for item in action.reviewed]
                rows.update(self.row_of[name] for name in named if name in self.row_of)
            return [self.describe(row) for row in sorted(rows)]

    def describe(self, row: int) -> dict:
        return {"row": row, "values": self.values[row].tolist(), "reviewed": bool(self.reviewed[row])}

    def labels(self) -> tuple[np.ndarray, np.ndarray]:
        """A copy as labels, 0 where unknown, and mask, [N, A] each."""
        with self.lock:
            return (self.values == PRESENT).astype(np.float32), self.values != UNKNOWN


def values_of(table: LabelTable) -> np.ndarray:
    """Values of a label table, [N, A] uint8."""
    return np.where(table.mask, np.where(table.labels > 0.5, PRESENT, ABSENT), UNKNOWN).astype(np.uint8)
