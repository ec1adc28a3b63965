"""Groups of images that show the same photograph, as a group number for each image."""

from collections.abc import Sequence

import numpy as np


def number_groups(groups: np.ndarray) -> np.ndarray:
    """The same groups, [N], numbered 0, 1, 2, ... in the order of their old numbers."""
    return np.unique(groups, return_inverse=True)[1].reshape(-1)


def duplicate_groups(groups: np.ndarray, names: Sequence[str]) -> list[list[str]]:
    """Names of the images in each group of two or more, in the order of their first image; [N] groups."""
    return [[names[i] for i in rows] for rows in _rows_of_duplicates(groups)]


def contradictions(
    groups: np.ndarray, labels: np.ndarray, mask: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Groups of images whose known labels contradict one another.

    Args:
        groups: Group number of each image, [N].
        labels: 0 or 1, [N, A]; ignored where mask is False.
        mask: True where the label is known, [N, A].

    Returns:
        For each such group the indices of its images, and of the attributes on which two of them differ.
    """
    found = []
    for rows in _rows_of_duplicates(groups):
        present = (labels[rows] > 0.5) & mask[rows]
        absent = mask[rows] & ~present
        attributes = np.flatnonzero(present.any(axis=0) & absent.any(axis=0))
        if attributes.size:
            found.append((rows, attributes))
    return found


def _rows_of_duplicates(groups: np.ndarray) -> list[np.ndarray]:
    """Ascending rows of each group of two or more, in the order of their first row."""
    order = np.argsort(groups, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
    return sorted((rows for rows in parts if len(rows) > 1), key=lambda rows: rows[0])
