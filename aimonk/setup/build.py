"""From config nodes to objects: the only file that calls hydra.utils.instantiate."""

from collections.abc import Iterator, Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf

# what a config may build: the config of a resumed run comes from a folder, perhaps of somebody else
CONSTRUCTORS = {
    "augmentation": (
        "aimonk.data.augmentation",
        ["crop_color", "cutmix", "flip", "mixup", "none", "trivial"],
    ),
    "backbone": ("aimonk.models.backbones", ["create_backbone"]),
    "data.draw": ("aimonk.data.demo.dataset", ["draw_demo"]),
    "data.reader": (
        "aimonk.data.formats",
        [
            "celeba.read_celeba",
            "chexpert.read_chexpert",
            "coco.reading.read_coco",
            "cvat.reading.read_cvat",
            "tables.imagefolder.read_imagefolder",
            "text.label_file.read_label_file",
            "label_studio.reading.read_label_studio",
            "openimages.reading.read_openimages",
            "tables.table.read_table",
            "voc.reading.read_voc",
        ],
    ),
    "freeze": ("aimonk.models.freeze", ["backbone", "gradual", "lp_ft", "none", "stages"]),
    "loss": (
        "aimonk.training.losses",
        ["AsymmetricLoss", "FocalLoss", "MaskedLoss", "PosWeightLoss.of_labels"],
    ),
    "missing": (
        "aimonk.training.missing_labels",
        ["EntropyMaximization", "Ignore", "LargeLoss", "SelectiveNegatives", "WeakNegatives"],
    ),
    "optimizer": ("aimonk.training.optimizers", ["adam", "adamw", "auto", "lbfgs", "sgd"]),
    "sampler": ("aimonk.data.sampling", ["shuffle", "weighted"]),
    "scheduler": ("aimonk.training.schedulers", ["constant", "cosine", "onecycle", "plateau"]),
    "tracker.mlflow": ("aimonk.runtime.trackers.mlflow", ["MLflow"]),
    "tracker.tensorboard": ("aimonk.runtime.trackers.tensorboard", ["TensorBoard"]),
    "tracker.wandb": ("aimonk.runtime.trackers.wandb", ["WandB"]),
}


def build(cfg: DictConfig, key: str) -> Any:
    """Build the object that `_target_` of a group names; a node with `_partial_: true` gives a function.

    Args:
        key: The group, one of CONSTRUCTORS.

    Raises:
        ValueError: The target is not a constructor of the group, or a value has the wrong type.
    """
    node = OmegaConf.select(cfg, key)
    values = OmegaConf.to_container(node, resolve=True)
    module, names = CONSTRUCTORS[key]
    target = values.get("_target_")
    if target not in [f"{module}.{name}" for name in names]:
        raise ValueError(f"{key}._target_ is {target!r}; expected {module}. and one of {', '.join(names)}")
    for where, value in _nested_targets(values, key):
        raise ValueError(f"{where} is {value!r}; expected no _target_ below {key}")
    constructor = get_object(target)
    check_types(
        get_type_hints(constructor.__init__ if isinstance(constructor, type) else constructor), values, key
    )
    try:
        return instantiate(node, _convert_="all")
    except InstantiationException as error:
        # the message of the constructor is more useful than that of Hydra
        if isinstance(error.__cause__, ValueError | FileNotFoundError):
            raise error.__cause__ from None
        raise ValueError(str(error).replace("\n", " ")) from error


def _nested_targets(node: Any, where: str) -> Iterator[tuple[str, Any]]:
    """Names and values of all `_target_` keys inside the values of a node."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        if isinstance(value, dict) and "_target_" in value:
            yield f"{where}.{key}._target_", value["_target_"]
        yield from _nested_targets(value, f"{where}.{key}")


def check_types(hints: dict[str, Any], values: Mapping[str, Any], where: str) -> None:
    """Compare plain values with their annotations; values without one are not checked.

    Args:
        where: Path of the values in the config, such as `optimizer`; empty for the top level.

    Raises:
        ValueError: A value has another type.
    """
    for key in hints.keys() & values.keys():
        if not _fits(values[key], hints[key]):
            name = f"{where}.{key}" if where else key
            raise ValueError(f"{name} is {values[key]!r}; expected {' or '.join(_spell(hints[key]))}")


def _fits(value: Any, hint: Any) -> bool:
    if get_origin(hint) in (Union, UnionType):
        return any(_fits(value, option) for option in get_args(hint))
    if hint is NoneType:
        return value is None
    if hint in (int, float):
        return isinstance(value, int | hint) and not isinstance(value, bool)
    if hint in (bool, str):
        return isinstance(value, hint)
    if get_origin(hint) in (Sequence, list, tuple):
        return isinstance(value, list) and all(_fits(item, get_args(hint)[0]) for item in value)
    return True  # the annotation is not a type of YAML


def _spell(hint: Any) -> list[str]:
    if get_origin(hint) in (Union, UnionType):
        return [name for option in get_args(hint) for name in _spell(option)]
    if get_origin(hint) in (Sequence, list, tuple):
        return [f"a list (each {' or '.join(_spell(get_args(hint)[0]))})"]
    names = {int: "an integer", float: "a number", bool: "true or false", str: "a string", NoneType: "null"}
    return [names.get(hint, str(hint))]
