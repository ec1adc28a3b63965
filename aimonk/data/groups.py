"""Groups of images that show the same photograph, as a group number for each image."""

import numpy as np


def number_groups(groups: np.ndarray) -> np.ndarray:
    """The same groups, [N], numbered 0, 1, 2, ... in the order of their old numbers."""
    return np.unique(groups, return_inverse=True)[1].reshape(-1)
