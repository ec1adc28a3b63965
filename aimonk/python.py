"""The functions for use from Python; README has an example of each."""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from aimonk.cli.catalogue import CONF, check_keys
from aimonk.cli.overrides import quote
from aimonk.data.formats.text import label_file
from aimonk.data.labels import LabelTable
from aimonk.inference.model import Model
from aimonk.inference.predictor import open_model
from aimonk.runtime.device import pick_device
from aimonk.setup.flatten import flatten
from aimonk.setup.runs import find_checkpoint

StrPath = str | os.PathLike[str]


def load(path: StrPath | None = None, device: str = "auto") -> Model:
    """Load a trained model.

    Args:
        path: A run folder, a file `.pth`, an exported file `.onnx`, or `best`; None is the newest finished
            run below outputs/.
        device: As the setting `device`; an exported file runs on the CPU.

    Raises:
        FileNotFoundError: There is no such model.
        ValueError: The file is damaged, or the device is not available.
    """
    source = find_checkpoint(None if path is None else os.fspath(path))
    return Model(source, open_model(source, pick_device(device), count=1))


def train(
    images: StrPath,
    labels: StrPath,
    folder: StrPath | None = None,
    **settings: Any,
) -> Model:
    """Train a classifier in this process, as `python run.py data=folder` does.

    Log messages go to the logger `aimonk`, and to run.log in the run folder.

    Args:
        images: The folder of images.
        labels: The label file.
        folder: The run folder; None creates one below outputs/.
        settings: As on the command line: `loss="focal", epochs=5, **{"loss.gamma": 1}`.

    Returns:
        The kept model; its `folder` is the run folder.

    Raises:
        FileNotFoundError: Data or weights do not exist.
        ValueError: An error in the settings or the data.
        FloatingPointError: The loss is not finite.
        KeyboardInterrupt: Training was interrupted; `resume=folder` with the same arguments
            resumes it.
    """
    from aimonk.modes.train.lifecycle import run

    place = (
        Path("outputs") / f"{datetime.now():%Y-%m-%d/%H-%M-%S-%f}_python" if folder is None else Path(folder)
    )
    place = place.absolute()
    cfg, overrides = compose_config("train", images, labels, settings)
    place.mkdir(parents=True, exist_ok=True)
    with logging_to(place / "run.log"):
        run(cfg, place, overrides)
    return load(place, device=cfg.device)


def audit(images: StrPath, labels: StrPath, **settings: Any) -> dict[str, Any]:
    """Examine a data set before training, as `mode=audit` does.

    Args:
        images: The folder of images.
        labels: The label file.
        settings: As for `train`.

    Returns:
        The content of audit.json: among others "attributes", with the "evidence" that each can be learned,
        "duplicates", "suspects" and "to_label".

    Raises:
        FileNotFoundError: The label file or the folder does not exist.
        ValueError: An error in the settings or the data.
    """
    from aimonk.modes.audit import describe, examine_data

    cfg, _ = compose_config("audit", images, labels, settings)
    return describe(*examine_data(cfg))


def read_labels(
    labels: StrPath, images: StrPath | None = None, attributes: Sequence[str] | None = None
) -> LabelTable:
    """Read a label file: `image_0.jpg 1 NA 0 1`, separated by white space, tabs, commas or semicolons.

    Args:
        images: The folder of images, whose files complete names without a suffix.
        attributes: Selects columns by their header, or names the columns of a file without one.

    Returns:
        `names` N, `attributes` A, `labels` float32 [N, A], 0 where unknown, and `mask` [N, A], True where
        known.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file has errors; the message lists the first ten with their line numbers.
    """
    return label_file.read_labels(Path(labels), attributes, None if images is None else Path(images))


def compose_config(
    mode: str, images: StrPath, labels: StrPath, settings: Mapping[str, Any]
) -> tuple[DictConfig, list[str]]:
    """The config of a mode from conf/ with these settings, and the settings as overrides.

    Raises:
        ValueError: A setting is unknown.
    """
    # importing aimonk does not load Hydra; composing leaves the state of a program that uses it as it was
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException

    from aimonk.cli.main import describe_error

    own = {"data": "folder", "data.images": os.fspath(images), "data.labels": os.fspath(labels)}
    given = [format_override(key, value) for key, value in (own | settings).items()]
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = compose("config", [f"mode={mode}", *given], return_hydra_config=True)
    except HydraException as error:
        raise ValueError(describe_error(error)) from None
    choices = dict(cfg.hydra.runtime.choices)
    with open_dict(cfg):
        del cfg["hydra"]
    check_keys(dict(flatten(OmegaConf.to_container(cfg))), choices)
    return cfg, given


def format_override(key: str, value: Any) -> str:
    """A setting in Hydra's syntax, in which strings are quoted."""
    return f"{key}={format_value(value)}"


def format_value(value: Any) -> str:
    """A value in Hydra's syntax."""
    if value is None:
        return "null"
    if isinstance(value, bool | int | float):
        return f"{value}".lower() if isinstance(value, bool) else repr(value)
    if isinstance(value, list | tuple):
        return f"[{','.join(map(format_value, value))}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}:{format_value(own)}' for key, own in value.items())}}}"
    return quote(os.fspath(value))


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Write the messages of aimonk to a file as well."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("[%(asctime)s][%(levelname)s] %(message)s"))
    logger = logging.getLogger("aimonk")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(min(logger.getEffectiveLevel(), logging.INFO))
    try:
        yield
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)
        handler.close()
