"""The trackers of a config."""

from omegaconf import DictConfig

from aimonk.runtime.trackers.record import Tracker
from aimonk.setup.build import CONSTRUCTORS, build


def build_trackers(cfg: DictConfig) -> dict[str, Tracker]:
    """The chosen trackers by name, which are not started.

    Raises:
        ValueError: One is unknown, its package is not installed, or a setting is invalid.
    """
    names = [key.removeprefix("tracker.") for key in CONSTRUCTORS if key.startswith("tracker.")]
    for name in cfg.tracker:
        if name not in names:
            raise ValueError(f"tracker is {name}; expected none, {', '.join(names)}")
    return {name: build(cfg, f"tracker.{name}") for name in cfg.tracker}
