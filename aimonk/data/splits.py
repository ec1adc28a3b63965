"""Splits into train, val and test, or folds: stratified by attribute and NA, with groups kept together."""

import logging
import posixpath
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from aimonk.data.groups import duplicate_groups, number_groups
from aimonk.data.labels import SPLIT_NAMES, SPLITS, has_image_suffix
from aimonk.files.delimited import read_lines
from aimonk.files.text import join_errors, listed, plural

log = logging.getLogger(__name__)

BLOCK = 4096  # groups whose counts are in memory as float64 at a time


def stratified_split(
    labels: np.ndarray, mask: np.ndarray, fractions: Sequence[float], groups: np.ndarray | None, seed: int
) -> list[np.ndarray]:
    """Split the rows so that each part gets its share of every attribute's 1s, 0s and NAs.

    The size of a part differs from its share by at most a row, or a group where groups are larger. No part
    with a share is empty if there are enough groups.

    Args:
        labels: 0 or 1, [N, A]; ignored where mask is False.
        mask: True where the label is known, [N, A].
        fractions: Share of each part, non-negative, summing to 1.
        groups: Group number of each row, [N]; the rows of a group stay in one part. None: no groups.

    Returns:
        Sorted row numbers of each part.
    """
    fractions = np.asarray(fractions, float)
    if fractions.size == 0 or not (fractions >= 0).all() or abs(fractions.sum() - 1) > 1e-6:
        raise ValueError(f"fractions is {fractions.tolist()}; expected non-negative numbers that sum to 1")
    part = _assign(labels, mask, fractions, groups, seed)
    return [np.flatnonzero(part == j) for j in range(len(fractions))]


def stratified_folds(
    labels: np.ndarray, mask: np.ndarray, folds: int, groups: np.ndarray | None, seed: int
) -> np.ndarray:
    """The fold that holds out each row, [N]; stratified as by `stratified_split`, none empty.

    Raises:
        ValueError: Fewer than two folds, or more folds than groups of rows.
    """
    if folds < 2:
        raise ValueError(f"folds is {folds}; expected 2 or more")
    available = len(labels) if groups is None else len(np.unique(groups))
    if folds > available:
        kind = "images" if groups is None else "distinct photographs"
        raise ValueError(f"folds is {folds}; expected at most {available}, the number of {kind}")
    return _assign(labels, mask, np.full(folds, 1 / folds), groups, seed)


def _assign(
    labels: np.ndarray, mask: np.ndarray, fractions: np.ndarray, groups: np.ndarray | None, seed: int
) -> np.ndarray:
    """Part of each row, [N], for [S] fractions.

    Visits the groups, large and rare ones first as in iterative stratification (Sechidis et al., 2011), and
    assigns each to the part that minimises chi-square: over all indicators and parts, the squared difference
    between the count of a part and its share of the rows assigned so far, divided by its share of all rows.
    The division gives one positive of ten the weight of a thousand of ten thousand.
    """
    if labels.ndim != 2 or labels.shape != mask.shape:
        shapes = f"{list(labels.shape)} and {list(mask.shape)}"
        raise ValueError(f"labels and mask have the shapes {shapes}; expected [N, A] for both")
    n = len(labels)
    if groups is not None and np.shape(groups) != (n,):
        raise ValueError(f"groups has the shape {list(np.shape(groups))}; expected [{n}]")
    group = np.arange(n) if groups is None else number_groups(groups)
    counts = _indicator_counts(labels, mask, group)  # [G, 2A + 1]
    totals = counts.sum(axis=0, dtype=float)
    order = _order(counts, totals, np.random.default_rng(seed))
    scale = 1 / np.sqrt(np.maximum(totals, 1))
    room = _quotas(n, fractions)
    used = fractions > 0
    empty = used.copy()
    share = fractions[:, None]
    inverse = 1 / np.where(used, fractions, 1)
    # what each part lacks of its share of the rows assigned so far, by indicator, scaled
    missing = np.zeros((len(fractions), len(scale)))
    part_of_group = np.empty(len(order), np.int64)
    left = len(order)
    for start in range(0, len(order), BLOCK):
        block = order[start : start + BLOCK]
        for g, size, row in zip(block, counts[block, -1], counts[block] * scale, strict=True):
            missing += share * row
            gain = (2 * (missing @ row) - row @ row) * inverse
            allowed = used & (room >= size)
            if not allowed.any():
                allowed = used & (room == room[used].max())
            if left <= len(empty) and left <= empty.sum():  # the last groups go to empty parts
                allowed = empty
            # rounded, so that ties do not depend on the order of summation
            j = np.where(allowed, gain.round(9), -np.inf).argmax()
            missing[j] -= row
            room[j] -= size
            empty[j] = False
            left -= 1
            part_of_group[g] = j
    return part_of_group[group]


def _indicator_counts(labels: np.ndarray, mask: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Known 1s and known 0s of each attribute, and rows, of each group, [G, 2A + 1] float32."""
    present = mask & (labels > 0.5)
    rows = np.concatenate([present, mask & ~present, np.ones((len(labels), 1), bool)], axis=1)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    if len(starts) == len(rows):
        return rows[order].astype(np.float32)
    return np.add.reduceat(rows[order], starts, axis=0, dtype=np.float32)


def _order(counts: np.ndarray, totals: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Order in which groups are assigned: large ones, then those with a rare indicator, then at random."""
    rarest = np.full(len(counts), np.inf)
    for column in np.argsort(-totals, kind="stable"):
        rarest[counts[:, column] > 0] = totals[column]
    return np.lexsort((generator.permutation(len(counts)), rarest, -counts[:, -1]))


def _quotas(n: int, fractions: np.ndarray) -> np.ndarray:
    """Rows of each part: shares rounded by largest remainder, [S]."""
    quotas = np.floor(n * fractions + 1e-9)
    remainder = np.where(fractions > 0, n * fractions - quotas, -1)
    quotas[np.argsort(-remainder, kind="stable")[: round(n - quotas.sum())]] += 1
    return quotas


def assigned_split(
    assignment: Mapping[str, str] | Path | str, names: Sequence[str], groups: np.ndarray | None = None
) -> list[np.ndarray]:
    """Split the images as assigned; warns of duplicate photographs in different splits.

    Args:
        assignment: Image name to "train", "val" or "test", or the file that `read_assignment` reads.
        groups: Group number of each image, [N].

    Returns:
        Sorted indices into names: train, val, test.

    Raises:
        ValueError: Images without an assignment, assignments without an image, or an unknown split.
    """
    source = "the assignment" if isinstance(assignment, Mapping) else str(assignment)
    assigned = assignment if isinstance(assignment, Mapping) else read_assignment(Path(assignment))
    known, unknown_split = set(names), f"with a split other than {', '.join(SPLITS)}"
    problems = (
        ("image", "without a split", [name for name in names if name not in assigned]),
        ("name", "without an image", [name for name in assigned if name not in known]),
        ("image", unknown_split, [name for name in assigned if assigned[name] not in SPLITS]),
    )
    errors = [
        f"{source}: {plural(len(found), noun)} {problem}: {listed(found)}"
        for noun, problem, found in problems
        if found
    ]
    if errors:
        raise ValueError("\n".join(errors))
    part = np.array([SPLITS.index(assigned[name]) for name in names], np.int64)
    copies = [] if groups is None else duplicate_groups(groups, names)
    divided = [copy for copy in copies if len({assigned[name] for name in copy}) > 1]
    if divided:
        count = plural(len(divided), "duplicate photograph")
        shown = [" = ".join(f"{name} ({assigned[name]})" for name in copy) for copy in divided]
        log.warning("%s: %s in different splits: %s", source, count, listed(shown))
    return [np.flatnonzero(part == j) for j in range(len(SPLITS))]


def read_assignment(path: Path) -> dict[str, str]:
    """Read a split file: `image_0.jpg train`, separated by tab, comma, semicolon or white space.

    A header is optional. `training`, `valid`, `validation`, `dev` and `testing` are names of splits as well.

    Returns:
        Image name to "train", "val" or "test".

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file has errors; the message lists the first ten with their line numbers.
    """
    rows = [(line, *_name_and_split(text.strip())) for line, text in read_lines(path, "split file")]
    if rows and rows[0][2] not in SPLITS and not has_image_suffix(rows[0][1]):
        rows = rows[1:]  # a header
    assigned: dict[str, str] = {}
    errors = []
    for line, name, split in rows:
        if split not in SPLITS:
            problem = f"the split of {name[:80]!r} is {split[:40]!r}; expected {', '.join(SPLITS)}"
        elif not name:
            problem = f"the image name before {split!r} is empty"
        elif assigned.setdefault(name, split) != split:
            problem = f"{name!r} is assigned to {split}, and to {assigned[name]} above"
        else:
            continue
        errors.append(f"{path} line {line}: {problem}")
    if errors:
        raise ValueError(join_errors(errors))
    if not assigned:
        raise ValueError(f"{path.absolute()}: no rows; expected lines such as 'image_0.jpg train'")
    return assigned


def _name_and_split(text: str) -> tuple[str, str]:
    """Name and split of a line, such as `val` for `validation`; the split is empty if there is one field."""
    separator = next((mark for mark in "\t,;" if mark in text), None)
    fields = [field.strip().strip('"') for field in text.rsplit(separator, 1)]
    name = posixpath.normpath(fields[0]) if fields[0] else ""
    split = fields[1].lower() if len(fields) > 1 else ""
    return name, SPLIT_NAMES.get(split, split)
