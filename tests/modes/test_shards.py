"""Training from shards: the results are those of the same images as files."""

import io
import json
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import torch

import aimonk
from aimonk.data.demo.dataset import draw_demo
from aimonk.models.checkpoint import load_model
from aimonk.modes.train import lifecycle

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"data.image_size": 32, "backbone": "timm", "backbone.name": "test_resnet", "device": "cpu"}
SMALL |= {"backbone.weights": "random", "batch_size": 8, "epochs": 2, "workers": 0}
TUNED = {"freeze": "none", "optimizer": "adamw", "refit": False, "data.store": False}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `images/`, `labels.txt`, and the same in `shards/`: 6 tar files of 10 images."""
    folder = draw_demo(tmp_path_factory.mktemp("data") / "demo", images=60, seed=0)
    header, *rows = [line.split() for line in (folder / "labels.txt").read_text().splitlines()]
    (folder / "shards").mkdir()
    for number in range(6):
        with tarfile.open(folder / "shards" / f"{number}.tar", "w") as archive:
            for name, *labels in rows[10 * number : 10 * number + 10]:
                known = [None if label == "NA" else int(label) for label in labels]
                entry = json.dumps(dict(zip(header[1:], known, strict=True))).encode()
                add(archive, name, (folder / "images" / name).read_bytes())
                add(archive, f"{Path(name).stem}.json", entry)
    return folder


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    header = tarfile.TarInfo(name)
    header.size = len(content)
    archive.addfile(header, io.BytesIO(content))


def train(data: Path, folder: Path, kind: str, **settings) -> tuple[dict, dict[str, torch.Tensor]]:
    """Metrics without times, and weights, of a run on `files` or `shards`."""
    settings = SMALL | {"cache_dir": f"{data / 'cache'}"} | settings
    if kind == "shards":
        settings |= {"data": "shards", "data.shards": f"{data / 'shards'}/*.tar"}
        settings |= {"data.images": None, "data.labels": None}
    aimonk.train(data / "images", data / "labels.txt", folder, **settings)
    metrics = json.loads((folder / "metrics.json").read_text())
    for key in ("images_per_second", "epoch_seconds"):
        metrics.pop(key)
    return metrics, load_model(folder)[0].state_dict()


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings", [{"refit": False}, TUNED | {"data.window": 8}], ids=["features", "pixels, not stored"]
)
def test_shards_train_as_files_do(settings: dict, data: Path, tmp_path: Path) -> None:
    files = train(
        data, tmp_path / "files", "files", **{k: v for k, v in settings.items() if k != "data.window"}
    )
    shards = train(data, tmp_path / "shards", "shards", **settings)
    assert shards[0] == files[0]
    assert all(torch.equal(value, files[1][key]) for key, value in shards[1].items())
    assert (tmp_path / "shards" / "predictions.csv").read_bytes() == (
        tmp_path / "files" / "predictions.csv"
    ).read_bytes()


@pytest.mark.slow
def test_interrupted_epoch_over_shards_resumes_bit_for_bit(data: Path, tmp_path: Path, monkeypatch) -> None:
    settings = TUNED | {"data.window": 2}
    undisturbed = train(data, tmp_path / "undisturbed", "shards", **settings)
    calls = iter([None] * 8)
    with monkeypatch.context() as patch:
        patch.setattr(lifecycle.Interrupt, "requested", lambda self: next(calls, signal.SIGTERM))
        with pytest.raises(SystemExit):
            train(data, tmp_path / "run", "shards", **settings)
    state = torch.load(tmp_path / "run" / "state.pth", weights_only=True)
    assert state["streams"] and state["batches"] > 0
    resumed = train(data, tmp_path / "run", "shards", resume=f"{tmp_path / 'run'}", **settings)
    assert resumed[0] == undisturbed[0]
    assert all(torch.equal(value, undisturbed[1][key]) for key, value in resumed[1].items())


@pytest.mark.slow
def test_processes_train_on_remote_shards(data: Path, tmp_path: Path, environment) -> None:
    pytest.importorskip("fsspec")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    settings = SMALL | TUNED | {"epochs": 1, "data": "shards", "data.window": 1}
    settings |= {"data.shards": f"file://{data}/shards/{{0..5}}.tar", "cache_dir": tmp_path / "cache"}
    settings |= {"data.copies_limit_gb": 3e-4, "hydra.run.dir": tmp_path / "run"}  # two or three shards
    command = [*launcher, str(ROOT / "run.py"), *(f"{key}={value}" for key, value in settings.items())]
    result = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "finished"
    assert "60 images in 6 shards" in result.stdout
    held_out = (tmp_path / "run" / "predictions.csv").read_text().splitlines()
    assert len(held_out) == 1 + 12
    assert len(list((tmp_path / "cache" / "shards" / "copies").glob("*.images"))) <= 3
