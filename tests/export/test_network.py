"""Exported networks give the probabilities of the checkpoint; all backbones of conf/ can be exported."""

import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from aimonk.export.network import ExportedNetwork, trace_square
from aimonk.inference.predictor import CalibratedModel
from aimonk.models.backbones import Backbone, create_backbone
from aimonk.models.checkpoint import ModelInfo
from aimonk.models.classifier import Classifier

pytest.importorskip("onnxscript")
from aimonk.export.onnx_export import describe, to_onnx
from aimonk.export.pt2_export import Pt2Model, save_pt2
from aimonk.export.quantise import quantise
from aimonk.inference.onnx_file import OnnxModel

CONF = Path(__file__).resolve().parents[2] / "conf" / "backbone"
NAMES = ["a", "b", "c"]
FACTS = {"version": "1", "precision": "fp32"}


def info_of(size: int, resize: str = "squash") -> ModelInfo:
    numbers = [[0.4, 0.5, 0.6], [1.0, 0.5, -0.5], [0.0, 0.3, -0.1]]
    return ModelInfo("timm", "x", "last", NAMES, *numbers, size, resize, 1, "the last", [None] * 3)


@pytest.fixture(scope="module")
def tiny() -> Classifier:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    stages = OrderedDict(all=nn.Sequential(*layers))
    classifier = Classifier(Backbone("", "", stages, 8, (0.5,) * 3, (0.2,) * 3), 3).eval()
    nn.init.normal_(classifier.head.weight, std=3)
    return classifier


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Smooth random images, uint8 [16, 32, 32, 3]."""
    coarse = torch.rand(16, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 255
    smooth = nn.functional.interpolate(coarse, 32, mode="bilinear")
    return smooth.round().byte().permute(0, 2, 3, 1).contiguous().numpy()


def expected_of(classifier: Classifier, info: ModelInfo, images: np.ndarray) -> np.ndarray:
    return CalibratedModel(classifier, info, torch.device("cpu"), 1)(images)


def export_of(classifier: Classifier, info: ModelInfo, dtype: torch.dtype):
    """The ONNX model."""
    return to_onnx(trace_square(ExportedNetwork(classifier, info, dtype), info.image_size), info)


def open_exported(model, info: ModelInfo) -> OnnxModel:
    describe(model, info, FACTS)
    return OnnxModel(model.SerializeToString(), "model.onnx", threads=1)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float16, 5e-3)])
def test_calibration_and_thresholds_are_in_the_file(dtype, tolerance, tiny, images) -> None:
    info = info_of(32)
    exported = open_exported(export_of(tiny, info, dtype), info)
    probs, decisions = exported.run(images)
    expected = expected_of(tiny, info, images)
    assert expected.std(0).min() > 0.02, "or equal probabilities would prove nothing"
    np.testing.assert_allclose(probs, expected, atol=tolerance)
    if dtype == torch.float32:
        np.testing.assert_array_equal(decisions, expected >= info.thresholds)
    assert exported.info == info


def test_quantised_network_is_close_and_keeps_its_head(tiny, images) -> None:
    info = info_of(32)
    model = quantise(export_of(tiny, info, torch.float32), images[:8])
    assert any(node.op_type == "QuantizeLinear" for node in model.graph.node)
    probs = open_exported(model, info)(images[8:])
    np.testing.assert_allclose(probs, expected_of(tiny, info, images[8:]), atol=0.05)


@pytest.mark.parametrize("resize", ["squash", "crop", "pad"])
def test_both_formats_resize_alike(resize: str, tiny, images, tmp_path: Path) -> None:
    info = info_of(16, resize)
    network = ExportedNetwork(tiny, info, torch.float32)
    save_pt2(tmp_path / "a.pt2", network, info, FACTS)
    exported = open_exported(to_onnx(trace_square(network, 16), info), info)
    with zipfile.ZipFile(tmp_path / "a.pt2") as archive:
        assert not any(b"aimonk/export/" in archive.read(name) for name in archive.namelist())
    program = Pt2Model(tmp_path / "a.pt2")
    for height, width in [(16, 16), (32, 19), (9, 32)]:
        batch = np.ascontiguousarray(images[:3, :height, :width])
        np.testing.assert_allclose(program.run(batch)[0], exported.run(batch)[0], atol=0.02)
    square = np.ascontiguousarray(images[:, :16, :16])
    np.testing.assert_allclose(program.run(square)[0], expected_of(tiny, info, square), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("file", sorted(CONF.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_backbone_is_exported(file: Path) -> None:
    conf = OmegaConf.load(file)
    # of a timm transformer, which takes one size only and whose positions torch's older exporter gets wrong
    name = "test_vit" if file.stem == "timm" else conf.name
    size = 160 if file.stem == "timm" else 32
    torch.manual_seed(0)
    classifier = Classifier(create_backbone(conf.library, name, "random"), 3).eval()
    info = info_of(size)
    exported = open_exported(export_of(classifier, info, torch.float32), info)
    pixels = np.random.default_rng(0).integers(0, 256, (3, size, size, 3), dtype=np.uint8)
    np.testing.assert_allclose(exported(pixels), expected_of(classifier, info, pixels), atol=1e-4)
