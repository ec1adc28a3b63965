"""`mode=clean` shows the cache and runs, and deletes only what was asked for."""

import json
from pathlib import Path

import pytest
from filelock import FileLock

from aimonk.files.run_folder import LOCK_FILE, STATUS_FILE
from aimonk.modes import clean


@pytest.fixture
def place(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("images", "features"):
        folder = tmp_path / "cache" / name / "family" / "set"
        folder.mkdir(parents=True)
        (folder / "rows.bin").write_bytes(bytes(100_000))
    (tmp_path / "cache/mine").mkdir()
    (tmp_path / "cache/mine/notes.txt").write_text("not of aimonk")
    for name, state in {"a": "finished", "b/0": "failed", "c": "interrupted", "d": "running"}.items():
        folder = tmp_path / "outputs" / name
        folder.mkdir(parents=True)
        (folder / STATUS_FILE).write_text(json.dumps({"state": state}))
    (tmp_path / "outputs/e").mkdir()
    (tmp_path / "outputs/e" / STATUS_FILE).write_text("damaged")
    return tmp_path


def left(place: Path) -> set[str]:
    runs = {
        path.parent.relative_to(place / "outputs").as_posix() for path in place.glob("outputs/**/status.json")
    }
    return runs | {path.parts[-3] for path in place.glob("cache/*/*/set")}


@pytest.mark.parametrize(
    ("delete", "deleted"),
    [
        ("null", set()),
        ("cache", {"images", "features"}),
        ("failed", {"b/0"}),
        ("all", {"images", "features", "b/0"}),
    ],
)
def test_only_what_is_named_is_deleted(
    delete: str, deleted: set[str], place: Path, compose_config, capsys
) -> None:
    everything = {"a", "b/0", "c", "d", "e", "images", "features"}
    assert left(place) == everything
    clean.run(compose_config("mode=clean", f"delete={delete}", f"cache_dir={place / 'cache'}"), place, [])
    assert left(place) == everything - deleted
    assert (place / "cache/mine/notes.txt").exists()
    shown = capsys.readouterr().out
    assert "1 failed run " in shown and "2 interrupted runs" in shown, "a killed run counts as interrupted"
    assert ("deleted" in shown) == (delete != "null")


def test_a_running_run_is_shown_as_such(place: Path) -> None:
    with FileLock(place / "outputs/d" / LOCK_FILE):
        assert clean.find_runs(Path("outputs"))[Path("outputs/d")] == "running"


def test_a_failed_run_being_resumed_is_kept(place: Path, compose_config) -> None:
    with FileLock(place / "outputs/b/0" / LOCK_FILE):
        clean.run(compose_config("mode=clean", "delete=failed"), place, [])
    assert "b/0" in left(place)


def test_sets_in_use_are_kept(place: Path, compose_config) -> None:
    with FileLock(place / "cache/images/family.lock"):
        clean.run(compose_config("mode=clean", "delete=cache", f"cache_dir={place / 'cache'}"), place, [])
    assert "images" in left(place) and "features" not in left(place)


def test_other_choices_are_refused(compose_config, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="delete is 'everything'; expected null, cache, failed or all"):
        clean.run(compose_config("mode=clean", "delete=everything"), tmp_path, [])
