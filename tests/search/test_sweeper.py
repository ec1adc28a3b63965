"""A search through the command line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from aimonk.runtime.trial import JOURNAL_FILE, open_study
from aimonk.search.sweeper import OptunaSweeper

pytest.importorskip("optuna")
ROOT = Path(__file__).resolve().parents[2]
SEARCH = ["-m", "hydra/sweeper=optuna", "hydra.sweep.dir=search"]
SPACE = ["optimizer.lr=tag(log, interval(1e-4,1e-2))", "loss=masked,focal"]


def trials(folder: Path) -> list:
    return open_study(folder / JOURNAL_FILE, "none").trials


def test_search_writes_journal_page_and_winner(command, demo: list[str], tmp_path: Path) -> None:
    result = command(tmp_path, *SEARCH, *demo, *SPACE, "hydra.sweeper.n_trials=3")
    assert result.returncode == 0, result.stdout + result.stderr
    found, search = trials(tmp_path / "search"), tmp_path / "search"
    assert [trial.state.name for trial in found] == ["COMPLETE"] * 3
    for trial in found:
        (job,) = search.glob(f"{trial.number}_*")
        assert trial.value == json.loads((job / "metrics.json").read_text())["val"]["mean_ap"]
        assert len(trial.intermediate_values) == 2
    page = (search / "sweep.html").read_text()
    assert "best so far" in page and "optimizer.lr" in page
    assert "1. 3 runs" in result.stdout

    # the winner again, by one command, and the search continued
    best = max(found, key=lambda trial: trial.value)
    (job,) = search.glob(f"{best.number}_*")
    result = command(tmp_path, "--config-dir", "search", "experiment=best", "hydra.run.dir=again")
    assert result.returncode == 0, result.stdout + result.stderr
    assert (tmp_path / "again/loss.csv").read_bytes() == (job / "loss.csv").read_bytes()
    before = [(trial.params, trial.value) for trial in found]
    result = command(tmp_path, "-m", "resume=search", "hydra.sweeper.n_trials=4")
    assert result.returncode == 0, result.stdout + result.stderr
    after = [(trial.params, trial.value) for trial in trials(search)]
    assert after[:3] == before and len(after) == 4


def test_failed_trials_are_told_and_slots_refill(command, demo: list[str], tmp_path: Path) -> None:
    parallel = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.sweeper.sampler=random"]
    wrong = "optimizer.lr=choice(0.001,-1)"
    result = command(tmp_path, *SEARCH, *parallel, *demo, wrong, "hydra.sweeper.n_trials=4")
    found = trials(tmp_path / "search")
    states = {trial.params["optimizer.lr"]: trial.state.name for trial in found}
    assert len(found) == 4 and states == {"0.001": "COMPLETE", "-1": "FAIL"}, result.stdout + result.stderr
    assert "failed: optimizer.lr is -1; expected 0 or more" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["epochs=1", "hydra.sweeper.n_trials=3"], "nothing to search; expected a setting such as"),
        (["loss=masked,focl"], "loss is 'focl'; expected asymmetric, focal, masked, pos_weight"),
    ],
)
def test_wrong_searches_end_in_one_line(command, tmp_path: Path, arguments: list[str], expected: str) -> None:
    result = command(tmp_path, *SEARCH, *arguments)
    assert result.returncode == 1 and "Traceback" not in result.stderr, result.stderr
    assert result.stderr.strip().splitlines()[-1].startswith(expected)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"by": "mean_ap"}, r"^by is mean_ap; expected val\. or test\."),
        ({"n_trials": 0}, r"^hydra\.sweeper\.n_trials is 0; expected 1 or more"),
        ({"pruner": "x"}, r"^hydra\.sweeper\.pruner is 'x'; expected none, median"),
        ({"direction": "up"}, r"^hydra\.sweeper\.direction is 'up'; expected maximize, minimize"),
        ({"sampler": "x"}, r"^hydra\.sweeper\.sampler is 'x'; expected tpe, random"),
    ],
)
def test_wrong_settings_are_refused(settings: dict, expected: str) -> None:
    file = OmegaConf.load(ROOT / "conf/hydra/sweeper/optuna.yaml")
    given = {key: value for key, value in file.items() if key != "_target_"} | settings
    with pytest.raises(ValueError, match=expected):
        OptunaSweeper(**given).check()


def test_lower_error_is_better() -> None:
    file = OmegaConf.load(ROOT / "conf/hydra/sweeper/optuna.yaml")
    given = {key: value for key, value in file.items() if key != "_target_"}
    directions = {}
    for by in ("val.mean_ap", "test.mean_brier"):
        sweeper = OptunaSweeper(**given | {"by": by})
        sweeper.check()
        directions[by] = sweeper.direction
    assert directions == {"val.mean_ap": "maximize", "test.mean_brier": "minimize"}


@pytest.mark.stress
def test_killed_search_ends_as_an_undisturbed_one(environment) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "search_kills.py"), "--kills", "3", "--trials", "6"]
    result = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "settings and scores equal those of the undisturbed search" in result.stdout
