"""From config nodes to objects: the only file that calls hydra.utils.instantiate."""

from pathlib import Path
from typing import Any

import platformdirs
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf

from aimonk.data.dataset import ImageSet, open_images
from aimonk.data.store import RowStore
from aimonk.progress import watch

ALLOWED = ("aimonk.", "torch.optim.", "torchvision.", "timm.")


def build(node: DictConfig) -> Any:
    """Build what the node's `_target_` names; a node with `_partial_: true` becomes a function.

    Raises:
        ValueError: The target, or one further inside, does not start with an allowed prefix.
    """
    _check_targets(OmegaConf.to_container(node, resolve=True))
    try:
        return instantiate(node, _convert_="all")
    except InstantiationException as error:
        # what the constructor said is more use than that Hydra called it
        if isinstance(error.__cause__, ValueError | FileNotFoundError):
            raise error.__cause__ from None
        raise ValueError(str(error).replace("\n", " ")) from error


def _check_targets(node: Any) -> None:
    if isinstance(node, dict | DictConfig):
        target = node.get("_target_", ALLOWED[0])
        if not isinstance(target, str) or not target.startswith(ALLOWED):
            raise ValueError(f"_target_ {target!r} is not allowed; expected one that starts with {ALLOWED}")
    if isinstance(node, dict | list | DictConfig | ListConfig):
        for child in node.values() if isinstance(node, dict | DictConfig) else node:
            _check_targets(child)


def cache_folder(cfg: DictConfig) -> Path:
    """Where decoded images, features and the demo are kept."""
    return Path(cfg.cache_dir or platformdirs.user_cache_dir("aimonk", appauthor=False)).absolute()


def open_data(cfg: DictConfig) -> ImageSet:
    """The labelled images that `data=` describes; draws the demo where it is asked for.

    Raises:
        FileNotFoundError: The label file, the folder, or an image is not there.
        ValueError: Mistakes in the labels or the settings, unreadable images, or nothing left.
    """
    data, cache = cfg.data, cache_folder(cfg)
    images, labels = data.images, data.labels
    if data.draw is not None:
        folder = build(data.draw)(cache / f"demo_{data.draw.images}_{data.draw.seed}")
        images, labels = folder / "images", folder / "labels.txt"
    store = RowStore(cache / "images", round(data.store_limit_gb * 1e9)) if data.store else None
    return open_images(
        Path(images),
        Path(labels),
        data.attributes,
        data.missing,
        data.unreadable,
        data.follow_links,
        data.image_size,
        data.resize,
        store,
        watch,
    )
