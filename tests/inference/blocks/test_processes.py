import importlib
import multiprocessing
from pathlib import Path

import pytest

from aimonk.inference.blocks import processes
from aimonk.inference.blocks.block import Block
from aimonk.inference.blocks.processes import Pool, describe_exit, device_of

# workers without torch, which start fast: each block's name is what happens to it
WORK = """
import os, signal, sys
from dataclasses import dataclass
from aimonk.inference.blocks.job import Outcome

@dataclass
class Job:
    device: str

def work(pipe, job):
    if job.device == "refused":
        pipe.send(ValueError("device is refused"))
        return
    if job.device == "deadly":
        os.kill(os.getpid(), signal.SIGKILL)
    pipe.send("ready")
    while True:
        try:
            block = pipe.recv()
        except EOFError:
            return
        if block.shard == "deadly" or (block.shard == "once" and not os.path.exists("died")):
            open("died", "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        if block.shard == "slow disk":
            with open("tries", "a") as file:
                file.write("x")
            pipe.send(Outcome(block.number, error="network is down", transient=True))
        elif block.shard == "damaged":
            pipe.send(Outcome(block.number, error="damaged"))
        else:
            pipe.send(Outcome(block.number, images=10))
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Outcomes of blocks with these names by number, in a working folder of its own."""
    (tmp_path / "short_work.py").write_text(WORK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("short_work")
    monkeypatch.setattr(processes, "work", module.work)

    def run(*names: str, device: str = "cpu", workers: int = 2) -> dict[int, tuple[int, str | None]]:
        blocks = [Block(number, name, (), "") for number, name in enumerate(names)]
        outcomes = list(Pool(module.Job(device), blocks, workers).run())
        assert len({outcome.number for outcome in outcomes}) == len(outcomes) == len(blocks)
        assert not multiprocessing.active_children()
        return {outcome.number: (outcome.images, outcome.error) for outcome in outcomes}

    yield run
    monkeypatch.delitem(importlib.sys.modules, "short_work")


def test_every_block_has_one_outcome_though_workers_die(run, tmp_path: Path) -> None:
    outcomes = run("ok", "once", "deadly", "slow disk", "damaged", "ok")
    died = "deadly: the worker was killed (SIGKILL), at 3 attempts"
    good, bad = (10, None), [(0, died), (0, "network is down"), (0, "damaged")]
    assert [outcomes[number] for number in range(6)] == [good, good, *bad, good]
    assert (tmp_path / "tries").read_text() == "xxx"


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("refused", "^device is refused$"),
        (
            "deadly",
            r"^workers cannot start: the last was killed \(SIGKILL\); fewer workers need less memory$",
        ),
    ],
)
def test_workers_that_cannot_start_end_the_command(device: str, message: str, run) -> None:
    with pytest.raises(ValueError, match=message):
        run("ok", "ok", device=device, workers=1)
    assert not multiprocessing.active_children()


def test_devices_are_taken_in_turn(monkeypatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert [device_of("auto", place) for place in range(3)] == ["cuda:0", "cuda:1", "cuda:0"]
    assert [device_of(device, 1) for device in ("cuda", "cuda:0", "cpu")] == ["cuda:1", "cuda:0", "cpu"]


def test_exit_of_a_worker_is_named() -> None:
    assert (describe_exit(-9), describe_exit(1)) == ("was killed (SIGKILL)", "ended with status 1")
