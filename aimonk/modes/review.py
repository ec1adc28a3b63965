"""`mode=review`: a local page on which labels are reviewed, corrected and added."""

import importlib.util
import logging
import sys
import webbrowser
from functools import partial
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from aimonk.data.duplicates import group_images
from aimonk.files.run_folder import CONFIG_FILE
from aimonk.files.text import plural
from aimonk.models.checkpoint import ModelInfo, load_model
from aimonk.models.classifier import Classifier
from aimonk.review.desk import Desk, Model
from aimonk.review.heat_maps import HeatMaps
from aimonk.review.journal import Journal
from aimonk.review.label_file import LabelFile
from aimonk.review.pictures import Pictures
from aimonk.review.saver import Saver
from aimonk.review.session import Session, values_of
from aimonk.review.solver import Solver
from aimonk.review.solving import Features
from aimonk.runtime.device import pick_device
from aimonk.runtime.progress import watch
from aimonk.setup.build import check_types
from aimonk.setup.data import label_paths, open_data, read_tokens
from aimonk.setup.features import frozen_features
from aimonk.setup.runs import describe_checkpoint, find_checkpoint, warn_about_training_images
from aimonk.setup.shards import has_labels_inside

log = logging.getLogger(__name__)

PACKAGES = ("starlette", "uvicorn")
READER = "aimonk.data.formats.text.label_file.read_label_file"
FROZEN = "aimonk.models.freeze.backbone"


def run(cfg: DictConfig, out_dir: Path, overrides: list[str]) -> None:
    """Serve the page until Ctrl-C; the labels are then in the label file.

    Raises:
        FileNotFoundError: Data or a checkpoint does not exist.
        ValueError: A setting is invalid, or a package is missing.
    """
    for package in PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise ValueError(f"mode=review needs {package}; pip install -e '.[review]' installs it")
    if cfg.data.draw is not None:
        raise ValueError("data is demo; expected data=folder, since a review changes the label file")
    if cfg.data.reader._target_ != READER:
        raise ValueError(
            "mode=review writes label files; mode=import converts other formats, and data=folder reads them"
        )
    if cfg.data.repeated != "error":
        raise ValueError(
            f"data.repeated is {cfg.data.repeated!r}; expected error, since a review keeps one label; "
            "mode=import writes a file with one row per image"
        )
    if has_labels_inside(cfg):
        raise ValueError(
            "data.labels is null; expected a label file, since a review cannot change those in shards"
        )
    check_types({"port": int, "browser": bool, "save_after": float}, cfg, "")
    if not 0 <= cfg.port < 2**16:
        raise ValueError(f"port is {cfg.port}; expected 0 (any free one) to 65535")
    if cfg.save_after < 0:
        raise ValueError(f"save_after is {cfg.save_after}; expected 0 or more seconds")
    desk = open_desk(cfg)
    from aimonk.review.serving import serve

    try:
        serve(desk, cfg.port, partial(announce, browser=cfg.browser))
    finally:
        close(desk)


def open_desk(cfg: DictConfig) -> Desk:
    """Read the labels, restore the journal, and solve the heads once."""
    folder, path = label_paths(cfg)
    content = path.read_bytes() if path.is_file() else b""
    classifier, info, note, check = None, None, "", lambda table: None
    if cfg.checkpoint is not None:
        source = find_checkpoint(cfg.checkpoint)
        classifier, info = load_model(source)
        log.info("checkpoint: %s", describe_checkpoint(source, info))
        cfg = OmegaConf.merge(cfg, {"data": {"image_size": info.image_size, "resize": info.resize}})
    images = open_data(cfg, check)
    table = images.table
    if info is not None and trains_backbone(source) and warn_about_training_images(source, table.names):
        note = "The backbone was trained on some of these images, so that the score is too high"
    values = values_of(table)
    journal = Journal(path.with_name(f"{path.name}.journal"))
    session = Session(table.names, table.attributes, values.copy(), journal)
    file = LabelFile(path, content, cfg.data.attributes, folder, read_tokens(cfg), session, values)
    groups = group_images(images.hashes, cfg.data.duplicate_distance, watch).groups
    classifier, features = frozen_features(cfg, images, classifier)
    pictures = Pictures(images.paths, images.pixels)
    size, resize = cfg.data.image_size, cfg.data.resize
    example = torch.from_numpy(pictures.read(0, size, resize)).permute(2, 0, 1)[None]
    maps = HeatMaps(classifier, pick_device(cfg.device), example)
    if not maps.available:
        log.warning("no heat maps: the features of this backbone are not the means of a map")
    thresholds, logits = own_predictions(classifier, info, features, table.attributes)
    model = Model(maps, thresholds, size, resize, logits, note)
    rotated = Features(features)
    solver, saver = Solver(session, rotated, groups), Saver(file, cfg.save_after)
    solver.start()
    saver.start()
    return Desk(session, file, pictures, rotated, groups, model, solver, saver)


def trains_backbone(source: Path) -> bool:
    """Whether the run of a checkpoint may have trained more than the head."""
    config = (source if source.is_dir() else source.parent) / CONFIG_FILE
    try:
        return OmegaConf.load(config).freeze._target_ != FROZEN
    except (OSError, ValueError, AttributeError, YAMLError, OmegaConfBaseException):
        return True


def own_predictions(
    classifier: Classifier, info: ModelInfo | None, features: np.ndarray, attributes: list[str]
) -> tuple[np.ndarray, np.ndarray | None]:
    """Thresholds and calibrated logits of a checkpoint with these attributes; .5 and None otherwise."""
    half = np.full(len(attributes), 0.5)
    if info is None:
        return half, None
    if info.attributes != attributes:
        log.info("the head of the checkpoint is not used, since its attributes or their order are others")
        return half, None
    head = classifier.head
    scale, bias = (torch.tensor(values).to(head.weight) for values in (info.scale, info.bias))
    with torch.no_grad():  # the calibration is part of the head from now on
        head.weight.mul_(scale[:, None])
        head.bias.mul_(scale).add_(bias)
        logits = head(torch.from_numpy(features).to(head.weight.device)).double().cpu().numpy()
    return np.array(info.thresholds), logits


def announce(address: str, browser: bool) -> None:
    """Log the address, and open it in a browser with a window."""
    log.info("review: %s\nCtrl-C ends it; all labels are then in the label file", address)
    if browser and sys.stdout.isatty():
        try:
            controller = webbrowser.get()
        except webbrowser.Error:
            return
        # browsers of the terminal would take it over
        if not isinstance(controller, webbrowser.GenericBrowser):
            controller.open(address)


def close(desk: Desk) -> None:
    """Write what is not written yet, and log the result."""
    desk.solver.stop()
    desk.saver.stop()
    session = desk.session
    reviewed = plural(int(session.reviewed.sum()), "image")
    if desk.saver.problem is not None:
        log.error("%s; the edits are in %s", desk.saver.problem, session.journal.path)
    log.info("%s reviewed; labels: %s", reviewed, desk.file.path)
    session.journal.close()
