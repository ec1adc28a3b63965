"""`mode=review` through the command line: a kill loses nothing that was acknowledged."""

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aimonk.data.formats.text.label_file import read_labels

httpx = pytest.importorskip("httpx", reason="httpx is not installed")
pytest.importorskip("uvicorn", reason="uvicorn is not installed")

ROOT = Path(__file__).resolve().parents[2]
IMAGES = 40


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    rows = []
    for i in range(IMAGES):
        pixels = rng.integers(0, 60, (64, 64, 3), dtype=np.uint8)
        pixels[..., i % 2] += 150
        Image.fromarray(pixels).save(tmp_path / "images" / f"{i}.png")
        rows.append(f"{i}.png\t{i % 2}\t{'NA' if i < 20 else i % 3 // 2}")
    (tmp_path / "labels.tsv").write_text("\n".join(rows) + "\n")
    return tmp_path


@pytest.fixture
def review(folder: Path, cache_dir: Path, environment) -> Iterator[Callable]:
    """Starts the command; returns its process and a client that has opened the printed address."""
    started = []

    def start() -> tuple[subprocess.Popen, "httpx.Client"]:
        data = ["data=folder", "data.labels=labels.tsv", "data.image_size=64", f"cache_dir={cache_dir}"]
        command = [sys.executable, str(ROOT / "run.py"), "mode=review", "save_after=0.0", *data]
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment(),
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        started.append(process)
        lines = []
        for line in process.stderr:
            lines.append(line)
            if match := re.search(r"(http://127\.0\.0\.1:\d+)/\?token=\S+", line):
                break
        else:
            raise AssertionError("".join(lines))
        threading.Thread(target=process.stderr.read, daemon=True).start()
        client = httpx.Client(
            base_url=match[1], headers={"origin": match[1]}, follow_redirects=True, timeout=60
        )
        assert client.get(match[0]).status_code == 200
        return process, client

    yield start
    for process in started:
        process.kill()
        process.wait()


def post(client: "httpx.Client", row: int, attribute: int, old: int, new: int) -> bool:
    """Whether an edit was acknowledged."""
    body = json.dumps({"client": "tab", "edits": [[row, attribute, old, new]]})
    try:
        return client.post("/api/edit", content=body).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.stress
def test_kill_while_writing_loses_no_acknowledged_edit(review, folder: Path) -> None:
    process, client = review()
    values = np.array(client.get("/api/start").json()["values"])
    acknowledged, pending = values.copy(), None
    threading.Thread(target=lambda: (time.sleep(1.0), process.kill()), daemon=True).start()
    for step in range(1_000_000):
        row, attribute = divmod(step % (2 * IMAGES), 2)
        old = int(acknowledged[row, attribute])
        pending = row, attribute, (old + 1) % 3
        if not post(client, row, attribute, old, pending[2]):
            break
        acknowledged[row, attribute] = pending[2]
    process.wait()
    assert step > 3 and len(read_labels(folder / "labels.tsv")) == IMAGES
    process, client = review()
    after = np.array(client.get("/api/start").json()["values"])
    after[pending[:2]] = acknowledged[pending[:2]]  # the last edit may or may not have reached the journal
    assert (after == acknowledged).all()
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    table = read_labels(folder / "labels.tsv")
    found = np.where(table.mask, table.labels, 2).astype(int)
    found[pending[:2]] = acknowledged[pending[:2]]
    assert (found == acknowledged).all()


def test_settings_are_checked_before_data_is_read(command, tmp_path: Path) -> None:
    result = command(tmp_path, "mode=review", "data=folder", "port=70000")
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == "port is 70000; expected 0 (any free one) to 65535"
