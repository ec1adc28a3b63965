"""An image of a shard, and the naming of webdataset that joins it with its labels."""

import os
import re
from dataclasses import dataclass, field
from typing import Any

from aimonk.data.labels import IMAGE_SUFFIXES

# the path up to the first dot of the base name; names that begin with a dot have no key
NAME = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]*)", re.DOTALL)


@dataclass(frozen=True)
class Member:
    """One image of a shard.

    Attributes:
        key: What the members of a sample share: the path up to the first dot of the base name.
        name: In a tar file the member's name without a leading `./`; in Parquet the column `name`, `path` or
            `image.path`, or else `<shard>/<row>`.
        content: The image file; empty where a Parquet row has none.
        offset: Of the content in the tar file; in Parquet the row.
        labels: The JSON member of the same key, or the other columns of the row; None without these, or where
            labels are not read.
    """

    key: str
    name: str
    content: bytes = field(repr=False)
    offset: int
    labels: dict[str, Any] | None


def split_name(name: str) -> tuple[str, str] | None:
    """Key and lower-case extension of a member (`a/b.x.JPG`: `a/b` and `x.jpg`); None for hidden files."""
    match = NAME.fullmatch(name)
    return None if match is None else (match[1], match[2].lower())


def is_image(name: str) -> bool:
    """Whether a member has the suffix of an image format."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def check_size(name: str, size: int, limit: int) -> None:
    """Reject a member that would need too much memory.

    Raises:
        ValueError: It is larger than the limit.
    """
    if size > limit:
        raise ValueError(f"{name} has {size >> 20} MB; expected at most {limit >> 20} MB")
