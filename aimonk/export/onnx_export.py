"""From a traced network to one ONNX file, with resizing in front and the checkpoint's fields as metadata."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import torch
from torch.export import ExportedProgram

from aimonk.export.network import first_line, silent
from aimonk.inference.onnx_file import FORMAT, INSTALL, import_runtime
from aimonk.models.checkpoint import ModelInfo

if TYPE_CHECKING:
    import onnx

OPSET = 18  # the first with antialiased resizing
RESIZED = "resized"  # the network's input
WHITE = 255


def check_packages() -> None:
    """Check that what exports and runs ONNX files is installed.

    Raises:
        ValueError: A package is missing.
    """
    import_runtime()
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ValueError(f"{error.name} is not installed; {INSTALL}") from None


def to_onnx(program: ExportedProgram, info: ModelInfo) -> "onnx.ModelProto":
    """An ONNX model of uint8 images [B, H, W, 3] of any size.

    Args:
        program: Of ExportedNetwork.

    Raises:
        ValueError: The exporter does not support the network.
    """
    names = {"input_names": [RESIZED], "output_names": ["probabilities", "decisions"]}
    try:
        with silent():
            exported = torch.onnx.export(program, dynamo=True, opset_version=OPSET, verbose=False, **names)
    except Exception as error:  # the exporter raises exceptions of many types
        raise ValueError(
            f"torch's ONNX exporter does not support this network ({first_line(error)})"
        ) from None
    model = exported.model_proto
    add_resizing(model, info.image_size, info.resize)
    for field in (model.graph.node, model.graph.value_info, model.graph.initializer, model.graph.output):
        for entry in field:
            entry.ClearField("metadata_props")  # torch's stack traces, with the paths of this machine
            entry.ClearField("doc_string")
    model.graph.name = "aimonk"
    return model


def describe(model: "onnx.ModelProto", info: ModelInfo, facts: dict[str, str]) -> None:
    """Write the metadata: each field of the checkpoint as JSON, and further facts."""
    import onnx

    model.producer_name, model.producer_version = "aimonk", facts["version"]
    metadata = {key: json.dumps(value, ensure_ascii=False) for key, value in asdict(info).items()}
    onnx.helper.set_model_props(model, {"format": FORMAT, **metadata, **facts})


def add_resizing(model: "onnx.ModelProto", size: int, resize: str) -> None:
    """Put resizing in front of a network of square images, uint8 [B, size, size, 3].

    ONNX Runtime resizes bytes as Pillow does: a triangle filter as wide as the reduction, in integers.
    """
    import onnx
    from onnx import helper

    def constant(name: str, values: list[int], kind: int = onnx.TensorProto.INT64) -> str:
        model.graph.initializer.append(helper.make_tensor(name, kind, [len(values)], values))
        return name

    (network_input,) = model.graph.input
    batch = network_input.type.tensor_type.shape.dim[0].dim_param
    target = constant("resize_size", [size, size])
    node = helper.make_node
    how = {"mode": "linear", "antialias": 1, "coordinate_transformation_mode": "half_pixel", "axes": [1, 2]}
    shape = node("Shape", ["images"], ["resize_shape"], start=1, end=3)  # height, width
    if resize == "squash":
        nodes = [node("Resize", ["images", "", "", target], [RESIZED], **how)]
    elif resize == "crop":
        two, axes = constant("resize_two", [2]), constant("resize_axes", [1, 2])
        nodes = [
            shape,
            node("ReduceMin", ["resize_shape"], ["resize_side"], keepdims=1),
            node("Sub", ["resize_shape", "resize_side"], ["resize_rest"]),
            node("Div", ["resize_rest", two], ["resize_start"]),
            node("Add", ["resize_start", "resize_side"], ["resize_end"]),
            node("Slice", ["images", "resize_start", "resize_end", axes], ["resize_square"]),
            node("Resize", ["resize_square", "", "", target], [RESIZED], **how),
        ]
    else:
        # in double precision and rounded half to even, as the decoder computes it
        double = onnx.TensorProto.DOUBLE
        constant("resize_scaled", [size], double)
        two, axes = constant("resize_two", [2]), constant("resize_axes", [1, 2])
        nodes = [
            shape,
            node("Cast", ["resize_shape"], ["resize_sides"], to=double),
            node("ReduceMax", ["resize_sides"], ["resize_longest"], keepdims=1),
            node("Div", ["resize_scaled", "resize_longest"], ["resize_scale"]),
            node("Mul", ["resize_sides", "resize_scale"], ["resize_exact"]),
            node("Round", ["resize_exact"], ["resize_rounded"]),
            node("Cast", ["resize_rounded"], ["resize_whole"], to=onnx.TensorProto.INT64),
            node("Max", ["resize_whole", constant("resize_one", [1, 1])], ["resize_fitted"]),
            node("Resize", ["images", "", "", "resize_fitted"], ["resize_image"], **how),
            node("Sub", [target, "resize_fitted"], ["resize_rest"]),
            node("Div", ["resize_rest", two], ["resize_before"]),
            node("Sub", ["resize_rest", "resize_before"], ["resize_after"]),
            node("Concat", ["resize_before", "resize_after"], ["resize_pads"], axis=0),
            node("Pad", ["resize_image", "resize_pads", "resize_white", axes], [RESIZED]),
        ]
        white = helper.make_tensor("resize_white", onnx.TensorProto.UINT8, [], [WHITE])
        model.graph.initializer.append(white)
    others = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *others])
    del model.graph.input[:]
    dimensions = [batch or "batch", "height", "width", 3]
    model.graph.input.append(helper.make_tensor_value_info("images", onnx.TensorProto.UINT8, dimensions))
