import json
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from aimonk.runtime.journal import JOURNAL
from aimonk.search.outcome import find_number, read_outcome
from aimonk.search.results import read_search
from aimonk.search.space import split_overrides
from aimonk.search.study import Trials, open_trials

optuna = pytest.importorskip("optuna")
SETTINGS = {
    "by": "val.mean_ap",
    "direction": "maximize",
    "seed": 0,
    "sampler": "tpe",
    "sampler_options": {"n_startup_trials": 3},
    "pruner": "none",
    "pruner_options": None,
}
SPACE = ["lr=tag(log,interval(1e-5,1))", "loss=a,b", "k=int(interval(1,9))"]


def open_in(folder: Path, *overrides: str, **settings: object) -> Trials:
    space, _ = split_overrides(OverridesParser.create().parse_overrides(list(overrides or SPACE)))
    return open_trials(folder, space, SETTINGS | settings)


def score(values: dict) -> float:
    return -abs(values["lr"] - 0.01) - values["k"] + (values["loss"] == "b")


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_equal_seeds_give_equal_trials_after_interruptions(tmp_path: Path, sampler: str) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "cut").mkdir()
    options = {"sampler": sampler, "sampler_options": None}
    trials = open_in(tmp_path / "one", **options)
    complete = []
    for number in range(12):
        assert trials.ask() == number
        complete.append(trials.values(number))
        trials.tell(number, score(complete[-1]), "complete", "")
    cut = []
    for number in range(12):
        assert open_in(tmp_path / "cut", **options).ask() == number  # killed before a setting is chosen
        trials = open_in(tmp_path / "cut", **options)
        assert trials.unfinished() == [number]
        if number % 2:  # killed between two settings
            trials._seed(number, 0)
            trials.space[0].suggest(optuna.trial.Trial(trials.study, trials.all[number]._trial_id))
        cut.append(open_in(tmp_path / "cut", **options).values(number))
        assert open_in(tmp_path / "cut", **options).values(number) == cut[-1]
        trials.tell(number, score(cut[-1]), "complete", "")
    assert cut == complete
    assert len({values["lr"] for values in cut}) == 12


def test_record_cut_by_a_kill_is_removed(tmp_path: Path) -> None:
    trials = open_in(tmp_path)
    trials.values(trials.ask())
    with (tmp_path / JOURNAL).open("ab") as file:
        file.write(b'{"op_code":4,"wor')
    trials = open_in(tmp_path)
    assert trials.unfinished() == [0]
    trials.tell(0, 0.5, "complete", "")
    assert [json.loads(line)["op_code"] for line in (tmp_path / JOURNAL).open()][-1] == 6
    assert [(t.number, t.score) for t in read_search(tmp_path).trials] == [(0, 0.5)]


def test_changed_search_is_refused(tmp_path: Path) -> None:
    open_in(tmp_path)
    open_in(tmp_path, seed=1)
    with pytest.raises(ValueError, match="changed since it started: k, lr"):
        open_in(tmp_path, "lr=interval(0,1)", "loss=a,b")
    with pytest.raises(ValueError, match=r"hydra\.sweeper\.by"):
        open_in(tmp_path, by="val.f1_macro")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sampler": "grid"}, "sampler is 'grid'; expected tpe, random, "),
        ({"pruner": "os.mkdir"}, "pruner is 'os.mkdir'; expected none, median, "),
        ({"sampler_options": {"gama": 1}}, "sampler_options is {'gama': 1}; .*gama"),
        ({"pruner": "percentile"}, "pruner_options is {}; .*percentile"),
    ],
)
def test_invalid_settings_are_named(tmp_path: Path, settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f"^hydra.sweeper.{message}"):
        open_in(tmp_path, **settings)
    assert not (tmp_path / JOURNAL).exists()


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_results_have_the_path_of_the_best_score(tmp_path: Path, direction: str) -> None:
    trials = open_in(tmp_path, direction=direction)
    scores = [0.3, 0.5, None, 0.2, 0.5, 0.6]
    for number, value in enumerate(scores):
        trials.values(trials.ask())
        trials.note(number, folder=f"{number}_x")
        trials.tell(number, value, "fail" if value is None else "complete", "too bad" * (value is None))
    found = read_search(tmp_path)
    best = [0.3, 0.5, 0.5, 0.5, 0.6] if direction == "maximize" else [0.3, 0.3, 0.2, 0.2, 0.2]
    assert found.path == [(n, scores[n], b) for n, b in zip((0, 1, 3, 4, 5), best, strict=True)]
    assert (found.by, found.direction, found.problem) == ("val.mean_ap", direction, "")
    assert (found.trials[2].state, found.trials[2].reason, found.trials[2].folder) == (
        "fail",
        "too bad",
        "2_x",
    )
    assert found.importances.keys() == {"lr", "loss", "k"}
    assert sum(found.importances.values()) == pytest.approx(1)
    assert trials.best.number == (5 if direction == "maximize" else 3)


@pytest.mark.parametrize("content", ["", "{", "[]\n[]\n", '{"op_code":99,"worker_id":"x"}\n', "\0\0\n\n"])
def test_damaged_journal_is_a_problem(tmp_path: Path, content: str) -> None:
    assert read_search(tmp_path) is None
    (tmp_path / JOURNAL).write_text(content)
    assert "cannot be read" in read_search(tmp_path).problem


def test_importances_need_no_further_package(tmp_path: Path) -> None:
    trials = open_in(tmp_path)
    for number in range(6):
        trials.tell(number, score(trials.values(trials.ask())), "complete", "")
    code = f"""import sys
for name in ("sklearn", "scipy", "pandas", "matplotlib", "plotly"): sys.modules[name] = None
from pathlib import Path
from aimonk.search.results import read_search
found = read_search(Path({str(tmp_path)!r})); print(found.problem, len(found.importances))"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.stdout.split() == ["3"], result.stdout + result.stderr


def test_score_is_any_number_of_the_metrics(tmp_path: Path) -> None:
    metrics = {
        "val": {"mean_ap": 0.5, "attributes": {"a.b": {"ap": 0.25}}, "none": None, "nan": float("nan")}
    }
    assert find_number(metrics, "val.mean_ap") == 0.5
    assert find_number(metrics, "val.attributes.a.b.ap") == 0.25
    for path in ("val", "val.x", "val.mean_ap.x", "val.none", "val.nan", ""):
        assert find_number(metrics, path) is None
    assert read_outcome(tmp_path, "val.mean_ap").state == ""
    (tmp_path / "status.json").write_text('{"state": "finished"}')
    assert read_outcome(tmp_path, "val.mean_ap").state == "fail"
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    assert read_outcome(tmp_path, "val.mean_ap").score == 0.5
    (tmp_path / "status.json").write_text('{"state": "pruned", "reason": "bad"}')
    assert read_outcome(tmp_path, "val.mean_ap") == read_outcome(tmp_path, "x")
    assert read_outcome(tmp_path, "x").reason == "bad"
