"""From the data section of a config to labelled images."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import get_type_hints

import platformdirs
from omegaconf import DictConfig, OmegaConf

from aimonk.data.annotations import Annotations
from aimonk.data.dataset import ImageSet, check_settings, open_images, read_images
from aimonk.data.formats.image_names import ImageNames
from aimonk.data.formats.text.tokens import Tokens
from aimonk.data.labels import LabelTable, select_attributes
from aimonk.data.repeated import combine
from aimonk.data.store.row_store import RowStore
from aimonk.runtime.progress import watch
from aimonk.setup.build import build, check_types
from aimonk.setup.shards import find_in_shards, has_labels_inside, read_annotations_inside, uses_shards

# stores of rows in the cache folder: decoded images with their hashes, and outputs of frozen stages
IMAGES, FEATURES = "images", "features"

# settings of the data section that are not arguments of open_images
SPLIT = {
    "val_fraction": float,
    "test_fraction": float,
    "folds": int | None,
    "repeats": int,
    "split_seed": int,
    "duplicate_distance": float | None,
    "store_limit_gb": float,
    "repeated": str,
    "attributes": Sequence[str] | None,
}


def cache_folder(cfg: DictConfig) -> Path:
    """The folder of decoded images, features and the demo."""
    return Path(cfg.cache_dir or platformdirs.user_cache_dir("aimonk", appauthor=False)).absolute()


def label_paths(cfg: DictConfig) -> tuple[Path | None, Path]:
    """The images folder, None for shards, and the label file; draws the demo first if `data=demo`.

    The label file of formats with the labels beside the images may be null: it is then the folder, or the
    pattern of the shards.
    """
    data = cfg.data
    if uses_shards(cfg):
        return None, Path(f"{data.shards}" if data.labels is None else data.labels)
    if data.draw is None:
        if data.images is None:
            raise ValueError("data.images is null; expected the images folder")
        return Path(data.images), Path(data.images if data.labels is None else data.labels)
    folder = build(cfg, "data.draw")(cache_folder(cfg) / f"demo_{data.draw.images}_{data.draw.seed}")
    return folder / "images", folder / "labels.txt"


def read_annotations(cfg: DictConfig, labels: Path, images: Path | None) -> Annotations:
    """Read the label file of the format that `data=` chooses.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Errors in the file or the settings.
    """
    tokens = read_tokens(cfg)  # reports wrong tokens by their key
    if has_labels_inside(cfg):
        return read_annotations_inside(cfg, cache_folder(cfg), tokens)
    return build(cfg, "data.reader")(labels, ImageNames(images))


def read_table(cfg: DictConfig, labels: Path, images: Path | None) -> LabelTable:
    """The label table of the chosen format, with the chosen attributes; errors as `read_annotations`.

    Raises:
        ValueError: Also where annotations of an image differ, unless `data.repeated` combines them.
    """
    table = combine(read_annotations(cfg, labels, images), cfg.data.repeated, labels)
    return select_attributes(table, cfg.data.attributes, labels)


def read_tokens(cfg: DictConfig) -> Tokens:
    """The tokens of the label file.

    Raises:
        ValueError: A token has the wrong type, or is given twice.
    """
    hints, tokens = get_type_hints(Tokens.__init__), cfg.data.tokens
    if not isinstance(tokens, DictConfig) or set(tokens) != set(hints):
        raise ValueError(f"data.tokens is {tokens}; expected a list for each of {', '.join(hints)}")
    values = OmegaConf.to_container(tokens, resolve=True)
    check_types(hints, values, "data.tokens")
    return Tokens(**values)


def store_quality(cfg: DictConfig) -> int | None:
    """The JPEG quality of the images that a model sees; None for the pixels of the files."""
    return cfg.data.store_quality if cfg.data.store else None


def reads_features_only(cfg: DictConfig) -> bool:
    """Whether everything after the first pass over the images reads stored features, which are vectors."""
    if cfg.mode != "train" or cfg.features.enabled is False:
        return cfg.mode in ("audit", "review")
    is_finite = cfg.features.views is not None or build(cfg, "augmentation").views is not None
    return is_finite and set(build(cfg, "freeze").schedule.values()) == {0}


def describe_data(cfg: DictConfig) -> str:
    """Where the labels are, for people."""
    return f"{cfg.data.labels or (cfg.data.shards if uses_shards(cfg) else 'the demo')}"


def open_data(cfg: DictConfig, check: Callable[[LabelTable], object] = lambda table: None) -> ImageSet:
    """Open the labelled images.

    Args:
        check: Called with the labels before any image is read; may raise ValueError.

    Raises:
        FileNotFoundError: The label file, the folder or an image does not exist.
        ValueError: Errors in the labels or the settings, unreadable images, or no image left.
    """
    data = cfg.data
    check_types(get_type_hints(open_images) | SPLIT, OmegaConf.to_container(data, resolve=True), "data")
    images, labels = label_paths(cfg)
    limit = round(data.store_limit_gb * 1e9)
    store = RowStore(cache_folder(cfg) / IMAGES, limit) if data.store else None
    if uses_shards(cfg):
        check_settings(data.image_size, data.resize, data.missing, data.unreadable, data.store_quality)
        read = partial(read_table, cfg, labels, images)
        found = find_in_shards(cfg, cache_folder(cfg), read_tokens(cfg), read, check)
        size, resize, only_all = data.image_size, data.resize, reads_features_only(cfg)
        return read_images(found, data.unreadable, size, resize, store, data.store_quality, only_all, watch)
    return open_images(
        images,
        labels,
        read=partial(read_table, cfg),
        missing=data.missing,
        unreadable=data.unreadable,
        follow_links=data.follow_links,
        image_size=data.image_size,
        resize=data.resize,
        store=store,
        store_quality=data.store_quality,
        only_all=reads_features_only(cfg),
        watch=watch,
        check=check,
    )
