"""A review of drawn images with an untrained, tiny model: everything but the backbone is real."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from aimonk.data.formats.text.label_file import read_labels
from aimonk.models.backbones import Backbone
from aimonk.models.classifier import Classifier
from aimonk.review.desk import Desk, Model
from aimonk.review.heat_maps import HeatMaps
from aimonk.review.journal import Journal
from aimonk.review.label_file import LabelFile
from aimonk.review.pictures import Pictures
from aimonk.review.saver import Saver
from aimonk.review.session import Session, values_of
from aimonk.review.solver import Solver
from aimonk.review.solving import Features

HOSTILE = "<script>alert(1)</script>"
IMAGES, SIZE = 24, 16


def tiny_classifier(attributes: int) -> Classifier:
    """Features are the means of a map of 6 channels."""
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 6, 3, stride=4, padding=1)
    stages = OrderedDict(
        conv=nn.Sequential(conv, nn.ReLU()), pool=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    )
    return Classifier(Backbone("", "", stages, 6, (0.5,) * 3, (0.25,) * 3), attributes).eval()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Red and blue images; the labels of a quarter are unknown, and one image has a hostile name."""
    (tmp_path / "images").mkdir()
    rows = [f"image,red,{HOSTILE}", "# a comment"]
    for i in range(IMAGES):
        red = i % 2
        name = "<img src=x onerror=alert(2)>.png" if i == 3 else f"{i}.png"
        pixels = np.zeros((SIZE, SIZE, 3), np.uint8)
        pixels[..., 0 if red else 2] = 120 + 5 * i
        pixels[i % SIZE, :, 1] = 200
        Image.fromarray(pixels).save(tmp_path / "images" / name)
        rows.append(f"{name},NA,NA" if i % 4 == 0 else f"{name},{red},{(i // 2) % 2}")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


@pytest.fixture
def open_desk(folder: Path) -> Iterator[Callable[[], Desk]]:
    """Opens a review of the folder, as `mode=review` does; earlier ones are abandoned as by a kill."""
    opened: list[Desk] = []

    def close() -> None:
        for desk in opened:
            desk.solver.stop()
            desk.saver._stopped.set()
            desk.session.journal.close()
        opened.clear()

    def open_one() -> Desk:
        close()
        path = folder / "labels.csv"
        content, table = path.read_bytes(), read_labels(path)
        values = values_of(table)
        session = Session(
            table.names, table.attributes, values.copy(), Journal(path.with_name("labels.csv.journal"))
        )
        file = LabelFile(path, content, None, None, None, session, values)
        pictures = Pictures([folder / "images" / name for name in table.names], None)
        pictures.pixels = pictures.paths
        classifier = tiny_classifier(len(table.attributes))
        pixels = torch.from_numpy(np.stack([pictures.read(i, SIZE, "squash") for i in range(len(table))]))
        images = pixels.permute(0, 3, 1, 2)
        with torch.inference_mode():
            vectors = classifier.prefix(2)(images)
        features, groups = Features(vectors.numpy()), np.arange(len(table))
        model = Model(
            HeatMaps(classifier, torch.device("cpu"), images[:1]), np.full(2, 0.5), SIZE, "squash", None, ""
        )
        saver = Saver(file, pause=0.0)
        opened.append(
            Desk(session, file, pictures, features, groups, model, Solver(session, features, groups), saver)
        )
        return opened[-1]

    yield open_one
    close()
