import csv
import io
import json

import pytest

from aimonk.files.text import FORMULA, unguard
from aimonk.report.predictions import Prediction, print_table, to_csv, to_json, to_text

NAMES = ["=cmd()", "h\x1b[2Jat", "+1", "mütze"]


@pytest.fixture
def predictions() -> list[Prediction]:
    probs = dict(zip(NAMES, (0.9, 0.1, 0.75, 0.5), strict=True))
    return [Prediction("@photo.jpg", ["=cmd()", "+1"], probs), Prediction("b\nc.jpg", [], probs)]


def test_csv_holds_no_spreadsheet_formula(predictions: list[Prediction]) -> None:
    header, *rows = csv.reader(io.StringIO(to_csv(predictions, NAMES)))
    assert not any(field.startswith(FORMULA) for row in (header, *rows) for field in row)
    assert [unguard(name) for name in header] == ["image", "present", *NAMES]
    assert [unguard(field) for field in rows[0]] == [
        *("@photo.jpg", "=cmd();+1"),
        *("0.900000", "0.100000", "0.750000", "0.500000"),
    ]


def test_text_and_table_hold_no_control_characters(predictions: list[Prediction], capsys) -> None:
    for few in (predictions, predictions[1:]):
        print_table(few, NAMES)
    shown = capsys.readouterr().out
    assert "cmd()" in shown and shown.replace("\n", "").isprintable()
    text = to_text(predictions)
    assert text.count("\n") == 2 and text.replace("\n", "").isprintable()
    assert text.startswith("@photo.jpg: =cmd(), +1 (=cmd() 0.900, ")
    assert ".jpg: nothing (" in text


def test_json_is_complete(predictions: list[Prediction]) -> None:
    content = json.loads(to_json(predictions, "model"))
    assert content["checkpoint"] == "model"
    assert content["images"][0] == {
        "image": "@photo.jpg",
        "present": ["=cmd()", "+1"],
        "probabilities": predictions[0].probs,
    }
