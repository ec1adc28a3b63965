"""The searched settings: their ranges, from Hydra's syntax of overrides."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.distributions import BaseDistribution

SYNTAX = (
    "expected a,b, choice(a,b), range(1,10), interval(0,1), int(interval(1,9)) or tag(log,interval(1e-5,1))"
)


@dataclass(frozen=True)
class Dimension:
    """A searched setting.

    Attributes:
        key: As in an override: a group, or the full name of a setting.
        distribution: Of its values; choices are strings in Hydra's syntax.
    """

    key: str
    distribution: "BaseDistribution"

    def suggest(self, trial: "Trial") -> object:
        """The value of a trial, which is chosen and recorded if the trial has none."""
        from optuna.distributions import CategoricalDistribution, IntDistribution

        own = self.distribution
        if isinstance(own, CategoricalDistribution):
            return trial.suggest_categorical(self.key, own.choices)
        suggest = trial.suggest_int if isinstance(own, IntDistribution) else trial.suggest_float
        return suggest(self.key, own.low, own.high, step=own.step, log=own.log)


def split_overrides(overrides: Sequence[Override]) -> tuple[list[Dimension], list[str]]:
    """The searched settings, and the overrides that all trials share.

    Raises:
        ValueError: A sweep that cannot be searched, or nothing to search.
    """
    # as in Hydra's own sweeps, the last override of a setting counts
    last = {override.key_or_group.lstrip("/"): override for override in overrides}
    space = [
        Dimension(override.get_key_element(), _distribution(override))
        for override in last.values()
        if override.is_sweep_override()
    ]
    if not space:
        raise ValueError(
            "the search has no settings; expected one such as 'optimizer.lr=interval(1e-4,1e-1)'"
        )
    fixed = [f"{override.input_line}" for override in last.values() if not override.is_sweep_override()]
    return space, fixed


def _distribution(override: Override) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    sweep, line = override.value(), override.input_line
    if not isinstance(sweep, ChoiceSweep | IntervalSweep | RangeSweep):
        raise ValueError(f"{line} cannot be searched; {SYNTAX}")
    log = sweep.tags == {"log"}
    if sweep.tags and (not log or isinstance(sweep, ChoiceSweep)):
        raise ValueError(f"{line} has the tags {', '.join(sorted(map(str, sweep.tags)))}; {SYNTAX}")
    if getattr(sweep, "shuffle", False):
        raise ValueError(f"{line} is shuffled, which has no meaning in a search; {SYNTAX}")
    try:
        if isinstance(sweep, ChoiceSweep):
            return CategoricalDistribution(list(dict.fromkeys(override.sweep_string_iterator())))
        if isinstance(sweep, IntervalSweep):
            kind = IntDistribution if isinstance(sweep.start, int) else FloatDistribution
            return kind(sweep.start, sweep.end, log=log)
        values = sorted(sweep.range())
        if not values:
            raise ValueError("the range is empty")
        step = abs(Decimal(str(sweep.step)))
        if all(isinstance(value, int) for value in values):
            return IntDistribution(values[0], values[-1], log=log, step=int(step))
        return FloatDistribution(values[0], values[-1], log=log, step=float(step))
    except ValueError as error:
        raise ValueError(f"{line} cannot be searched: {error}") from None


def format_value(value: object) -> str:
    """A value as in an override; numbers keep all digits, and choices are overrides already."""
    return value if isinstance(value, str) else repr(value)


def name_folder(number: int, values: dict[str, object], groups: Sequence[str]) -> str:
    """Name of a trial's folder, such as `3_focal_lr=0.00123`.

    Args:
        groups: The keys that choose an option, whose names are left out.
    """
    parts = [f"{number}"]
    for key, value in list(values.items())[:7]:
        text = f"{value:.3g}" if isinstance(value, float) else f"{value}"
        name = "" if key in groups else f"{key.lstrip('+').rpartition('.')[2]}="
        parts.append(re.sub(r"[^\w.=+-]+", "-", f"{name}{text}")[:30])
    return "_".join(parts)
