"""The policies for unknown labels, through the command line."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
POLICIES = ["entropy", "ignore", "large_loss", "selective", "weak"]


def read_losses(folder: Path) -> list[float]:
    with (folder / "loss.csv").open() as file:
        return [float(row["training_loss"]) for row in csv.DictReader(file)]


def test_every_policy_trains(command, demo: list[str], tmp_path: Path) -> None:
    sweep = f"hydra.sweep.dir={tmp_path / 'sweep'}"
    result = command(tmp_path, "-m", f"missing={','.join(POLICIES)}", *demo, "optimizer=adamw", sweep)
    assert result.returncode == 0, result.stdout + result.stderr
    folders = sorted(path for path in (tmp_path / "sweep").iterdir() if path.is_dir())
    assert [path.name for path in folders] == [f"{i}_{name}" for i, name in enumerate(POLICIES)]
    assert all(json.loads((f / "status.json").read_text())["state"] == "finished" for f in folders)
    losses = np.array([read_losses(folder) for folder in folders])
    assert np.isfinite(losses).all()
    assert len({tuple(row) for row in losses}) == len(POLICIES)


@pytest.mark.parametrize("policy", [["missing=weak"], ["missing=selective", "missing.threshold=0.5"]])
def test_two_processes_train_like_one(
    policy: list[str], command, environment, demo: list[str], tmp_path: Path
) -> None:
    # 49 training images: padding alone is left for the second process in the last batch
    arguments = [*demo, *policy, "data.draw.images=61", "optimizer=adamw", "device=cpu"]
    alone, together = tmp_path / "alone", tmp_path / "together"
    result = command(tmp_path, *arguments, f"hydra.run.dir={alone}")
    assert result.returncode == 0, result.stdout + result.stderr
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    result = subprocess.run(
        [*launcher, str(ROOT / "run.py"), *arguments, "batch_size=8", f"hydra.run.dir={together}"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    np.testing.assert_allclose(read_losses(together), read_losses(alone), rtol=1e-5)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (["missing=weak", "missing.weight=2"], "missing.weight is 2; expected 0 to 1"),
        (["missing=selective", "missing.top=-1"], "missing.top is -1; expected 0 or more"),
        (["missing=large_loss", "missing.variant=drop"], "missing.variant is 'drop'; expected reject or"),
    ],
)
def test_invalid_settings_end_in_one_line(policy: list[str], message: str, command, tmp_path: Path) -> None:
    result = command(tmp_path, *policy, "data=folder", "data.images=nowhere", "data.labels=nowhere.txt")
    assert result.returncode == 1
    assert message in result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr and "nowhere" not in result.stderr
