"""Class activation maps: where in an image the logit of an attribute comes from.

Where the features are the means of a map [C, h, w] and the head is linear, the logit is the mean over places
of weight @ map, plus the bias: the map of these products is exact, and needs no gradient (Zhou et al. 2016,
"Learning deep features for discriminative localization").
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from aimonk.models.all_stages import AllStages
from aimonk.models.classifier import Classifier

AGREE = 1e-3  # largest difference of means and features, relative to the largest feature


class HeatMaps:
    """Maps of the last features of a classifier.

    Args:
        example: uint8 image [1, 3, H, W], on which the construction is verified.

    Attributes:
        available: Whether the features are means of maps.
    """

    def __init__(self, classifier: Classifier, device: torch.device, example: Tensor):
        self.classifier, self.device = classifier.eval(), device
        self.pooling: list[nn.Module] = []
        self.available = True
        self.available = self._is_exact(example)

    @torch.inference_mode()
    def features_and_map(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features [1, D] and the map [D, h, w] whose means they are; None where they are no means."""
        stages = list(self.classifier.stages.values())
        joined = list(stages[-1].stages) if isinstance(stages[-1], AllStages) else None
        parts: list[Tensor] = []
        x = self.classifier.normalise(images.to(self.device))
        for stage in joined or stages:
            last_map: list[Tensor] = []
            # of the modules that turn a map into a vector, the outermost is called first
            hooks = [
                module.register_forward_hook(
                    lambda _, given, out, kept=last_map: kept.append(given[0]) if _pools(given, out) else None
                )
                for module in stage.modules()
            ]
            try:
                x = stage(x)
            finally:
                for hook in hooks:
                    hook.remove()
            if joined is not None or x.ndim == 2:
                parts.append(x if x.ndim == 4 else last_map[0] if last_map else x)
        features = [x.mean((2, 3)) if x.ndim == 4 else x for x in parts]
        vector = x if joined is None else torch.cat([*features[:-1], x], dim=1)
        if not self.available or any(part.ndim != 4 for part in parts):
            return vector.float().cpu(), None
        size = parts[-1].shape[2:]
        maps = torch.cat([adaptive_avg_pool2d(part.float(), size) for part in parts], dim=1)
        return vector.float().cpu(), maps[0].cpu()

    def _is_exact(self, example: Tensor) -> bool:
        vector, maps = self.features_and_map(example)
        if maps is None or maps.shape[0] != vector.shape[1]:
            return False
        difference = (maps.mean((1, 2)) - vector[0]).abs().max()
        return bool(difference <= AGREE * vector.abs().max().clamp(min=1e-6))


def _pools(given: tuple, out: object) -> bool:
    """Whether a module has averaged a map [1, C, h, w] to a vector."""
    if not given or not isinstance(given[0], Tensor) or not isinstance(out, Tensor) or given[0].ndim != 4:
        return False
    x = given[0]
    return out.numel() == x.shape[1] < x.numel() and torch.allclose(
        out.flatten().float(), x.float().mean((2, 3)).flatten(), rtol=1e-3, atol=1e-4
    )


def weigh(maps: Tensor, weight: Tensor) -> Tensor:
    """Contribution of each place to each logit, [A, h, w]: its mean is the logit without the bias.

    Args:
        maps: [D, h, w].
        weight: [D, A].
    """
    return torch.einsum("dhw,da->ahw", maps, weight)
