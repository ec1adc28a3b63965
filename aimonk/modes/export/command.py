"""Write the file, run it, and keep it only if it predicts as `mode=infer` does."""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig

from aimonk.data.images.decoding import decode_full
from aimonk.export.network import ExportedNetwork, trace_square
from aimonk.export.onnx_export import check_packages, describe, to_onnx
from aimonk.export.parity import compare
from aimonk.export.pt2_export import Pt2Model, save_pt2
from aimonk.export.quantise import quantise
from aimonk.files.atomic import replacing, staged
from aimonk.files.text import plural
from aimonk.inference.onnx_file import MAX_BYTES, OnnxModel, read_onnx
from aimonk.inference.predictor import CalibratedModel
from aimonk.models.checkpoint import ModelInfo, load_model
from aimonk.models.classifier import Classifier
from aimonk.modes.export.folder import MODEL_NAME, check_folder, read_facts, write_companions
from aimonk.modes.export.labelled import names_data, open_labelled, report_mean_ap
from aimonk.modes.export.sample import Sample, sample_images, split_sample
from aimonk.report.model_card import format_card
from aimonk.runtime.ranks import rank
from aimonk.setup.runs import describe_checkpoint, describe_score, find_checkpoint

log = logging.getLogger(__name__)

# largest difference of a probability; quantisation has no bound that fits all networks, and is reported only
TOLERANCES = {"fp32": 1e-4, "fp16": 5e-2, "int8": float("inf")}
CPU = torch.device("cpu")


def run(cfg: DictConfig, out_dir: Path, overrides: list[str]) -> None:
    """Export a checkpoint.

    Raises:
        FileNotFoundError: A checkpoint, an image or a folder does not exist.
        ValueError: An invalid setting, or a network that cannot be exported or predicts something else then.
    """
    if rank() != 0:
        return
    target = check_settings(cfg)
    source = find_checkpoint(cfg.checkpoint)
    if source.suffix.lower() == ".onnx":
        raise ValueError(f"checkpoint is {source}; expected a run, whose model is not exported yet")
    classifier, info = load_model(source)
    log.info("checkpoint: %s", describe_checkpoint(source, info))
    labelled = open_labelled(cfg, source, info) if names_data(overrides) else None
    run_folder = source if source.is_dir() else source.parent
    facts = {"version": own_version(), "precision": cfg.precision, "score": describe_score(run_folder)}
    with sample_images(cfg.image, info) as sample, created_folder(target), staged(target) as temporary:
        calibration, sample = split_sample(sample, cfg.precision)
        write_model(temporary, classifier, info, cfg.precision, facts, calibration)
        exported = check_parity(temporary, classifier, info, cfg.precision, sample)
        if labelled is not None:
            report_mean_ap(labelled, CalibratedModel(classifier, info, CPU, len(labelled)), exported)
        size_mb = temporary.stat().st_size / 1e6
        if is_folder(cfg.output):
            card = format_card(info, read_facts(run_folder), cfg.precision, facts["version"], size_mb)
            write_companions(target.parent, card)
    takes = "uint8 RGB images [B, H, W, 3] of any size"
    log.info("written: %s (%.1f MB, %s; takes %s)", target, size_mb, cfg.precision, takes)


def is_folder(output: str) -> bool:
    return output.endswith("/") or Path(output).is_dir()


def check_settings(cfg: DictConfig) -> Path:
    """The file to write the model to; rejects invalid settings.

    Raises:
        FileNotFoundError: Its folder does not exist.
        ValueError: A setting is invalid, or a package is missing.
    """
    if not isinstance(cfg.output, str):
        raise ValueError(f"output is {cfg.output}; expected a file .onnx or .pt2, or a folder and a slash")
    output = Path(cfg.output)
    if is_folder(cfg.output):
        check_folder(output)
        output = output / MODEL_NAME
    elif output.suffix.lower() not in (".onnx", ".pt2"):
        raise ValueError(f"output is {cfg.output}; expected a file .onnx or .pt2, or a folder and a slash")
    elif not output.absolute().parent.is_dir():
        raise FileNotFoundError(f"output is {cfg.output}; expected a file in an existing folder")
    if cfg.precision not in tuple(TOLERANCES):
        raise ValueError(f"precision is {cfg.precision!r}; expected {', '.join(TOLERANCES)}")
    if cfg.precision == "int8" and output.suffix.lower() == ".pt2":
        raise ValueError("precision is int8; expected fp32 or fp16 for a file .pt2")
    if cfg.precision == "int8" and cfg.image is None:
        raise ValueError(
            "image is null; expected images like those of use, which precision=int8 is calibrated on"
        )
    if output.suffix.lower() == ".onnx":
        check_packages()
    return output


def own_version() -> str:
    try:
        return version("aimonk")
    except PackageNotFoundError:
        return "unknown"


@contextmanager
def created_folder(target: Path) -> Iterator[None]:
    """Create the folder of a file, and remove it if the block raises."""
    is_new = not target.parent.exists()
    target.parent.mkdir(exist_ok=True)
    try:
        yield
    except BaseException:
        if is_new:
            shutil.rmtree(target.parent, ignore_errors=True)
        raise


def write_model(
    path: Path,
    classifier: Classifier,
    info: ModelInfo,
    precision: str,
    facts: dict[str, str],
    pixels: np.ndarray,
) -> None:
    """Write the file, in the format of its suffix.

    Args:
        pixels: Images that calibrate a quantisation, uint8 [N, size, size, 3].

    Raises:
        ValueError: The network cannot be exported.
    """
    network = ExportedNetwork(classifier, info, torch.float16 if precision == "fp16" else torch.float32)
    if path.suffix.lower() == ".pt2":
        save_pt2(path, network, info, facts)
        return
    model = to_onnx(trace_square(network, info.image_size), info)
    if precision == "int8":
        model = quantise(model, pixels)
    describe(model, info, facts)
    if model.ByteSize() > MAX_BYTES:
        raise ValueError(f"the model has {model.ByteSize() >> 20} MB; expected at most {MAX_BYTES >> 20} MB")
    with replacing(path) as file:
        file.write(model.SerializeToString())


def check_parity(
    path: Path, classifier: Classifier, info: ModelInfo, precision: str, sample: Sample
) -> OnnxModel | Pt2Model:
    """Compare the written file with the checkpoint's own predictions, and report what resizing in it changes.

    Raises:
        ValueError: The file predicts something else for the same pixels.
    """
    exported = open_exported(path)
    expected = CalibratedModel(classifier, info, CPU, len(sample.paths))(sample.pixels)
    tolerance = TOLERANCES[precision]
    agreement = compare(expected, info.thresholds, *exported.run(sample.pixels), tolerance)
    count = plural(len(sample.paths), f"{sample.kind} image")
    if not agreement.largest <= tolerance or agreement.beyond:
        raise ValueError(
            f"the exported model differs from the checkpoint on {count}: {agreement}; nothing is written"
        )
    log.info("parity with mode=infer on %s: %s", count, agreement)
    resized = resize_inside(exported, sample)
    log.info(
        "the same with full-size images, which the model resizes itself: %s",
        compare(expected, info.thresholds, *resized, tolerance),
    )
    return exported


def open_exported(path: Path) -> OnnxModel | Pt2Model:
    if path.suffix.lower() == ".pt2":
        return Pt2Model(path)
    return read_onnx(path, torch.get_num_threads())


def resize_inside(exported: OnnxModel | Pt2Model, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and decisions, each [N, A], of the images in their own size."""
    results = [exported.run(decode_full(path)[None]) for path in sample.paths]
    probs, decisions = (np.concatenate(of) for of in zip(*results, strict=True))
    return probs, decisions
