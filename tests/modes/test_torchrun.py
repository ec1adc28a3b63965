"""Sweeps under torchrun: all jobs share one process group."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

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


def states(cwd: Path) -> list[str]:
    folders = sorted(path for path in (cwd / "sweep").iterdir() if path.is_dir())
    return [json.loads((folder / "status.json").read_text())["state"] for folder in folders]


@pytest.mark.slow
def test_all_jobs_of_a_sweep_finish(environment, cache_dir: Path, tmp_path: Path) -> None:
    result = torchrun(tmp_path, environment, f"cache_dir={cache_dir}", "loss=masked,focal", "seed=0,1")
    assert result.returncode == 0, result.stdout + result.stderr
    assert states(tmp_path) == ["finished"] * 4


@pytest.mark.slow
def test_failed_job_ends_the_sweep(environment, cache_dir: Path, tmp_path: Path) -> None:
    rates = "optimizer.lr=0.001,-1,0.01"
    result = torchrun(tmp_path, environment, f"cache_dir={cache_dir}", rates)
    assert result.returncode == 1
    output = result.stdout + result.stderr
    assert output.count("job 1 failed; under torchrun this ends the sweep") == 1
    assert "optimizer.lr is -1" in output
    assert states(tmp_path) == ["finished", "failed"]
