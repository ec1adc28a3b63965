import numpy as np
import pytest

from aimonk.evaluation.metrics import score

NAMES = ["hat", "$\\frac{<b>$", "帽子", "never", "unknown"]


@pytest.fixture
def case() -> dict:
    """Predictions for five attributes; the fourth is never present, the fifth never known."""
    rng = np.random.default_rng(0)
    labels = (rng.random((80, 5)) < 0.4).astype(float)
    labels[:, 3] = 0
    mask = rng.random((80, 5)) < 0.8
    mask[:, 4] = False
    probs = np.round(np.clip(0.3 * labels + 0.7 * rng.random((80, 5)), 0, 1), 2)
    scores = score(labels, mask, probs, np.full(5, 0.5), NAMES)
    return {"labels": labels, "mask": mask, "probs": probs, "scores": scores}
