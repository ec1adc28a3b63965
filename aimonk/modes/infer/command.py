"""The settings of `mode=infer`, which choose between a few images in memory and a folder of predictions."""

import os
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from aimonk.modes.infer.few import predict_few
from aimonk.modes.infer.folder import ENGINES, is_folder, predict_to_folder
from aimonk.modes.infer.images import find_blocks, local_paths
from aimonk.modes.infer.writing import FORMATS
from aimonk.setup.build import check_types
from aimonk.setup.effects import given_keys, warn_without_effect
from aimonk.setup.runs import find_checkpoint

ALLOWED = (
    *("mode", "image", "checkpoint", "format", "output", "threshold", "device", "batch_size"),
    *("engine", "workers", "with_features"),
)


def run(cfg: DictConfig, out_dir: Path, overrides: list[str]) -> None:
    """Print or write the predictions for the images.

    Raises:
        FileNotFoundError: No such image or checkpoint.
        ValueError: An invalid setting, or unreadable images, which are reported after all others are done.
    """
    check_overrides(overrides)
    if cfg.format not in FORMATS:
        raise ValueError(f"format is {cfg.format!r}; expected {', '.join(FORMATS)}")
    if cfg.engine not in ENGINES:
        raise ValueError(f"engine is {cfg.engine!r}; expected {', '.join(map(str, ENGINES[1:]))} or null")
    check_types({"with_features": bool, "batch_size": int}, cfg, "")
    if cfg.batch_size < 1:
        raise ValueError(f"batch_size is {cfg.batch_size}; expected 1 or more")
    to_folder = is_folder(cfg.output, cfg.engine)
    if cfg.with_features and not to_folder:
        raise ValueError(
            "with_features is true; expected output=FOLDER/ beside it, for files that hold lists"
        )
    if cfg.engine is None:
        warn_without_effect(given_keys(overrides), [(("workers",), "engine is null")])
    blocks = find_blocks(str(cfg.image))
    if not to_folder:
        check_output(cfg.output, local_paths(blocks))
    source = find_checkpoint(cfg.checkpoint)
    if to_folder:
        predict_to_folder(cfg, blocks, source)
    else:
        predict_few(cfg, blocks, source)


def check_output(output: str | None, paths: Sequence[str | Path]) -> None:
    """Reject an output file that is one of the images, or that cannot be written.

    Raises:
        ValueError: It is one of the images.
        FileNotFoundError: Its folder does not exist.
    """
    if output is not None and not Path(output).absolute().parent.is_dir():
        raise FileNotFoundError(f"output is {output}; expected a file in an existing folder")
    if output is not None and os.path.realpath(output) in map(os.path.realpath, paths):
        raise ValueError(f"output is {output}; expected another file than the images")


def check_overrides(overrides: list[str]) -> None:
    """Reject overrides of settings that come from the checkpoint.

    Raises:
        ValueError: There is such an override.
    """
    for override, key in zip(overrides, given_keys(overrides), strict=True):
        if key not in ALLOWED:
            allowed = ", ".join(ALLOWED)
            raise ValueError(
                f"{override}: with mode=infer, all settings but {allowed} come from the checkpoint"
            )
