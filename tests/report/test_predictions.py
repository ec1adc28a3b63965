import csv
import io
import json
from pathlib import Path

import pytest

from aimonk.files.text import FORMULA, unguard
from aimonk.report.predictions import Answer, print_table, show, to_csv, to_json, to_text

NAMES = ["=cmd()", "h\x1b[2Jat", "+1", "mütze"]


@pytest.fixture
def answers() -> list[Answer]:
    probs = dict(zip(NAMES, (0.9, 0.1, 0.75, 0.5), strict=True))
    return [Answer("@photo.jpg", ["=cmd()", "+1"], probs), Answer("b\nc.jpg", [], probs)]


def test_a_spreadsheet_runs_nothing(answers: list[Answer]) -> None:
    header, *rows = csv.reader(io.StringIO(to_csv(answers, NAMES, "model")))
    assert not any(field.startswith(FORMULA) for row in (header, *rows) for field in row)
    assert [unguard(name) for name in header] == ["image", "present", *NAMES]
    assert [unguard(field) for field in rows[0]] == [
        *("@photo.jpg", "=cmd();+1"),
        *("0.900000", "0.100000", "0.750000", "0.500000"),
    ]


def test_a_terminal_is_not_steered(answers: list[Answer], capsys: pytest.CaptureFixture, monkeypatch) -> None:
    text = to_text(answers, NAMES, "model")
    for few in (answers, answers[1:]):
        print_table(few, NAMES)
    shown = capsys.readouterr().out
    assert "cmd()" in shown and shown.replace("\n", "").isprintable()
    assert text.count("\n") == 2 and text.replace("\n", "").isprintable()
    assert text.startswith("@photo.jpg: =cmd(), +1 (=cmd() 0.900, ")
    assert ".jpg: nothing (" in text
    for style in ("csv", "json"):
        monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
        show(answers, NAMES, "model", style, None)
        assert capsys.readouterr().out.replace("\n", "").isprintable()


def test_a_picture_of_nothing_is_not_drawn(tmp_path: Path) -> None:
    show([], NAMES, "model", "auto", str(tmp_path / "a.png"))
    assert not list(tmp_path.iterdir())


def test_json_has_everything(answers: list[Answer]) -> None:
    told = json.loads(to_json(answers, NAMES, "model"))
    assert told["checkpoint"] == "model"
    assert told["images"][0] == {
        "image": "@photo.jpg",
        "present": ["=cmd()", "+1"],
        "probabilities": answers[0].probs,
    }
