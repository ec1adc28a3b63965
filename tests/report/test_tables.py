import numpy as np
import pytest
from rich.cells import cell_len

from aimonk.data.labels import LabelTable
from aimonk.evaluation.evaluate import LabelledLogits, choose_operating_point, evaluate
from aimonk.report.tables import describe_verdict, format_scores, has_verdict, remarks, shorten


def test_console_table_marks_scores_not_above_chance() -> None:
    names, rng = ["hat", "\x1b[31mred", "x" * 200], np.random.default_rng(0)
    labels = (rng.random((80, 3)) < 0.4).astype(np.float32)
    mask = rng.random(labels.shape) < 0.8
    logits = 2.0 * (labels - 0.5) + rng.normal(size=labels.shape)
    logits[:, 0] = np.random.default_rng(1).normal(size=80)
    table = LabelTable([f"{i}.jpg" for i in range(80)], names, labels, mask)
    data = LabelledLogits(table, logits, None)
    scores = evaluate(data, choose_operating_point(data, 0.5, None), 0).scores
    lines = format_scores(scores, "test images").split("\n")
    assert lines[0] == "test images"
    assert lines[3].startswith("hat ! ") and "\ufffd[31mred  " in lines[4] and "xxx…xxx" in lines[5]
    assert lines[6].startswith("mean") and lines[7].startswith("! no evidence of a score above chance")
    assert len({line.rindex("]|") for line in lines[3:6]}) == 1, "columns are aligned"
    assert "\x1b" not in "\n".join(lines)


def scored(count: int, known: int, thresholds: list[float]) -> dict:
    interval, chance = (
        {key: [0.9, 1.0] for key in ("ap", "auroc", "f1")},
        dict.fromkeys(("ap", "auroc", "f1"), 0.5),
    )
    entry = {"ap": 1.0, "auroc": 1.0, "f1": 0.999, "interval": interval, "chance": chance}
    entry |= {"beats_chance": False, "known": known, "positives": known}
    attributes = {
        f"{'long' * 9}_{i}": entry | {"threshold": thresholds[i % len(thresholds)]} for i in range(count)
    }
    means = dict.fromkeys(("mean_ap", "mean_auroc", "f1_macro"), 1.0)
    intervals, chances = {key: [0.1, 0.2] for key in means}, dict.fromkeys(means, 0.5)
    return {
        "attributes": attributes,
        "mean_ap_count": count,
        **means,
        "interval": intervals,
        "chance": chances,
    }


@pytest.mark.parametrize("known", [9, 9999, 123_456])
@pytest.mark.parametrize("thresholds", [[0.5], [0.12, 0.9]])
def test_table_fits_80_columns(known: int, thresholds: list[float]) -> None:
    lines = format_scores(scored(30, known, thresholds), "validation images").split("\n")
    assert max(map(len, lines[:-1])) <= 80 and "…" in lines[3]
    assert ("p ≥" in lines[2]) == (len(thresholds) > 1)


def test_table_of_undefined_scores_fits_80_columns() -> None:
    scores = scored(3, 9, [0.5])
    empty = {"ap": None, "auroc": None, "f1": None}
    for entry in scores["attributes"].values():
        entry |= empty
    scores |= {"mean_ap": None, "mean_auroc": None, "f1_macro": None}
    lines = format_scores(scores, "validation images").split("\n")
    assert max(map(len, lines[:-1])) <= 80 and "…" in lines[3]


def test_calibration_and_low_f1_are_remarked() -> None:
    scores = scored(2, 10, [0.5])
    for entry in scores["attributes"].values():
        entry["beats_chance"] = True
    scores["attributes"]["hat"] = scores["attributes"][f"{'long' * 9}_0"] | {"f1": 0.01}
    scores |= {"mean_ap_count": 3, "mean_ece": 0.05, "mean_brier": 0.1}
    scores["uncalibrated"] = {"mean_ece": 0.123, "mean_brier": 0.2}
    calibration, low = remarks(scores)
    assert calibration.endswith("calibration error 0.123 -> 0.050, Brier score 0.200 -> 0.100")
    assert low.endswith("threshold=f1 chooses thresholds (hat)")


def test_names_are_cut_in_the_middle() -> None:
    assert shorten("abcdefghij", 10) == "abcdefghij" and shorten("abcdefghijk", 10) == "abcde…hijk"
    assert cell_len(shorten("写" * 30, 9)) <= 9


@pytest.mark.parametrize(
    ("report", "expected"),
    [({}, True), ({"iterations": 9, "epochs": [{}]}, True), ({"iterations": 9, "epochs": []}, False)],
)
def test_verdict_needs_an_epoch(report: dict, expected: bool) -> None:
    assert has_verdict(report) == expected and not has_verdict(report | {"iterations": 1})


def test_remarks_list_caveats() -> None:
    names = ["hat", "never", "red\x1b"]
    attributes = {name: {"beats_chance": False} for name in names}
    scores = {"attributes": attributes, "mean_ap_count": 2, "f1_macro": 0.5}
    assert [line.split(":")[0] for line in remarks(scores)] == [
        "The mean AP covers 2 of 3 attributes; the others lack positive or negative labels",
        "! no evidence of a score above chance, corrected for the number of attributes",
    ]
    scores |= {"mean_ap_count": 3, "unreached": ["red\x1b"], "optimistic": {"f1_macro": 0.625}}
    unreached, chosen, _ = remarks(scores)
    assert unreached.startswith("No threshold reaches") and unreached.endswith(": red\ufffd")
    assert "0.500 cross-validated, 0.625 (optimistic)" in chosen


def test_verdict_names_the_first_ten_others() -> None:
    scores = scored(30, 10, [0.5]) | {"mean_ap": None}
    assert describe_verdict(scores) == "no attribute is predicted better than chance"
    next(iter(scores["attributes"].values()))["beats_chance"] = True
    text = describe_verdict(scores)
    assert (
        text.startswith("1 of 30 attributes is predicted better than chance; not long")
        and "and 19 more" in text
    )


def test_range_of_dependent_na_fits_80_columns() -> None:
    scores = scored(30, 9, [0.5])
    assert not any("random" in line for line in remarks(scores))
    for entry in list(scores["attributes"].values())[:17]:
        entry |= {"range": {"ap": [0.7, 0.9]}}
    scores["range"] = {"mean_ap": [0.7, 0.9]}
    lines = remarks(scores)[:2]
    assert lines[0].startswith("NA is not random: long") and lines[0].endswith(" and 14 more")
    assert lines[1] == "mean AP 0.700 to 0.900 if NA is read as absent or as predicted"
    assert max(map(len, lines)) <= 80
    scores["range"] = {"mean_ap": None}
    assert not any("mean AP" in line for line in remarks(scores))
