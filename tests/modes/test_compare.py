"""`mode=compare`: what is ranked together, what is left out and why."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from importlib import util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import yaml

from aimonk.evaluation.comparison import Difference
from aimonk.modes.compare.command import compare, compare_sweep, find, parse_score
from aimonk.modes.compare.rankings import bounded
from aimonk.report.comparison.content import Comparison
from aimonk.report.comparison.csv_file import format_csv
from aimonk.report.comparison.terminal import format_comparison

ROOT = Path(__file__).resolve().parents[2]
RUNS = 4


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of four simulated runs with learning rates 1e-4 to 4e-4."""
    spec = util.spec_from_file_location("compare_benchmark", ROOT / "benchmarks" / "compare.py")
    module: ModuleType = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = tmp_path_factory.mktemp("runs")
    module.write_runs(folder, RUNS, seed=0)
    return folder


@pytest.fixture
def runs(written: Path, tmp_path: Path, monkeypatch) -> Iterator[Path]:
    """A copy of the runs below outputs/ of the working folder."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(written, tmp_path / "outputs")
    return Path("outputs")


def change(path: Path, change: Callable[[dict], None]) -> None:
    """Change a JSON or YAML file."""
    content = yaml.safe_load(path.read_text())
    change(content)
    path.write_text(yaml.safe_dump(content) if path.suffix == ".yaml" else json.dumps(content))


def compare_all(by: str = "val.mean_ap") -> Comparison:
    found, foreign = find(None)
    comparison = compare(found, *parse_score(by), "outputs")
    comparison.left_out.extend(foreign)
    return comparison


def reason(comparison: Comparison, name: str) -> str:
    (found,) = [reason for folder, reason in comparison.left_out if folder.name == name]
    return found


def test_rows_are_ordered_by_score_with_only_what_differs(runs: Path) -> None:
    (ranking,) = compare_all().rankings
    assert ranking.columns == ["optimizer.lr"]
    scores = [row.score for row in ranking.rows]
    assert scores == sorted(scores, reverse=True) and len(scores) == RUNS
    values = {row.settings["optimizer.lr"] for row in ranking.rows}
    assert values == {"0.0001", "0.0002", "0.0003", "0.0004"}
    best = ranking.rows[0]
    metrics = json.loads((best.folders[0] / "metrics.json").read_text())["val"]
    assert best.score == metrics["mean_ap"] and list(best.interval) == metrics["interval"]["mean_ap"]
    assert best.chance == metrics["chance"]["mean_ap"]
    assert best.attributes == {name: entry["ap"] for name, entry in metrics["attributes"].items()}
    assert (best.epochs, best.seconds, best.parameters) == ([5], 12.5, (5124, 3_400_000))


def test_intervals_of_differences_stay_between_minus_one_and_one() -> None:
    assert bounded(Difference(-0.1, (-1.3, 1.1))) == Difference(-0.1, (-1.0, 1.0))
    assert bounded(Difference(0.1, (0.0, 0.2))) == Difference(0.1, (0.0, 0.2))
    assert bounded(Difference(0.0, None)) == Difference(0.0, None)


def test_lower_is_better_for_errors(runs: Path) -> None:
    (ranking,) = compare_all("val.mean_brier").rankings
    scores = [row.score for row in ranking.rows]
    assert scores == sorted(scores)
    assert ranking.rows[0].is_candidate
    assert all(row.difference.value >= 0 for row in ranking.rows)
    assert ranking.optimism <= 0  # the best one's error is expected to be higher on other images


def test_seeds_of_a_setting_are_one_row(runs: Path) -> None:
    for number in range(RUNS):
        values = {"optimizer": {"lr": 0.1}, "seed": number}
        change(runs / f"{number}_lr/config.yaml", lambda config, values=values: config.update(values))
    (ranking,) = compare_all().rankings
    (row,) = ranking.rows
    scores = [json.loads((folder / "metrics.json").read_text())["val"]["mean_ap"] for folder in row.folders]
    assert row.score == pytest.approx(np.mean(scores))
    assert row.spread == pytest.approx(np.std(scores, ddof=1))
    assert len(row.folders) == RUNS and ranking.optimism is None


def test_older_run_with_equal_settings_is_left_out(runs: Path) -> None:
    shutil.copy(runs / "0_lr/config.yaml", runs / "1_lr/config.yaml")
    comparison = compare_all()
    assert len(comparison.rankings[0].rows) == RUNS - 1
    assert "the same settings and seed as outputs/" in comparison.left_out[0][1]


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (
            lambda run: change(run / "config.yaml", lambda c: c.update(threshold="f1")),
            "threshold=f1 instead",
        ),
        (lambda run: drop_image(run), "other held-out images"),
        (lambda run: relabel(run), "other labels of the same images"),
    ],
)
def test_other_data_and_thresholds_are_ranked_apart(
    runs: Path, spoil: Callable[[Path], None], expected: str
) -> None:
    spoil(runs / "2_lr")
    comparison = compare_all()
    assert [len(ranking.rows) for ranking in comparison.rankings] == [RUNS - 1, 1]
    assert comparison.rankings[0].apart == "" and expected in comparison.rankings[1].apart
    assert expected in format_comparison(comparison)


def drop_image(run: Path) -> None:
    lines = (run / "predictions.csv").read_text().splitlines()
    (run / "predictions.csv").write_text("\n".join(lines[:-1]) + "\n")


def relabel(run: Path) -> None:
    import torch

    content = torch.load(run / "labels.pth")
    content["labels"][content["labels"] < 0] = 1
    torch.save(content, run / "labels.pth")


@pytest.mark.parametrize(
    ("file", "content", "expected"),
    [
        ("metrics.json", b"{", "Expecting"),
        ("metrics.json", b"[1]", "damaged"),
        ("metrics.json", b'{"val": null}', "no val images were held out"),
        ("metrics.json", b'{"val": {"mean_ap": null}}', "val.mean_ap is undefined"),
        ("metrics.json", b'{"val": {"mean_ap": "0.9"}}', "damaged"),
        ("metrics.json", b"[" * 100_000, "recursion"),
        ("config.yaml", b"- 1", "no settings"),
        ("config.yaml", b"a: &x [1]\nb: *x\n", "alias"),
        ("config.yaml", b"\xff", "utf-8"),
        ("predictions.csv", b"", "expected a header"),
        ("predictions.csv", b"image,a\nx.jpg,0.5\n", "damaged"),
        ("labels.pth", b"no archive", "not a readable checkpoint"),
        ("splits.csv", b"image,split\nimage_0.jpg,other\n", "expected train, val, test"),
    ],
)
def test_damaged_run_is_listed(runs: Path, file: str, content: bytes, expected: str) -> None:
    (runs / "1_lr" / file).write_bytes(content)
    comparison = compare_all()
    assert len(comparison.rankings[0].rows) == RUNS - 1
    assert expected in reason(comparison, "1_lr")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda metrics: metrics.update(epoch=None),
        lambda metrics: metrics.update(parameters=[1]),
        lambda metrics: metrics.update(test={"mean_ap": 0.5}),
        lambda metrics: metrics["val"].update(mean_ap=float("nan")),
        lambda metrics: metrics["val"].update(mean_ap=True, interval=0),
        lambda metrics: metrics["val"]["interval"].update(mean_ap=[0.1]),
        lambda metrics: metrics["val"].update(attributes=[]),
        lambda metrics: metrics["val"]["attributes"].update(attribute_0=3),
    ],
)
def test_run_with_values_of_other_types_is_listed(runs: Path, spoil: Callable[[dict], None]) -> None:
    change(runs / "1_lr/metrics.json", spoil)
    comparison = compare_all()
    assert len(comparison.rankings[0].rows) == RUNS - 1
    assert re.search("damaged|no number", reason(comparison, "1_lr"))


def test_missing_files_and_states_are_listed(runs: Path) -> None:
    (runs / "0_lr/predictions.csv").unlink()
    (runs / "1_lr/status.json").write_text('{"state": "failed", "reason": "no labels\\nmore"}')
    (runs / "2_lr/status.json").write_text("{")
    comparison = compare_all()
    assert "predictions.csv" in reason(comparison, "0_lr")
    assert reason(comparison, "1_lr") == "failed: no labels"
    assert reason(comparison, "2_lr") == "damaged status"


def test_job_that_failed_before_its_run_is_listed(runs: Path) -> None:
    job = runs / "9_lr=x"
    (job / ".hydra").mkdir(parents=True)
    (job / "run.log").write_text("[2026-01-31][INFO] a\n[2026-01-31][ERROR] lr is x; expected a number\n")
    text = compare_sweep(runs, "sweep.html", "val.mean_ap", [])
    assert "9_lr=x: failed: lr is x; expected a number" in text
    page = (runs / "sweep.html").read_text()
    assert "lr is x; expected a number" in page and "3_lr" in page


def test_patterns_select_runs_and_list_foreign_folders(runs: Path) -> None:
    (runs / "notes").mkdir()
    found, foreign = find(["outputs/[01]_lr", "outputs/n*"])
    assert {folder.name for folder in found} == {"0_lr", "1_lr"}
    assert foreign == [(Path("outputs/notes"), "no run in it")]
    with pytest.raises(FileNotFoundError, match=r"^runs is outputs/x\*; expected folders of runs"):
        find("outputs/x*")
    with pytest.raises(FileNotFoundError, match=r"^no runs in outputs/notes"):
        find("outputs/notes")


@pytest.mark.parametrize("by", ["mean_ap", "train.mean_ap", "val.ap", "val", None])
def test_unknown_score_is_refused(by: str | None) -> None:
    with pytest.raises(ValueError, match=r"^by is .*; expected val\. or test\. and one of mean_ap, "):
        parse_score(by)


def test_groups_are_columns_with_their_settings_where_these_differ(runs: Path) -> None:
    chosen = [("masked", {}), ("focal", {"gamma": 1}), ("focal", {"gamma": 2}), ("masked", {})]
    for number, (option, settings) in enumerate(chosen):
        run = runs / f"{number}_lr"
        loss = {"_target_": f"losses.{option}", **settings}
        values = {"loss": loss, "optimizer": {"lr": 0.1}, "epochs": 1 + (number == 3)}
        change(run / "config.yaml", lambda config, values=values: config.update(values))
        record = {"hydra": {"runtime": {"choices": {"loss": option, "mode": "train", "hydra/launcher": "x"}}}}
        (run / ".hydra").mkdir()
        (run / ".hydra/hydra.yaml").write_text(yaml.safe_dump(record))
    (ranking,) = compare_all().rankings
    assert ranking.columns == ["loss", "epochs", "loss.gamma"]
    found = {row.folders[0].name: tuple(row.settings.values()) for row in ranking.rows}
    assert found == {
        "0_lr": ("masked", "1", ""),
        "1_lr": ("focal", "1", "1"),
        "2_lr": ("focal", "1", "2"),
        "3_lr": ("masked", "2", ""),
    }
    assert ranking.effects == []  # not a complete grid


def test_complete_grid_has_effects_of_its_options(runs: Path) -> None:
    for number in range(RUNS):
        values = {"optimizer": {"lr": 0.1 * (1 + number // 2)}, "epochs": 1 + number % 2}
        change(runs / f"{number}_lr/config.yaml", lambda config, values=values: config.update(values))
    (ranking,) = compare_all().rankings
    score = {(row.settings["optimizer.lr"], row.settings["epochs"]): row.score for row in ranking.rows}
    expected = (score["0.1", "1"] + score["0.1", "2"] - score["0.2", "1"] - score["0.2", "2"]) / 2
    changes = {(e.setting, e.option): e.change.value for e in ranking.effects}
    assert changes["optimizer.lr", "0.1"] == pytest.approx(expected)
    assert changes["optimizer.lr", "0.2"] == pytest.approx(-expected)
    assert len(changes) == 4


def test_simplest_candidate_has_the_fewest_trained_parameters(runs: Path) -> None:
    (ranking,) = compare_all().rankings
    assert all(row.is_candidate for row in ranking.rows) and ranking.simplest is None
    last = ranking.rows[-1].folders[0]
    few = {"trained": 10, "total": 3_400_000}
    change(last / "metrics.json", lambda metrics: metrics.update(parameters=few))
    (ranking,) = compare_all().rankings
    assert ranking.simplest.folders == [last]
    assert f"the simplest of them: {ranking.simplest.name}" in format_comparison(compare_all())


def test_csv_has_a_row_for_each_setting_and_each_folder_left_out(runs: Path) -> None:
    (runs / "1_lr/status.json").write_text('{"state": "failed", "reason": "a, \\"b\\""}')
    lines = format_csv(compare_all()).splitlines()
    assert len(lines) == 1 + RUNS
    assert lines[0].startswith("folder,ranking,rank,indistinguishable,optimizer.lr,score,low,high,chance,")
    assert lines[1].split(",")[1:4] == ["1", "1", "1"]
    assert lines[-1].startswith("outputs/1_lr,") and lines[-1].endswith(',"failed: a, ""b"""')


def test_command_writes_the_table_and_the_page(command, runs: Path, tmp_path: Path) -> None:
    result = command(tmp_path, "mode=compare", "runs=outputs/[0-2]_lr", "by=val.f1_macro", "epochs=3")
    assert result.returncode == 0, result.stdout + result.stderr
    (out_dir,) = tmp_path.glob("outputs/*/*_compare")
    assert len((out_dir / "compare.csv").read_text().splitlines()) == 4
    assert "without effect: epochs (mode=compare does not use it)" in result.stdout
    assert "1. 3 runs, 300 validation images, 4 attributes" in result.stdout
    assert "macro F1" in (out_dir / "compare.html").read_text()
    result = command(tmp_path, "mode=compare", "runs=[outputs/0_lr,outputs/nothing]")
    assert result.returncode == 1
    assert (
        result.stdout.strip() == "runs is outputs/nothing; expected folders of runs, and no such path exists"
    )
