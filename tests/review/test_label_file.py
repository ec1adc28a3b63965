"""The label file: written atomically in its own form, and never over changes of somebody else."""

from pathlib import Path

import pytest

from aimonk.data.annotations import ABSENT, PRESENT, UNKNOWN
from aimonk.review.label_file import ChangedFile
from aimonk.review.session import Edit


def test_save_changes_the_edited_fields_only_and_keeps_the_first_file(open_desk, folder: Path) -> None:
    path, desk = folder / "labels.csv", open_desk()
    before = path.read_text()
    desk.session.apply("tab", [Edit(1, 0, PRESENT, ABSENT), Edit(0, 1, UNKNOWN, PRESENT)], [])
    assert desk.file.save() and not desk.file.save()
    assert path.read_text() == before.replace("1.png,1,0\n", "1.png,0,0\n", 1).replace(
        "0.png,NA,NA", "0.png,NA,1", 1
    )
    desk.session.apply("tab", [Edit(1, 0, ABSENT, PRESENT), Edit(0, 1, PRESENT, UNKNOWN)], [])
    assert desk.file.save() and path.read_text() == before
    assert (folder / "labels.before").read_text() == before


def test_file_that_was_changed_is_not_overwritten(open_desk, folder: Path) -> None:
    path, desk = folder / "labels.csv", open_desk()
    original = path.read_text()
    path.write_text(other := original.replace("5.png,1,0", "5.png,1,1"))
    desk.session.apply("tab", [Edit(1, 0, PRESENT, ABSENT)], [])
    with pytest.raises(ChangedFile, match=r"labels\.csv has changed since it was read"):
        desk.file.save()
    desk.file.save_second()
    assert path.read_text() == other
    assert (folder / "labels.review.csv").read_text() == original.replace("1.png,1,0\n", "1.png,0,0\n", 1)
    # the next review has both changes
    desk = open_desk()
    assert desk.session.values[[1, 5]].tolist() == [[ABSENT, ABSENT], [PRESENT, PRESENT]]
    desk.file.save()
    assert path.read_text() == other.replace("1.png,1,0\n", "1.png,0,0\n", 1)


def test_second_file_is_not_overwritten(open_desk, folder: Path) -> None:
    desk = open_desk()
    (folder / "labels.review.csv").write_text("precious")
    with pytest.raises(ChangedFile, match=r"labels\.review\.csv exists"):
        desk.file.save_second()
    assert (folder / "labels.review.csv").read_text() == "precious"


def test_saved_edits_do_not_return_when_the_file_is_corrected_later(open_desk, folder: Path) -> None:
    path, desk = folder / "labels.csv", open_desk()
    before = path.read_text()
    desk.session.apply("tab", [Edit(1, 0, PRESENT, ABSENT)], [(1, True)])
    desk.file.save()
    path.write_text(before)
    session = open_desk().session
    assert session.values[1, 0] == PRESENT and session.reviewed[1]


def test_saver_writes_after_an_edit_and_reports_what_prevents_it(open_desk, folder: Path) -> None:
    desk = open_desk()
    desk.session.apply("tab", [Edit(1, 0, PRESENT, ABSENT)], [])
    desk.saver.save()
    assert desk.saver.problem is None and "1.png,0,0" in (folder / "labels.csv").read_text()
    (folder / "labels.csv").unlink()
    desk.session.apply("tab", [Edit(1, 0, ABSENT, PRESENT)], [])
    desk.saver.save()
    assert "has changed" in desk.saver.problem and not (folder / "labels.csv").exists()
