"""Resuming a run: its config and its labels must be those it started with."""

import hashlib
import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from aimonk.data.labels import LabelTable
from aimonk.files.tensors import load_tensors, save_tensors
from aimonk.files.text import listed, plural
from aimonk.setup.flatten import flatten

log = logging.getLogger(__name__)

# settings that may change: locations and ways to compute; limits may change the order of shards in an epoch
FREE = (
    "resume",
    "resume_force",
    "cache_dir",
    "workers",
    "data.store_limit_gb",
    "data.copies_limit_gb",
    "features.limit_gb",
    "tracker",
)


def run_digest(cfg: DictConfig, table: LabelTable) -> str:
    """A digest of all settings except the FREE ones, and of the labels."""
    digest = hashlib.sha256(repr(sorted(_settings(cfg).items())).encode(errors="surrogatepass"))
    for name in (*table.attributes, *table.names):
        digest.update(f"{len(name)}:{name}".encode(errors="surrogatepass"))
    digest.update(_encode(table).tobytes())
    if table.shares is not None:
        digest.update(_encode_shares(table).tobytes())
    return digest.hexdigest()


def save_labels(path: Path, table: LabelTable, groups: np.ndarray | None) -> None:
    """Write the labels of a run, for `compare_labels` and `mode=compare`.

    Args:
        groups: Group number of each image, [N]: copies of a photograph share one; None if not searched.
    """
    content = {
        "names": table.names,
        "attributes": table.attributes,
        "labels": torch.from_numpy(_encode(table)),
        "groups": None if groups is None else torch.from_numpy(groups),
    }
    if table.shares is not None:
        content["shares"] = torch.from_numpy(_encode_shares(table))
    save_tensors(path, content)


def compare_labels(path: Path, table: LabelTable) -> list[str]:
    """Differences between the labels in a file, if there is one, and a table."""
    if not path.is_file():
        return []  # the run ended before it read labels
    before = load_tensors(path)
    if before["attributes"] != table.attributes:
        return [f"attributes: {listed(before['attributes'])} before, {listed(table.attributes)} now"]
    old, new = set(before["names"]), set(table.names)
    changes = (("removed", sorted(old - new)), ("added", sorted(new - old)))
    differences = [
        f"{plural(len(names), 'image')} {what}: {listed(names)}" for what, names in changes if names
    ]
    if differences or before["names"] != table.names:
        return differences or ["the images are in another order"]
    different = before["labels"].numpy() != _encode(table)
    if "shares" in before or table.shares is not None:
        labels = before["labels"].numpy().astype(int)
        shares = before["shares"].numpy() if "shares" in before else np.where(labels < 0, -1, 100 * labels)
        different |= shares != _encode_shares(table)
    changed = np.argwhere(different)
    if not len(changed):
        return []
    entries = [f"{table.names[i]} {table.attributes[a]}" for i, a in changed]
    return [f"{plural(len(changed), 'label')} changed: {listed(entries)}"]


def _encode(table: LabelTable) -> np.ndarray:
    """1, 0, and -1 for unknown, [N, A] int8."""
    return np.where(table.mask, table.labels, -1).astype(np.int8)


def _encode_shares(table: LabelTable) -> np.ndarray:
    """Per cent of the annotators who chose 1, and -1 for unknown, [N, A] int8."""
    labels, known = table.targets()
    return np.where(known, np.rint(100 * labels), -1).astype(np.int8)


def compare_configs(path: Path, now: DictConfig) -> list[str]:
    """Settings that differ from those in a file, such as `loss.gamma: 2.0 before, 1.0 now`; FREE ones may."""
    if not path.is_file():
        return []  # a job of a sweep that did not start
    before, now = _settings(OmegaConf.load(path)), _settings(now)
    changed = [key for key in before | now if before.get(key) != now.get(key)]
    return [f"{key}: {before.get(key)!r} before, {now.get(key)!r} now" for key in changed]


def _settings(cfg: DictConfig) -> dict[str, Any]:
    """All settings by their full names, except the FREE ones."""
    settings = flatten(OmegaConf.to_container(cfg, resolve=True))
    return {name: value for name, value in settings if name not in FREE and name.split(".")[0] not in FREE}


def refuse_changes(differences: list[str], force: bool) -> None:
    """Refuse to resume a run that has changed, unless `force` is set.

    Raises:
        ValueError: There are differences.
    """
    if differences and not force:
        raise ValueError(
            f"the run has changed since it started: {'; '.join(differences)}; "
            "resume_force=true resumes it anyway"
        )
    if differences:
        log.warning("resuming although the run has changed: %s", "; ".join(differences))
