"""From the settings of `data=shards` to the labelled images of shards."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from omegaconf import DictConfig, ListConfig, OmegaConf

from aimonk.data.annotations import Annotations
from aimonk.data.dataset import Found, ImageSet
from aimonk.data.formats.blank import MEANINGS
from aimonk.data.formats.text.tokens import Tokens
from aimonk.data.labels import LabelTable
from aimonk.data.repeated import combine
from aimonk.data.shards.ahead import AHEAD, CopiesAhead
from aimonk.data.shards.dataset import ShardFiles, find_labels_inside, find_listed, list_members
from aimonk.data.shards.labels import ShardLabels
from aimonk.data.streaming import Stream
from aimonk.runtime.progress import watch
from aimonk.runtime.ranks import local_world_size
from aimonk.setup.build import check_types

log = logging.getLogger(__name__)

SHARDS = "shards"  # folder of lists and copies of shards, in the cache folder
TYPES = {
    "shards": str | Sequence[str],
    "labels": str | None,
    "label_key": str | None,
    "prefix": bool,
    "window": int,
    "copies_limit_gb": float,
}


def uses_shards(cfg: DictConfig) -> bool:
    """Whether `data=shards` was chosen."""
    return "shards" in cfg.data


def check_shards(cfg: DictConfig) -> None:
    """Reject invalid settings.

    Raises:
        ValueError: A setting is invalid.
    """
    data = cfg.data
    check_types(TYPES, OmegaConf.to_container(data, resolve=True), "data")
    if not data.shards:
        raise ValueError(f"data.shards is {data.shards}; expected a pattern such as 'shards/*.tar'")
    if data.blank not in (None, *MEANINGS):
        raise ValueError(f"data.blank is {data.blank!r}; expected null, {' or '.join(MEANINGS)}")
    if data.window < 1:
        raise ValueError(f"data.window is {data.window}; expected 1 or more shards")
    if data.copies_limit_gb < 0:
        raise ValueError(f"data.copies_limit_gb is {data.copies_limit_gb}; expected 0 or more")


def has_labels_inside(cfg: DictConfig) -> bool:
    """Whether the labels are inside shards too."""
    return uses_shards(cfg) and cfg.data.labels is None


def find_in_shards(
    cfg: DictConfig, cache: Path, tokens: Tokens, read: Callable[[], LabelTable], check: Callable
) -> Found:
    """The images with labels, in their shards or in a label file.

    Args:
        cache: The cache folder.
        read: Reads the label file.
        check: Called with the labels; may raise ValueError.

    Raises:
        FileNotFoundError: There are no shards, no label file, or no image.
        OSError: A shard cannot be read.
        ValueError: Errors in the settings, the shards or the labels.
    """
    check_shards(cfg)
    files = _files(cfg, cache)
    if not has_labels_inside(cfg):
        return find_listed(files, read, cfg.data.missing, check)
    inside = ShardLabels(cfg.data.attributes, tokens, cfg.data.label_key)

    def combined() -> LabelTable:
        return combine(inside.annotations(cfg.data.blank, f"{files}"), cfg.data.repeated, Path(f"{files}"))

    return find_labels_inside(files, inside, combined, cfg.data.missing, check)


def read_annotations_inside(cfg: DictConfig, cache: Path, tokens: Tokens) -> Annotations:
    """The labels in the shards; arguments and errors as of `find_in_shards`."""
    check_shards(cfg)
    files, inside = _files(cfg, cache), ShardLabels(cfg.data.attributes, tokens, cfg.data.label_key)
    list_members(files, inside)
    return inside.annotations(cfg.data.blank, f"{files}")


def stream_of(cfg: DictConfig, images: ImageSet) -> Stream:
    """The order in which epochs read the shards."""
    return Stream(images.shards, cfg.data.window, needed=not images.is_stored)


def copies_ahead(cfg: DictConfig, images: ImageSet) -> Callable | None:
    """What copies shards before epochs read them; None where they read no copies, or too few of them fit."""
    copied = [image.shard.copies is not None for image in images.paths]
    if images.is_stored or not any(copied):
        return None
    sizes = np.bincount(images.shards, weights=[image.size for image in images.paths])
    largest, limit = sizes.max(), cfg.data.copies_limit_gb * 1e9
    wanted = min(cfg.data.window * local_world_size(), len(sizes))
    if limit < wanted * largest:
        log.warning(
            "data.copies_limit_gb is %g; expected %.2g or more for data.window=%d, or an epoch copies shards "
            "again and again",
            *(cfg.data.copies_limit_gb, wanted * largest / 1e9, cfg.data.window),
        )
    fits = limit >= min((cfg.data.window + AHEAD) * local_world_size(), len(sizes)) * largest
    return CopiesAhead(images.paths, images.shards).follow if fits else None


def _files(cfg: DictConfig, cache: Path) -> ShardFiles:
    data = cfg.data
    return ShardFiles(
        patterns=list(data.shards) if isinstance(data.shards, ListConfig) else [data.shards],
        folder=cache / SHARDS,
        copies_limit=round(data.copies_limit_gb * 1e9),
        prefix=data.prefix,
        unreadable=data.unreadable,
        watch=watch,
    )
