"""The search space, from sweep overrides in Hydra's syntax."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import ChoiceSweep, Glob, IntervalSweep, Override, RangeSweep

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

TAGS = ("log",)


def parse_space(overrides: Sequence[Override]) -> tuple[dict[str, BaseDistribution], list[str]]:
    """The distribution of each searched setting, by its key, and the other overrides as given.

    Raises:
        ValueError: A sweep that cannot be searched, or none at all.
    """
    space = {o.get_key_element(): find_distribution(o) for o in overrides if o.is_sweep_override()}
    fixed = [o.input_line for o in overrides if not o.is_sweep_override()]
    if not space:
        raise ValueError(
            "nothing to search; expected a setting such as 'optimizer.lr=tag(log, interval(1e-5,1e-2))' or "
            "loss=masked,focal"
        )
    return space, [line for line in fixed if line is not None]


def find_distribution(override: Override) -> BaseDistribution:
    """The distribution of a sweep override: `interval`, `range`, `choice` or a list.

    Categories are strings, as on the command line.

    Raises:
        ValueError: It cannot be searched.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value: Any = override.value()
    line = override.input_line
    if isinstance(value, Glob) or getattr(value, "shuffle", False):
        raise ValueError(f"{line}: expected interval, range, choice or a list in a search")
    unknown = sorted(set(value.tags) - set(TAGS))
    if unknown:
        raise ValueError(f"{line}: the tag is {unknown[0]}; expected log")
    log = "log" in value.tags
    if isinstance(value, ChoiceSweep):
        if log:
            raise ValueError(f"{line}: the tag is log; expected none for a list")
        return CategoricalDistribution(list(override.sweep_string_iterator()))
    if isinstance(value, IntervalSweep):
        low, high, step = value.start, value.end, None
    elif isinstance(value, RangeSweep):
        low, step = value.start, value.step
        high = [low + step * i for i in range(len(list(value.range())))][-1]
    else:
        raise ValueError(f"{line}: expected interval, range, choice or a list in a search")
    try:
        if all(isinstance(x, int) for x in (low, high, step or 1)):
            return IntDistribution(low, high, log=log, step=step or 1)
        return FloatDistribution(low, high, log=log, step=step)
    except ValueError as error:  # such as log of 0
        raise ValueError(f"{line}: {f'{error}'[:1].lower()}{f'{error}'[1:]}") from None


def to_overrides(params: dict[str, Any]) -> list[str]:
    """The settings of a trial as overrides."""
    return [f"{key}={value if isinstance(value, str) else repr(value)}" for key, value in params.items()]
