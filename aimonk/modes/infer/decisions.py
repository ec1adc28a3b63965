"""From probabilities to decisions: thresholds, and attributes whose decisions are doubtful."""

import logging

from aimonk.files.text import listed
from aimonk.models.checkpoint import ModelInfo

log = logging.getLogger(__name__)


def read_thresholds(threshold: float | None, info: ModelInfo) -> list[float]:
    """The checkpoint's thresholds, or one threshold for all attributes.

    Raises:
        ValueError: The threshold is not a probability.
    """
    if threshold is None:
        return info.thresholds
    if isinstance(threshold, str) or not 0 <= threshold <= 1:
        raise ValueError(
            f"threshold is {threshold!r}; expected a probability, or null for the checkpoint's thresholds"
        )
    return [float(threshold)] * len(info.attributes)


def warn_of_doubtful(info: ModelInfo) -> None:
    """Warn of attributes without evidence of a score above chance."""
    pairs = zip(info.attributes, info.beats_chance, strict=True)
    doubtful = [name for name, beaten in pairs if beaten is False]
    if doubtful:
        log.warning(
            "the model's run found no evidence that it predicts better than chance: %s", listed(doubtful)
        )
