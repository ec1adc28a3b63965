"""What may befall a run from outside, besides a full disk."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def own_data(trained: SimpleNamespace, cache_dir: Path, tmp_path: Path) -> list[str]:
    """Overrides for a small network on 60 images in `tmp_path / "data"`, which a test may spoil."""
    data = shutil.copytree(cache_dir / "demo_60_0", tmp_path / "data")
    return [
        *("data=folder", f"data.images={data / 'images'}", f"data.labels={data / 'labels.txt'}"),
        *("data.image_size=32", "backbone=timm", "backbone.name=test_resnet", "backbone.weights=random"),
        *("optimizer=adamw", "batch_size=8", f"hydra.run.dir={tmp_path / 'run'}"),
    ]


def start(cwd: Path, environment: Callable[..., dict[str, str]], arguments: list[str]) -> subprocess.Popen:
    """Start a run, and wait until it has trained an epoch."""
    command = [sys.executable, str(ROOT / "run.py"), *arguments]
    with open(cwd / "output.txt", "w") as output:
        process = subprocess.Popen(command, cwd=cwd, env=environment(), stdout=output, stderr=output)
    while process.poll() is None and not (cwd / "run" / "state.pth").is_file():
        time.sleep(0.05)
    return process


def test_run_stops_when_many_images_are_deleted(tmp_path: Path, environment, own_data: list[str]) -> None:
    arguments = [*own_data, f"cache_dir={tmp_path / 'cache'}", "epochs=100000"]
    arguments += ["data.store=false", "features.enabled=false", "data.val_fraction=0", "freeze=none"]
    process = start(tmp_path, environment, arguments)
    for i in range(10):
        (tmp_path / "data" / "images" / f"demo_00{i}.jpg").unlink()
    assert process.wait(timeout=120) == 1
    output = (tmp_path / "output.txt").read_text()
    assert re.search(r"\d of 60 training images can no longer be read; restore the files and resume", output)
    assert "No such file" in output and "Traceback" not in output
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "failed"


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="loader processes are found by way of /proc")
def test_killed_loader_process_is_an_error(tmp_path: Path, environment, own_data: list[str]) -> None:
    arguments = [*own_data, f"cache_dir={tmp_path / 'cache'}", "epochs=100000"]
    process = start(tmp_path, environment, [*arguments, "augmentation=crop_color", "workers=1"])
    (worker,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(worker), signal.SIGKILL)
    assert process.wait(timeout=60) == 1
    output = (tmp_path / "output.txt").read_text()
    assert "Traceback" not in output
    (line,) = [line for line in output.splitlines() if "loads images was killed" in line]
    assert worker in line and "resume=" in line
    assert json.loads((tmp_path / "run" / "status.json").read_text()) == {"state": "failed", "reason": line}


def test_cache_without_write_access_is_not_used(tmp_path: Path, command, own_data: list[str]) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    result = command(tmp_path, *own_data, f"cache_dir={tmp_path / 'cache'}", "epochs=1", "refit=false")
    assert result.returncode == 0, result.stdout + result.stderr
    assert len(re.findall("cannot write to .*; cache_dir=FOLDER sets another folder", result.stdout)) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["hydra.run.dir=file/run"], "hydra.run.dir"),
        (["hydra.run.dir=run", "cache_dir=file"], "cache_dir=FOLDER"),
    ],
)
def test_folder_without_write_access_is_reported(
    tmp_path: Path, command, arguments: list[str], message: str
) -> None:
    (tmp_path / "file").touch()
    result = command(tmp_path, *arguments, "data.draw.images=60")
    output = result.stdout + result.stderr
    assert result.returncode == 1
    assert len([line for line in output.splitlines() if message in line]) == 1 and "Traceback" not in output
