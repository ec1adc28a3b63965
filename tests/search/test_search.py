import json
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from omegaconf import OmegaConf

from aimonk.search.results import read_search

pytest.importorskip("optuna")
ROOT = Path(__file__).resolve().parents[2]
SEARCH = ["-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=4"]
SMALL = ["data.draw.images=60", "data.image_size=32", "optimizer=adamw", "epochs=2", "refit=false"]
SPACE = ["optimizer.lr=tag(log,interval(1e-4,1e-1))", "loss=masked,focal"]


@pytest.fixture(scope="module")
def searched(command, cache_dir: Path, tmp_path_factory) -> SimpleNamespace:
    """A finished search: its `folder`, its working folder `cwd`, and what was printed, `output`."""
    cwd = tmp_path_factory.mktemp("searched")
    result = command(cwd, *SEARCH, f"cache_dir={cache_dir}", *SMALL, *SPACE, "hydra.sweep.dir=a b")
    assert result.returncode == 0, result.stdout + result.stderr
    return SimpleNamespace(cwd=cwd, folder=cwd / "a b", output=result.stdout)


def test_trials_are_recorded(searched) -> None:
    found = read_search(searched.folder)
    assert [trial.state for trial in found.trials] == ["complete"] * 4
    for trial in found.trials:
        folder = searched.folder / trial.folder
        config = OmegaConf.load(folder / "config.yaml")
        assert config.optimizer.lr == trial.values["optimizer.lr"]
        metrics = json.loads((folder / "metrics.json").read_text())
        assert metrics["val"]["mean_ap"] == trial.score
        assert trial.epochs == {record["epoch"]: record["mean_ap"] for record in metrics["epochs"]}
        assert trial.folder.startswith(f"{trial.number}_lr=") and trial.values["loss"] in trial.folder


def test_features_are_computed_once(searched) -> None:
    computed = [line for line in searched.output.splitlines() if line.startswith("features of")]
    assert len(computed) == 4 and all(" 0 computed" in line for line in computed[1:])


def test_best_experiment_reproduces_the_winner(command, searched) -> None:
    found = read_search(searched.folder)
    winner = searched.folder / max(found.trials, key=lambda trial: trial.score).folder
    lines = found.experiment.read_text().splitlines()
    assert lines[0] == "# @package _global_" and "(chance 0." in lines[2]
    arguments = shlex.split(lines[1].removeprefix("# python run.py "))
    result = command(searched.cwd, *arguments, "hydra.run.dir=again")
    assert result.returncode == 0, result.stdout + result.stderr
    one, other = (
        torch.load(run / "aimonk_model.pth", weights_only=True)["state"]
        for run in (winner, searched.cwd / "again")
    )
    assert all(torch.equal(one[key], other[key]) for key in one)
    scores = [
        json.loads((run / "metrics.json").read_text())["val"] for run in (winner, searched.cwd / "again")
    ]
    assert scores[0] == scores[1]


def test_resumed_search_continues_to_count(command, searched) -> None:
    before = read_search(searched.folder)
    again = command(searched.cwd, *SEARCH, *SPACE, "hydra.sweep.dir=a b")
    assert again.returncode == 1 and again.stderr.count("\n") == 1
    assert "expected a folder without a search" in again.stderr
    result = command(searched.cwd, "-m", "resume=a b", "hydra.sweeper.n_trials=5")
    assert result.returncode == 0, result.stdout + result.stderr
    after = read_search(searched.folder)
    assert after.trials[:4] == before.trials and after.trials[4].state == "complete"
    assert len(after.trials) == 5


def test_pruned_and_failed_trials_have_reasons(command, cache_dir: Path, tmp_path: Path) -> None:
    # the threshold is above any score; the learning rate of the other trial is refused
    options = ["hydra.sweeper.pruner=threshold", "hydra.sweeper.pruner_options={lower:2}"]
    space = ["optimizer.lr=choice(-1,1e-3)", "hydra.sweep.dir=sweep", "hydra.sweeper.n_trials=5"]
    result = command(tmp_path, *SEARCH, *options, f"cache_dir={cache_dir}", *SMALL, *space)
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "no trial has a score" in result.stderr
    trials = read_search(tmp_path / "sweep").trials
    assert {trial.state for trial in trials} == {"fail", "pruned"}
    for trial in trials:
        status = json.loads((tmp_path / "sweep" / trial.folder / "status.json").read_text())
        if trial.state == "pruned":
            assert status == {"state": "pruned", "reason": trial.reason} and "after epoch 1" in trial.reason
        else:
            assert status["state"] == "failed" and trial.reason.startswith("optimizer.lr is -1; expected ")
    assert not list((tmp_path / "sweep").rglob("aimonk_model.pth"))


@pytest.mark.stress
def test_jobs_in_other_processes(command, cache_dir: Path, tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    arguments = ["hydra/launcher=joblib", f"cache_dir={cache_dir}", *SMALL, *SPACE, "hydra.sweep.dir=sweep"]
    result = command(tmp_path, *SEARCH, *arguments, "hydra.sweeper.n_trials=3")
    assert result.returncode == 0, result.stdout + result.stderr
    trials = read_search(tmp_path / "sweep").trials
    assert [trial.state for trial in trials] == ["complete"] * 3
    assert all((tmp_path / "sweep" / trial.folder / "metrics.json").is_file() for trial in trials)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("hydra.sweeper.direction=up", "hydra.sweeper.direction is up; expected maximize or minimize"),
        ("hydra.sweeper.n_trials=0", "hydra.sweeper.n_trials is 0; expected an integer of 1 or more"),
        ("seed=glob(*)", "seed=glob(*) cannot be searched; expected "),
        ("optimizer.lrr=interval(0,1)", "optimizer.lrr is unknown; did you mean optimizer.lr?"),
    ],
)
def test_invalid_search_is_one_line(command, tmp_path: Path, argument: str, message: str) -> None:
    result = command(tmp_path, *SEARCH, "hydra.sweep.dir=sweep", "optimizer=adamw", *SPACE, argument)
    assert result.returncode == 1
    assert result.stderr.startswith(message) and result.stderr.count("\n") == 1


@pytest.mark.stress
def test_killed_search_ends_as_an_undisturbed_one(environment) -> None:
    arguments = ["--kills", "2", "--trials", "5", "--epochs", "4"]
    command = [sys.executable, str(ROOT / "benchmarks" / "search_kills.py"), *arguments]
    result = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "kills: 2\n" in result.stdout and "trials: 5, each ended once\n" in result.stdout
