"""Lists of the images of shards, made in one pass over each shard and kept in the cache folder."""

import gzip
import json
import logging
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from aimonk.data.shards.addresses import is_remote
from aimonk.data.shards.copies import Copies
from aimonk.data.shards.images import Shard
from aimonk.data.shards.reading import read_shard
from aimonk.data.shards.states import digest, find_state
from aimonk.files.atomic import replacing
from aimonk.runtime.ranks import rank, world_size

CODE_VERSION = "1"  # part of every file name; increment it when the same shard gives another list
AT_ONCE = 4  # shards read at the same time
REQUESTS = 32  # of states, at the same time
# of a file with other contents than expected
DAMAGED = (OSError, EOFError, ValueError, LookupError, TypeError, RecursionError)

log = logging.getLogger(__name__)


@dataclass
class ShardIndex:
    """The images of a shard.

    Attributes:
        names: Names of the members, n.
        offsets: Of the content in the shard, or in its copy, n.
        sizes: Bytes, n.
        labels: Labels in the shard, n; None where an image has none.
        damage: Why the shard could not be read further; empty where it is complete.
    """

    names: list[str] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    labels: list[dict[str, Any] | None] = field(default_factory=list)
    damage: str = ""


def open_shards(addresses: Sequence[str], copies: Copies) -> list[Shard]:
    """The shards in their present state; tar files of this machine are read in place, others are copied.

    Raises:
        OSError: A shard does not exist or cannot be reached.
    """
    with ThreadPoolExecutor(REQUESTS) as pool:
        states = pool.map(find_state, addresses)
        in_place = [
            not is_remote(address) and not address.lower().endswith(".parquet") for address in addresses
        ]
        return [
            Shard(address, state, None if is_local else copies)
            for address, state, is_local in zip(addresses, states, in_place, strict=True)
        ]


def read_indices(
    shards: Sequence[Shard], folder: Path, with_labels: bool, watch: Callable
) -> Iterator[ShardIndex]:
    """Yield the list of each shard; those that are not in the folder are made first, by reading the shards.

    Several processes share the work.

    Args:
        folder: Created when needed; a folder that is not writable is not used.
        with_labels: Whether labels are read; without, damaged ones do not matter.
        watch: Wraps an iterator to show progress; called with (iterator, total, title).

    Raises:
        OSError: A shard cannot be read.
    """
    first = rank() * len(shards) // world_size()
    places = {shard.address: _file(folder, shard, with_labels) for shard in shards}
    missing = [s for s in [*shards[first:], *shards[:first]] if not places[s.address].is_file()]
    unsaved: dict[str, ShardIndex] = {}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        made = pool.map(lambda s: (s, _make_once(s, places[s.address], with_labels)), missing)
        for shard, index in watch(made, len(missing), "shards") if missing else ():
            if index is not None:
                unsaved[shard.address] = index
    for shard in shards:
        found = unsaved.pop(shard.address, None) or _load(places[shard.address])
        yield found or make_index(shard, with_labels)


def make_index(shard: Shard, with_labels: bool) -> ShardIndex:
    """Read a shard, and write the copy of one that needs it.

    Raises:
        OSError: The shard cannot be read.
    """
    index = ShardIndex()
    try:
        if shard.copies is None:
            found = ((member, member.offset) for member in read_shard(shard.address, with_labels))
        else:
            found = shard.copies.write(shard.address, shard.state, with_labels)
        for member, offset in found:
            index.names.append(member.name)
            index.offsets.append(offset)
            index.sizes.append(len(member.content))
            index.labels.append(member.labels)
    except ValueError as error:
        index.damage = f"{error}"
    return index


def _make_once(shard: Shard, path: Path, with_labels: bool) -> ShardIndex | None:
    """Make and save a list, unless another process has; return it where it cannot be saved."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{path}.lock").acquire()
    except OSError:
        return make_index(shard, with_labels)
    with lock:
        if path.is_file():
            return None
        index = make_index(shard, with_labels)
        return None if _save(path, index) else index


def _save(path: Path, index: ShardIndex) -> bool:
    """Write a list, which replaces those of earlier states of the shard; whether that was possible."""
    # values that JSON does not have, such as dates of a Parquet file, are no labels
    content = json.dumps(vars(index), default=lambda value: f"{value}"[:80])
    try:
        for old in path.parent.glob(f"{path.name.split('_')[0]}_*.json.gz"):
            old.unlink(missing_ok=True)
        with replacing(path) as file:
            file.write(gzip.compress(content.encode(errors="surrogateescape"), compresslevel=1))
    except OSError as error:
        log.warning("cannot write to %s (%s); the shards are listed at each start", path.parent, error)
        return False
    return True


def _load(path: Path) -> ShardIndex | None:
    """A saved list; None if it does not exist or is damaged."""
    try:
        content = json.loads(gzip.decompress(path.read_bytes()).decode(errors="surrogateescape"))
        index = ShardIndex(**content)
        columns = (index.names, index.offsets, index.sizes, index.labels)
        return index if len(set(map(len, columns))) == 1 else None
    except (*DAMAGED, zlib.error):
        return None


def _file(folder: Path, shard: Shard, with_labels: bool) -> Path:
    return (
        folder
        / f"{digest(f'{with_labels} {shard.address}')}_{digest(f'{CODE_VERSION} {shard.state}')}.json.gz"
    )
