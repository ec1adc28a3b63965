"""The end of a run whose scores are too low to go on."""

import importlib
from typing import TYPE_CHECKING, Any

from aimonk.runtime.journal import import_optuna

if TYPE_CHECKING:
    import optuna

PRUNERS = {
    "none": "NopPruner",
    "median": "MedianPruner",
    "percentile": "PercentilePruner",
    "hyperband": "HyperbandPruner",
    "halving": "SuccessiveHalvingPruner",
    "threshold": "ThresholdPruner",
}


def create_pruner(name: str, options: dict | None) -> "optuna.pruners.BasePruner":
    """A pruner by its name in conf/hydra/sweeper/optuna.yaml.

    Raises:
        ValueError: Unknown name or options.
    """
    return construct("pruner", PRUNERS, name, options or {})


def construct(kind: str, classes: dict[str, str], name: str, options: dict[str, Any], **own: Any) -> Any:
    """An object of one of Optuna's classes.

    Args:
        kind: `sampler` or `pruner`.
        options: Arguments of the class, beside `own`.

    Raises:
        ValueError: Unknown name or options, or a package that the class needs is missing.
    """
    if name not in classes:
        raise ValueError(f"hydra.sweeper.{kind} is {name!r}; expected {', '.join(classes)}")
    import_optuna()
    try:
        return getattr(importlib.import_module(f"optuna.{kind}s"), classes[name])(**own, **options)
    except (TypeError, ValueError) as error:
        raise ValueError(f"hydra.sweeper.{kind}_options is {options}; {error}") from None
    except ImportError as error:
        raise ValueError(
            f"hydra.sweeper.{kind} is {name}; expected a package that it needs: {error}"
        ) from None
