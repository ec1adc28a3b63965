import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from aimonk.data.labels import LabelTable
from aimonk.modes.train.resume import compare_labels, save_labels

ROOT = Path(__file__).resolve().parents[2]

SIZE = ["data.draw.images=60", "data.image_size=32", "optimizer=adamw", "epochs=2", "batch_size=8"]


@pytest.fixture
def table() -> LabelTable:
    labels = np.array([[1, 0], [0, 1], [1, 1]], dtype=np.float32)
    return LabelTable(["a.jpg", "b.jpg", "c.jpg"], ["hat", "scarf"], labels, labels > -1)


@pytest.mark.stress
def test_killed_run_resumes_without_a_difference(environment) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "soak.py"), "--kills", "5", "--epochs", "6"]
    result = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "kills: 5\n" in result.stdout and "failed on their own: 0\n" in result.stdout
    assert "while it trained: 0" not in result.stdout


def start(cwd: Path, environment, *arguments: str) -> subprocess.Popen:
    command = [sys.executable, str(ROOT / "run.py"), *arguments]
    return subprocess.Popen(command, cwd=cwd, env=environment(), stdout=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def terminated(tmp_path_factory, cache_dir: Path, environment) -> tuple[Path, int]:
    """The folder of a run that SIGTERM ended in the middle, and its exit status."""
    cwd = tmp_path_factory.mktemp("terminated")
    run = [
        "epochs=100000",
        "checkpoint_every=5",
        f"cache_dir={cache_dir}",
        *SIZE[:3],
        f"hydra.run.dir={cwd / 'run'}",
    ]
    process = start(cwd, environment, *run)
    state = cwd / "run" / "state.pth"
    while process.poll() is None and not state.is_file():
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    return cwd / "run", process.returncode


def test_sigterm_saves_the_state(terminated: tuple[Path, int]) -> None:
    folder, status = terminated
    assert status == 143
    assert json.loads((folder / "status.json").read_text())["state"] == "interrupted"
    assert len(torch.load(folder / "state.pth", weights_only=True)["losses"]) > 0
    assert not (folder / "aimonk_model.pth").exists()


def test_changed_config_is_refused(command, terminated: tuple[Path, int]) -> None:
    folder, _ = terminated
    result = command(folder.parent, f"resume={folder}", "optimizer.lr=0.5", "loss=focal")
    assert result.returncode == 1
    assert "optimizer.lr: 0.001 before, 0.5 now" in result.stdout
    assert "loss._target_" in result.stdout and "Traceback" not in result.stdout + result.stderr


def test_finished_run_keeps_its_settings(command, trained) -> None:
    same = command(trained.cwd, f"resume={trained.folder}")
    assert (
        same.returncode == 0 and "already finished" in same.stdout and "backbone.weights" not in same.stdout
    )
    longer = command(trained.cwd, f"resume={trained.folder}", "epochs=10")
    assert f"a new run with backbone.weights={trained.folder} starts from its weights" in longer.stdout


def test_resume_requires_a_run_folder(command, tmp_path: Path) -> None:
    result = command(tmp_path, "resume=nowhere")
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1 and str(tmp_path / "nowhere") in result.stderr
    assert os.listdir(tmp_path) == []


def test_changed_labels_are_reported(tmp_path: Path, table) -> None:
    save_labels(tmp_path / "labels.pth", table, None)
    assert compare_labels(tmp_path / "labels.pth", table) == []
    changed = table.take(np.arange(len(table)))
    changed.mask[1, 0] = not changed.mask[1, 0]
    (message,) = compare_labels(tmp_path / "labels.pth", changed)
    assert message.startswith("1 label changed") and f"{table.names[1]} {table.attributes[0]}" in message
    fewer = table.take(np.arange(1, len(table)))
    assert compare_labels(tmp_path / "labels.pth", fewer) == [f"1 image removed: {table.names[0]}"]


def test_resumed_sweep_runs_unfinished_jobs_only(command, cache_dir: Path, tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    arguments = ["-m", "seed=0,1", f"cache_dir={cache_dir}", *SIZE, f"hydra.sweep.dir={sweep}"]
    assert command(tmp_path, *arguments).returncode == 0
    done, redone = sorted(path for path in sweep.iterdir() if path.is_dir())
    complete = (redone / "loss.csv").read_bytes()
    before = (done / "aimonk_model.pth").stat().st_mtime_ns
    (redone / "status.json").write_text('{"state": "running"}')  # as after a crash
    (redone / "loss.csv").unlink()
    result = command(tmp_path, "-m", f"resume={sweep}")
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"already finished: {done}" in result.stdout
    assert (done / "aimonk_model.pth").stat().st_mtime_ns == before
    assert (redone / "loss.csv").read_bytes() == complete
    assert json.loads((redone / "status.json").read_text())["state"] == "finished"
    assert sorted(path for path in sweep.iterdir() if path.is_dir()) == [done, redone]


def test_resumed_cross_validation_runs_unfinished_folds_only(
    command, cache_dir: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    arguments = ["data.folds=2", f"cache_dir={cache_dir}", *SIZE, f"hydra.run.dir={folder}"]
    assert command(tmp_path, *arguments).returncode == 0
    tables = {path: path.read_bytes() for path in folder.rglob("*.csv")}
    assert {str(path.relative_to(folder)) for path in tables} == {
        *("fold_1/loss.csv", "fold_1/splits.csv", "fold_2/loss.csv", "fold_2/splits.csv"),
        *("loss.csv", "predictions.csv", "splits.csv"),
    }
    assert len(tables[folder / "predictions.csv"].splitlines()) == 1 + 60  # every image, once
    before = (folder / "fold_1" / "aimonk_model.pth").stat().st_mtime_ns
    (folder / "status.json").write_text('{"state": "running"}')  # as after a crash
    (folder / "fold_2" / "outcome.pth").unlink()
    for name in ("predictions.csv", "loss.csv", "fold_2/loss.csv"):
        (folder / name).unlink()
    result = command(tmp_path, f"resume={folder}")
    assert result.returncode == 0, result.stdout + result.stderr
    assert (folder / "fold_1" / "aimonk_model.pth").stat().st_mtime_ns == before
    assert {path: path.read_bytes() for path in folder.rglob("*.csv")} == tables
