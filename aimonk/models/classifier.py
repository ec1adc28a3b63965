"""From uint8 images to logits: normalisation, the backbone's stages and one linear layer."""

import torch
from torch import Tensor, nn

from aimonk.models.backbones import Backbone


class Normalise(nn.Module):
    """uint8 images to floats, normalised with the mean and deviation of the backbone's training.

    Args:
        mean: Per channel, of images in 0..1.
        std: Per channel, likewise.
    """

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]):
        super().__init__()
        self.register_buffer("mean", 255 * torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images should be [B, 3, H, W]. Got {list(images.shape)}")
        if images.dtype != torch.uint8:
            raise ValueError(f"images should be uint8, 0 to 255. Got {images.dtype}")
        images = images.contiguous(memory_format=torch.channels_last)  # fastest on bytes
        # three channels do not fill the vectors of the processor; repeated along a row, they do
        mean, std = (x.flatten().repeat(images.shape[3]) for x in (self.mean, self.std))
        rows = images.permute(0, 2, 3, 1).float().flatten(2)  # [B, H, W * 3]
        return rows.sub_(mean).div_(std).unflatten(2, (-1, 3)).permute(0, 3, 1, 2)


class Classifier(nn.Module):
    """A backbone and a linear layer that gives one logit per attribute.

    The network can be cut between any two stages: `prefix(cut)` followed by `suffix(cut)` is the network.

    Args:
        attributes: Number of logits.

    Attributes:
        frozen_stages: Number of stages that do not train.
        keeps_statistics: Whether the BatchNorm layers of the others keep their statistics.
    """

    def __init__(self, backbone: Backbone, attributes: int):
        super().__init__()
        self.normalise = Normalise(backbone.mean, backbone.std)
        self.stages = nn.ModuleDict(backbone.stages)
        self.head = nn.Linear(backbone.features, attributes)
        self.frozen_stages = 0
        self.keeps_statistics = False

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, A] of uint8 RGB images [B, 3, H, W]."""
        return self.suffix(0)(images)

    def prefix(self, cut: int) -> nn.Sequential:
        """Normalisation and the first `cut` stages: uint8 images to features. Empty for `cut` 0."""
        front = [self.normalise] if cut > 0 else []
        return nn.Sequential(*front, *list(self.stages.values())[:cut])

    def suffix(self, cut: int) -> nn.Sequential:
        """The rest: features to logits, or uint8 images to logits for `cut` 0."""
        front = [self.normalise] if cut == 0 else []
        return nn.Sequential(*front, *list(self.stages.values())[cut:], self.head)

    def freeze(self, cut: int) -> None:
        """Freeze the first `cut` stages, BatchNorm statistics included, and unfreeze the others."""
        self.frozen_stages = cut
        for i, stage in enumerate(self.stages.values()):
            stage.requires_grad_(i >= cut)
        self.train(self.training)

    def train(self, mode: bool = True) -> "Classifier":
        super().train(mode)
        # a BatchNorm in train mode updates its statistics even if its weights are frozen
        for stage in list(self.stages.values())[: self.frozen_stages]:
            stage.eval()
        if self.keeps_statistics:
            for module in self.stages.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self
