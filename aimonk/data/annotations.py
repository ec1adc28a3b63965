"""Annotations: what a file states of images, before several statements on one image are combined."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

ABSENT, PRESENT, UNKNOWN = range(3)
MOST_ENTRIES = 10**9  # of a table, a byte each
COLUMNS = 64  # that are counted at once


class Value(NamedTuple):
    """A value of a format, in its own words, such as `-1` or `no row`; and ABSENT, PRESENT or UNKNOWN."""

    text: str
    meaning: int


@dataclass(frozen=True)
class Annotations:
    """R annotations of N images: each states a value of all A attributes for one image.

    Attributes:
        names: Unique image paths relative to the images folder, N.
        attributes: Unique attribute names, A.
        legend: All values that the file can state, at most 256.
        codes: Index into `legend` of each entry, uint8 [R, A].
        images: Index into `names` of each annotation, [R]; every image has at least one.
        places: What each annotation is called in messages, such as a line number, [R].
        unit: What `places` count: `line`, `task`, ...
        annotators: Who made each annotation, R, an empty string where it is not stated; None where the format
            does not state it at all.
        splits: train, val or test, N; None where the format assigns none.
        unstated: Index into `legend` of entries of which an annotation states nothing, which differ from no
            other annotation; None where every annotation states all entries.
    """

    names: list[str]
    attributes: list[str]
    legend: Sequence[Value]
    codes: np.ndarray = field(repr=False)
    images: np.ndarray = field(repr=False)
    places: Sequence[int | str] | np.ndarray = field(repr=False)
    unit: str = "line"
    annotators: list[str] | None = field(default=None, repr=False)
    splits: list[str] | None = field(default=None, repr=False)
    unstated: int | None = None

    def meanings(self) -> np.ndarray:
        """ABSENT, PRESENT or UNKNOWN of each entry, uint8 [R, A]."""
        return np.array([value.meaning for value in self.legend], np.uint8)[self.codes]

    def count(self, meaning: int) -> np.ndarray:
        """How many annotations of each image state this meaning, int32 [N, A]."""
        codes = [i for i, value in enumerate(self.legend) if value.meaning == meaning and i != self.unstated]
        return self._count(codes)

    def _count(self, codes: Sequence[int]) -> np.ndarray:
        """How many annotations of each image have one of these codes, int32 [N, A]."""
        order = np.argsort(self.images, kind="stable")
        first = np.searchsorted(self.images[order], np.arange(len(self.names)))
        wanted = np.isin(np.arange(len(self.legend)), codes)
        counts = np.empty((len(self.names), len(self.attributes)), np.int32)
        # a few columns at once, since the numbers take more memory than the codes
        for start in range(0, len(self.attributes), COLUMNS):
            columns = slice(start, start + COLUMNS)
            states = wanted[self.codes[:, columns]][order]
            counts[:, columns] = np.add.reduceat(states, first, axis=0, dtype=np.int32)
        return counts

    def select(self, columns: Sequence[int]) -> "Annotations":
        """The annotations of the attributes in these columns, in this order."""
        attributes = [self.attributes[column] for column in columns]
        return replace(self, attributes=attributes, codes=self.codes[:, columns])

    def counts(self) -> np.ndarray:
        """How often each value of the legend occurs, [len(legend), A].

        Of `unstated`, it is the number of images of which no annotation states the entry.
        """
        counts = np.array([(self.codes == code).sum(axis=0) for code in range(len(self.legend))])
        if self.unstated is not None:
            times = np.bincount(self.images, minlength=len(self.names))
            counts[self.unstated] = (self._count([self.unstated]) == times[:, None]).sum(axis=0)
        return counts


class AnnotationCollector:
    """Builds annotations entry by entry, one per image, for formats that list attributes sparsely.

    Args:
        legend: As of Annotations.
        default: Index into the legend of entries for which nothing is set.

    Attributes:
        attributes: Name -> column, in the order in which `set` names them.
    """

    def __init__(self, legend: Sequence[Value], default: int):
        self.legend, self.default = legend, default
        self.attributes: dict[str, int] = {}
        self._names: dict[str, int] = {}
        self._places: list[int] = []
        self._entries: dict[tuple[int, int], int] = {}

    def annotation(self, name: str, place: int) -> int:
        """The number of the annotation of an image, which is created where it is new."""
        number = self._names.setdefault(name, len(self._names))
        if number == len(self._places):
            self._places.append(place)
        return number

    def set(self, annotation: int, attribute: str, code: int) -> None:
        """Set an entry."""
        self._entries[annotation, self.attributes.setdefault(attribute, len(self.attributes))] = code

    def build(self, unit: str) -> Annotations:
        """The annotations so far."""
        codes = np.full((len(self._places), len(self.attributes)), self.default, np.uint8)
        if self._entries:
            rows, columns = np.array(list(self._entries), np.int64).T
            codes[rows, columns] = np.fromiter(self._entries.values(), np.uint8, len(self._entries))
        return Annotations(
            list(self._names),
            list(self.attributes),
            self.legend,
            codes,
            np.arange(len(self._names)),
            self._places,
            unit,
        )
