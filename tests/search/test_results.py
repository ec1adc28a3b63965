"""What a search found, and the outcome of a job."""

import json
from pathlib import Path

import pytest

from aimonk.files.run_folder import Pruned
from aimonk.runtime.trial import JOURNAL_FILE, Trial, open_study
from aimonk.search.journal import repair_journal
from aimonk.search.outcome import Outcome, read_outcome
from aimonk.search.results import describe_search, read_search
from aimonk.search.samplers import SAMPLERS, create_sampler

optuna = pytest.importorskip("optuna")


def test_path_follows_the_best_score(tmp_path: Path) -> None:
    study = open_study(tmp_path / JOURNAL_FILE, "none", direction="minimize")
    for x in (0.5, 0.3, 0.4, 0.1):
        trial = study.ask()
        study.tell(trial, trial.suggest_float("x", x, x + 1e-9) ** 2)
    study.tell(study.ask(), state=optuna.trial.TrialState.PRUNED)
    found = read_search(tmp_path)
    assert [number for number, _, _ in found.path] == [0, 1, 2, 3]
    assert [best for _, _, best in found.path] == pytest.approx([0.25, 0.09, 0.09, 0.01])
    assert found.states == {"complete": 4, "pruned": 1}
    assert "4 complete, 1 pruned." in [section["caption"] for section in describe_search(found)]


def test_setting_that_matters_is_more_important(tmp_path: Path) -> None:
    study = open_study(tmp_path / JOURNAL_FILE, "none", direction="maximize")
    study.sampler = create_sampler("random", 0, 0, False)
    for _ in range(60):
        trial = study.ask()
        x, _ = trial.suggest_float("x", 0, 1), trial.suggest_float("y", 0, 1)
        study.tell(trial, -((x - 0.3) ** 2))
    importances = read_search(tmp_path).importances
    assert next(iter(importances)) == "x" and importances["x"] > 0.8


def test_other_folders_and_damaged_journals_have_no_results(tmp_path: Path) -> None:
    assert read_search(tmp_path) is None
    (tmp_path / JOURNAL_FILE).write_text("no journal\n")
    assert read_search(tmp_path) is None


def test_journal_with_an_incomplete_last_line_continues(tmp_path: Path) -> None:
    study = open_study(tmp_path / JOURNAL_FILE, "none", direction="maximize")
    study.tell(study.ask(), 0.5)
    with (tmp_path / JOURNAL_FILE).open("a") as file:
        file.write('{"op_code": 4, "wor')
    repair_journal(tmp_path / JOURNAL_FILE)
    study = open_study(tmp_path / JOURNAL_FILE, "none", direction="maximize")
    study.tell(study.ask(), 0.7)
    assert [trial.value for trial in open_study(tmp_path / JOURNAL_FILE, "none").trials] == [0.5, 0.7]


@pytest.mark.parametrize(
    ("status", "metrics", "expected"),
    [
        ({}, {}, None),
        ({"state": "running"}, {}, None),
        ({"state": "interrupted"}, {}, None),
        ({"state": "failed", "reason": "no labels"}, {}, Outcome("failed", None, None, "no labels")),
        ({"state": "pruned", "reason": "low"}, {}, Outcome("pruned", None, None, "low")),
        (
            {"state": "finished"},
            {"val": {"mean_ap": 0.5, "chance": {"mean_ap": 0.25}}},
            Outcome("finished", 0.5, 0.25, ""),
        ),
        ({"state": "finished"}, {}, Outcome("failed", None, None, "its metrics have no val.mean_ap")),
    ],
)
def test_outcome_is_read_from_the_run_folder(
    tmp_path: Path, status: dict, metrics: dict, expected: Outcome | None
) -> None:
    (tmp_path / "status.json").write_text(json.dumps(status))
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    assert read_outcome(tmp_path, "val.mean_ap") == expected


@pytest.mark.parametrize("name", SAMPLERS)
def test_equal_seeds_draw_equal_settings(name: str, tmp_path: Path) -> None:
    drawn = []
    for repeat in range(2):
        study, own = open_study(tmp_path / f"{repeat}", "none", direction="maximize"), []
        for number in range(4):
            study.sampler = create_sampler(name, 5, number, False)
            trial = study.ask()
            own.append(trial.suggest_float("x", 0, 1))
            study.tell(trial, own[-1])
        drawn.append(own)
    assert drawn[0] == drawn[1] and len(set(drawn[0])) == 4


def test_pruner_ends_a_trial_below_the_median(tmp_path: Path) -> None:
    study = open_study(tmp_path / JOURNAL_FILE, "median", direction="maximize")
    for score in (0.9, 0.8, 0.85, 0.9, 0.8):
        trial = study.ask()
        for epoch in (1, 2, 3):
            trial.report(score, epoch)
        study.tell(trial, score)
    good, bad = (Trial(tmp_path / JOURNAL_FILE, study.ask().number, "mean_ap", "median") for _ in range(2))
    for epoch in (1, 2):
        good.report({"epoch": epoch, "mean_ap": 0.95})
    bad.report({"epoch": 1, "mean_ap": 0.1})  # the first epochs are alike
    with pytest.raises(Pruned, match=r"mean_ap 0\.1000 in epoch 2"):
        bad.report({"epoch": 2, "mean_ap": 0.1})
    bad.report({"epoch": 3, "mean_ap": None})
    good.report({"epoch": 2, "mean_ap": 0.1})  # by a resumed run: it was reported before
    reported = open_study(tmp_path / JOURNAL_FILE, "none").trials[good.number].intermediate_values
    assert reported == {1: 0.95, 2: 0.95}


def test_journal_that_cannot_be_written_does_not_end_training(tmp_path: Path, caplog) -> None:
    Trial(tmp_path / "nothing" / JOURNAL_FILE, 0, "mean_ap", "median").report({"epoch": 1, "mean_ap": 0.5})
    assert "epoch 1 is not in" in caplog.text
