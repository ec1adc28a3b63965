import csv
import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from aimonk.report.scalars import scalars

ROOT = Path(__file__).resolve().parents[2]
ALL = "tracker=[tensorboard,mlflow,wandb]"
PICTURES = {"loss_curve", "decisions", "mistakes", "precision_and_recall", "reliability"}
# dies after the second epoch is tracked, before the file of what the records have is written
DIES = f"""import os, signal, sys
sys.path.insert(0, {str(ROOT)!r})
from aimonk.cli.main import main
from aimonk.modes.train.tracking import Tracking
remember, calls = Tracking._remember, []
def remember_or_die(self, names):
    calls.append(None)
    if len(calls) == 5:  # after three starts and an epoch
        os.kill(os.getpid(), signal.SIGKILL)
    remember(self, names)
Tracking._remember = remember_or_die
main()"""


@pytest.fixture(scope="module")
def resumed(environment, command, cache_dir: Path, tmp_path_factory) -> SimpleNamespace:
    """A run with all trackers that was killed and resumed: its folder, losses, scores and store."""
    for package in ("tensorboard", "mlflow", "wandb"):
        pytest.importorskip(package)
    cwd = tmp_path_factory.mktemp("tracked")
    small = ["data.draw.images=60", "data.image_size=64", "epochs=3", "optimizer=adamw", "refit=false"]
    killed = [sys.executable, "-c", DIES, *small, f"cache_dir={cache_dir}", ALL, "hydra.run.dir=run"]
    subprocess.run(killed, cwd=cwd, env=environment(), capture_output=True, timeout=300)
    assert json.loads((cwd / "run" / "trackers.json").read_text())["mlflow"]["iterations"] == 3
    result = command(cwd, "resume=run")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "resuming at epoch 3, iteration 6" in result.stdout and "failed" not in result.stdout
    with (cwd / "run" / "loss.csv").open() as file:
        losses = {int(row["iteration_number"]): float(row["training_loss"]) for row in csv.DictReader(file)}
    assert list(losses) == list(range(1, 10))
    metrics = json.loads((cwd / "run" / "metrics.json").read_text())
    return SimpleNamespace(folder=cwd / "run", losses=losses, metrics=metrics, store=cwd / "mlruns")


def test_event_files_have_each_point_once(resumed: SimpleNamespace) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(resumed.folder), size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    curve = [(event.step, event.value) for event in events.Scalars("train/loss")]
    assert curve == [(step, pytest.approx(loss)) for step, loss in resumed.losses.items()]
    assert [event.step for event in events.Scalars("epoch/val_loss")] == [3, 6, 9]
    for key, value in scalars(resumed.metrics).items():
        assert [(e.step, e.value) for e in events.Scalars(key)] == [(9, pytest.approx(value))], key
    assert set(events.Tags()["images"]) == PICTURES
    (event,) = events.Images("loss_curve")
    with Image.open(resumed.folder / "loss_curve.png") as picture:
        assert (event.width, event.height) == picture.size


def test_mlflow_has_each_point_once(resumed: SimpleNamespace) -> None:
    ((run, client),) = read_mlflow(resumed.store)
    curve = [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, "train/loss")]
    assert curve == list(resumed.losses.items())
    assert [m.step for m in client.get_metric_history(run.info.run_id, "epoch/val_loss")] == [3, 6, 9]
    for key, value in scalars(resumed.metrics).items():
        history = client.get_metric_history(run.info.run_id, key)
        assert [(m.step, m.value) for m in history] == [(9, value)], key
    assert (run.info.status, run.data.params["optimizer.lr"]) == ("FINISHED", "0.001")
    names = {Path(entry.path) for entry in client.list_artifacts(run.info.run_id)}
    assert {name.stem for name in names} == PICTURES | {"report"}


def test_wandb_has_each_point_once(resumed: SimpleNamespace) -> None:
    (file,) = resumed.folder.glob("wandb/offline-run-*/*.wandb")
    rows = [
        {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        for record in read_wandb(file, "history")
    ]
    assert [(row["_step"], row["train/loss"]) for row in rows] == list(resumed.losses.items())
    assert [row["_step"] for row in rows if "epoch/val_loss" in row] == [3, 6, 9]
    assert rows[-1].items() >= scalars(resumed.metrics).items()
    for name in PICTURES:
        assert (file.parent / "files" / rows[-1][f"{name}.path"]).is_file()
    assert (file.parent / "files" / "report.html").is_file()
    (end,) = read_wandb(file, "exit")
    assert end.exit.exit_code == 0


def test_sweep_is_a_group(command, demo: list[str], tmp_path: Path) -> None:
    for package in ("mlflow", "wandb"):
        pytest.importorskip(package)
    solved = [*demo, "optimizer=lbfgs", "hydra.sweep.dir=all"]
    result = command(tmp_path, "-m", *solved, "seed=0,1", "tracker=[mlflow,wandb]")
    assert result.returncode == 0, result.stdout + result.stderr
    found = read_mlflow(tmp_path / "mlruns")
    assert sorted(run.info.run_name for run, _ in found) == ["all/0_seed=0", "all/1_seed=1"]
    for run, client in found:
        assert run.data.tags["group"] == "all"
        losses = (tmp_path / run.info.run_name / "loss.csv").read_text().splitlines()[1:]
        assert len(client.get_metric_history(run.info.run_id, "train/loss")) == len(losses) > 1
    started = [next(read_wandb(file, "run")).run for file in tmp_path.glob("all/*/wandb/offline*/*.wandb")]
    assert len({run.run_id for run in started}) == 2 and {run.run_group for run in started} == {"all"}


def test_server_that_is_away_ends_no_run(command, demo: list[str], tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    server = {"MLFLOW_TRACKING_URI": "http://me:secret@127.0.0.1:9", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    result = command(tmp_path, *demo, "tracker=mlflow", "hydra.run.dir=run", **server)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("tracker=mlflow failed, and the run continues without it: ") == 1
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "finished"
    assert "secret" not in result.stdout + result.stderr
    texts = [path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert not any(b"secret" in text for text in texts)


def test_missing_package_is_named(environment, demo: list[str], tmp_path: Path) -> None:
    # None in sys.modules makes an import fail
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.modules['mlflow'] = None; "
    code += "from aimonk.cli.main import main; main()"
    command = [sys.executable, "-c", code, *demo, "tracker=mlflow"]
    result = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "tracker is mlflow; expected an installed package: pip install -e '.[mlflow]'" in result.stdout


def read_mlflow(store: Path) -> list[tuple[Any, Any]]:
    """Every run of the experiment, each with a client of its store."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        from mlflow.tracking import MlflowClient

        client = MlflowClient(tracking_uri=store.as_uri())
        experiment = client.get_experiment_by_name("aimonk")
        return [(run, client) for run in client.search_runs([experiment.experiment_id])]


def read_wandb(path: Path, kind: str) -> Iterator[Any]:
    """Records of one kind: after a header of 7 bytes, blocks of 32 kB in the log format of LevelDB."""
    from wandb.proto import wandb_internal_pb2

    data, at, parts = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        _, length, part = struct.unpack("<IHB", data[at : at + 7])
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if part in (1, 4):  # complete, or the last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            parts = b""
            if record.WhichOneof("record_type") == kind:
                yield record
