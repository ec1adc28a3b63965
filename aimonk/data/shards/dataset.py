"""The labelled images of shards: names, places and labels, before an image is decoded."""

import logging
import os
import posixpath
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from aimonk.data.dataset import Found, drop_missing
from aimonk.data.images.folder import CODE_VERSION
from aimonk.data.labels import LabelTable
from aimonk.data.shards.addresses import is_remote
from aimonk.data.shards.copies import Copies
from aimonk.data.shards.images import Shard, ShardImage
from aimonk.data.shards.index import ShardIndex, open_shards, read_indices
from aimonk.data.shards.labels import ShardLabels
from aimonk.data.shards.reading import find_shards
from aimonk.files.text import join_errors, listed, plural

INDICES, COPIES = "indices", "copies"  # in the cache folder of shards

log = logging.getLogger(__name__)


@dataclass
class ShardFiles:
    """The shards of a data set, and how they are read.

    Attributes:
        patterns: As for `find_shards`.
        folder: Of the lists of shards, and of local copies.
        copies_limit: Total size of the copies of remote and Parquet shards, in bytes.
        prefix: Whether the name of the shard precedes that of the member, where members share names.
        unreadable: `skip` or `error`: handling of damaged shards, whose images before the damage are used.
        watch: Wraps an iterator to show progress; called with (iterator, total, title).
    """

    patterns: Sequence[str]
    folder: Path
    copies_limit: int
    prefix: bool
    unreadable: str
    watch: Callable

    def __str__(self) -> str:
        return ", ".join(self.patterns)


@dataclass
class Members:
    """The images of all shards, in their order.

    Attributes:
        images: n.
        shards: Number of the shard of each image, n.
        rows: Index of an image by its name.
        labelled: Indices of the images with labels in their shard.
    """

    images: list[ShardImage] = field(default_factory=list)
    shards: list[int] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)
    labelled: list[int] = field(default_factory=list)


def find_labels_inside(
    files: ShardFiles, labels: ShardLabels, read: Callable[[], LabelTable], missing: str, check: Callable
) -> Found:
    """The images with labels in their shards.

    Args:
        labels: Collects the labels.
        read: Makes the table of the collected labels, in their order.
        missing: `skip` or `error`: handling of images without labels.
        check: Called with the labels; may raise ValueError.

    Raises:
        FileNotFoundError: There are no such shards.
        OSError: A shard cannot be read.
        ValueError: Damaged shards, names that are not unique, or errors in the labels.
    """
    members = list_members(files, labels)
    table = read()
    check(table)
    found = _select(members, table, table, np.array(members.labelled, dtype=np.int64), [])
    if found.unlisted:
        message = f"{_describe_unlisted(found.unlisted)} in {files}"
        if missing == "error":
            raise ValueError(f"{message}; data.missing=skip skips them")
        log.warning("%s; skipped", message)
    return found


def find_listed(files: ShardFiles, read: Callable[[], LabelTable], missing: str, check: Callable) -> Found:
    """The images with a row in a label file, in the order of the shards.

    Args:
        read: Reads the label file, whose image names are those of the members.
        missing: `skip` or `error`: handling of rows without an image.
        check: As for `find_labels_inside`; the errors too.
    """
    table = read()
    check(table)
    members = list_members(files, None)
    exists = np.array([name in members.rows for name in table.names], dtype=bool)
    kept, absent = drop_missing(table, exists, f"the shards {files}", "data.labels", missing)
    rows = np.array([members.rows[name] for name in kept.names], dtype=np.int64)
    order = np.argsort(rows)
    found = _select(members, table, kept.take(order), rows[order], absent)
    if found.unlisted:
        log.info("%s", _describe_unlisted(found.unlisted))
    return found


def _describe_unlisted(names: list[str]) -> str:
    return f"{plural(len(names), 'image')} without labels: {listed(names)}"


def _select(
    members: Members, file_table: LabelTable, table: LabelTable, rows: np.ndarray, absent: list[str]
) -> Found:
    """The images in the given rows."""
    unlisted = [members.images[i].name for i in np.setdiff1d(np.arange(len(members.images)), rows)]
    images = [members.images[i] for i in rows]
    keys = [_fingerprint(image) for image in images]
    return Found(file_table, table, images, keys, absent, unlisted, np.array(members.shards)[rows])


def _fingerprint(image: ShardImage) -> str:
    """A key of the pixels: those of a shard that changes get others."""
    shard = image.shard
    address = shard.address if is_remote(shard.address) else os.path.abspath(shard.address)
    return "\0".join([CODE_VERSION, address, shard.state, str(image.offset), str(image.size)])


def list_members(files: ShardFiles, labels: ShardLabels | None) -> Members:
    """The images of all shards.

    Args:
        labels: Collects the labels in the shards; None leaves them out.

    Raises:
        FileNotFoundError: There are no such shards.
        OSError: A shard cannot be read.
        ValueError: Damaged shards, or names that are not unique.
    """
    addresses = list(dict.fromkeys(found for pattern in files.patterns for found in find_shards(pattern)))
    with_labels = labels is not None
    shards = open_shards(addresses, Copies(files.folder / COPIES, files.copies_limit, with_labels))
    prefixes = _prefixes(addresses) if files.prefix else [""] * len(shards)
    members, damaged, repeated = Members(), [], []
    indices = read_indices(shards, files.folder / INDICES, with_labels, files.watch)
    for number, index in enumerate(indices):
        shard = shards[number]
        if index.damage:
            damaged.append(f"{index.damage}; {plural(len(index.names), 'image')} before")
        elif not index.names:
            log.warning("%s has no images", shard.address)
        repeated += _append(members, number, shard, index, prefixes[number], labels)
    if damaged and (files.unreadable == "error" or not members.images):
        fix = "; data.unreadable=skip uses the images before the damage" if members.images else ""
        raise ValueError(join_errors(damaged) + fix)
    for line in damaged:
        log.warning("%s the damage are used, the others are skipped", line)
    if repeated:
        raise ValueError(join_errors(repeated))
    if not members.images:
        raise FileNotFoundError(
            f"no images in {plural(len(shards), 'shard')} of {files}; expected members such as 0001.jpg"
        )
    log.info("%s in %s", plural(len(members.images), "image"), plural(len(shards), "shard"))
    return members


def _append(
    members: Members, number: int, shard: Shard, index: ShardIndex, prefix: str, labels: ShardLabels | None
) -> list[str]:
    """Append the images of a shard; returns an error for each name that is in use."""
    errors = []
    for name, offset, size, entry in zip(index.names, index.offsets, index.sizes, index.labels, strict=True):
        row, where = len(members.images), f"{shard.address}: {name!r}"
        name = prefix + name
        other = members.rows.setdefault(name, row)
        if other != row:
            first = members.images[other].shard.address
            fix = "data.prefix=true begins each name with its shard"
            errors.append(
                f"{where} occurs twice in the shard; expected unique names"
                if first == shard.address
                else f"{where} is also in {first}; expected unique names; {fix}"
            )
            continue
        members.images.append(ShardImage(shard, name, offset, size))
        members.shards.append(number)
        if labels is not None and entry is not None:
            members.labelled.append(row)
            labels.add(name, entry, where)
    return errors


def _prefixes(addresses: Sequence[str]) -> list[str]:
    """The path of each shard without its suffix, from the folder that all share: `train-0001/`."""
    parts = [address.split("/") for address in addresses]
    depth = 0
    while all(len(own) > depth + 1 and own[depth] == parts[0][depth] for own in parts):
        depth += 1
    return [posixpath.splitext("/".join(own[depth:]))[0] + "/" for own in parts]
