"""A head that sees all stages of a backbone, not the last one only."""

from collections import OrderedDict
from dataclasses import replace

import torch
from torch import Tensor, nn

from aimonk.models.backbones import Backbone

CHOICES = ("last", "all")
SIDE = 64  # pixels of the image that counts the features


class AllStages(nn.Module):
    """The mean of each stage's map, and the vector of the last stage, [B, D]."""

    def __init__(self, stages: OrderedDict[str, nn.Module]):
        super().__init__()
        self.stages = nn.Sequential(stages)

    def forward(self, images: Tensor) -> Tensor:
        vectors = []
        for stage in self.stages:
            images = stage(images)
            vectors.append(images.mean((2, 3)) if images.ndim == 4 else images)
        return torch.cat(vectors, dim=1)


def choose_stages(backbone: Backbone, stages: str) -> Backbone:
    """The backbone itself for `last`; for `all`, one stage that gives the features of all.

    Colours, textures and simple shapes are in the early stages, and the last one has lost part of them
    (Evci et al. 2022, "Head2Toe: Utilizing intermediate representations for better transfer learning").
    """
    if stages == "last" or len(backbone.stages) == 1:
        return backbone
    joined = AllStages(backbone.stages)
    with torch.no_grad():
        joined.eval()
        features = joined(torch.zeros(1, 3, SIDE, SIDE)).shape[1]
        joined.train()
    return replace(backbone, stages=OrderedDict(all=joined), features=features)
