"""ImageNet-pretrained networks, cut into consecutive named stages."""

import difflib
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import timm
import torchvision
from torch import nn

from aimonk.models.weights import load_weights, read_imagenet, read_weights

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TORCHVISION = ("resnet18", "resnet34", "resnet50", "efficientnet_b0", "mobilenet_v3_large", "convnext_tiny")


@dataclass
class Backbone:
    """A network without its classification layer.

    Attributes:
        stages: From the image to a feature vector, in order; the first takes normalised images [B, 3, H, W],
            the last gives [B, features].
        features: Length of the vector.
        mean: Per channel, of images in 0..1.
        std: Per channel, likewise.
        image_size: The only image size of the network, as of most transformers; None for any.
    """

    library: str
    name: str
    stages: OrderedDict[str, nn.Module]
    features: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    image_size: int | None = None


def create_backbone(library: str, name: str, weights: str) -> Backbone:
    """Create a network and load its weights.

    Args:
        library: `torchvision` or `timm`.
        name: The model's name there.
        weights: `imagenet`, `random`, or the path of a state dict (.pth, .safetensors).

    Raises:
        ValueError: Unknown model, or weights that are not of this model.
        FileNotFoundError: The weights do not exist and cannot be downloaded.
    """
    check_name(library, name)
    # weights first: they may be missing, and the network may be large
    state, image_size = None, None
    if weights != "random":
        state = read_imagenet(library, name) if weights == "imagenet" else read_weights(Path(weights))
    if library == "torchvision":
        model = torchvision.models.get_model(name, weights=None)
        mean, std = IMAGENET_MEAN, IMAGENET_STD
    else:
        model = timm.create_model(name, pretrained=False, num_classes=0)
        about = model.pretrained_cfg
        mean, std = tuple(about["mean"]), tuple(about["std"])
        image_size = about["input_size"][1] if about.get("fixed_input_size") else None
    stages, features = _stages(model)
    if state is not None:
        load_weights(model, stages.values(), name, state, weights)
    return Backbone(library, name, stages, features, mean, std, image_size)


def check_name(library: str, name: str) -> None:
    """Check that a model exists.

    Raises:
        ValueError: It does not; the message suggests similar names.
    """
    if library not in ("torchvision", "timm"):
        raise ValueError(f"backbone.library is {library!r}; expected torchvision or timm")
    if library == "torchvision":
        if name not in TORCHVISION:
            raise ValueError(
                f"backbone.name is {name!r}; expected one of torchvision's {', '.join(TORCHVISION)}"
            )
        return
    base = name.partition(".")[0]
    # timm would download from names such as `hf-hub:...`
    known = timm.list_models()
    if base in known and name != base:
        known = timm.list_pretrained(f"{base}.*")
    if name not in known:
        near = difflib.get_close_matches(name, known, n=5, cutoff=0.5)
        hint = f"; similar names: {', '.join(near)}" if near else ""
        raise ValueError(f"backbone.name is {name!r}; expected a model of timm{hint}")


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
    # any other timm model is one stage, frozen or trained as a unit
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
    """EfficientNet, ConvNeXt and MobileNetV3 have the same structure: features, pooling, classifier."""
    stages = OrderedDict((f"features{i}", stage) for i, stage in enumerate(model.features))
    name, last = stages.popitem()
    *before, linear = model.classifier  # norms and hidden layers stay, dropout does not
    kept = [m for m in before if not isinstance(m, nn.Dropout)]
    flatten = [] if any(isinstance(m, nn.Flatten) for m in kept) else [nn.Flatten()]
    stages[name] = nn.Sequential(last, model.avgpool, *flatten, *kept)
    return stages, linear.in_features
