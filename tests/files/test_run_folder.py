import json
import os
from pathlib import Path

import pytest

from aimonk.files.run_folder import MODEL_FILE, STATUS_FILE, finished_runs, is_finished, locked


def make_run(folder: Path, status: object, finished_at: int, model: bool = True) -> Path:
    folder.mkdir(parents=True)
    text = status if isinstance(status, str) else json.dumps(status)
    (folder / STATUS_FILE).write_text(text)
    os.utime(folder / STATUS_FILE, (finished_at, finished_at))
    if model:
        (folder / MODEL_FILE).touch()
    return folder


def test_runs_are_ordered_by_their_end(tmp_path):
    done = {"state": "finished"}
    make_run(tmp_path / "2026-01-02" / "a", done, 100)
    newest = make_run(tmp_path / "2026-01-01" / "x_sweep" / "0", done, 300)
    make_run(tmp_path / "2026-01-02" / "b", done, 200)
    unfinished = [{"state": state} for state in ("failed", "running", "interrupted", ["finished"], None)]
    broken = ["", "not json", "[]", "3", "null", '"finished"', '{"state": "fini', "[" * 100_000, "\x00"]
    for i, status in enumerate([{}, *unfinished, *broken]):
        make_run(tmp_path / "others" / str(i), status, 400 + i)
    make_run(tmp_path / "without_model", done, 500, model=False)
    (tmp_path / "folder" / STATUS_FILE).mkdir(parents=True)
    (make_run(tmp_path / "binary", "", 600) / STATUS_FILE).write_bytes(b"\xff\xfe")
    assert finished_runs(tmp_path)[-1] == newest
    assert is_finished(newest) and is_finished(tmp_path / "without_model")
    assert not any(is_finished(folder) for folder in [tmp_path, *(tmp_path / "others").iterdir()])


@pytest.mark.parametrize("folder", ["empty", "absent"])
def test_no_finished_run_is_an_error(tmp_path, folder):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError) as caught:
        finished_runs(tmp_path / folder)
    assert str(caught.value) == (
        f"no finished training run below {tmp_path / folder}; train a model or set checkpoint=PATH"
    )


def test_folder_of_a_running_run_is_refused(tmp_path: Path) -> None:
    message = "expected a folder without a running run"
    with locked(tmp_path), pytest.raises(ValueError, match=message), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass
    with locked(tmp_path / "missing" / "folder"):
        pass  # the run itself reports it
