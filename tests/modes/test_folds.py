"""Cross-validation beside test images, assigned splits and the remains of earlier runs."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from aimonk.files.tensors import load_tensors, save_tensors
from aimonk.modes.train.context import RunContext
from aimonk.modes.train.folds import read_outcome
from aimonk.modes.train.resume import run_digest
from aimonk.modes.train.splits import split_parts
from aimonk.setup.data import open_data

SMALL = [
    *("data.draw.images=60", "data.image_size=32", "backbone=timm", "backbone.name=test_resnet"),
    *("backbone.weights=random", "batch_size=8", "epochs=1", "data.folds=2"),
]


def read_splits(path: Path) -> dict[str, str]:
    return dict(list(csv.reader(path.read_text().splitlines()))[1:])


def test_test_images_are_in_no_fold(command, cache_dir: Path, tmp_path: Path) -> None:
    run = ["data.test_fraction=0.2", f"cache_dir={cache_dir}", f"hydra.run.dir={tmp_path / 'run'}"]
    result = command(tmp_path, *SMALL, *run)
    assert result.returncode == 0, result.stdout + result.stderr
    splits = read_splits(tmp_path / "run" / "splits.csv")
    tested = {name for name, part in splits.items() if part == "test"}
    assert len(splits) == 60 and len(tested) == 12 and set(splits.values()) == {"train", "test"}
    held_out = []
    for fold in (1, 2):
        parts = read_splits(tmp_path / "run" / f"fold_{fold}" / "splits.csv")
        assert not tested & parts.keys()
        held_out += [name for name, part in parts.items() if part == "val"]
    assert sorted(held_out) == sorted(splits.keys() - tested)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    for part, count in (("val", 48), ("test", 12)):
        known = [entry["known"] for entry in metrics[part]["attributes"].values()]
        assert 0 < max(known) <= count
    assert "test images" in result.stdout


@pytest.fixture
def compose(compose_config: Callable[..., DictConfig], cache_dir: Path) -> Callable[..., DictConfig]:
    """Composes a small cross-validation without Hydra's own part."""

    def with_overrides(*overrides: str) -> DictConfig:
        cfg = compose_config(*SMALL, f"cache_dir={cache_dir}", *overrides)
        return OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"])

    return with_overrides


@pytest.fixture
def cfg(compose: Callable[..., DictConfig], tmp_path: Path) -> DictConfig:
    return compose(f"resume={tmp_path}")


def test_assigned_validation_images_are_refused(cfg: DictConfig, compose, tmp_path: Path) -> None:
    images = open_data(cfg)
    split = tmp_path / "splits.csv"
    assigned = compose(f"data.splits={split}")
    for part in ("val", "test"):
        rows = [f"{name},{part if i < 9 else 'train'}\n" for i, name in enumerate(images.table.names)]
        split.write_text("".join(rows))
        if part == "val":
            with pytest.raises(ValueError, match=r"^data\.folds is 2; expected null.* 9 images to val"):
                split_parts(assigned, images, None)
    parts = split_parts(assigned, images, None)
    assert parts["test"].tolist() == list(range(9)) and parts["train"].tolist() == list(range(9, 60))


def test_outcome_of_another_run_is_not_used(cfg: DictConfig, tmp_path: Path) -> None:
    images = open_data(cfg)
    run = RunContext(cfg, images, None, tmp_path, lambda: None, run_digest(cfg, images.table))
    rows = np.arange(30)
    names = [images.table.names[row] for row in rows]
    outcome = {"run": run.digest, "names": names, "logits": torch.zeros(30, 4), "scores": {}}
    (tmp_path / "fold_1").mkdir()
    save_tensors(tmp_path / "fold_1" / "outcome.pth", outcome)
    assert read_outcome(run, "fold_1", {"val": rows})["names"] == names
    assert read_outcome(run, "fold_1", {"val": rows[1:]}) is None  # another fold's images
    save_tensors(tmp_path / "fold_1" / "outcome.pth", outcome | {"run": "another"})
    assert read_outcome(run, "fold_1", {"val": rows}) is None


def test_digest_depends_on_labels_and_settings(cfg: DictConfig, compose, tmp_path: Path) -> None:
    table = open_data(cfg).table
    digest = run_digest(cfg, table)
    assert run_digest(compose(f"cache_dir={tmp_path}", "workers=1", "data.store_limit_gb=1"), table) == digest
    assert run_digest(compose("seed=1"), table) != digest
    assert run_digest(cfg, table.take(np.arange(len(table))[::-1])) != digest


def test_new_run_in_a_used_folder_removes_old_states(command, cache_dir: Path, tmp_path: Path) -> None:
    run = [*SMALL, f"cache_dir={cache_dir}", f"hydra.run.dir={tmp_path / 'run'}"]
    assert command(tmp_path, *run).returncode == 0
    outcome = tmp_path / "run" / "fold_1" / "outcome.pth"
    first = load_tensors(outcome)
    shutil.copy(outcome, tmp_path / "run" / "state.pth")
    failed = command(tmp_path, *run, "loss=focal", "data.splits=missing.csv")
    assert failed.returncode == 1 and "missing.csv" in failed.stdout
    assert not outcome.exists() and not (tmp_path / "run" / "state.pth").exists()
    assert not (tmp_path / "run" / "aimonk_model.pth").exists()
    assert command(tmp_path, *run, "loss=focal").returncode == 0
    assert load_tensors(outcome)["run"] != first["run"]
