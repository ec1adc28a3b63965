import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from aimonk.files.tensors import load_tensors, save_tensors
from aimonk.inference.blocks import block as blocks
from aimonk.modes import infer

parquet = pytest.importorskip("pyarrow.parquet")
ROOT = Path(__file__).resolve().parents[2]
Run = Callable[..., Path]


@pytest.fixture
def run(checkpoint: Path, compose_config, monkeypatch, tmp_path: Path) -> Run:
    """Runs mode=infer with arguments in this process, with tmp_path as working folder; returns `out`."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Path:
        given = [f"checkpoint={checkpoint}", "output=out/", "device=cpu", *arguments]
        infer.run(compose_config("mode=infer", *given), Path(), given)
        return tmp_path / "out"

    return run


def test_shards_become_a_file_each(run: Run, write_shards, checkpoint: Path, caplog) -> None:
    shards = write_shards(3, 4)
    caplog.set_level("INFO")
    out = run("image=shards/*.tar")
    assert sorted(path.name for path in out.iterdir() if path.name[0] not in "._") == [
        f"part-0000{i}.parquet" for i in range(3)
    ]
    table = parquet.read_table(out)  # the manifest is no obstacle
    expected = [f"{shard}/{name}.png" for shard in range(3) for name in (0, 1, 2, 3, "broken")]
    assert table["image"].to_pylist() == expected
    assert table["shard"].to_pylist() == [shard for shard in shards for _ in range(5)]
    rows = table.to_pylist()
    for row in rows:
        assert (row["reason"] is not None) == row["image"].endswith("broken.png")
        assert (row["hat"] is None) == (row["present"] is None) == (row["reason"] is not None)
    about = json.loads(table.schema.metadata[b"aimonk"])
    manifest = json.loads((out / "_manifest.json").read_text())
    assert about["checkpoint_digest"] == manifest["checkpoint_digest"]
    assert about["thresholds"] == list(manifest["thresholds"].values()) == [0.5, 0.6, 0.7]
    assert manifest["finished"] == {"images": 15, "unreadable": 3}
    assert "3 of 15 images could not be read: column reason" in caplog.text
    assert "predictions for 15 images in 3 files" in caplog.text


def test_predictions_equal_those_of_a_file(run: Run, write_shards, capsys) -> None:
    write_shards(2, 3)
    with pytest.raises(ValueError, match=r"^2 of 8 images could not be read$"):
        run("image=shards", "output=null", "format=json")
    few = json.loads(capsys.readouterr().out)["images"]
    rows = parquet.read_table(run("image=shards", "with_features=true")).to_pylist()
    readable = [row for row in rows if row["reason"] is None]
    assert [row["image"] for row in readable] == [image["image"] for image in few]
    for row, image in zip(readable, few, strict=True):
        assert row["present"] == image["present"]
        probs = [row["hat"], row["image (probability)"], row["scarf"]]
        np.testing.assert_allclose(probs, list(image["probabilities"].values()), atol=1e-6)
        assert len(row["features"]) == len(readable[0]["features"]) > 8


def test_stopped_command_completes_its_folder(run: Run, write_shards, caplog) -> None:
    write_shards(4, 2)
    out = run("image=.")
    complete = parquet.read_table(out)
    first = (out / "part-00000.parquet").stat().st_mtime_ns
    (out / "part-00001.parquet").unlink()
    (out / "part-00002.parquet").write_bytes(b"damaged")
    (out / ".0123.tmp").write_bytes(b"half")
    caplog.set_level("INFO")
    # the output is below the folder of the images, whose shards it does not join
    run("image=.", "batch_size=3")
    assert "2 of 4 blocks are finished already" in caplog.text
    assert parquet.read_table(out).equals(complete)
    assert (out / "part-00000.parquet").stat().st_mtime_ns == first
    assert not (out / ".0123.tmp").exists()


def test_folder_of_something_else_is_refused(
    run: Run, write_shards, checkpoint, tmp_path: Path, draw_image
) -> None:
    shards = write_shards(2, 1)
    out = run("image=shards/*.tar")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    content = load_tensors(checkpoint)
    content["info"]["epoch"] = 7
    save_tensors(tmp_path / "other.pth", content)
    for arguments, message in (
        (["image=shards/*.tar", "checkpoint=other.pth"], "has predictions of another model, /.*/model.pth; "),
        (["image=shards/*.tar", "threshold=0.5"], "has predictions with other thresholds or with_features; "),
        (["image=shards/000.tar"], r"has predictions for other images, shards/\*.tar; expected a new folder"),
        (["image=shards/*.tar", "output=shards/"], r"has other files \(00.\.tar\); expected a new folder$"),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            run(*arguments)
        assert f"{caught.value}".startswith("output is ") and "\n" not in f"{caught.value}"
    with open(shards[1], "ab") as file:
        file.write(b"\0" * 512)
    with pytest.raises(ValueError, match="for other images"):
        run("image=shards/*.tar")
    assert before == {path.name: path.read_bytes() for path in out.iterdir()}
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(draw_image(0))
    with pytest.raises(ValueError, match=r"which has other files \(a.png\); expected a new folder$"):
        run("image=photos", "output=photos")
    assert os.listdir(tmp_path / "photos") == ["a.png"]


def test_files_are_predicted_in_blocks(run: Run, draw_image, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(blocks, "FILES", 2)
    (tmp_path / "photos").mkdir()
    for i in range(5):
        (tmp_path / "photos" / f"{i}.png").write_bytes(draw_image(i))
    table = parquet.read_table(run("image=photos"))
    assert table["image"].to_pylist() == [f"photos/{i}.png" for i in range(5)]
    assert table["shard"].null_count == 5
    assert len(list((tmp_path / "out").glob("part-*"))) == 3


def test_damaged_shard_does_not_stop_the_others(run: Run, write_shards, caplog) -> None:
    damaged = Path(write_shards(3, 2)[1])
    content = damaged.read_bytes()
    damaged.write_bytes(content[:1000] + b"\1" * (len(content) - 1000))
    with pytest.raises(ValueError, match=r"^1 of 3 blocks failed; the same command repeats them$"):
        run("image=shards/*.tar")
    assert f"part-00001.parquet: {damaged}: damaged tar file at or after '1/0.png'" in caplog.text
    damaged.write_bytes(content)
    assert len(parquet.read_table(run("image=shards/*.tar"))) == 9


def test_no_readable_image_is_an_error(run: Run, write_shards) -> None:
    write_shards(2, 0)
    with pytest.raises(ValueError, match=r"^none of 2 images could be read$"):
        run("image=shards/*.tar")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["engine=slurm"], "^engine is 'slurm'; expected processes, ray or null$"),
        (["engine=ray", "output=null"], "^output is null; with engine=ray, expected output=FOLDER/$"),
        (["engine=processes", "output=a.csv"], "^output is a.csv, a file; expected a folder"),
        (["engine=processes", "workers=0"], "^workers is 0; expected auto or a number of processes$"),
        (["format=csv"], "^format is 'csv'; expected auto, since a folder of predictions has Parquet files$"),
        (["with_features=true", "output=null"], "^with_features is true; expected output=FOLDER/ beside it"),
        (["device=cuda:77"], "^device is cuda:77; expected an available device"),
        (["image=gone.tar"], "^1 of 1 shard missing: gone.tar$"),
        (["image=s3x://a/*.tar"], r"^s3x://a/\*.tar cannot be opened: "),
    ],
)
def test_invalid_settings_are_rejected(
    arguments: list[str], message: str, run: Run, tmp_path, draw_image
) -> None:
    (tmp_path / "a.png").write_bytes(draw_image(0))
    (tmp_path / "a.csv").touch()
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        run("image=a.png", *arguments)
    assert "\n" not in f"{caught.value}"
    assert not (tmp_path / "out").exists()


@pytest.mark.stress
def test_killed_workers_and_commands_lose_nothing(
    run: Run, write_shards, checkpoint: Path, environment, tmp_path: Path
) -> None:
    write_shards(60, 4)
    arguments = ["mode=infer", "image=shards/*.tar", f"checkpoint={checkpoint}", "output=out/", "device=cpu"]
    command = subprocess.Popen(
        [sys.executable, str(ROOT / "run.py"), *arguments, "engine=processes", "workers=2"],
        cwd=tmp_path,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    out = tmp_path / "out"
    wait_until(lambda: any(out.glob("part-*")), command)
    workers = children(command.pid)
    os.kill(workers[0], signal.SIGKILL)
    done = len(list(out.glob("part-*")))
    wait_until(lambda: len(list(out.glob("part-*"))) > done, command)
    command.kill()
    command.communicate()
    wait_until(lambda: not any(os.path.exists(f"/proc/{worker}") for worker in workers))
    kept = {path.name: path.stat().st_mtime_ns for path in out.glob("part-*")}
    names = parquet.read_table(run("image=shards/*.tar"))["image"].to_pylist()
    assert names == [f"{shard}/{name}.png" for shard in range(60) for name in (0, 1, 2, 3, "broken")]
    assert all((out / name).stat().st_mtime_ns == changed for name, changed in kept.items())


def children(pid: int) -> list[int]:
    """The workers of a command, without the resource tracker of multiprocessing."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(p) for p in found if b"spawn_main" in Path(f"/proc/{p}/cmdline").read_bytes()]


def wait_until(holds: Callable[[], bool], command: subprocess.Popen | None = None) -> None:
    """Wait for a condition, or for the end of a command."""
    while not holds() and (command is None or command.poll() is None):
        time.sleep(0.01)


def test_folder_moves_with_its_model(run: Run, write_shards, checkpoint: Path, tmp_path: Path) -> None:
    write_shards(2, 1)
    out = run("image=shards/*.tar")
    shutil.copy(checkpoint, tmp_path / "copy.pth")
    (out / "part-00001.parquet").unlink()
    run("image='shards/{000..001}.tar'", "checkpoint=copy.pth")
    assert len(parquet.read_table(out)) == 4


def test_images_and_output_at_addresses_of_fsspec(run: Run, write_shards) -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    for path in write_shards(2, 1):
        memory.pipe(f"/bucket/{Path(path).name}", Path(path).read_bytes())
    arguments = ["image='memory://bucket/{000..001}.tar'", "output=memory://bucket/out/"]
    for _ in range(2):
        run(*arguments)
        memory.rm("/bucket/out/part-00000.parquet")
    run(*arguments)
    assert sorted(Path(name).name for name in memory.ls("/bucket/out", detail=False)) == [
        "_manifest.json",
        "part-00000.parquet",
        "part-00001.parquet",
    ]
    table = parquet.read_table("/bucket/out", filesystem=memory)
    assert table["shard"].to_pylist() == [f"memory://bucket/00{i}.tar" for i in (0, 0, 1, 1)]
