"""Addresses of shards: local paths and fsspec addresses such as `s3://bucket/data-000.tar`."""

import contextlib
import errno
import glob
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

from aimonk.files.text import listed, plural

SUFFIXES = (".tar", ".parquet")
BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}|\{([^{},]*(?:,[^{},]*)+)\}")
MAX_SHARDS = 10_000_000
REQUESTS = 32  # at a time, of whether remote shards exist


def is_shard(address: str) -> bool:
    """Whether a path, a pattern or an address ends as a shard does: `.tar` or `.parquet`."""
    return address.lower().endswith(SUFFIXES)


def is_remote(address: str) -> bool:
    """Whether fsspec opens the address; others are local paths."""
    return "://" in address


def find_shards(pattern: str) -> list[str]:
    """The sorted addresses of the shards that a pattern names.

    Args:
        pattern: A shard, a folder of shards, a pattern (`shards/*.tar`), or a range in the notation of
            webdataset (`shards/data-{000..199}.tar`, `{train,val}.tar`); local or an fsspec address.

    Raises:
        FileNotFoundError: There are none, or some of a range do not exist.
        ValueError: fsspec is not installed, or cannot open such addresses.
    """
    # an existing name may have braces and brackets of its own
    exists = not is_remote(pattern) and os.path.lexists(pattern)
    names = [pattern] if exists else expand_braces(pattern)
    found = _find_remote(names) if is_remote(pattern) else _find_local(names)
    shards = sorted({address for address in found if is_shard(address)})
    if not shards:
        where = pattern if is_remote(pattern) else Path(pattern).absolute()
        raise FileNotFoundError(f"no shards at {where}; expected files {' or '.join(SUFFIXES)}")
    return shards


def expand_braces(pattern: str) -> list[str]:
    """All names of a pattern with ranges `{000..199}` and choices `{a,b}`, in their order.

    Raises:
        ValueError: A range is reversed or too long.
    """
    match = BRACES.search(pattern)
    if match is None:
        return [pattern]
    if match[3] is not None:
        middles = match[3].split(",")
    else:
        first, last = int(match[1]), int(match[2])
        if not 0 <= last - first < MAX_SHARDS:
            raise ValueError(f"{match[0]} in {pattern}; expected a range such as {{000..199}}")
        width = max(len(match[1]), len(match[2])) if match[1].startswith("0") else 0
        middles = [f"{number:0{width}}" for number in range(first, last + 1)]
    ends = expand_braces(pattern[match.end() :])
    return [f"{pattern[: match.start()]}{middle}{end}" for middle in middles for end in ends]


def _find_local(names: list[str]) -> Iterator[str]:
    plain = []
    for name in names:
        if os.path.isdir(name):
            yield from (os.path.join(root, file) for root, _, files in os.walk(name) for file in files)
        elif not os.path.lexists(name) and glob.has_magic(name):
            yield from (path for path in glob.iglob(name, recursive=True) if not os.path.isdir(path))
        else:
            plain.append(name)
    _check_all_exist(plain, map(os.path.exists, plain))
    yield from plain


def _find_remote(names: list[str]) -> Iterator[str]:
    plain = []
    for name in names:
        with reaching(name):
            system, path = split_address(name)
            if glob.has_magic(path):
                yield from map(system.unstrip_protocol, system.glob(path))
            elif not is_shard(name) and system.isdir(path):
                yield from map(system.unstrip_protocol, system.find(path))
            else:
                plain.append(name)
    with ThreadPoolExecutor(REQUESTS) as pool:
        _check_all_exist(plain, pool.map(_exists, plain))
    yield from plain


def _exists(address: str) -> bool:
    with reaching(address):
        system, path = split_address(address)
        return system.exists(path)


def _check_all_exist(names: list[str], exist: Iterator[bool]) -> None:
    missing = [name for name, exists in zip(names, exist, strict=True) if not exists]
    if missing:
        raise FileNotFoundError(f"{len(missing)} of {plural(len(names), 'shard')} missing: {listed(missing)}")


@contextlib.contextmanager
def reaching(address: str) -> Iterator[None]:
    """Errors of a network, which libraries raise as any type, become OSError with a number."""
    try:
        yield
    except (ValueError, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = " ".join(f"{error}".split()) or type(error).__name__
        if isinstance(error, FileNotFoundError):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), address) from error
        raise OSError(errno.EIO, reason, address) from error


def split_address(address: str) -> tuple[Any, str]:
    """The file system of fsspec for an address, and the path there.

    Raises:
        ValueError: fsspec or the package of the file system is not installed.
    """
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise ValueError(
            f"{address} needs fsspec, which is not installed; pip install -e '.[shards]' installs it"
        ) from None
    try:
        return url_to_fs(address)
    except (ImportError, ValueError) as error:
        raise ValueError(f"{address} cannot be opened: {' '.join(f'{error}'.split())}") from None


def open_address(address: str) -> BinaryIO:
    """Open a local path or an fsspec address for sequential reading.

    Raises:
        OSError: It cannot be opened.
        ValueError: As split_address, or it is a pipe, a device or a folder.
    """
    if not is_remote(address):
        if os.path.exists(address) and not os.path.isfile(address):
            raise ValueError(f"{address} is not a regular file")
        return open(address, "rb")
    system, path = split_address(address)
    return system.open(path, "rb", cache_type="readahead")
