"""Static quantisation to 8 bits."""

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from aimonk.export.network import first_line, silent
from aimonk.inference.onnx_file import import_runtime

if TYPE_CHECKING:
    import onnx

QUANTISED = [
    *("Conv", "MatMul", "Gemm", "Add", "Mul", "Relu", "Clip", "HardSigmoid", "HardSwish", "Sigmoid"),
    *("MaxPool", "AveragePool", "GlobalAveragePool", "ReduceMean", "Concat"),
]

log = logging.getLogger(__name__)


def quantise(model: "onnx.ModelProto", images: np.ndarray) -> "onnx.ModelProto":
    """A model with 8-bit weights, per channel, and 8-bit activations in the ranges that the images give.

    Resizing, normalisation, the head and the calibration stay as they are.

    Args:
        images: uint8 [N, size, size, 3].

    Raises:
        ValueError: ONNX Runtime cannot quantise the network.
    """
    import_runtime()
    import onnx
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):
        def __init__(self):
            self.batches: Iterator[dict] = ({"images": image[None]} for image in images)

        def get_next(self) -> dict | None:
            return next(self.batches, None)

    nodes = list(model.graph.node)
    for number, node in enumerate(nodes):
        node.name = node.name or f"node_{number}"
    head = max(i for i, node in enumerate(nodes) if node.op_type in ("Gemm", "MatMul"))
    with tempfile.TemporaryDirectory() as folder, silent():
        path = Path(folder, "model.onnx")
        try:
            quantization.quantize_static(
                model,
                path,
                Reader(),
                op_types_to_quantize=QUANTISED,
                nodes_to_exclude=[node.name for node in nodes[head:]],
                per_channel=True,
                reduce_range=True,  # processors without VNNI add products of full 8 bits with saturation
                weight_type=quantization.QuantType.QInt8,
                activation_type=quantization.QuantType.QUInt8,
            )
            return onnx.load(path, load_external_data=False)
        except Exception as error:  # of many types
            raise ValueError(
                f"precision is int8, which this network does not support ({first_line(error)})"
            ) from None
