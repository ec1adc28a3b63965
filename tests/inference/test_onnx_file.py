"""ONNX files from elsewhere are refused in one line, before anything in them runs."""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from aimonk.inference.onnx_file import FORMAT, read_onnx
from aimonk.models.checkpoint import ModelInfo

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

INFO = ModelInfo(
    *(
        "timm",
        "tiny",
        "last",
        ["red", "green", "blue"],
        [0.5, 0.6, 0.7],
        [1.0] * 3,
        [0.0] * 3,
        8,
        "squash",
        1,
    ),
    *("the last", [True, False, None]),
)


def build() -> "onnx.ModelProto":
    """A model whose probabilities are the sigmoid of the mean of each channel divided by 255."""
    constants = {
        "white": np.float32([255]),
        "thresholds": np.float32(INFO.thresholds),
        "axes": np.int64([1, 2]),
    }
    node = helper.make_node
    nodes = [
        node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        node("ReduceMean", ["floats", "axes"], ["means"], keepdims=0),
        node("Div", ["means", "white"], ["shares"]),
        node("Sigmoid", ["shares"], ["probabilities"]),
        node("GreaterOrEqual", ["probabilities", "thresholds"], ["decisions"]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "tiny",
        [value("images", TensorProto.UINT8, ["b", "h", "w", 3])],
        [value("probabilities", TensorProto.FLOAT, ["b", 3]), value("decisions", TensorProto.BOOL, ["b", 3])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    fields = {key: json.dumps(value) for key, value in asdict(INFO).items()}
    helper.set_model_props(model, {"format": FORMAT, **fields})
    return model


def set_field(model: "onnx.ModelProto", name: str, value: str) -> None:
    next(entry for entry in model.metadata_props if entry.key == name).value = value


def test_model_of_any_batch_and_size(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(build().SerializeToString())
    model = read_onnx(tmp_path / "a.onnx", threads=1)
    assert model.info == INFO
    images = np.zeros((11, 5, 7, 3), np.uint8)  # more than one group
    images[..., 0] = np.linspace(0, 255, 11, dtype=np.uint8)[:, None, None]
    probs, decisions = model.run(images)
    expected = 1 / (1 + np.exp(-images.mean((1, 2)) / 255))
    np.testing.assert_allclose(probs, expected, atol=1e-6)
    np.testing.assert_array_equal(decisions, expected >= np.array(INFO.thresholds))


def external(model) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def external_constant(model) -> None:
    tensor = numpy_helper.from_array(np.float32([1]), "hidden")
    tensor.external_data.add(key="location", value="../../secret")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["unused"], value=tensor))


def custom_operator(model) -> None:
    model.graph.node[0].domain = "com.evil"
    model.opset_import.append(helper.make_opsetid("com.evil", 1))


def endless_loop(model) -> None:
    body = helper.make_graph([], "body", [], [])
    model.graph.node.insert(0, helper.make_node("Loop", ["", ""], ["never"], body=body))


def own_function(model) -> None:
    node = helper.make_node("Identity", ["x"], ["y"])
    model.functions.append(
        helper.make_function("own", "f", ["x"], ["y"], [node], [helper.make_opsetid("", 18)])
    )


REFUSED: dict[str, tuple[Callable, str]] = {
    "external data": (external, "refers to data in other files; expected one complete file"),
    "external data of a constant": (external_constant, "refers to data in other files"),
    "custom operator": (custom_operator, "has an operator of 'com.evil'; expected those of ONNX only"),
    "loop": (endless_loop, "has an operator with a graph of its own, 'Loop'"),
    "function": (own_function, "has functions of its own"),
    "foreign": (lambda m: m.ClearField("metadata_props"), "is not a model of mode=export; expected format"),
    "threshold too many": (
        lambda m: set_field(m, "thresholds", "[0.5]"),
        "'thresholds' has an invalid value",
    ),
    "no JSON": (
        lambda m: set_field(m, "attributes", "[" * 100_000),
        "its fields are not those of a checkpoint",
    ),
    "too large an image": (
        lambda m: set_field(m, "image_size", "1000000"),
        "'image_size' has an invalid value",
    ),
    "unknown operator": (lambda m: setattr(m.graph.node[3], "op_type", "Nothing"), "cannot be run"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_foreign_files_are_refused_in_one_line(name: str, tmp_path: Path) -> None:
    change, message = REFUSED[name]
    model = build()
    change(model)
    (tmp_path / "a.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match=message) as caught:
        read_onnx(tmp_path / "a.onnx", threads=1)
    assert f"{caught.value}".startswith(f"{tmp_path}/a.onnx") and "\n" not in f"{caught.value}"


@pytest.mark.parametrize("content", [b"", b"\xff" * 1000, build().SerializeToString()[:200]])
def test_damaged_files_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.onnx is not a "):
        read_onnx(tmp_path / "a.onnx", threads=1)


def test_results_of_another_shape_are_refused(tmp_path: Path) -> None:
    model = build()
    model.graph.node[1].attribute[0].i = 1  # keeps the dimensions of the mean
    model.graph.output[0].type.tensor_type.ClearField("shape")
    (tmp_path / "a.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match=r"gives no probabilities of shape \[2, 3\]"):
        read_onnx(tmp_path / "a.onnx", threads=1)(np.zeros((2, 4, 4, 3), np.uint8))


def test_memory_is_bounded(tmp_path: Path) -> None:
    model = build()
    model.graph.initializer.append(numpy_helper.from_array(np.int64([10**13]), "count"))
    fill = helper.make_node("ConstantOfShape", ["count"], ["filled"])
    peak = helper.make_node("ReduceMax", ["filled"], ["white"], keepdims=0)
    del model.graph.initializer[0]  # which `peak` replaces
    nodes = [fill, peak, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    (tmp_path / "a.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match=r"a\.onnx failed .*Available memory of \d+") as caught:
        read_onnx(tmp_path / "a.onnx", threads=1)(np.zeros((2, 4, 4, 3), np.uint8))
    assert "\n" not in f"{caught.value}"


def test_missing_package_is_named(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "a.onnx").write_bytes(build().SerializeToString())
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ValueError, match=r"^onnxruntime is not installed; pip install -e '.\[export\]'"):
        read_onnx(tmp_path / "a.onnx", threads=1)
