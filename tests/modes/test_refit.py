"""The kept model is fitted to training and validation images after the model without them is scored."""

import csv
import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from aimonk.files.tensors import load_tensors
from aimonk.models.checkpoint import load_model
from aimonk.modes import train
from aimonk.modes.train import one_model, refit
from aimonk.modes.train.context import RunContext
from aimonk.modes.train.resume import run_digest
from aimonk.modes.train.splits import split_parts
from aimonk.setup.data import open_data
from aimonk.setup.runs import warn_about_training_images

pytestmark = pytest.mark.slow

SMALL = [
    *("data.draw.images=60", "data.image_size=32", "backbone=timm", "backbone.name=test_resnet"),
    *("backbone.weights=random", "batch_size=8", "workers=0", "epochs=3"),
]


@pytest.fixture
def config(compose_config, cache_dir: Path) -> Callable[..., DictConfig]:
    def with_overrides(*overrides: str) -> DictConfig:
        cfg = compose_config(*SMALL, f"cache_dir={cache_dir}", *overrides)
        return OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"])

    return with_overrides


@pytest.fixture
def run_here(config, tmp_path: Path) -> Callable[..., Path]:
    """Trains into a folder of `tmp_path` within this process."""

    def run(name: str, *overrides: str) -> Path:
        (tmp_path / name).mkdir(exist_ok=True)
        train.run(config(*overrides), tmp_path / name, [])
        return tmp_path / name

    return run


def head(path: Path) -> torch.Tensor:
    return load_model(path)[0].head.weight


def metrics(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


@pytest.mark.parametrize("optimizer", ["auto", "adamw"])
def test_kept_model_is_trained_on_all_and_scores_are_not(optimizer: str, run_here) -> None:
    chosen = f"optimizer={optimizer}"
    folder, plain = run_here("refit", chosen), run_here("plain", chosen, "refit=false")
    assert metrics(folder)["val"] == metrics(plain)["val"]
    assert (folder / "predictions.csv").read_bytes() == (plain / "predictions.csv").read_bytes()
    assert torch.equal(head(folder / "aimonk_model_scored.pth"), head(plain))
    assert not torch.equal(head(folder), head(plain))
    assert metrics(folder)["refit"]["images"] == 60 and "refit" not in metrics(plain)
    assert "refitted on 60 training and validation images" in load_model(folder)[1].chosen_by
    assert not (plain / "aimonk_model_scored.pth").exists() and not (plain / "refit").exists()
    if optimizer == "auto":  # the same penalties on all images
        penalties = metrics(folder)["penalties"]
        assert metrics(folder)["refit"]["penalties"] == penalties
        alone = run_here("alone", "data.val_fraction=0", f"optimizer.penalty={penalties['hat']}")
        last = list(penalties).index("hat")
        assert torch.allclose(head(folder)[last], head(alone)[last], atol=1e-6)
    else:
        alone = run_here("alone", chosen, "data.val_fraction=0")
        assert torch.equal(head(folder), head(alone))


def test_test_images_are_scored_by_the_kept_model(run_here) -> None:
    folder = run_here("run", "data.test_fraction=0.2")
    assert metrics(folder)["refit"]["images"] == 48
    rows = list(csv.DictReader((folder / "splits.csv").read_text().splitlines()))
    tested = [row["image"] for row in rows if row["split"] == "test"]
    assert len(tested) == 12 and metrics(folder)["test"]["mean_ap"] is not None
    predicted = [
        row["image"] for row in csv.DictReader((folder / "predictions.csv").read_text().splitlines())
    ]
    assert sorted(predicted[-12:]) == sorted(tested)
    other = run_here("other", "data.test_fraction=0.2", "refit=false")
    assert metrics(other)["val"] == metrics(folder)["val"]
    assert metrics(other)["test"] != metrics(folder)["test"]


def test_thresholds_come_from_out_of_fold_predictions(run_here) -> None:
    folder = run_here("run", "threshold=f1", "calibrate=platt")
    scores = metrics(folder)["val"]
    assert "optimistic" not in scores, "nothing was chosen on the validation images"
    assert scores["uncalibrated"]["mean_brier"] != scores["mean_brier"] and scores["unreached"] == []
    thresholds = {name: entry["threshold"] for name, entry in scores["attributes"].items()}
    assert load_model(folder / "aimonk_model_scored.pth")[1].thresholds == list(thresholds.values())
    kept = load_model(folder)[1]
    assert kept.thresholds != list(thresholds.values()), "of the out-of-fold predictions of all images"
    assert kept.scale != [1.0] * 4
    trained = run_here("all", "threshold=f1", "data.val_fraction=0")
    assert load_model(trained)[1].thresholds != [0.5] * 4, "without any held-out image"


def test_gradient_descent_refits_for_the_selected_epochs(config, tmp_path: Path, monkeypatch) -> None:
    cfg = config("optimizer=adamw")
    images = open_data(cfg)
    run = RunContext(cfg, images, None, tmp_path, lambda: None, digest="")
    parts, trained = split_parts(cfg, images, None), []
    original = refit.train_model

    def train_model(run, parts, like=None):
        model = original(run, parts, like)
        if like is None:
            model.report["epoch"] = 2
        trained.append([record["epoch"] for record in model.report["epochs"]])
        return model

    monkeypatch.setattr(refit, "train_model", train_model)
    refit.train_and_refit(run, parts)
    assert trained == [[1, 2, 3], [1, 2]]


def test_refit_repeats_the_rates_of_a_plateau(run_here, monkeypatch) -> None:
    replayed, original = [], one_model.replay

    def replay(optimizer, rates, steps):
        replayed.append((rates, steps))
        return original(optimizer, rates, steps)

    monkeypatch.setattr(one_model, "replay", replay)
    chosen = ["optimizer=adamw", "optimizer.lr=0.1", "scheduler=plateau", "scheduler.patience=0", "epochs=8"]
    folder = run_here("run", *chosen)
    scored = [record["lr"] for record in metrics(folder)["epochs"]]
    assert len(set(scored)) > 1 and scored[0] == 0.1
    assert replayed == [(scored, 8)]  # 60 images, 8 a step


def test_splits_name_test_images_from_the_start(config, tmp_path: Path, monkeypatch) -> None:
    cfg = config("data.test_fraction=0.2")
    images = open_data(cfg)
    run = RunContext(cfg, images, None, tmp_path, lambda: None, digest="")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(refit, "train_model", interrupt)
    with pytest.raises(KeyboardInterrupt):
        refit.train_and_refit(run, split_parts(cfg, images, None))
    rows = list(csv.DictReader((tmp_path / "splits.csv").read_text().splitlines()))
    assert [row["split"] for row in rows].count("test") == 12


def test_interrupted_refit_keeps_the_scored_model_and_resumes(config, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()
    cfg = config("optimizer=adamw")
    train.run(cfg, whole, [])
    images, stopped = open_data(cfg), []

    def stop() -> signal.Signals | None:
        if (cut / "refit" / "state.pth").is_file():
            stopped.append(True)
        return signal.SIGINT if stopped else None

    run = RunContext(cfg, images, None, cut, stop, run_digest(cfg, images.table))
    outcome = refit.train_and_refit(run, split_parts(cfg, images, None))
    assert "refit" not in outcome.model.report and not (cut / "aimonk_model_scored.pth").exists()
    assert torch.equal(head(cut), head(whole / "aimonk_model_scored.pth"))
    assert 0 < len(load_tensors(cut / "refit" / "state.pth")["losses"]) < 24
    resumed = OmegaConf.merge(cfg, {"resume": str(cut)})
    (cut / "config.yaml").write_text(OmegaConf.to_yaml(cfg, resolve=True))
    train.run(resumed, cut, [])
    assert torch.equal(head(cut), head(whole))
    for name in ("loss.csv", "refit/loss.csv", "predictions.csv"):
        assert (cut / name).read_bytes() == (whole / name).read_bytes()
    assert not list(cut.rglob("state.pth"))


def test_validation_images_are_training_images_of_the_kept_model(run_here, caplog) -> None:
    folder = run_here("run")
    rows = list(csv.DictReader((folder / "splits.csv").read_text().splitlines()))
    held_out = [row["image"] for row in rows if row["split"] == "val"]
    warn_about_training_images(folder / "aimonk_model_scored.pth", held_out)
    assert "trained on" not in caplog.text
    warn_about_training_images(folder, held_out)
    assert "the model was trained on 12 of these 12 images" in caplog.text
