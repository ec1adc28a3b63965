"""Sweeps under torchrun: all jobs share one process group."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from aimonk.models.checkpoint import load_model

ROOT = Path(__file__).resolve().parents[2]
SMALL = [
    *(
        "data.draw.images=60",
        "data.image_size=32",
        "backbone=timm",
        "backbone.name=test_resnet",
        "device=cpu",
    ),
    *("backbone.weights=random", "batch_size=8", "epochs=1"),
]


def torchrun(cwd: Path, environment, *arguments: str) -> subprocess.CompletedProcess:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*launcher, str(ROOT / "run.py"), "-m", f"hydra.sweep.dir={cwd / 'sweep'}", *SMALL, *arguments]
    return subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=300)


def jobs(cwd: Path) -> list[Path]:
    return sorted(path for path in (cwd / "sweep").iterdir() if path.is_dir())


def states(cwd: Path) -> list[str]:
    return [json.loads((folder / "status.json").read_text())["state"] for folder in jobs(cwd)]


@pytest.mark.slow
def test_shared_cache_and_one_per_process(environment, tmp_path: Path) -> None:
    """All jobs finish; a cache of each process, as of each machine, gives the same model as a shared one."""
    descent = ["optimizer=adamw", "refit=false"]
    caches = f"cache_dir='{tmp_path}/shared','{tmp_path}/own_${{oc.env:RANK}}'"
    result = torchrun(tmp_path, environment, caches, "loss=masked,focal", *descent)
    assert result.returncode == 0, result.stdout + result.stderr
    assert states(tmp_path) == ["finished"] * 4
    models = [load_model(job)[0].state_dict() for job in jobs(tmp_path)]
    for shared, own in (models[::2], models[1::2]):
        assert all(torch.equal(value, own[name]) for name, value in shared.items())
    # each computed once, by both processes together in a shared cache and by each in its own, and then reused
    assert result.stdout.count("features of") == 4
    assert [result.stdout.count(f": {done}") for done in ("120 computed", "0 computed, 120 reused")] == [2, 2]
    for cache in ("shared", "own_0", "own_1"):
        found = sorted(file.parents[2].name for file in (tmp_path / cache).glob("*/*/*/rows.bin"))
        assert found == ["features", "images", "images"]  # no shares of a process are left


@pytest.mark.slow
def test_failed_job_ends_the_sweep(environment, cache_dir: Path, tmp_path: Path) -> None:
    rates = "optimizer.lr=0.001,-1,0.01"
    result = torchrun(tmp_path, environment, f"cache_dir={cache_dir}", rates)
    assert result.returncode == 1
    output = result.stdout + result.stderr
    assert output.count("job 1 failed; under torchrun this ends the sweep") == 1
    assert "optimizer.lr is -1" in output
    assert states(tmp_path) == ["finished", "failed"]
