"""The images that `image=` names: files, a folder, a pattern, or shards."""

import glob
import os
from collections.abc import Iterable
from pathlib import Path

from aimonk.data.images.folder import list_images
from aimonk.data.shards.addresses import find_shards, is_remote, is_shard
from aimonk.inference.blocks.block import Block, blocks_of_files, blocks_of_shards


def find_blocks(image: str) -> list[Block]:
    """The images of `image=`, in blocks.

    Raises:
        FileNotFoundError: There are none.
        ValueError: fsspec cannot open such an address.
    """
    folder_of_shards = os.path.isdir(image) and not list_images(Path(image)) and any(_shards_below(image))
    if is_shard(image) or is_remote(image) or folder_of_shards:
        return blocks_of_shards(find_shards(image))
    return blocks_of_files(find_paths(image))


def find_paths(image: str) -> list[Path]:
    """The files that `image=` names: a file, the images of a folder, or the matches of a pattern.

    Raises:
        FileNotFoundError: There are none.
    """
    path = Path(image)
    if path.is_dir():
        found = [path / name for name in list_images(path)]
    elif os.path.lexists(path):
        found = [path]
    else:
        found = sorted(p for p in map(Path, glob.glob(image, recursive=True)) if not p.is_dir())
    if not found:
        raise FileNotFoundError(f"no image at {path.absolute()}")
    return found


def local_paths(blocks: Iterable[Block]) -> list[str]:
    """All local files among the images."""
    files = [os.path.join(block.folder, name) for block in blocks for name in block.files]
    return files + [block.shard for block in blocks if block.shard is not None and not is_remote(block.shard)]


def _shards_below(folder: str) -> Iterable[bool]:
    return (is_shard(name) for _, _, files in os.walk(folder) for name in files)
