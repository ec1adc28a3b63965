"""Label tables: each row names an image and labels every attribute 1, 0 or NA."""

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from aimonk.data.annotations import Annotations
from aimonk.files.text import printable, suggest

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".mpo"}
SPLITS = ("train", "val", "test")
# names of the splits in files
SPLIT_NAMES = {name: name for name in SPLITS}
SPLIT_NAMES |= {"training": "train", "valid": "val", "validation": "val", "dev": "val", "testing": "test"}


@dataclass(frozen=True)
class LabelTable:
    """Incomplete labels of N images and A attributes.

    Attributes:
        names: Unique image paths relative to the images folder, N.
        attributes: Unique attribute names, A.
        labels: 1 present, 0 absent, [N, A] float32; 0 where unknown.
        mask: True where the label is known, [N, A].
        splits: train, val or test, N; None where the file assigns none.
        shares: Share of the annotators who labelled the entry 1, [N, A] float32, nan where nobody did: the
            target of training, which `data.repeated=soft` keeps; None for `labels`.
        annotations: The annotations of all images, where some have several.
    """

    names: list[str]
    attributes: list[str]
    labels: np.ndarray = field(repr=False)
    mask: np.ndarray = field(repr=False)
    splits: list[str] | None = field(default=None, repr=False)
    shares: np.ndarray | None = field(default=None, repr=False)
    annotations: Annotations | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.names)

    def targets(self) -> tuple[np.ndarray, np.ndarray]:
        """Labels to train on, 0 to 1, and their mask, [N, A] each."""
        if self.shares is None:
            return self.labels, self.mask
        known = ~np.isnan(self.shares)
        return np.where(known, self.shares, 0), known

    def take(self, rows: np.ndarray) -> "LabelTable":
        """The table of the given rows, indices [M], without annotations."""
        names, splits = ([of[i] for i in rows] if of else None for of in (self.names, self.splits))
        shares = None if self.shares is None else self.shares[rows]
        return LabelTable(names or [], self.attributes, self.labels[rows], self.mask[rows], splits, shares)

    def select(self, attributes: Sequence[str]) -> "LabelTable":
        """The table of the given attributes, in their order."""
        columns = [self.attributes.index(name) for name in attributes]
        labels, mask = self.labels[:, columns], self.mask[:, columns]
        shares = None if self.shares is None else self.shares[:, columns]
        annotations = None if self.annotations is None else self.annotations.select(columns)
        return LabelTable(self.names, list(attributes), labels, mask, self.splits, shares, annotations)

    def counts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Number of present, absent and unknown entries of each attribute, [A] each."""
        known = self.mask.sum(axis=0)
        present = (self.labels * self.mask).sum(axis=0).astype(int)
        return present, known - present, len(self) - known


def value_warnings(table: LabelTable) -> list[str]:
    """A warning for each attribute that is never known, or has a single known value."""
    warnings = []
    for name, present, absent in zip(table.attributes, *table.counts()[:2], strict=True):
        if present == 0 and absent == 0:
            warnings.append(f"attribute {name!r} is NA in every row: it is not trained and has no score")
        elif absent == 0:
            warnings.append(
                f"attribute {name!r} is never 0: the model learns to predict always 1, unless missing=weak "
                "or another policy counts NA as 0"
            )
        elif present == 0:
            warnings.append(f"attribute {name!r} is never 1: the model learns to predict always 0")
    return warnings


def has_image_suffix(name: str) -> bool:
    """Whether the name ends in the suffix of an image format."""
    return posixpath.splitext(name)[1].lower() in IMAGE_SUFFIXES


def check_names(names: Sequence[str], source: str) -> list[str]:
    """The stripped names of attributes.

    Raises:
        ValueError: A name is empty, not printable, or listed twice.
    """
    names, before = [str(name).strip() for name in names], set()
    for i, name in enumerate(names):
        if not name:
            raise ValueError(f"{source}: the name of attribute {i + 1} is empty")
        if printable(name) != name:
            raise ValueError(f"{source}: attribute {name[:80]!r} contains unprintable characters")
        if name in before:
            raise ValueError(f"{source}: attribute {name[:80]!r} is listed twice; expected unique names")
        before.add(name)
    return names


def select_attributes(table: LabelTable, attributes: Sequence[str] | None, path: Path) -> LabelTable:
    """The table of the attributes of `data.attributes`, in their order; None or an empty list keeps all.

    Raises:
        ValueError: The table has no such attribute.
    """
    given = check_attributes(attributes, table.attributes, path)
    return table.select(given) if given else table


def check_attributes(attributes: Sequence[str] | None, names: Sequence[str], path: Path) -> list[str]:
    """The names in `data.attributes`.

    Raises:
        ValueError: A name is not one of `names`, the attributes in a file.
    """
    given = check_names(attributes or [], "data.attributes")
    for name in given:
        if name not in names:
            raise ValueError(
                f"data.attributes has {name[:80]!r}, no column of {path}; {suggest(name, names)}"
            )
    return given
