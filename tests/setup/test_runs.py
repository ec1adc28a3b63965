"""The run that a setting `checkpoint` names."""

import json
import logging
import os
from pathlib import Path

import pytest

from aimonk.files.run_folder import METRICS_FILE, MODEL_FILE, SPLITS_FILE, STATUS_FILE
from aimonk.setup.runs import describe_score, find_checkpoint, warn_about_training_images


def write_run(folder: Path, number: int, mean_ap: float | None, split: str = "a,val\n") -> Path:
    folder.mkdir(parents=True)
    (folder / STATUS_FILE).write_text('{"state": "finished"}')
    os.utime(folder / STATUS_FILE, (number, number))
    (folder / MODEL_FILE).touch()
    (folder / SPLITS_FILE).write_text(split)
    scores = {
        "mean_ap": mean_ap,
        "chance": {"mean_ap": 0.5},
        "attributes": {"hat": {"known": 3, "positives": 1}},
    }
    (folder / METRICS_FILE).write_text(json.dumps({} if mean_ap is None else {"val": scores}))
    return folder


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_run(Path("outputs/other"), 1, 0.99, split="b,val\n")
    write_run(Path("outputs/sweep/0"), 2, 0.7)
    write_run(Path("outputs/sweep/1"), 3, 0.8)
    write_run(Path("outputs/new"), 4, 0.6)
    write_run(Path("outputs/unscored"), 5, None)
    return Path("outputs")


def test_null_is_the_newest_run(outputs: Path) -> None:
    assert find_checkpoint(None) == outputs / "unscored"


def test_best_is_the_best_of_comparable_runs(outputs: Path, caplog) -> None:
    with caplog.at_level(logging.INFO):
        assert find_checkpoint("best") == outputs / "sweep/1"
    assert "best of 3 runs" in caplog.text and "2 runs with others left out" in caplog.text


def test_folder_of_a_sweep_lists_its_jobs(outputs: Path) -> None:
    with pytest.raises(
        ValueError, match=r"expected one of its runs:\n.*sweep/0 \(validation mean AP 0.700, chance"
    ):
        find_checkpoint("outputs/sweep")
    with pytest.raises(FileNotFoundError, match="no finished training run"):
        (outputs / "empty").mkdir()
        find_checkpoint("outputs/empty")


def test_best_without_scores(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(Path("outputs/a"), 1, None)
    with pytest.raises(ValueError, match="expected a run with scores"):
        find_checkpoint("best")


@pytest.mark.parametrize("content", ["", "[]", '{"val": 3}', '{"val": {"mean_ap": null}}'])
def test_damaged_metrics_are_no_score(content: str, tmp_path: Path) -> None:
    (tmp_path / METRICS_FILE).write_text(content)
    assert describe_score(tmp_path) == ""


def test_paths_are_returned_as_given(outputs: Path) -> None:
    assert find_checkpoint("model.pth") == Path("model.pth")
    assert find_checkpoint("outputs/new") == outputs / "new"


def test_only_images_of_the_model_s_own_run_are_warned_about(outputs: Path, caplog) -> None:
    (outputs / "new" / SPLITS_FILE).write_text("image,split\na.jpg,train\n")
    Path(SPLITS_FILE).write_text("image,split\na.jpg,train\n")
    warn_about_training_images(Path("imagenet"), ["a.jpg"])  # a setting, not a file
    warn_about_training_images(outputs / "new", ["b.jpg"])
    assert not caplog.text
    warn_about_training_images(outputs / "new", ["a.jpg", "b.jpg"])
    assert "1 " in caplog.text and "train" in caplog.text
