import csv
import io
import json

import pytest
from rich.cells import cell_len

from aimonk.files.text import FORMULA, unguard
from aimonk.report.csv_tables import read_predictions
from aimonk.report.predictions import (
    Prediction,
    Predictions,
    print_table,
    shorten_left,
    to_csv,
    to_json,
    to_jsonl,
    to_text,
)

NAMES = ["=cmd()", "h\x1b[2Jat", "+1", "mütze"]
THRESHOLDS = dict(zip(NAMES, (0.5, 0.2, 0.75, 0.6), strict=True))
VERDICTS = dict(zip(NAMES, (True, False, None, True), strict=True))


@pytest.fixture
def predictions() -> Predictions:
    probs = dict(zip(NAMES, (0.9, 0.1, 0.75, 0.5), strict=True))
    images = [Prediction("@photo.jpg", ["=cmd()", "+1"], probs), Prediction("b\nc.jpg", [], probs)]
    return Predictions(images, "model", THRESHOLDS, VERDICTS)


def test_csv_holds_no_spreadsheet_formula(predictions: Predictions) -> None:
    header, *rows = csv.reader(io.StringIO(to_csv(predictions)))
    assert not any(field.startswith(FORMULA) for row in (header, *rows) for field in row)
    thresholds = [f"{name} threshold" for name in NAMES]
    assert [unguard(name) for name in header] == ["image", "present", *NAMES, *thresholds]
    assert [unguard(field) for field in rows[0]] == [
        *("@photo.jpg", "=cmd();+1"),
        *("0.900000", "0.100000", "0.750000", "0.500000"),
        *("0.500000", "0.200000", "0.750000", "0.600000"),
    ]


def test_csv_is_read_as_predictions(predictions: Predictions, tmp_path) -> None:
    predictions.images[1].image = "b.jpg"
    (tmp_path / "table.csv").write_text(to_csv(predictions), encoding="utf-8")
    attributes, names, probs, thresholds = read_predictions(tmp_path / "table.csv")
    assert thresholds.tolist() == list(THRESHOLDS.values())
    assert attributes == NAMES and names == ["@photo.jpg", "b.jpg"]
    assert probs.tolist() == [[0.9, 0.1, 0.75, 0.5]] * 2


def test_text_and_table_hold_no_control_characters(predictions: Predictions, capsys) -> None:
    print_table(predictions)
    predictions.images.pop()
    print_table(predictions)
    shown = capsys.readouterr().out
    assert "cmd()" in shown and shown.replace("\n", "").isprintable()


def test_text_has_the_thresholds(predictions: Predictions) -> None:
    text = to_text(predictions)
    assert text.count("\n") == 2 and text.replace("\n", "").isprintable()
    assert text.startswith("@photo.jpg: =cmd(), +1 (=cmd() 0.900 >= 0.500, ")
    assert ".jpg: nothing (" in text and "mütze 0.500 < 0.600" in text


def test_json_is_complete(predictions: Predictions) -> None:
    content = json.loads(to_json(predictions))
    images = content.pop("images")
    assert content == {"checkpoint": "model", "thresholds": THRESHOLDS, "beats_chance": VERDICTS}
    first = {"image": "@photo.jpg", "present": ["=cmd()", "+1"], "probabilities": predictions.images[0].probs}
    assert images[0] == first and predictions.doubtful == ["h\x1b[2Jat"]
    lines = to_jsonl(predictions).splitlines()
    assert len(lines) == 2 and json.loads(lines[0]) == first | content


@pytest.mark.parametrize(("attributes", "all_shown"), [(2, True), (30, False)])
def test_table_has_a_row_per_image(attributes: int, all_shown: bool, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    names = [f"attribute_{i}" for i in range(attributes)]
    probs = dict.fromkeys(names, 0.123)
    path = "a/long/path/of/many/folders/with/many/letters/photo_{}.jpg"
    images = [Prediction(path.format(i), names[:20:2], probs) for i in range(3)]
    print_table(Predictions(images, "model", dict.fromkeys(names, 0.1), dict.fromkeys(names)))
    lines = capsys.readouterr().out.splitlines()
    assert all(cell_len(line) <= 100 for line in lines)
    assert sum("photo_" in line for line in lines) == 3 and "…" in lines[-2]
    assert any("0.123" in line for line in lines) == all_shown
    assert any("attribute_0 0.12" in line for line in lines) != all_shown


def test_table_of_one_image_has_thresholds(predictions: Predictions, capsys) -> None:
    predictions.images.pop()
    print_table(predictions)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "mütze" in line]
    assert "0.500" in line and "0.600" in line and "no" in line


def test_paths_are_cut_from_the_left() -> None:
    assert shorten_left("abc/def.jpg", 11) == "abc/def.jpg"
    assert shorten_left("abc/def.jpg", 8) == "…def.jpg"
    assert cell_len(shorten_left("写真写真写真.jpg", 9)) <= 9
