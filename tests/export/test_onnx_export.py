"""Resizing in an ONNX file gives the pixels of the decoder."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aimonk.data.images.decoding import decode

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper  # noqa: E402

from aimonk.export.onnx_export import RESIZED, add_resizing  # noqa: E402

SIDE = 24


def resize_in_onnx(images: np.ndarray, resize: str) -> np.ndarray:
    """uint8 [B, SIDE, SIDE, 3], by a model that does nothing else."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Identity", [RESIZED], ["pixels"])],
        "nothing",
        [value(RESIZED, TensorProto.UINT8, ["batch", SIDE, SIDE, 3])],
        [value("pixels", TensorProto.UINT8, ["batch", SIDE, SIDE, 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    add_resizing(model, SIDE, resize)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"images": images})[0]


@pytest.mark.parametrize("resize", ["squash", "crop", "pad"])
@pytest.mark.parametrize("size", [(60, 44), (40, 66), (24, 24), (12, 18), (2, 40), (55, 11)])
def test_resizing_is_that_of_the_decoder(resize: str, size: tuple[int, int], tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    expected = decode(tmp_path / "noise.png", SIDE, resize).astype(int)
    resized = resize_in_onnx(np.stack([noise, noise]), resize).astype(int)
    np.testing.assert_array_equal(resized[0], resized[1])
    # ONNX Runtime weighs the pixels at borders slightly differently, and a crop ends there
    differences = np.abs(resized[0] - expected)
    assert np.median(differences) <= 1 and differences.mean() < (10 if resize == "crop" else 1)
    if size == (24, 24):
        np.testing.assert_array_equal(resized[0], expected)
