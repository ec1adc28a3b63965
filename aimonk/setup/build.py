"""From config nodes to objects: the only file that calls hydra.utils.instantiate."""

from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf

ALLOWED = ("aimonk.", "torch.optim.", "torchvision.", "timm.")


def build(node: DictConfig) -> Any:
    """Build the object that `_target_` names; a node with `_partial_: true` gives a function.

    Raises:
        ValueError: A target (nested ones included) is not allowed, or a value has the wrong type.
    """
    _check_node(OmegaConf.to_container(node, resolve=True), node._get_full_key(None))
    try:
        return instantiate(node, _convert_="all")
    except InstantiationException as error:
        # the message of the constructor is more useful than that of Hydra
        if isinstance(error.__cause__, ValueError | FileNotFoundError):
            raise error.__cause__ from None
        raise ValueError(str(error).replace("\n", " ")) from error


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


def _check_node(node: Any, where: str) -> None:
    if not isinstance(node, dict | list):
        return
    for child in node.values() if isinstance(node, dict) else node:
        _check_node(child, where)
    if isinstance(node, dict) and "_target_" in node:
        target = _locate(node["_target_"])
        if target.__module__.startswith("aimonk."):
            check_types(get_type_hints(target.__init__ if isinstance(target, type) else target), node, where)


def _locate(target: Any) -> Any:
    """The object that a target names, if it is in an allowed module and defined in one."""
    refusal = f"_target_ is {target!r}; expected a name that starts with {', '.join(ALLOWED)}"
    if not isinstance(target, str) or not target.startswith(ALLOWED):
        raise ValueError(refusal)
    try:
        found = get_object(target)
    except (ImportError, AttributeError, ValueError) as error:
        reason = f"{error}".strip().splitlines()[-1]
        raise ValueError(f"_target_ is {target!r}, which does not exist ({reason})") from error
    # torchvision.os.system starts with an allowed name too
    if not f"{getattr(found, '__module__', None)}".startswith(ALLOWED):
        raise ValueError(f"{refusal} and is defined there")
    return found


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
        return [f"a list (each {_spell(get_args(hint)[0])[0]})"]
    names = {int: "an integer", float: "a number", bool: "true or false", str: "a string", NoneType: "null"}
    return [names.get(hint, str(hint))]
