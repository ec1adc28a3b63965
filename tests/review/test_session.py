"""Every acknowledged edit survives a kill; undo and two tabs lose nothing."""

import json
from pathlib import Path

import pytest

from aimonk.data.annotations import ABSENT, PRESENT, UNKNOWN
from aimonk.review.session import Conflict, Edit


def test_journal_restores_edits_and_reviewed_images(open_desk) -> None:
    session = open_desk().session
    session.apply("tab", [Edit(0, 0, UNKNOWN, PRESENT), Edit(0, 1, UNKNOWN, ABSENT)], [(5, True)])
    session.apply("tab", [Edit(0, 1, ABSENT, PRESENT)], [])
    again = open_desk().session
    assert again.values[0].tolist() == [PRESENT, PRESENT]
    assert again.reviewed.nonzero()[0].tolist() == [5] and again.seq == 2


def test_journal_has_time_image_attribute_old_and_new(open_desk, folder: Path) -> None:
    open_desk().session.apply("tab", [Edit(1, 0, PRESENT, ABSENT)], [])
    (line,) = (folder / "labels.csv.journal").read_text().splitlines()
    action = json.loads(line)
    assert action["edits"] == [["1.png", "red", PRESENT, ABSENT]] and action["time"].endswith("+00:00")


def test_partly_written_line_is_removed(open_desk, folder: Path) -> None:
    open_desk().session.apply("tab", [Edit(1, 0, PRESENT, ABSENT)], [])
    with (folder / "labels.csv.journal").open("a") as file:
        file.write('{"seq": 2, "time": "2026')
    session = open_desk().session
    assert session.seq == 1
    session.apply("tab", [Edit(1, 0, ABSENT, UNKNOWN)], [])
    assert open_desk().session.values[1, 0] == UNKNOWN


def test_damaged_journal_is_refused(open_desk, folder: Path) -> None:
    (folder / "labels.csv.journal").write_text("no json\n")
    with pytest.raises(ValueError, match=r"labels\.csv\.journal line 1: not an action"):
        open_desk()


def test_full_disk_changes_nothing(open_desk, monkeypatch) -> None:
    session = open_desk().session

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("aimonk.review.journal.os.fsync", fail)
    with pytest.raises(OSError, match="No space"):
        session.apply("tab", [Edit(1, 0, PRESENT, ABSENT)], [])
    monkeypatch.undo()
    assert session.values[1, 0] == PRESENT and session.seq == 0
    session.apply("tab", [Edit(1, 1, ABSENT, PRESENT)], [])
    assert open_desk().session.values[1].tolist() == [PRESENT, PRESENT]


def test_undo_takes_back_own_actions_in_reverse_order(open_desk) -> None:
    session = open_desk().session
    session.apply("a", [Edit(1, 0, PRESENT, ABSENT)], [])
    session.apply("b", [Edit(2, 0, ABSENT, PRESENT)], [(2, True)])
    session.apply("a", [Edit(1, 0, ABSENT, UNKNOWN)], [])
    assert session.undo("a").edits == [("1.png", "red", UNKNOWN, ABSENT)]
    assert session.undo("a").edits == [("1.png", "red", ABSENT, PRESENT)]
    assert session.undo("a") is None
    assert session.values[2, 0] == PRESENT and session.reviewed[2]
    session = open_desk().session  # a new process takes back the actions of the earlier one
    assert session.undo("c").edits == [("2.png", "red", PRESENT, ABSENT)] and not session.reviewed[2]


def test_undo_does_not_overwrite_another_tab(open_desk) -> None:
    session = open_desk().session
    session.apply("a", [Edit(1, 0, PRESENT, ABSENT)], [])
    session.apply("b", [Edit(1, 0, ABSENT, UNKNOWN)], [])
    with pytest.raises(Conflict, match=r"red of 1\.png was changed elsewhere"):
        session.undo("a")
    assert session.values[1, 0] == UNKNOWN


def test_edit_on_an_outdated_value_is_refused_as_a_unit(open_desk) -> None:
    session = open_desk().session
    session.apply("a", [Edit(1, 0, PRESENT, ABSENT)], [])
    with pytest.raises(Conflict):
        session.apply("b", [Edit(2, 0, ABSENT, PRESENT), Edit(1, 0, PRESENT, UNKNOWN)], [])
    assert session.values[2, 0] == ABSENT and session.seq == 1


def test_second_review_of_the_same_labels_is_refused(open_desk) -> None:
    from aimonk.review.journal import Journal

    desk = open_desk()
    with pytest.raises(ValueError, match="expected no other review of these labels"):
        Journal(desk.session.journal.path)
