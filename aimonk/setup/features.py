"""Features of a frozen backbone for a data set, as the audit and the review use them."""

import numpy as np
import torch
from omegaconf import DictConfig

from aimonk.data.augmentation import Unchanged
from aimonk.data.dataset import ImageSet
from aimonk.models.classifier import Classifier
from aimonk.runtime.device import pick_device
from aimonk.setup.inputs import open_inputs
from aimonk.setup.task import build_classifier


def frozen_features(
    cfg: DictConfig, images: ImageSet, classifier: Classifier | None = None
) -> tuple[Classifier, np.ndarray]:
    """The classifier, and its features for every image without augmentation, float32 [N, D].

    Args:
        classifier: None for that of the config.

    Raises:
        ValueError: The features cannot be stored.
    """
    device = pick_device(cfg.device)
    if classifier is None:
        classifier = build_classifier(cfg, images.table.attributes)
    classifier = classifier.to(device, memory_format=torch.channels_last).eval()
    stages = len(classifier.stages)
    inputs = open_inputs(cfg, images, Unchanged(), classifier, [stages], device)(stages)
    if not inputs.are_features:
        raise ValueError(
            f"the {cfg.mode} needs stored features: set features.enabled=auto, and free space in cache_dir"
        )
    rows = torch.arange(len(images))
    return classifier, inputs.load(rows, torch.zeros_like(rows))[0].float().numpy()
