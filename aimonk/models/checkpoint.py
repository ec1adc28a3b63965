"""Checkpoints: the weights of a trained classifier and everything that inference needs beside them."""

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aimonk.files.run_folder import MODEL_FILE
from aimonk.files.tensors import load_tensors, save_tensors
from aimonk.models.all_stages import CHOICES, choose_stages
from aimonk.models.backbones import create_backbone
from aimonk.models.classifier import Classifier

FORMAT = "aimonk 1"
MAX_ATTRIBUTES = 100_000
LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")  # not printable
MAX_TEXT = 1000  # characters, since it is printed


@dataclass
class ModelInfo:
    """Everything that inference needs besides the weights.

    Attributes:
        stages: Whose outputs the head sees, `last` or `all`.
        attributes: Names, A of them.
        thresholds: Lowest probability at which an attribute is predicted present, A of them.
        scale: Calibrated probability = sigmoid(scale * logit + bias), A of them.
        bias: As scale.
        image_size: Pixels per side, 8 to 4096.
        resize: `squash`, `crop` or `pad`.
        epoch: Epoch of the weights.
        chosen_by: Reason for this epoch.
        beats_chance: Whether these weights predict better than chance on held-out images, A of them; None
            where this was not tested.
    """

    library: str
    backbone: str
    stages: str
    attributes: list[str]
    thresholds: list[float]
    scale: list[float]
    bias: list[float]
    image_size: int
    resize: str
    epoch: int
    chosen_by: str
    beats_chance: list[bool | None]


def save_model(path: Path, info: ModelInfo, state: dict[str, Tensor]) -> None:
    """Write a checkpoint: the weights and everything that inference needs."""
    save_tensors(path, {"format": FORMAT, "info": asdict(info), "state": state})


def is_checkpoint(path: Path) -> bool:
    """Whether a path is a run folder with a model, or a file of the format of this module."""
    if path.is_dir():
        return (path / MODEL_FILE).is_file()
    try:
        content = load_tensors(path)
    except ValueError:
        return False
    return isinstance(content, dict) and content.get("format") == FORMAT


def load_model(path: Path) -> tuple[Classifier, ModelInfo]:
    """Read a trained classifier; no code from the file is executed.

    Args:
        path: A checkpoint, or a run folder.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: It is not a valid checkpoint.
    """
    if path.is_dir():
        path = path / MODEL_FILE
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path.absolute()}")
    content = load_tensors(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path} is not a checkpoint of aimonk; expected format {FORMAT!r}")
    info = check_info(path, content.get("info"))
    try:
        expected = _expected_state(info)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    state = content.get("state")
    _check_state(path, expected, state)
    classifier = _create_classifier(info)
    classifier.load_state_dict(state)
    return classifier.eval(), info


def _create_classifier(info: ModelInfo) -> Classifier:
    backbone = create_backbone(info.library, info.backbone, weights="random")
    return Classifier(choose_stages(backbone, info.stages), len(info.attributes))


def _expected_state(info: ModelInfo) -> dict[str, Tensor]:
    """Names and shapes of the weights, without allocating them."""
    try:
        with torch.device("meta"):
            return _create_classifier(info).state_dict()
    except RuntimeError:  # older releases of timm compute with the weights of some networks on creation
        return _create_classifier(info).state_dict()


def check_info(path: Path, raw: Any) -> ModelInfo:
    """The fields of a checkpoint, of plain values from a file.

    Raises:
        ValueError: A field is missing, unknown or invalid.
    """
    if isinstance(raw, dict) and isinstance(raw.get("attributes"), list):
        # not in the first checkpoints
        raw = {"beats_chance": [None] * len(raw["attributes"]), "stages": "last"} | raw
    if not isinstance(raw, dict) or raw.keys() != {field.name for field in fields(ModelInfo)}:
        raise ValueError(f"{path}: its fields are not those of a checkpoint")
    info = ModelInfo(**raw)
    checks: dict[str, Callable[[], bool]] = {
        "library": lambda: _is_line(info.library),
        "backbone": lambda: _is_line(info.backbone),
        "stages": lambda: info.stages in CHOICES,
        "attributes": lambda: _are_names(info.attributes),
        "thresholds": lambda: _are_numbers(info.thresholds, len(info.attributes), 0, 1),
        # larger values overflow in single precision
        "scale": lambda: _are_numbers(info.scale, len(info.attributes), -1e30, 1e30),
        "bias": lambda: _are_numbers(info.bias, len(info.attributes), -1e30, 1e30),
        "image_size": lambda: type(info.image_size) is int and 8 <= info.image_size <= 4096,
        "resize": lambda: info.resize in ("squash", "crop", "pad"),
        "epoch": lambda: type(info.epoch) is int and 0 <= info.epoch < 2**31,
        "chosen_by": lambda: _is_line(info.chosen_by),
        "beats_chance": lambda: _are_verdicts(info.beats_chance, len(info.attributes)),
    }
    for name, holds in checks.items():
        if not holds():
            raise ValueError(f"{path}: {name!r} has an invalid value")
    return info


def _is_line(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_TEXT and value.isprintable()


def _are_names(values: Any) -> bool:
    if not isinstance(values, list) or not 0 < len(values) <= MAX_ATTRIBUTES:
        return False
    if not all(isinstance(v, str) and v and not LONE_SURROGATE.search(v) for v in values):
        return False
    return len(set(values)) == len(values)


def _are_verdicts(values: Any, count: int) -> bool:
    return isinstance(values, list) and len(values) == count and all(v in (True, False, None) for v in values)


def _are_numbers(values: Any, count: int, least: float, most: float) -> bool:
    if not isinstance(values, list) or len(values) != count:
        return False
    return all(type(v) is float and least <= v <= most for v in values)


def _check_state(path: Path, expected: dict[str, Tensor], state: Any) -> None:
    if not isinstance(state, dict) or state.keys() != expected.keys():
        raise ValueError(f"{path}: its weights do not fit its network")
    if sum(value.nbytes for value in expected.values()) > path.stat().st_size:
        raise ValueError(f"{path}: it is smaller than its weights")
    for key, value in expected.items():
        given = state[key]
        if not isinstance(given, Tensor) or given.shape != value.shape or given.dtype != value.dtype:
            got = f"{given.dtype} {tuple(given.shape)}" if isinstance(given, Tensor) else type(given).__name__
            raise ValueError(f"{path}: {key} is {got}; expected {value.dtype} {tuple(value.shape)}")
        if given.is_floating_point() and not torch.isfinite(given).all():
            raise ValueError(f"{path}: {key} is NaN or infinite; expected finite numbers")
