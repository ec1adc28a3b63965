"""Inputs of the network: stored features where the frozen stages allow it, otherwise pixels."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from omegaconf import DictConfig, OmegaConf

from aimonk.data.augmentation import MixedFlip
from aimonk.data.dataset import ImageSet
from aimonk.data.loading import Pixels
from aimonk.data.store.row_store import RowStore
from aimonk.inference.engine import fast_inference
from aimonk.models.classifier import Classifier
from aimonk.models.features import FeatureSource
from aimonk.runtime.progress import watch
from aimonk.setup.data import FEATURES, cache_folder, store_quality
from aimonk.training.task import Inputs

FLIP = "aimonk.data.augmentation.flip"

log = logging.getLogger(__name__)


@dataclass
class InputOpener:
    """Opens the inputs behind any number of frozen stages, each once.

    Attributes:
        enabled: Whether features are stored: `auto`, True (an error where impossible) or False.
        always_trains: Whether no epoch of the run has frozen stages.
    """

    pixels: Pixels
    source: FeatureSource
    classifier: Classifier
    views: int | None
    enabled: str | bool
    always_trains: bool
    device: torch.device
    opened: dict[int, Inputs] = field(default_factory=dict)

    def __call__(self, cut: int) -> Inputs:
        """The inputs behind the first `cut` stages; features that are not stored yet are computed now.

        Raises:
            ValueError: Features are required and cannot be stored.
        """
        if cut not in self.opened:
            self.opened[cut] = self._open(cut)
        return self.opened[cut]

    def _open(self, cut: int) -> Inputs:
        obstacle = self._obstacle(cut)
        stored = None
        if obstacle is None:
            engine = fast_inference if self.device.type == "cpu" else _keep
            stored = self.source.open(self.classifier, cut, engine, self.device)
        # a policy may end with nothing frozen, but something has to be frozen in some epoch
        if stored is None and self.enabled is True and (cut > 0 or self.always_trains):
            reason = obstacle or "the features do not fit into the store"
            raise ValueError(f"features.enabled is true; expected auto or false, since {reason}")
        if obstacle is not None:
            log.info("features are not stored: %s", obstacle)
        return Inputs(self.pixels, False) if stored is None else Inputs(stored, True)

    def _obstacle(self, cut: int) -> str | None:
        """Why no features are stored; None if they can be."""
        if cut == 0:
            return "nothing is frozen"
        if self.views is None:
            return "the augmentation is unbounded; features.views=8 uses a fixed set of views"
        return "features.enabled=false" if self.enabled is False else None


def open_inputs(
    cfg: DictConfig,
    images: ImageSet,
    augmentation: Callable,
    classifier: Classifier,
    cuts: list[int],
    device: torch.device,
) -> InputOpener:
    """Connect a data set, an augmentation and a classifier.

    Args:
        cuts: Numbers of frozen stages whose outputs the run reads.
    """
    pixels = Pixels(images.pixels, augmentation, cfg.data.image_size, cfg.data.resize)
    quality = store_quality(cfg)
    settings = f"{cfg.data.image_size} {cfg.data.resize}" + ("" if quality is None else f" jpeg {quality}")
    source = FeatureSource(
        load_pixels=pixels,
        keys=[f"{settings} {key}" for key in images.keys],
        views=augmentation.views or 1,
        # inputs are mixed after the views are taken, and these are the views of augmentation=flip
        view_key=repr(
            {"_target_": FLIP}
            if isinstance(augmentation, MixedFlip)
            else OmegaConf.to_container(cfg.augmentation, resolve=True)
        ),
        store=RowStore(cache_folder(cfg) / FEATURES, round(cfg.features.limit_gb * 1e9)),
        dtype=cfg.features.dtype,
        watch=watch,
    )
    enabled, never_frozen = cfg.features.enabled, not any(cuts)
    return InputOpener(pixels, source, classifier, augmentation.views, enabled, never_frozen, device)


def _keep(prefix: torch.nn.Module, example: torch.Tensor) -> torch.nn.Module:
    return prefix
