"""Which images train, validate and test: stratified over all attributes and over NA, groups kept together."""

import logging
import posixpath
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from aimonk.data.duplicates import duplicate_groups
from aimonk.data.labels import IMAGE_SUFFIXES, SPLITS
from aimonk.files.text import listed, tell

log = logging.getLogger(__name__)

BLOCK = 4096  # groups whose counts are held as float64 at once


def stratified_split(
    labels: np.ndarray, mask: np.ndarray, fractions: Sequence[float], groups: np.ndarray | None, seed: int
) -> list[np.ndarray]:
    """Share the rows out so that every part has its share of each attribute's 1s, 0s and NAs.

    Each part comes within a row of its share, or within a group where groups are larger; a part with a share
    never stays empty where there are groups enough.

    Args:
        labels: 0 or 1, [N, A]; ignored where mask is False.
        mask: True where the label is known, [N, A].
        fractions: Share of each part, at least 0, 1 together; 0 gives a part without rows.
        groups: Group number of each row, [N]; the rows of a group stay together. None keeps no rows together.

    Returns:
        Sorted row numbers of each part.
    """
    fractions = np.asarray(fractions, float)
    if fractions.size == 0 or not (fractions >= 0).all() or abs(fractions.sum() - 1) > 1e-6:
        raise ValueError(f"fractions should be at least 0 and sum to 1. Got {fractions.tolist()}")
    part = _assign(labels, mask, fractions, groups, seed)
    return [np.flatnonzero(part == j) for j in range(len(fractions))]


def stratified_folds(
    labels: np.ndarray, mask: np.ndarray, folds: int, groups: np.ndarray | None, seed: int
) -> np.ndarray:
    """Number of the fold that holds each row out, [N]; shared out as by `stratified_split`, none empty.

    Raises:
        ValueError: Fewer than two folds, or more folds than groups of rows.
    """
    if folds < 2:
        raise ValueError(f"folds should be at least 2. Got {folds}")
    available = len(labels) if groups is None else len(np.unique(groups))
    if folds > available:
        what = "images" if groups is None else "different photographs"
        raise ValueError(f"folds should be at most the number of {what}, {available}. Got {folds}")
    return _assign(labels, mask, np.full(folds, 1 / folds), groups, seed)


def _assign(
    labels: np.ndarray, mask: np.ndarray, fractions: np.ndarray, groups: np.ndarray | None, seed: int
) -> np.ndarray:
    """Part of each row, [N]; [S] fractions.

    Goes through the groups, large and rare ones first as in iterative stratification (Sechidis et al., 2011),
    and gives each to the part that keeps chi-square smallest: over all indicators and parts the squared
    difference between the count a part has and its share of the rows placed so far, divided by its share of
    all rows. Dividing makes one positive of ten weigh as much as a thousand of ten thousand.
    """
    if labels.ndim != 2 or labels.shape != mask.shape:
        raise ValueError(f"labels and mask should be [N, A]. Got {list(labels.shape)}, {list(mask.shape)}")
    n = len(labels)
    if groups is not None and np.shape(groups) != (n,):
        raise ValueError(f"groups should be [N] for {n} rows. Got {list(np.shape(groups))}")
    group = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1].ravel()
    counts = _indicator_counts(labels, mask, group)  # [G, 2A + 1]
    totals = counts.sum(axis=0, dtype=float)
    order = _order(counts, totals, np.random.default_rng(seed))
    scale = 1 / np.sqrt(np.maximum(totals, 1))
    room = _quotas(n, fractions)
    used = fractions > 0
    empty = used.copy()
    share = fractions[:, None]
    inverse = 1 / np.where(used, fractions, 1)
    # how many each part is short of its share of the rows placed so far, by indicator and scaled
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
            if left <= len(empty) and left <= empty.sum():  # the last groups go to the parts that have none
                allowed = empty
            # rounded, so that a tie is a tie whatever the order of the sums
            j = np.where(allowed, gain.round(9), -np.inf).argmax()
            missing[j] -= row
            room[j] -= size
            empty[j] = False
            left -= 1
            part_of_group[g] = j
    return part_of_group[group]


def _indicator_counts(labels: np.ndarray, mask: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Per group the known 1s and the known 0s of each attribute, and the rows, [G, 2A + 1] float32."""
    present = mask & (labels > 0.5)
    rows = np.concatenate([present, mask & ~present, np.ones((len(labels), 1), bool)], axis=1)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    if len(starts) == len(rows):
        return rows[order].astype(np.float32)
    return np.add.reduceat(rows[order], starts, axis=0, dtype=np.float32)


def _order(counts: np.ndarray, totals: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Groups in the order of placing: large first, then those with a rare indicator, then by chance."""
    rarest = np.full(len(counts), np.inf)
    for column in np.argsort(-totals, kind="stable"):
        rarest[counts[:, column] > 0] = totals[column]
    return np.lexsort((generator.permutation(len(counts)), rarest, -counts[:, -1]))


def _quotas(n: int, fractions: np.ndarray) -> np.ndarray:
    """Rows for each part: shares rounded by largest remainder, [S]."""
    quotas = np.floor(n * fractions + 1e-9)
    remainder = np.where(fractions > 0, n * fractions - quotas, -1)
    quotas[np.argsort(-remainder, kind="stable")[: round(n - quotas.sum())]] += 1
    return quotas


def assigned_split(
    assignment: Mapping[str, str] | Path | str, names: Sequence[str], groups: np.ndarray | None = None
) -> list[np.ndarray]:
    """Split the images as the user says.

    Warns of groups of the same photograph that the assignment takes apart.

    Args:
        assignment: Image name to "train", "val" or "test", or the file that `read_assignment` reads.
        groups: Group number of each image, [N].

    Returns:
        Sorted indices into names: train, val, test.

    Raises:
        ValueError: Images without an assignment, assignments without an image, or another word than the
            three.
    """
    source = "the assignment" if isinstance(assignment, Mapping) else str(assignment)
    given = assignment if isinstance(assignment, Mapping) else read_assignment(Path(assignment))
    known = set(names)
    mistakes = [
        f"{source}: {len(found)} {what}: {listed(found)}"
        for what, found in (
            ("images have no split", [name for name in names if name not in given]),
            ("names are not among the images", [name for name in given if name not in known]),
            (
                f"images have a split other than {', '.join(SPLITS)}",
                [n for n in given if given[n] not in SPLITS],
            ),
        )
        if found
    ]
    if mistakes:
        raise ValueError("\n".join(mistakes))
    part = np.array([SPLITS.index(given[name]) for name in names], np.int64)
    if groups is not None:
        parted = [g for g in duplicate_groups(groups, names) if len({given[name] for name in g}) > 1]
        if parted:
            told = [" = ".join(f"{name} ({given[name]})" for name in group) for group in parted]
            log.warning(
                "%s: the same photograph in different splits, %d times: %s", source, len(told), listed(told)
            )
    return [np.flatnonzero(part == j) for j in range(len(SPLITS))]


def read_assignment(path: Path) -> dict[str, str]:
    """Read a split file: `image_0.jpg train`, separated by tab, comma or white space; a header is optional.

    Returns:
        Image name to "train", "val" or "test".

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file has mistakes; the message tells the first ten with their lines.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no split file at {path.absolute()}")
    try:
        text = path.read_text(encoding="utf-8-sig")  # also turns CRLF into LF
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not UTF-8 text; save the file as UTF-8") from None
    lines = [(i, s.strip()) for i, s in enumerate(text.split("\n"), start=1)]
    rows = [(i, *_name_and_split(s)) for i, s in lines if s and not s.startswith("#")]
    if rows and rows[0][2] not in SPLITS and Path(rows[0][1]).suffix.lower() not in IMAGE_SUFFIXES:
        rows = rows[1:]  # a header
    given: dict[str, str] = {}
    mistakes = []
    for line, name, split in rows:
        if split not in SPLITS:
            mistakes.append(
                f"{path} line {line}: expected {', '.join(SPLITS)} for {name[:80]!r}, got {split[:40]!r}"
            )
        elif not name:
            mistakes.append(f"{path} line {line}: expected the name of an image before {split!r}")
        elif given.setdefault(name, split) != split:
            mistakes.append(f"{path} line {line}: {name!r} is {split} here and {given[name]} above")
    if mistakes:
        raise ValueError(tell(mistakes))
    if not given:
        raise ValueError(f"{path.absolute()}: no rows; expected lines such as 'image_0.jpg train'")
    return given


def _name_and_split(text: str) -> tuple[str, str]:
    """The two fields of a line; an empty split where there is one field only."""
    mark = next((mark for mark in "\t," if mark in text), None)
    fields = [field.strip().strip('"') for field in text.rsplit(mark, 1)]
    name = posixpath.normpath(fields[0]) if fields[0] else ""
    return name, fields[1].lower() if len(fields) > 1 else ""
