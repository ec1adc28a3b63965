"""Shards: many images in one tar or Parquet file, read from its start to its end in bounded memory."""

from collections.abc import Iterator

from aimonk.data.shards.addresses import find_shards, is_shard, open_address, reaching
from aimonk.data.shards.member import Member
from aimonk.data.shards.parquet_shard import read_parquet
from aimonk.data.shards.tar_shard import read_tar

__all__ = ["Member", "find_shards", "is_shard", "read_shard"]


def read_shard(address: str, with_labels: bool = True) -> Iterator[Member]:
    """The images of a shard, in their order.

    Args:
        address: A local path or an fsspec address of a tar or Parquet file.
        with_labels: Whether the labels of the shard are read; without, they are None.

    Raises:
        OSError: It does not exist, or cannot be reached.
        ValueError: It is damaged, or has a member that cannot be read safely; the message names both.
    """
    with reaching(address), open_address(address) as file:
        if address.lower().endswith(".parquet"):
            yield from read_parquet(file, address, with_labels)
        else:
            yield from read_tar(file, address, with_labels)
