"""Notes on the data of a run: its parts, and problems with its files."""

import numpy as np

from aimonk.data.dataset import ImageSet
from aimonk.data.groups import duplicate_groups
from aimonk.files.text import listed, plural

FILE_PROBLEMS = {
    "missing": "rows without an image",
    "unreadable": "unreadable images",
    "unlisted": "images without a row",
}

Notes = list[tuple[str, str]]  # term and description


def data_notes(images: ImageSet, groups: np.ndarray | None, parts: dict[str, np.ndarray]) -> Notes:
    """Notes on the images.

    Args:
        groups: Duplicates have the same number, [N]; None where duplicates were not searched for.
    """
    sizes = [f"{len(rows):,} {name}" for name, rows in parts.items() if len(rows)]
    notes = [("images", f"{len(images):,}: {', '.join(sizes)}")]
    for key, problem in FILE_PROBLEMS.items():
        names = with_reasons(getattr(images, key))
        notes.append((problem, f"{len(names):,}: {listed(names)}" if names else "none"))
    if groups is None:
        return [*notes, ("duplicates", "not searched for")]
    same = [" = ".join(group) for group in duplicate_groups(groups, images.table.names)]
    found = f"{plural(len(same), 'group')}, each on one side of the split: {listed(same)}" if same else "none"
    return [*notes, ("duplicates", found)]


def with_reasons(names: list[str] | dict[str, str]) -> list[str]:
    """Names, each followed by its reason where there is one."""
    return [f"{name} ({reason})" for name, reason in names.items()] if isinstance(names, dict) else names
