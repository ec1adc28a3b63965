"""Models in ONNX files that `mode=export` wrote: read without executing foreign code, run by ONNX Runtime."""

import json
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aimonk.models.checkpoint import ModelInfo, check_info

if TYPE_CHECKING:
    import onnx

FORMAT = "aimonk onnx 1"
INSTALL = "pip install -e '.[export]' installs it"
MAX_BYTES = 2**31 - 1  # of a protobuf message
MAX_NODES = 100_000
MAX_METADATA = 2**26  # characters
MAX_MEMORY = 8 * 2**30  # a small file may ask for any amount
GROUP = 8  # images per forward pass, whose activations fit into the caches
# operators that run other graphs, perhaps forever
CONTROL_FLOW = {"If", "Loop", "Scan", "SequenceMap"}


class OnnxModel:
    """Calibrated probabilities of a model in an ONNX file.

    Args:
        content: The bytes of the file.
        name: Of the file, for errors.
        threads: Threads of one forward pass; 0 for one per core.

    Attributes:
        info: What the file records of the checkpoint.

    Raises:
        ImportError: ONNX Runtime is not installed.
        ValueError: The file is damaged, or not one of `mode=export`.
    """

    def __init__(self, content: bytes, name: str, threads: int):
        self.info = check_content(content, name)
        runtime = import_runtime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4  # its errors are raised too
        _limit_memory()
        options.add_session_config_entry("session.use_env_allocators", "1")
        try:
            self.session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime has exceptions of its own
            raise ValueError(f"{name} cannot be run ({_first_line(error)})") from None
        self.name = name

    def expect(self, count: int) -> None:
        """Nothing: the file is optimised when it is read."""

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Probabilities [B, A] of uint8 images [B, H, W, 3] of any size."""
        return self.run(images)[0].astype(np.float64)

    def run(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities, float32 [B, A], and decisions, bool [B, A]."""
        try:
            parts = [
                self.session.run(["probabilities", "decisions"], {"images": images[i : i + GROUP]})
                for i in range(0, len(images), GROUP)
            ]
        except Exception as error:
            raise ValueError(f"{self.name} failed ({_first_line(error)})") from None
        probs, decisions = (np.concatenate(of) for of in zip(*parts, strict=True))
        expected = (len(images), len(self.info.attributes))
        if probs.shape != expected or probs.dtype != np.float32 or not np.isfinite(probs).all():
            raise ValueError(f"{self.name} gives no probabilities of shape {list(expected)}")
        return probs, decisions


@cache
def _limit_memory() -> None:
    """Bound the memory of all models of this process, once."""
    runtime = import_runtime()
    place = runtime.OrtMemoryInfo(
        "Cpu", runtime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, runtime.OrtMemType.DEFAULT
    )
    # 1: extended by what is requested, not to the next power of two, which would reach the limit early
    arena = runtime.OrtArenaCfg({"max_mem": MAX_MEMORY, "arena_extend_strategy": 1})
    runtime.create_and_register_allocator(place, arena)


def read_onnx(path: Path, threads: int) -> OnnxModel:
    """Read a model; errors as OnnxModel.

    Raises:
        FileNotFoundError: The file does not exist.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path.absolute()}")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path} has {path.stat().st_size >> 20} MB; expected at most {MAX_BYTES >> 20} MB")
    return OnnxModel(path.read_bytes(), str(path), threads)


def import_runtime() -> Any:
    """ONNX Runtime.

    Raises:
        ValueError: It is not installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime
    except ImportError as error:
        raise ValueError(f"{error.name} is not installed; {INSTALL}") from None
    return onnxruntime


def check_content(content: bytes, name: str) -> ModelInfo:
    """What an ONNX file records of its checkpoint; refuses files that read other files or load code.

    Raises:
        ValueError: The file is damaged, not one of `mode=export`, or refers to anything outside itself.
    """
    import_runtime()
    import onnx
    from google.protobuf.message import DecodeError

    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except (DecodeError, RecursionError):
        raise ValueError(f"{name} is not a readable ONNX file") from None
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{name} is not a model of mode=export; expected format {FORMAT!r}")
    if sum(map(len, metadata.values())) > MAX_METADATA or len(model.graph.node) > MAX_NODES:
        raise ValueError(f"{name} is not a model of mode=export: it has too many entries")
    _check_graph(model, name)
    try:
        raw = {field: json.loads(metadata[field]) for field in ModelInfo.__dataclass_fields__}
    except (KeyError, ValueError, RecursionError):
        raise ValueError(f"{name}: its fields are not those of a checkpoint") from None
    return check_info(Path(name), raw)


def _check_graph(model: "onnx.ModelProto", name: str) -> None:
    import onnx

    if model.functions or model.training_info:
        raise ValueError(f"{name} has functions of its own; expected operators of ONNX only")
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx"):
            raise ValueError(f"{name} has an operator of {node.domain[:80]!r}; expected those of ONNX only")
        if node.op_type in CONTROL_FLOW or any(a.HasField("g") or a.graphs for a in node.attribute):
            raise ValueError(f"{name} has an operator with a graph of its own, {node.op_type[:80]!r}")
    for tensor in _tensors(model.graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise ValueError(f"{name} refers to data in other files; expected one complete file")


def _tensors(graph: "onnx.GraphProto") -> Iterator["onnx.TensorProto"]:
    """All tensors that a graph without subgraphs stores."""
    yield from graph.initializer
    yield from _parts_of_sparse(graph.sparse_initializer)
    for node in graph.node:
        for attribute in node.attribute:
            yield attribute.t
            yield from attribute.tensors
            yield from _parts_of_sparse([attribute.sparse_tensor, *attribute.sparse_tensors])


def _parts_of_sparse(tensors: Iterable) -> Iterator["onnx.TensorProto"]:
    for tensor in tensors:
        yield from (tensor.values, tensor.indices)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
