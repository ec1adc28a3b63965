"""Files that a run leaves behind and comes back to: written whole or not at all, read without running code."""

import contextlib
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from aimonk.models.backbones import create_backbone
from aimonk.models.classifier import Classifier

MODEL_FILE = "aimonk_model.pth"
LAST_FILE = "aimonk_model_last.pth"
STATUS_FILE = "status.json"
FORMAT = "aimonk 1"
MAX_ATTRIBUTES = 100_000
MAX_IMAGE_SIZE = 8192


@dataclass
class ModelInfo:
    """What inference needs beside the weights.

    Attributes:
        attributes: Names, A of them.
        thresholds: From which probability on an attribute counts as present, A of them.
        scale: Calibrated probability = sigmoid(scale * logit + bias), A of each.
        bias: See scale.
        image_size: Pixels per side.
        resize: `squash`, `crop` or `pad`.
        epoch: Which epoch's weights these are.
        chosen_by: Why that one.
    """

    library: str
    backbone: str
    attributes: list[str]
    thresholds: list[float]
    scale: list[float]
    bias: list[float]
    image_size: int
    resize: str
    epoch: int
    chosen_by: str


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Write a file that appears under its name only when it is whole and on the disk."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with replacing(path) as file:
        file.write(text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def save_model(path: Path, info: ModelInfo, state: dict[str, Tensor]) -> None:
    """Write weights and all that inference needs."""
    with replacing(path) as file:
        torch.save({"format": FORMAT, "info": asdict(info), "state": state}, file)


def load_model(path: Path) -> tuple[Classifier, ModelInfo]:
    """Read a trained classifier; no code from the file runs.

    Args:
        path: The file, or the folder of the run that wrote it.

    Raises:
        FileNotFoundError: Nothing is there.
        ValueError: It is not a checkpoint of this project.
    """
    if path.is_dir():
        path = path / MODEL_FILE
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path.absolute()}")
    content = load_tensors(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path} is not a checkpoint of this project (expected format {FORMAT!r})")
    info = _check_info(path, content.get("info"))
    backbone = create_backbone(info.library, info.backbone, weights="random")
    classifier = Classifier(backbone, len(info.attributes))
    _check_state(path, classifier.state_dict(), content.get("state"))
    classifier.load_state_dict(content["state"])
    return classifier.eval(), info


def load_tensors(path: Path) -> Any:
    """Read a file of tensors and plain values; anything else in it is refused.

    Raises:
        ValueError: Not such a file.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises nearly everything on foreign files
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise ValueError(f"{path} is not a checkpoint that can be read ({reason[:200]})") from None


def _check_info(path: Path, raw: Any) -> ModelInfo:
    try:
        info = ModelInfo(**raw)
    except TypeError as error:
        raise ValueError(f"{path}: its description is not that of a checkpoint ({error})") from None
    count = len(info.attributes) if isinstance(info.attributes, list) else 0
    checks: dict[str, Callable[[], bool]] = {
        "attributes": lambda: 0 < count <= MAX_ATTRIBUTES and all(isinstance(a, str) for a in info.attributes),
        "backbone": lambda: isinstance(info.library, str) and isinstance(info.backbone, str),
        "image_size": lambda: type(info.image_size) is int and 0 < info.image_size <= MAX_IMAGE_SIZE,
        "resize": lambda: info.resize in ("squash", "crop", "pad"),
        "epoch": lambda: type(info.epoch) is int,
        "chosen_by": lambda: isinstance(info.chosen_by, str),
    }
    for name in ("thresholds", "scale", "bias"):
        values = getattr(info, name)
        checks[name] = lambda v=values: len(v) == count and all(type(x) is float and math.isfinite(x) for x in v)
    for name, holds in checks.items():
        if not isinstance(getattr(info, name), list | str | int) or not holds():
            raise ValueError(f"{path}: what it says about {name!r} cannot be right")
    return info


def _check_state(path: Path, expected: dict[str, Tensor], state: Any) -> None:
    if not isinstance(state, dict) or state.keys() != expected.keys():
        raise ValueError(f"{path}: its weights are not those of the network that it names")
    for key, value in expected.items():
        given = state[key]
        if not isinstance(given, Tensor) or given.shape != value.shape or given.dtype != value.dtype:
            got = f"{given.dtype} {tuple(given.shape)}" if isinstance(given, Tensor) else type(given).__name__
            raise ValueError(f"{path}: {key} is {got}, expected {value.dtype} {tuple(value.shape)}")
        if given.is_floating_point() and not torch.isfinite(given).all():
            raise ValueError(f"{path}: {key} holds NaN or infinite numbers")


def newest_run(outputs: Path) -> Path:
    """The folder of the training run that finished last.

    Raises:
        FileNotFoundError: No run below that folder has finished.
    """
    finished = []
    for status in outputs.rglob(STATUS_FILE):
        with contextlib.suppress(OSError, ValueError):
            state = json.loads(status.read_text())
            if state.get("state") == "finished" and (status.parent / MODEL_FILE).is_file():
                finished.append((status.stat().st_mtime_ns, status.parent))
    if not finished:
        raise FileNotFoundError(
            f"no finished training run below {outputs.absolute()}; train one, or name one with checkpoint=PATH"
        )
    return max(finished)[1]
