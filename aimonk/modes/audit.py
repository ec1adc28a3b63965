"""`mode=audit`: what is in a data set, and can it be learned?"""

import logging
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from aimonk.audit.examine import Audit, examine
from aimonk.data.augmentation import Unchanged
from aimonk.data.dataset import ImageSet
from aimonk.data.images.headers import odd_files, read_headers, summarise_sizes
from aimonk.data.labels import read_labels
from aimonk.files.atomic import write_json, write_text
from aimonk.files.text import listed
from aimonk.report.html.audit import format_page
from aimonk.runtime.device import pick_device
from aimonk.setup.data import label_paths, open_data
from aimonk.setup.inputs import open_inputs
from aimonk.setup.task import build_classifier

log = logging.getLogger(__name__)


def run(cfg: DictConfig, out_dir: Path, overrides: list[str]) -> None:
    """Examine the data set, say what was found on one screen, and write audit.json and audit.html.

    Raises:
        FileNotFoundError: The label file or the folder is not there.
        ValueError: Mistakes in the labels.
    """
    labels = label_paths(cfg)[1]
    file = read_labels(labels, cfg.data.attributes)
    images = open_data(cfg)
    if images.stored is None:
        raise ValueError(
            "the audit needs the decoded images: data.store=true, and room for them in cache_dir"
        )
    headers = read_headers(images.paths)
    pixels = images.pixels[:]
    found = examine(file, images.table, pixels, frozen_features(cfg, images), cfg.seed)
    whole = {
        "rows": len(file),
        "images": len(images),
        "missing": images.missing,
        "unreadable": images.unreadable,
        "unlisted": images.unlisted,
        "odd": odd_files(images.table.names, headers),
        **summarise_sizes(headers),
    }
    content = {f.name: getattr(found, f.name) for f in fields(found) if f.name != "table"}
    write_text(out_dir / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
    write_json(out_dir / "audit.json", whole | {"unreadable": sorted(images.unreadable)} | content)
    write_text(out_dir / "audit.html", format_page(found, whole, pixels, cfg.top))
    for line in summarise(found, whole):
        log.info("%s", line)
    log.info("written: %s", out_dir)


def frozen_features(cfg: DictConfig, images: ImageSet) -> np.ndarray:
    """What the frozen backbone makes of every image as it is, float32 [N, D]."""
    device = pick_device(cfg.device)
    classifier = build_classifier(cfg, len(images.table.attributes))
    classifier = classifier.to(device, memory_format=torch.channels_last).eval()
    whole = len(classifier.stages)
    inputs = open_inputs(cfg, images, Unchanged(), classifier, [whole], device)(whole)
    if not inputs.are_features:
        raise ValueError("the audit needs stored features: features.enabled=auto, and room in cache_dir")
    rows = torch.arange(len(images))
    return inputs.load(rows, torch.zeros_like(rows))[0].float().numpy()


def summarise(found: Audit, whole: dict) -> list[str]:
    """The audit on one screen."""
    lines = ["", f"1. Is it whole? {whole['rows']} rows, {whole['images']} images can be used"]
    for key, what in (
        ("missing", "rows without an image"),
        ("unreadable", "images that cannot be read"),
        ("unlisted", "images without a row"),
    ):
        if whole[key]:
            lines.append(f"   {len(whole[key])} {what}: {listed(list(whole[key]))}")
    if whole["odd"]:
        lines.append(f"   odd files: {listed([f'{name} ({why})' for name, why in whole['odd'].items()])}")
    lines += ["", "2. Is it balanced?"]
    for name, entry in found.attributes.items():
        lines.append(f"   {name}: {entry['present']} present, {entry['absent']} absent, {entry['na']} NA")
    for pair in [p for p in found.together if p["p_adjusted"] is not None and p["p_adjusted"] <= 0.05][:3]:
        lines.append(f"   {' and '.join(pair['attributes'])} go together: phi {pair['phi']:+.2f}")
    for pair in [p for p in found.unknown_depends if p["p_adjusted"] is not None and p["p_adjusted"] <= 0.05][
        :3
    ]:
        lines.append(
            f"   whether {pair['attribute']} is NA depends on {pair['given']} ({pair['on']}): "
            f"phi {pair['phi']:+.2f}"
        )
    lines += ["", f"3. Is anything there twice? {len(found.duplicates)} photographs with equal pixels"]
    lines[-1] += f", {len(found.near_duplicates)} more that are near copies"
    for pair in found.contradictions[:10]:
        lines.append(
            f"   {' = '.join(pair['images'])} contradict one another on {', '.join(pair['attributes'])}"
        )
    lines += ["", "4. Can it be learned?"]
    lines += [f"   {entry['sentence']}" for entry in found.attributes.values()]
    if found.shift is not None:
        lines.append(f"   {found.shift['sentence']}")
    lines += ["", f"5. Which labels look wrong? {len(found.suspects)} entries"]
    for entry in found.suspects[:5]:
        lines.append(
            f"   {entry['image']} {entry['attribute']}: labelled {entry['label']}, probability of 1 is "
            f"{entry['probability']:.2f}"
        )
    if not any(entry["evidence"] for entry in found.attributes.values()):
        lines[-1] += ": without evidence that labels can be learned, none can be called wrong"
    return [*lines, ""]
